package throttle

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authflow/store"
	"sallyport/authflow/store/boltstore"
)

var limit = Limit{Attempts: 3, Window: time.Minute}

func newThrottle(t *testing.T, now *atomic.Int64) *Throttle {
	t.Helper()
	now.Store(1_800_000_000)
	kv, err := boltstore.Open(filepath.Join(t.TempDir(), "s.db"), boltstore.Options{
		Now: func() time.Time { return time.Unix(now.Load(), 0) }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	return &Throttle{KV: kv}
}

func TestAfterTheLimitTheAnswerIsWhenToComeBackAndThatIsKept(t *testing.T) {
	var now atomic.Int64
	th := newThrottle(t, &now)
	for range limit.Attempts {
		if err := th.Reserve(t.Context(), "a", limit); err != nil {
			t.Fatal(err)
		}
	}
	now.Add(20)
	var limited *LimitedError
	if err := th.Reserve(t.Context(), "a", limit); !errors.As(err, &limited) || limited.RetryAfter.Round(time.Second) != 40*time.Second {
		t.Errorf("over the limit: %v", err)
	}
	if err := th.Reserve(t.Context(), "b", limit); err != nil {
		t.Errorf("another key: %v", err)
	}
	now.Add(41)
	if err := th.Reserve(t.Context(), "a", limit); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

func TestNoMoreAreReservedThanTheLimitHoweverManyComeAtOnce(t *testing.T) {
	var now atomic.Int64
	th := newThrottle(t, &now)
	var made atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if th.Reserve(t.Context(), "a", limit) == nil {
				made.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != limit.Attempts {
		t.Errorf("%d were reserved", made.Load())
	}
}

func TestASuccessGivesBackOneAttemptAndNothingInAdvance(t *testing.T) {
	var now atomic.Int64
	th := newThrottle(t, &now)
	for range 5 {
		if err := th.Return(t.Context(), "a", limit); err != nil {
			t.Fatal(err)
		}
	}
	for range limit.Attempts {
		if err := th.Reserve(t.Context(), "a", limit); err != nil {
			t.Fatal(err)
		}
	}
	if err := th.Reserve(t.Context(), "a", limit); !errors.Is(err, ErrTooMany) {
		t.Errorf("attempts were saved up: %v", err)
	}
}

func TestWhatCannotBeCountedIsNotAllowed(t *testing.T) {
	kv, err := boltstore.Open(filepath.Join(t.TempDir(), "s.db"), boltstore.Options{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	kv.Close()
	if err := (&Throttle{KV: kv}).Reserve(t.Context(), "a", limit); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a store: %v", err)
	}
}
