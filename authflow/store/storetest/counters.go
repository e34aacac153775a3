package storetest

import (
	"testing"
	"time"

	"sallyport/authflow/store"
)

func testCount(t *testing.T, kv store.KV) {
	ctx, key := t.Context(), newKey()
	for _, delta := range []int64{-1, 0} {
		sum, left, err := kv.Count(ctx, key, delta, time.Minute)
		if sum != 0 || left != 0 || err != nil {
			t.Fatalf("%d on no counter: %d, %v, %v; want 0, 0, no error", delta, sum, left, err)
		}
	}
	mustCount(t, kv, key, 2, time.Minute, 2)
	mustCount(t, kv, key, 1, time.Minute, 3)
	mustCount(t, kv, key, 0, time.Minute, 3)
	mustCount(t, kv, key, -1, time.Minute, 2)
	mustCount(t, kv, key, -100, time.Minute, 0)
	mustCount(t, kv, key, 1, time.Minute, 1)
	mustCount(t, kv, key, 1<<53, time.Minute, 1<<53+1) // beyond what a double holds
}

func testCountWindow(t *testing.T, kv store.KV) {
	key := newKey()
	for i, window := range []time.Duration{time.Hour, 24 * time.Hour, 0, time.Millisecond, 48 * time.Hour} {
		_, left, err := kv.Count(t.Context(), key, 1, window)
		must(t, err)
		if left <= 30*time.Minute || left > time.Hour+time.Second {
			t.Errorf("call %d with window %v: %v left, want the rest of the first call's hour", i+1, window, left)
		}
	}
	if _, left, err := kv.Count(t.Context(), key, -100, time.Minute); err != nil || left <= 30*time.Minute || left > time.Hour+time.Second {
		t.Errorf("counting down to 0: %v left, %v; want the rest of the first call's hour", left, err)
	}
}

func testCountExpires(t *testing.T, kv store.KV) {
	key, last := newKey(), int64(0)
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		sum, left, err := kv.Count(t.Context(), key, 1, 300*time.Millisecond)
		must(t, err)
		if left < 0 || left > 300*time.Millisecond+time.Second {
			t.Fatalf("%v left of a window of 300ms", left)
		}
		if sum < last {
			if sum != 1 {
				t.Fatalf("the new counter starts at %d", sum)
			}
			return
		}
		last = sum
	}
	t.Fatalf("counted to %d in %v: the window was prolonged", last, settle)
}

func testCountContention(t *testing.T, kv store.KV) { countInParallel(t, kv) }
