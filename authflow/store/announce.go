package store

import (
	"context"
	"time"
)

// Announcer is a [KV] that several processes change, and that tells each of them what the others have changed. So
// one may remember what it has read. A KV that is no Announcer is one process's alone.
//
// Announced is what Update changes and Delete removes, under the keys for which the driver was told to. Put is not,
// for nobody remembers what is not there yet, nor is Renew, nor the end of a value's time.
type Announcer interface {
	// Follow tells f of changes until ctx ends, and begins anew after every fault, so that it may run before
	// the store can be reached. It is for one Follower at a time.
	Follow(ctx context.Context, f Follower)
}

// Follower is told by [Announcer.Follow] what has changed. Its methods are called from two goroutines at once.
type Follower interface {
	// Changed says that the value under key is another one now, or gone.
	Changed(key string)

	// Missed says that there may have been changes of which nobody tells: what was read is all in doubt.
	Missed()

	// UpTo says that of every change made before asOf, which has a monotonic reading, Changed has been
	// called. What follows is not known: a silence means that nobody is up to date.
	UpTo(asOf time.Time)

	// Witness names a key under which something is believed to stand, "" where there is none. The store is
	// asked for it now and then.
	Witness() string

	// Vanished says that nothing stands under what Witness named, and that Changed has been called for
	// whatever was announced before that was found. Where the Follower still believes in it, the store has
	// lost values without a word (FLUSHALL, an old copy of its data, a command by hand).
	Vanished(key string)
}
