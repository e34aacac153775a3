// Package store is the contract between the gateway and whatever keeps its state: pending sign-ins,
// sessions, enrolments and counters, as opaque values under string keys.
//
// It is not a database abstraction: it has no queries, no listing and no transactions over several keys.
// Everything that must happen once is one [KV.Update] or one [KV.Count] on one key. It does not encrypt
// either: callers hash or seal what must not be readable in a dump.
package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that no value stands under the key, or that its time has run out.
	ErrNotFound = errors.New("store: no such key")
	// ErrUnavailable says that the store could not be asked, or did not answer in time. Nothing may be
	// concluded from it: a write that ended with it may or may not have happened.
	ErrUnavailable = errors.New("store: out of reach")
	// ErrUnconfirmed says that a write stands, but that no replica of the store's has it yet, so that the
	// loss of the store's master could undo it. Whatever wraps it wraps [ErrUnavailable] too: who must know
	// that the write is there for good has not been told so.
	ErrUnconfirmed = errors.New("store: no replica has it yet")
)

// KV is a key-value store with expiry and one-key atomicity. All methods may be called by any number of
// goroutines at once, over any number of processes where the driver allows several. Every method ends
// within a few seconds even where the context has no deadline; a fault of the store is reported as an
// error that wraps [ErrUnavailable], with the cause beside it.
//
// Keys are 1 to 512 bytes; values at most 1 MiB. A longer one is an error of the caller's and is never cut.
// Update and Delete are kept: where the store has replicas, they are done only when one of them has the
// write, and end in [ErrUnconfirmed] where none acknowledges it in time. So a step that was accepted, a
// code that was struck out and a session that was ended stay so when the master is lost. What Put, Count
// and Renew have written may be undone then: it is what opens doors, or counts.
//
// A time to live of 0 or less means that the value stays until it is deleted. Expiry is exact to a second
// and never early; a value that must not be used past an instant carries that instant itself.
type KV interface {
	// Get returns a copy of the value under key, or [ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, error)

	// Put sets the value under key, whatever stood there, and its time to live. The value may be empty
	// but not nil.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete removes the keys. A key that is not there is no error. Each key goes in one step; several
	// keys do not go together, but all have gone before the first is waited for. Deleting again after
	// [ErrUnconfirmed] waits again for a replica, although nothing is left to delete.
	Delete(ctx context.Context, keys ...string) error

	// Update replaces the value under key in one atomic step: no other write to that key comes between
	// what change saw and what is written. change gets a copy of the current value, nil where there is
	// none, and returns the next one and its time to live; a nil next value deletes the key. Where change
	// returns an error, nothing is written and Update returns that very error. change may be called more
	// than once and must have no effect of its own but on variables that it sets anew on each call.
	// Contention that does not settle in time ends in [ErrUnavailable].
	Update(ctx context.Context, key string, change Change) error

	// Count adds delta to the counter under key in one atomic step, and returns the sum and how long the
	// counter still lives. The first positive delta creates the counter with the life window, which later
	// calls do not prolong. A counter never falls below 0, and a negative delta on a missing counter
	// creates nothing and returns 0, 0. Counters and values share one key space; calling Count on a key
	// that holds a value, or Get on a counter, is an error of the caller's.
	Count(ctx context.Context, key string, delta int64, window time.Duration) (sum int64, left time.Duration, err error)

	// Renew overwrites the head of each value that is there, and gives it its new time to live: each key in one
	// atomic step, the keys not together. It creates nothing, and returns the keys under which nothing stands. A
	// key that holds a counter, or a value shorter than the head, stays as it is; that is an error of the caller's,
	// beside which the other keys are renewed all the same. Any other error says nothing of any key. Several hundred
	// renewals are a few round trips. What Renew has written may be undone like what Put has.
	Renew(ctx context.Context, renewals []Renewal) (missing []string, err error)

	// Ping asks the store whether it can serve reads and writes now.
	Ping(ctx context.Context) error

	// Close releases what the driver holds. No method may be called after it.
	Close() error
}

// Renewal is a value that is still in use; see [KV.Renew].
type Renewal struct {
	Key  string
	Head []byte        // overwrites the first bytes of the value; at most as long as the value
	TTL  time.Duration // the new time to live; 0 or less: it stays until it is deleted
}

// Change computes the next value of a key from its current one; see [KV.Update].
type Change func(current []byte) (next []byte, ttl time.Duration, err error)
