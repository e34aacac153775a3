// Package turns has a few at a time do what costs much, and a short queue wait for its turn, so that no crowd takes more
// than was set aside for it.
//
// It does not know what the work is.
package turns

import (
	"context"
	"errors"
	"time"
)

// ErrBusy says that too many wait already, or that the wait was too long. Nothing was done.
var ErrBusy = errors.New("turns: too many wait for their turn")

// Limits bound what is done at once.
type Limits struct {
	AtOnce  int           // at the same time
	Waiting int           // callers that wait
	Wait    time.Duration // how long each of them waits at most
}

// Turns gives turns within limits. It is safe for concurrent use.
type Turns struct {
	running, waiting chan struct{}
	wait             time.Duration
}

// New returns Turns of these limits, of which AtOnce is 1 or more.
func New(l Limits) *Turns {
	return &Turns{running: make(chan struct{}, l.AtOnce), waiting: make(chan struct{}, l.Waiting), wait: l.Wait}
}

// Take waits for a turn, and returns what ends it. The errors are [ErrBusy] and that of ctx.
func (t *Turns) Take(ctx context.Context) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case t.running <- struct{}{}:
	default:
		if err := t.queue(ctx); err != nil {
			return nil, err
		}
	}
	return func() { <-t.running }, nil
}

func (t *Turns) queue(ctx context.Context) error {
	select {
	case t.waiting <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-t.waiting }()
	timeout := time.NewTimer(t.wait)
	defer timeout.Stop()
	select {
	case t.running <- struct{}{}:
		return nil
	case <-timeout.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Now says how many have their turn at this moment, and how many wait for one.
func (t *Turns) Now() (running, waiting int) { return len(t.running), len(t.waiting) }
