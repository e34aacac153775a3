package password

import (
	"context"
	"errors"
	"runtime"
	"sallyport/authflow/turns"
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

// Checker checks and hashes passwords within limits, and gives way to the other work of the process: the busier that
// is, the longer a turn rests after each hash. It may be used by any number of goroutines at once.
type Checker struct {
	turns  *turns.Turns
	decoy  atomic.Pointer[Hash]
	now    func() time.Time
	waited func() time.Duration
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
	c := &Checker{turns: turns.New(turns.Limits(limits)), now: time.Now, waited: waited}
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

// inTurn runs work in the caller's goroutine when one of the places is free. The place rests afterwards, the caller does
// not: who has been served goes on at once, and whoever comes next waits, in the queue and within its bounds.
func (c *Checker) inTurn(ctx context.Context, work func()) error {
	done, err := c.turns.Take(ctx)
	if errors.Is(err, turns.ErrBusy) {
		return ErrBusy
	}
	if err != nil {
		return err
	}
	began, before := c.now(), c.waited()
	defer func() {
		if pause := rest(c.now().Sub(began), c.waited()-before); pause > 0 {
			time.AfterFunc(pause, done)
			return
		}
		done()
	}()
	work()
	return nil
}
