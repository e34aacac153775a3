package password

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// beside returns a checker of one place whose hashes make others wait, as long as each says.
func beside(limits Limits) (c *Checker, hash func(ctx context.Context, took, waited time.Duration) error) {
	limits.AtOnce = 1
	c = NewChecker(limits)
	var all time.Duration
	c.waited = func() time.Duration { return all }
	return c, func(ctx context.Context, took, waited time.Duration) error {
		return c.inTurn(ctx, func() { time.Sleep(took); all += waited })
	}
}

func TestATurnRestsTheLongerTheMoreOthersHadToWaitAndNeverBeyondItsBound(t *testing.T) {
	const took = 40 * time.Millisecond
	for name, c := range map[string]struct{ waited, want time.Duration }{
		"nobody waits":            {0, 0},
		"a few wait a little":     {10 * time.Millisecond, 40 * time.Millisecond},
		"many wait":               {40 * time.Millisecond, 160 * time.Millisecond},
		"all the world waits":     {time.Hour, 200 * time.Millisecond},
		"a measure runs backward": {-time.Second, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, hash := beside(Limits{})
			began := time.Now()
			if err := hash(t.Context(), took, c.waited); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if served := time.Since(began); served != took {
				t.Errorf("%s: who was served went on after %s, want %s", name, served, took)
			}
			if err := hash(t.Context(), 0, 0); err != nil {
				t.Fatalf("%s, the next: %v", name, err)
			}
			if rested := time.Since(began) - took; rested != c.want {
				t.Errorf("%s: the next hash began %s after the first had ended, want %s", name, rested, c.want)
			}
		})
	}
}

func TestSignInsInTheHeaviestTrafficStillGetASixthOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hashes, took = 20, 50 * time.Millisecond
		_, hash := beside(Limits{Wait: time.Minute})
		began := time.Now()
		var all sync.WaitGroup
		for range hashes {
			all.Go(func() {
				if err := hash(t.Context(), took, time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if lasted, want := time.Since(began), (hashes-1)*6*took+took; lasted > want {
			t.Errorf("%d hashes of %s lasted %s, want at most %s", hashes, took, lasted, want)
		}
	})
}

func TestWhoComesWhileATurnRestsWaitsWithinTheBoundsOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hash := beside(Limits{Waiting: 1, Wait: time.Second})
		if err := hash(t.Context(), time.Second, time.Hour); err != nil { // a rest of five seconds
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { _, err := c.Verify(ctx, nil, "x"); gone <- err }()
		synctest.Wait()
		began := time.Now()
		if _, err := c.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) || time.Since(began) != 0 {
			t.Errorf("with the queue full: %v after %s, want ErrBusy at once", err, time.Since(began))
		}
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who goes away: %v", err)
		}
		if _, err := c.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) || time.Since(began) != time.Second {
			t.Errorf("with patience at its end: %v after %s, want ErrBusy after 1s", err, time.Since(began))
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if running, waiting := c.turns.Now(); running+waiting != 0 {
			t.Errorf("after the rest %d turns are still taken, %d wait", running, waiting)
		}
	})
}

func TestTheRuntimeSaysThatGoroutinesWaitForAProcessor(t *testing.T) {
	before := waited()
	var all sync.WaitGroup
	for range 8 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for range 2000 {
				runtime.Gosched() // to the end of the queue
			}
		})
	}
	all.Wait()
	if after := waited(); after <= before {
		t.Errorf("goroutines had waited %s before a crowd took turns and %s after it", before, after)
	}
}
