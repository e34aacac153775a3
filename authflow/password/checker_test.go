package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const cheap = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"

// occupy takes a place of the checker until the returned function is called.
func occupy(c *Checker) (release func()) {
	begun, done := make(chan struct{}), make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		_ = c.inTurn(context.Background(), func() { close(begun); <-done })
	})
	<-begun
	return func() { close(done); ended.Wait() }
}

func TestTheCheckerTellsRightFromWrong(t *testing.T) {
	c := NewChecker(Limits{})
	phc, err := c.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	h := mustParse(t, phc)
	for plain, want := range map[string]bool{"correct horse": true, "wrong horse": false, "": false} {
		if got, err := c.Verify(t.Context(), &h, plain); err != nil || got != want {
			t.Errorf("%q: got %t, %v; want %t", plain, got, err, want)
		}
	}
}

func TestAnUnknownUserIsRefusedAfterTheWorkOfTheUsualHash(t *testing.T) {
	c := NewChecker(Limits{})
	if got := c.decoy.Load().String(); got != "argon2id m=19456,t=2,p=1" {
		t.Errorf("with no users the decoy is %s", got)
	}
	php, authelia, argon := mustParse(t, foreign[1].phc), mustParse(t, foreign[2].phc), mustParse(t, foreign[0].phc)
	c.SetDecoy([]*Hash{&php, &authelia, nil, nil, nil, &authelia, &argon})
	if got := c.decoy.Load().String(); got != authelia.String() {
		t.Errorf("the decoy is %s, want the cost that most hashes have, %s", got, authelia)
	}
	c.SetDecoy([]*Hash{&php})
	if got := c.decoy.Load().String(); got != php.String() {
		t.Errorf("the decoy is %s, want %s", got, php)
	}
	if fits, err := c.Verify(t.Context(), nil, foreign[1].plain); fits || err != nil {
		t.Errorf("an unknown user: %t, %v", fits, err)
	}
}

func TestEvenADecoyThatFitsDoesNotSignAnUnknownUserIn(t *testing.T) {
	c := NewChecker(Limits{})
	h := mustParse(t, foreign[0].phc)
	c.decoy.Store(&h)
	if fits, err := c.Verify(t.Context(), nil, foreign[0].plain); fits || err != nil {
		t.Errorf("got %t, %v", fits, err)
	}
}

func TestATooLongPasswordIsRefusedWithoutWaiting(t *testing.T) {
	c := NewChecker(Limits{AtOnce: 1, Waiting: 1})
	defer occupy(c)()
	if _, err := c.Verify(t.Context(), nil, strings.Repeat("x", MaxLength+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestNoMoreThanTheLimitRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which work that takes time is under way for all to see
		c := NewChecker(Limits{AtOnce: 3, Waiting: 100, Wait: time.Minute})
		var running, most atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				err := c.inTurn(t.Context(), func() {
					now := running.Add(1)
					for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
					}
					time.Sleep(time.Second)
					running.Add(-1)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() != 3 {
			t.Errorf("%d ran at once, want 3", most.Load())
		}
	})
}

func TestAnUnknownUserWaitsForTheWorkAsAKnownOneDoes(t *testing.T) {
	known := mustParse(t, cheap)
	for name, h := range map[string]*Hash{"known": &known, "unknown": nil} {
		synctest.Test(t, func(t *testing.T) {
			c := NewChecker(Limits{AtOnce: 1, Wait: time.Second})
			release := occupy(c)
			defer release()
			if fits, err := c.Verify(t.Context(), h, "x"); fits || !errors.Is(err, ErrBusy) {
				t.Errorf("%s, while somebody else has the only place: %t, %v", name, fits, err)
			}
		})
	}
}

func TestTheQueueIsShortAndPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewChecker(Limits{AtOnce: 1, Waiting: 2})
		release := occupy(c)
		results := make(chan error, 2)
		start := time.Now()
		for range 2 {
			go func() {
				_, err := c.Verify(t.Context(), nil, "x")
				results <- err
			}()
		}
		synctest.Wait()
		if _, err := c.Verify(t.Context(), nil, "x"); !errors.Is(err, ErrBusy) || time.Since(start) != 0 {
			t.Errorf("with the queue full: %v after %s, want ErrBusy at once", err, time.Since(start))
		}
		for range 2 {
			if err := <-results; !errors.Is(err, ErrBusy) {
				t.Errorf("after the wait: %v", err)
			}
		}
		if time.Since(start) != 5*time.Second {
			t.Errorf("waited %s, want 5s", time.Since(start))
		}
		release()
		if _, err := c.Verify(t.Context(), nil, "x"); err != nil {
			t.Errorf("with the place free again: %v", err)
		}
	})
}

func TestAWaiterGetsThePlaceThatBecomesFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewChecker(Limits{AtOnce: 1})
		release := occupy(c)
		result := make(chan error, 1)
		go func() {
			_, err := c.Verify(t.Context(), nil, "x")
			result <- err
		}()
		synctest.Wait()
		release()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestAWaiterLeavesWhenItsClientDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewChecker(Limits{AtOnce: 1, Waiting: 1})
		defer occupy(c)()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := c.Hash(ctx, "x")
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, waiting := c.turns.Now(); waiting != 0 {
			t.Error("the waiter still takes a place in the queue")
		}
		if _, err := c.Verify(ctx, nil, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that is gone from the start: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	phc, err := HashArgon2id("correct horse")
	if err != nil {
		b.Fatal(err)
	}
	h := mustParse(b, phc)
	for b.Loop() {
		h.Verify("wrong horse")
	}
}
