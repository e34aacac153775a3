package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/authflow/store"
)

func testPutGet(t *testing.T, kv store.KV) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, c := range map[string]struct{ key, value string }{
		"text":            {newKey(), "alice"},
		"empty value":     {newKey(), ""},
		"all byte values": {newKey() + string(every), string(every)},
		"braces and CRLF": {newKey() + "{a}{b}\r\n*1\r\n", "\r\n$-1\r\n"},
		"longest key":     {pad(newKey(), store.MaxKeyBytes), "v"},
		"largest value":   {newKey(), strings.Repeat("\x00\xff", store.MaxValueBytes/2)},
		"digits":          {newKey(), "42"},
	} {
		t.Run(name, func(t *testing.T) {
			wantGone(t, kv, c.key)
			mustPut(t, kv, c.key, c.value, time.Minute)
			wantValue(t, kv, c.key, c.value)
		})
	}
}

func testPutReplaces(t *testing.T, kv store.KV) {
	key := newKey()
	mustPut(t, kv, key, "first", 300*time.Millisecond)
	mustPut(t, kv, key, "second", time.Hour)
	other := newKey()
	mustPut(t, kv, other, "x", 300*time.Millisecond)
	untilGone(t, kv, other) // by now the first time to live would have ended too
	wantValue(t, kv, key, "second")

	mustPut(t, kv, key, "third", 0)
	mustPut(t, kv, key, "fourth", 50*time.Millisecond)
	untilGone(t, kv, key)

	if _, _, err := kv.Count(t.Context(), key, 1, time.Minute); err != nil {
		t.Fatalf("count under a key that is free again: %v", err)
	}
	mustPut(t, kv, key, "over a counter", time.Minute)
	wantValue(t, kv, key, "over a counter")
}

func testLimits(t *testing.T, kv store.KV) {
	ctx := t.Context()
	for name, key := range map[string]string{"empty": "", "too long": strings.Repeat("k", store.MaxKeyBytes+1)} {
		_, getErr := kv.Get(ctx, key)
		_, _, countErr := kv.Count(ctx, key, 1, time.Minute)
		for method, err := range map[string]error{
			"Get":    getErr,
			"Count":  countErr,
			"Put":    kv.Put(ctx, key, []byte("v"), time.Minute),
			"Delete": kv.Delete(ctx, key),
			"Update": kv.Update(ctx, key, func([]byte) ([]byte, time.Duration, error) { return []byte("v"), 0, nil }),
		} {
			wantCallersFault(t, method+" with a key that is "+name, err)
		}
	}
	key, tooLarge := newKey(), make([]byte, store.MaxValueBytes+1)
	wantCallersFault(t, "Put of nil", kv.Put(ctx, key, nil, time.Minute))
	wantCallersFault(t, "Put of too much", kv.Put(ctx, key, tooLarge, time.Minute))
	wantCallersFault(t, "Update to too much", kv.Update(ctx, key, func([]byte) ([]byte, time.Duration, error) {
		return tooLarge, time.Minute, nil
	}))
	wantGone(t, kv, key)
}

func testCopies(t *testing.T, kv store.KV) {
	ctx, key := t.Context(), newKey()
	mine := []byte("value")
	must(t, kv.Put(ctx, key, mine, time.Minute))
	copy(mine, "XXXXX")
	got, err := kv.Get(ctx, key)
	must(t, err)
	copy(got, "YYYYY")
	wantValue(t, kv, key, "value")

	refused := errors.New("refused")
	err = kv.Update(ctx, key, func(current []byte) ([]byte, time.Duration, error) {
		copy(current, "ZZZZZ")
		return nil, 0, refused
	})
	if !errors.Is(err, refused) {
		t.Fatalf("update returned %v", err)
	}
	wantValue(t, kv, key, "value")

	var kept []byte
	must(t, kv.Update(ctx, key, func(current []byte) ([]byte, time.Duration, error) {
		kept = current
		return []byte("other"), time.Minute, nil
	}))
	for range 50 { // a slice into the store's own memory would change or fault now
		mustPut(t, kv, key, strings.Repeat("q", 4096), time.Minute)
	}
	if string(kept) != "value" {
		t.Errorf("what change was given became %q afterwards", kept)
	}
}

func testDelete(t *testing.T, kv store.KV) {
	ctx, a, b, counter := t.Context(), newKey(), newKey(), newKey()
	mustPut(t, kv, a, "a", time.Minute)
	mustPut(t, kv, b, "b", 0)
	mustCount(t, kv, counter, 3, time.Minute, 3)
	must(t, kv.Delete(ctx, a, newKey(), b, counter, a))
	wantGone(t, kv, a)
	wantGone(t, kv, b)
	mustCount(t, kv, counter, 0, time.Minute, 0)
	must(t, kv.Delete(ctx, a))
	must(t, kv.Delete(ctx))
}

func testExpiry(t *testing.T, kv store.KV) {
	const ttl = 400 * time.Millisecond
	// A server that reads its clock once per batch of commands may start the time a little before the call.
	const clockGrain = 50 * time.Millisecond
	put, updated := newKey(), newKey()
	began := time.Now()
	mustPut(t, kv, put, "v", ttl)
	must(t, kv.Update(t.Context(), updated, func([]byte) ([]byte, time.Duration, error) { return []byte("v"), ttl, nil }))
	untilGone(t, kv, put)
	if lived := time.Since(began); lived < ttl-clockGrain {
		t.Errorf("gone after %v, before its time to live of %v", lived, ttl)
	}
	untilGone(t, kv, updated)
	must(t, kv.Update(t.Context(), put, func(current []byte) ([]byte, time.Duration, error) {
		if current != nil {
			return nil, 0, fmt.Errorf("update still sees %q after its end", current)
		}
		return []byte("again"), time.Minute, nil
	}))
	wantValue(t, kv, put, "again")

	shortest := newKey()
	mustPut(t, kv, shortest, "v", time.Nanosecond) // rounded up to what the store can keep, never to "stays"
	untilGone(t, kv, shortest)
}

func testNoExpiry(t *testing.T, kv store.KV) {
	zero, negative, updated, counter, marker := newKey(), newKey(), newKey(), newKey(), newKey()
	mustPut(t, kv, zero, "stays", 0)
	mustPut(t, kv, negative, "stays", -time.Second)
	mustPut(t, kv, updated, "goes", 50*time.Millisecond)
	must(t, kv.Update(t.Context(), updated, func([]byte) ([]byte, time.Duration, error) { return []byte("stays"), 0, nil }))
	if _, left, err := kv.Count(t.Context(), counter, 1, 0); err != nil || left != 0 {
		t.Fatalf("a counter without a window: left %v, %v; want 0, no error", left, err)
	}
	mustPut(t, kv, marker, "goes", 100*time.Millisecond)
	untilGone(t, kv, marker)
	for _, key := range []string{zero, negative, updated} {
		wantValue(t, kv, key, "stays")
	}
	mustCount(t, kv, counter, 1, 0, 2)
	must(t, kv.Delete(t.Context(), zero, negative, updated, counter))
}

func testKinds(t *testing.T, kv store.KV) {
	ctx, value, counter := t.Context(), newKey(), newKey()
	mustPut(t, kv, value, "5", time.Minute)
	_, _, err := kv.Count(ctx, value, 1, time.Minute)
	wantCallersFault(t, "Count on a value", err)
	wantValue(t, kv, value, "5")

	mustCount(t, kv, counter, 5, time.Minute, 5)
	got, err := kv.Get(ctx, counter)
	wantCallersFault(t, fmt.Sprintf("Get on a counter (got %q)", got), err)
	err = kv.Update(ctx, counter, func(current []byte) ([]byte, time.Duration, error) {
		return []byte("over it"), time.Minute, nil
	})
	wantCallersFault(t, "Update on a counter", err)
	mustCount(t, kv, counter, 1, time.Minute, 6)
}

func testCancelled(t *testing.T, kv store.KV) {
	key := newKey()
	mustPut(t, kv, key, "kept", time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := kv.Get(ctx, key)
	_, _, countErr := kv.Count(ctx, key, 1, time.Minute)
	for method, err := range map[string]error{
		"Get":    getErr,
		"Count":  countErr,
		"Put":    kv.Put(ctx, key, []byte("v"), time.Minute),
		"Delete": kv.Delete(ctx, key),
		"Update": kv.Update(ctx, key, func([]byte) ([]byte, time.Duration, error) { return nil, 0, nil }),
		"Renew":  renewOne(ctx, kv, key),
		"Ping":   kv.Ping(ctx),
	} {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v; want one that wraps context.Canceled and store.ErrUnavailable", method, err)
		}
	}
	wantValue(t, kv, key, "kept")
}

func testManyKeys(t *testing.T, kv store.KV) {
	stem, keys := newKey(), make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s/%d", stem, i)
	}
	inParallel(t, 10, func(worker int) error {
		for i := worker; i < len(keys); i += 10 {
			if err := kv.Put(t.Context(), keys[i], []byte(keys[i]), time.Minute); err != nil {
				return err
			}
		}
		return nil
	})
	for _, key := range keys {
		wantValue(t, kv, key, key)
	}
	must(t, kv.Delete(t.Context(), keys[:500]...))
	wantGone(t, kv, keys[0])
	wantGone(t, kv, keys[499])
	wantValue(t, kv, keys[500], keys[500])
}

func testPing(t *testing.T, kv store.KV) { must(t, kv.Ping(t.Context())) }
