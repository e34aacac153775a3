package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sallyport/authflow/store"
)

func newKey() string { return fmt.Sprintf("storetest/%016x", rand.Uint64()) }

func pad(key string, n int) string { return key + strings.Repeat("p", n-len(key)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustPut(t *testing.T, kv store.KV, key, value string, ttl time.Duration) {
	t.Helper()
	must(t, kv.Put(t.Context(), key, []byte(value), ttl))
}

func mustCount(t *testing.T, kv store.KV, key string, delta int64, window time.Duration, want int64) {
	t.Helper()
	sum, _, err := kv.Count(t.Context(), key, delta, window)
	must(t, err)
	if sum != want {
		t.Fatalf("count %+d: %d, want %d", delta, sum, want)
	}
}

func wantValue(t *testing.T, kv store.KV, key, want string) {
	t.Helper()
	got, err := kv.Get(t.Context(), key)
	must(t, err)
	if got == nil || string(got) != want {
		t.Fatalf("got %d bytes %.80q (nil: %t), want %d bytes %.80q", len(got), got, got == nil, len(want), want)
	}
}

func wantGone(t *testing.T, kv store.KV, key string) {
	t.Helper()
	if got, err := kv.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("got %.80q, %v; want store.ErrNotFound", got, err)
	}
}

func untilGone(t *testing.T, kv store.KV, key string) {
	t.Helper()
	for deadline := time.Now().Add(settle); ; time.Sleep(10 * time.Millisecond) {
		if _, err := kv.Get(t.Context(), key); errors.Is(err, store.ErrNotFound) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there after %v", settle)
		}
	}
}

// wantCallersFault demands an error that blames neither the store nor a missing key.
func wantCallersFault(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s: %v; want an error of the caller's", what, err)
	}
}
