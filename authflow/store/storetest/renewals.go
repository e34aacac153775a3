package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authflow/store"
)

// mustRenew renews and demands that just these keys are missing.
func mustRenew(t *testing.T, kv store.KV, renewals []store.Renewal, wantMissing ...string) {
	t.Helper()
	missing, err := kv.Renew(t.Context(), renewals)
	must(t, err)
	if slices.Sort(missing); !slices.Equal(missing, slices.Sorted(slices.Values(wantMissing))) {
		t.Fatalf("missing are %.200q, want %.200q", missing, wantMissing)
	}
}

func testRenew(t *testing.T, kv store.KV) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	a, whole, untouched, empty, never, gone, other := newKey(), newKey(), newKey(), newKey(), newKey(), newKey(), newKey()
	mustPut(t, kv, a, "12345678 and the rest", time.Minute)
	mustPut(t, kv, whole, string(every), time.Minute)
	mustPut(t, kv, untouched, "as it was", time.Minute)
	mustPut(t, kv, empty, "", time.Minute)
	mustPut(t, kv, other, "nobody's", time.Minute)
	mustPut(t, kv, gone, "12345678", 20*time.Millisecond)
	untilGone(t, kv, gone)
	reversed := slices.Clone(every)
	slices.Reverse(reversed)
	head := []byte("\x00\xff\r\n$-1v")
	mustRenew(t, kv, []store.Renewal{
		{Key: never, Head: head, TTL: time.Minute},
		{Key: a, Head: head, TTL: time.Minute},
		{Key: whole, Head: reversed, TTL: time.Minute},
		{Key: gone, TTL: time.Minute},
		{Key: untouched, TTL: time.Minute},
		{Key: empty, TTL: time.Minute},
	}, never, gone)
	wantValue(t, kv, a, string(head)+" and the rest")
	wantValue(t, kv, whole, string(reversed))
	wantValue(t, kv, untouched, "as it was")
	wantValue(t, kv, empty, "")
	wantValue(t, kv, other, "nobody's")
	wantGone(t, kv, never)
	wantGone(t, kv, gone)
	mustRenew(t, kv, nil)
	mustRenew(t, kv, []store.Renewal{{Key: a, Head: []byte("first"), TTL: time.Minute}, {Key: a, Head: []byte("2nd"), TTL: time.Minute}})
	wantValue(t, kv, a, "2ndst"+string(head[5:])+" and the rest")
}

func testRenewLife(t *testing.T, kv store.KV) {
	longer, shorter, endless, ended := newKey(), newKey(), newKey(), newKey()
	mustPut(t, kv, longer, "12345678", 2*time.Second)
	mustPut(t, kv, endless, "12345678", 2*time.Second)
	mustPut(t, kv, shorter, "12345678", time.Hour)
	mustPut(t, kv, ended, "12345678", 0)
	mustRenew(t, kv, []store.Renewal{
		{Key: longer, Head: []byte("renewed"), TTL: time.Hour},
		{Key: endless, TTL: 0},
		{Key: shorter, TTL: 50 * time.Millisecond},
		{Key: ended, TTL: time.Nanosecond}, // rounded up to what the store can keep, never to "stays"
	})
	untilGone(t, kv, shorter)
	untilGone(t, kv, ended)
	marker := newKey()
	mustPut(t, kv, marker, "v", 2*time.Second)
	untilGone(t, kv, marker) // by now the first time to live would have ended too
	wantValue(t, kv, longer, "renewed8")
	wantValue(t, kv, endless, "12345678")
	must(t, kv.Delete(t.Context(), longer, endless))
}

func testRenewRefuses(t *testing.T, kv store.KV) {
	ctx, short, counter, fits, gone := t.Context(), newKey(), newKey(), newKey(), newKey()
	mustPut(t, kv, short, "1234567", time.Minute)
	mustPut(t, kv, fits, "12345678", time.Minute)
	mustCount(t, kv, counter, 1234567890, time.Minute, 1234567890)
	eight := []byte("ABCDEFGH")
	for name, key := range map[string]string{"a short value": short, "a counter": counter} {
		missing, err := kv.Renew(ctx, []store.Renewal{{Key: key, Head: eight}, {Key: fits, Head: eight, TTL: time.Minute}, {Key: gone, Head: eight}})
		wantCallersFault(t, "Renew of "+name, err)
		if !slices.Equal(missing, []string{gone}) {
			t.Errorf("beside %s: %q are missing", name, missing)
		}
		wantValue(t, kv, fits, "ABCDEFGH")
		mustPut(t, kv, fits, "12345678", time.Minute)
	}
	wantValue(t, kv, short, "1234567")
	mustCount(t, kv, counter, 0, time.Minute, 1234567890)
	if _, left, err := kv.Count(ctx, counter, 0, time.Minute); err != nil || left <= 0 || left > time.Minute+time.Second {
		t.Errorf("the counter has %v left, %v", left, err)
	}
	for name, r := range map[string]store.Renewal{
		"an empty key":    {},
		"too long a key":  {Key: strings.Repeat("k", store.MaxKeyBytes+1)},
		"too long a head": {Key: fits, Head: make([]byte, store.MaxValueBytes+1)},
	} {
		_, err := kv.Renew(ctx, []store.Renewal{{Key: fits, Head: eight, TTL: time.Minute}, r})
		wantCallersFault(t, "Renew with "+name, err)
		wantValue(t, kv, fits, "12345678")
	}
}

// testRenewMany is more than any driver takes in one step, with a hole here and there.
func testRenewMany(t *testing.T, kv store.KV) {
	const many = 1300
	stem := newKey()
	key := func(i int) string { return fmt.Sprintf("%s/%d", stem, i) }
	inParallel(t, 10, func(worker int) error {
		for i := worker; i < many; i += 10 {
			if i%100 == 7 {
				continue
			}
			if err := kv.Put(t.Context(), key(i), []byte("12345678 "+key(i)), time.Minute); err != nil {
				return err
			}
		}
		return nil
	})
	var renewals []store.Renewal
	var holes []string
	for i := range many {
		renewals = append(renewals, store.Renewal{Key: key(i), Head: fmt.Appendf(nil, "%08d", i), TTL: time.Minute})
		if i%100 == 7 {
			holes = append(holes, key(i))
		}
	}
	mustRenew(t, kv, renewals, holes...)
	for i := range many {
		if i%100 != 7 {
			wantValue(t, kv, key(i), fmt.Sprintf("%08d %s", i, key(i)))
		}
	}
}

// testRenewRaces has renewals meet updates, which write head and rest alike, and then a deletion.
func testRenewRaces(t *testing.T, kv store.KV) {
	for range 10 {
		renewInParallel(t, kv)
	}
}

func renewInParallel(t *testing.T, handles ...store.KV) {
	t.Helper()
	ctx, key := t.Context(), newKey()
	value := func(head, rest byte) []byte {
		return []byte(strings.Repeat(string(rune(head)), 8) + strings.Repeat(string(rune(rest)), 300))
	}
	must(t, handles[0].Put(ctx, key, value('a', 'a'), time.Minute))
	var deleted atomic.Bool
	inParallel(t, 8, func(i int) error {
		kv := handles[i%len(handles)]
		for n := range 10 {
			letter := byte('a' + (i+n)%26)
			var err error
			switch {
			case i == 0 && n == 4:
				err = kv.Delete(ctx, key)
				deleted.Store(true)
			case i%2 == 0:
				err = kv.Update(ctx, key, func(current []byte) ([]byte, time.Duration, error) {
					if current == nil {
						return nil, 0, nil
					}
					return value(letter, letter), time.Minute, nil
				})
			default:
				_, err = kv.Renew(ctx, []store.Renewal{{Key: key, Head: value(letter, letter)[:8], TTL: time.Minute}})
			}
			if err != nil {
				return err
			}
			was := deleted.Load()
			got, err := kv.Get(ctx, key)
			switch {
			case errors.Is(err, store.ErrNotFound):
			case err != nil:
				return err
			case was:
				return fmt.Errorf("%.20q is back after its deletion", got)
			case len(got) != 308 || string(got) != string(value(got[0], got[8])):
				return fmt.Errorf("torn: %q", got)
			}
		}
		return nil
	})
	wantGone(t, handles[0], key)
}

func renewOne(ctx context.Context, kv store.KV, key string) error {
	_, err := kv.Renew(ctx, []store.Renewal{{Key: key, Head: []byte("v"), TTL: time.Minute}})
	return err
}
