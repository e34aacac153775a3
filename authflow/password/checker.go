package password

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"
)

// ErrBusy says that too many passwords wait to be checked. Nothing may be concluded about the password; the
// caller asks the client to come again later.
var ErrBusy = errors.New("too many passwords are being checked")

// Limits bound the work of a [Checker]. A field that is 0 has its default.
type Limits struct {
	AtOnce  int           // hashes computed at the same time; half the processors, 1 at least
	Waiting int           // callers that wait for their turn; 64
	Wait    time.Duration // how long each of them waits; 5s
}

// Checker checks and hashes passwords within limits. It may be used by any number of goroutines at once.
type Checker struct {
	running chan struct{}
	waiting chan struct{}
	wait    time.Duration
	decoy   atomic.Pointer[Hash]
}

// NewChecker returns a Checker that checks unknown users against a decoy of the cost of new hashes.
func NewChecker(limits Limits) *Checker {
	if limits.AtOnce == 0 {
		limits.AtOnce = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	if limits.Waiting == 0 {
		limits.Waiting = 64
	}
	if limits.Wait == 0 {
		limits.Wait = 5 * time.Second
	}
	c := &Checker{
		running: make(chan struct{}, limits.AtOnce),
		waiting: make(chan struct{}, limits.Waiting),
		wait:    limits.Wait,
	}
	c.SetDecoy(nil)
	return c
}

// SetDecoy makes unknown users cost what most of the given hashes cost. With none, the cost is that of new hashes.
func (c *Checker) SetDecoy(hashes []*Hash) {
	common := &Hash{argon2: newArgon2, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	count := map[string]int{}
	for _, h := range hashes {
		if h == nil {
			continue
		}
		count[h.String()]++
		if count[h.String()] > count[common.String()] {
			common = h
		}
	}
	decoy := common.decoy()
	c.decoy.Store(&decoy)
}

// Verify says whether the password fits the hash, once it is its turn. A nil hash stands for a user who does not
// exist: the same work is done on a decoy, and the answer is false. The errors are [ErrTooLong], [ErrBusy] and that of
// the context, all of them before any work was done.
func (c *Checker) Verify(ctx context.Context, h *Hash, plain string) (bool, error) {
	if len(plain) > MaxLength {
		return false, ErrTooLong
	}
	known := h != nil
	if !known {
		h = c.decoy.Load()
	}
	fits := false
	err := c.inTurn(ctx, func() { fits = h.Verify(plain) })
	return fits && known, err
}

// Hash is [HashArgon2id] within the same limits.
func (c *Checker) Hash(ctx context.Context, plain string) (phc string, err error) {
	turnErr := c.inTurn(ctx, func() { phc, err = HashArgon2id(plain) })
	return phc, errors.Join(turnErr, err)
}

// inTurn runs work in the caller's goroutine when one of the places is free.
func (c *Checker) inTurn(ctx context.Context, work func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.running <- struct{}{}:
	default:
		if err := c.queue(ctx); err != nil {
			return err
		}
	}
	defer func() { <-c.running }()
	work()
	return nil
}

func (c *Checker) queue(ctx context.Context) error {
	select {
	case c.waiting <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-c.waiting }()
	timeout := time.NewTimer(c.wait)
	defer timeout.Stop()
	select {
	case c.running <- struct{}{}:
		return nil
	case <-timeout.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
