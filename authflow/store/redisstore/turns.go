package redisstore

import (
	"context"
	"hash/maphash"
)

// turns makes the Updates of this process on one key go one after another. Only those of other replicas can
// then come in between, and a burst on one key (an attacker's, on one temp token) costs each update two round
// trips instead of a race of all against all. Keys that share a turn wait for one another without need, for
// about a millisecond.
type turns struct {
	seed  maphash.Seed
	taken [256]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.taken {
		t.taken[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the key's turn, and returns what gives it on. Whoever gives up with ctx has not taken it.
func (t *turns) take(ctx context.Context, key string) (giveOn func(), err error) {
	turn := t.taken[maphash.String(t.seed, key)%uint64(len(t.taken))]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
