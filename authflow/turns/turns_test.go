package turns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFewAtATimeHaveTheirTurnAndAFewMoreWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(Limits{AtOnce: 2, Waiting: 3, Wait: time.Hour})
		var done []func()
		for range 2 {
			end, err := turns.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, end)
		}
		served := make(chan func(), 3)
		for range 3 {
			go func() {
				end, err := turns.Take(t.Context())
				if err != nil {
					t.Error(err)
				}
				served <- end
			}()
		}
		synctest.Wait()
		if running, waiting := turns.Now(); running != 2 || waiting != 3 {
			t.Errorf("%d have their turn and %d wait, want 2 and 3", running, waiting)
		}
		if _, err := turns.Take(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("with the queue full: %v", err)
		}
		for _, end := range done {
			end()
		}
		for range 3 {
			(<-served)()
		}
		if running, waiting := turns.Now(); running+waiting != 0 {
			t.Errorf("%d turns are still taken, %d wait", running, waiting)
		}
	})
}

func TestWhoHasWaitedLongEnoughOrGoesAwayLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(Limits{AtOnce: 1, Waiting: 1, Wait: time.Minute})
		done, err := turns.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		began := time.Now()
		if _, err := turns.Take(t.Context()); !errors.Is(err, ErrBusy) || time.Since(began) != time.Minute {
			t.Errorf("%v after %s, want %v after a minute", err, time.Since(began), ErrBusy)
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if _, err := turns.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("who goes away: %v", err)
		}
		if _, err := turns.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone before: %v", err)
		}
		if _, waiting := turns.Now(); waiting != 0 {
			t.Errorf("%d still wait", waiting)
		}
	})
}
