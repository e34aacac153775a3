package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authflow/store"
)

// incrementInParallel has 100 goroutines, spread over the handles, add one each through Update.
func incrementInParallel(t *testing.T, handles ...store.KV) {
	t.Helper()
	const workers = 100
	key := newKey()
	inParallel(t, workers, func(i int) error {
		return handles[i%len(handles)].Update(t.Context(), key, func(current []byte) ([]byte, time.Duration, error) {
			var n uint64
			if current != nil {
				n = binary.BigEndian.Uint64(current)
			}
			return binary.BigEndian.AppendUint64(nil, n+1), time.Minute, nil
		})
	})
	got, err := handles[0].Get(t.Context(), key)
	must(t, err)
	if n := binary.BigEndian.Uint64(got); n != workers {
		t.Errorf("%d goroutines added one each, and the sum is %d", workers, n)
	}
}

// createInParallel has goroutines race to be the first under a key: one creates, all others see its value.
func createInParallel(t *testing.T, handles ...store.KV) {
	t.Helper()
	key, taken := newKey(), errors.New("taken")
	var winners atomic.Int32
	var winner atomic.Value
	inParallel(t, 16, func(i int) error {
		mine := fmt.Sprint(i)
		err := handles[i%len(handles)].Update(t.Context(), key, func(current []byte) ([]byte, time.Duration, error) {
			if current != nil {
				return nil, 0, taken
			}
			return []byte(mine), time.Minute, nil
		})
		if err == nil {
			winners.Add(1)
			winner.Store(mine)
		} else if err != taken {
			return err
		}
		return nil
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d creators won", n)
	}
	wantValue(t, handles[0], key, winner.Load().(string))
}

// countInParallel has goroutines draw numbers from a counter: each of them must come up exactly once.
func countInParallel(t *testing.T, handles ...store.KV) {
	t.Helper()
	const workers, each = 20, 10
	key := newKey()
	var mu sync.Mutex
	drawn := map[int64]int{}
	inParallel(t, workers, func(i int) error {
		for range each {
			sum, _, err := handles[i%len(handles)].Count(t.Context(), key, 1, time.Minute)
			if err != nil {
				return err
			}
			mu.Lock()
			drawn[sum]++
			mu.Unlock()
		}
		return nil
	})
	for n := int64(1); n <= workers*each; n++ {
		if drawn[n] != 1 {
			t.Errorf("%d was drawn %d times", n, drawn[n])
		}
	}
}

// inParallel runs work in that many goroutines, lets them start together, and waits for all.
func inParallel(t *testing.T, workers int, work func(worker int) error) {
	t.Helper()
	start, errs := make(chan struct{}), make(chan error, workers)
	for i := range workers {
		go func() { <-start; errs <- work(i) }()
	}
	close(start)
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
