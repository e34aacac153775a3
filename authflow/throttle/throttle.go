// Package throttle slows repeated failures: it reserves an attempt in the store before anything secret is
// looked at, so that attempts made at the same time, on other replicas or after a restart all count.
//
// It does not know what an attempt is for; callers choose the key and give an attempt back that did not
// fail.
package throttle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/authflow/store"
)

// Limit is how many failed attempts a key stands in one window, which begins with the first of them.
type Limit struct {
	Attempts int64
	Window   time.Duration
}

// ErrTooMany is what a [LimitedError] is.
var ErrTooMany = errors.New("throttle: too many attempts")

// LimitedError says that the attempt was not made, and when the next one may be.
type LimitedError struct {
	RetryAfter time.Duration // over 0, at most the limit's window
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("%v: next one in %s", ErrTooMany, e.RetryAfter.Round(time.Second))
}

func (e *LimitedError) Unwrap() error { return ErrTooMany }

// Throttle counts attempts. It is safe for concurrent use and for any number of replicas on one store.
type Throttle struct {
	KV store.KV
}

// Reserve counts one attempt under key before it is made. It returns a [*LimitedError] where the limit is
// reached, and the store's error where it cannot be counted: in both cases the attempt must not be made.
func (t *Throttle) Reserve(ctx context.Context, key string, limit Limit) error {
	sum, left, err := t.KV.Count(ctx, name(key), 1, limit.Window)
	if err != nil {
		return fmt.Errorf("count attempt: %w", err)
	}
	if sum > limit.Attempts {
		if left <= 0 || left > limit.Window {
			left = limit.Window
		}
		return &LimitedError{RetryAfter: left}
	}
	return nil
}

// Return gives back an attempt that was reserved and turned out to be no failure. It gives back that one
// alone: a success forgives nothing that failed before it.
func (t *Throttle) Return(ctx context.Context, key string, limit Limit) error {
	ctx = context.WithoutCancel(ctx) // a client that has gone must not leave it counted; the store has its own bound
	if _, _, err := t.KV.Count(ctx, name(key), -1, limit.Window); err != nil {
		return fmt.Errorf("give attempt back: %w", err)
	}
	return nil
}

func name(key string) string { return "attempts/" + key }
