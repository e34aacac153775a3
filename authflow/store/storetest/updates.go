package storetest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sallyport/authflow/store"
)

func testUpdate(t *testing.T, kv store.KV) {
	ctx, key := t.Context(), newKey()
	step := func(want string, next []byte) {
		t.Helper()
		var saw []byte
		must(t, kv.Update(ctx, key, func(current []byte) ([]byte, time.Duration, error) {
			saw = bytes.Clone(current)
			return next, time.Minute, nil
		}))
		if want == "(none)" && saw != nil || want != "(none)" && (saw == nil || string(saw) != want) {
			t.Fatalf("change saw %q (nil: %t), want %q", saw, saw == nil, want)
		}
	}
	step("(none)", []byte("one"))
	wantValue(t, kv, key, "one")
	step("one", []byte{})
	wantValue(t, kv, key, "")
	step("", []byte("three")) // an empty value is there, and is not nil
	step("three", nil)
	wantGone(t, kv, key)
	step("(none)", nil) // deleting what is not there
	wantGone(t, kv, key)
}

func testUpdateAborts(t *testing.T, kv store.KV) {
	ctx, key, refused := t.Context(), newKey(), errors.New("refused")
	abort := func([]byte) ([]byte, time.Duration, error) { return []byte("never"), time.Minute, refused }
	if err := kv.Update(ctx, key, abort); err != refused {
		t.Errorf("on no value: got %v, want that very error", err)
	}
	wantGone(t, kv, key)
	mustPut(t, kv, key, "kept", time.Minute)
	if err := kv.Update(ctx, key, abort); err != refused {
		t.Errorf("on a value: got %v, want that very error", err)
	}
	wantValue(t, kv, key, "kept")
}

func testUpdateContention(t *testing.T, kv store.KV) { incrementInParallel(t, kv) }

func testUpdateOneWinner(t *testing.T, kv store.KV) {
	for range 20 {
		createInParallel(t, kv)
	}
}
