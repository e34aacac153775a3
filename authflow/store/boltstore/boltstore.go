// Package boltstore keeps the gateway's state in one file of this machine, by way of bbolt.
//
// It is for one process: a second one that opens the file is told so. Several replicas need redisstore.
package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"sallyport/authflow/store"
)

const (
	lockTimeout = 500 * time.Millisecond // how long Open waits for another process to let go of the file
	// batchDelay is how long a write waits for others to share its fsync. A hundred writers at once reach more
	// than ten times the throughput of a transaction each, and a lone one waits a fraction of a millisecond
	// longer (BenchmarkWrites). bbolt's own 10 ms would be felt on every request.
	batchDelay = time.Millisecond
)

// ErrInUse says that another process holds the file.
var ErrInUse = errors.New("in use by another process (a running sallyport?): stop it first, or use store.driver: redis for several")

// Options are the choices of [Open]; the zero value is usable.
type Options struct {
	Now func() time.Time // the clock that ends records; default time.Now
	Log *slog.Logger     // hears of sweeps that fail; default none
}

// Store is the embedded driver of [store.KV]. Its methods may be called by any number of goroutines.
// What a write method reported as done is on the disk. A disk that hangs makes calls hang with it, whatever
// their context says: the kernel gives no way to abandon a write that is under way.
type Store struct {
	db   *bolt.DB
	now  func() time.Time
	log  *slog.Logger
	quit chan struct{}  // closed by Close; ends the sweeper
	done sync.WaitGroup // the sweeper
	once sync.Once
}

var _ store.KV = (*Store)(nil)

// Open opens the store in the file at path, and creates the file (mode 0600) and its folder (mode 0700)
// where they are missing. A file that another process holds gives an error that wraps [ErrInUse] after half
// a second; one that is damaged, or is no such store, gives an error that says so and is left as it is.
func Open(path string, opts Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = batchDelay
	s := &Store{db: db, now: opts.Now, log: opts.Log, quit: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.done.Go(s.sweepUntilClosed)
	return s, nil
}

// openFile opens the database and looks at it far enough to tell a damaged file from a sound one. bbolt
// panics on some kinds of damage and reads past the end of a file cut short; both become errors here.
func openFile(path string) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%s is damaged (%v): restore it from a backup, or move it away to start afresh", path, p)
		}
	}()
	// Each commit writes the list of free pages, and the other type sorts it for that: after a sweep of 200,000 records a
	// write took twice as long with it.
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistArrayType})
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s is %w", path, ErrInUse)
	case errors.As(err, &pathErr):
		return nil, fmt.Errorf("embedded store: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%s is no embedded store, or is damaged (%w): restore it from a backup, or move it away to start afresh", path, err)
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

func prepare(db *bolt.DB) error {
	err := db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err == nil && info.Size() < tx.Size() {
			err = fmt.Errorf("cut short: %d bytes of %d: restore it from a backup, or move it away to start afresh", info.Size(), tx.Size())
		}
		return err
	})
	if err != nil {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, endsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Get implements [store.KV].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	var value []byte
	err := s.run(ctx, s.db.View, func(tx *bolt.Tx) error {
		rec, err := s.live(tx, key)
		if err != nil {
			return err
		}
		if rec == nil {
			return store.ErrNotFound
		}
		value, err = rec.value()
		return err
	})
	return value, err
}

// Put implements [store.KV].
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := cmp.Or(store.CheckKey(key), store.CheckValue(value)); err != nil {
		return err
	}
	return s.run(ctx, s.db.Batch, func(tx *bolt.Tx) error { return write(tx, key, valueRecord(value, s.end(ttl))) })
}

// Delete implements [store.KV].
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := store.CheckKey(key); err != nil {
			return err
		}
	}
	return s.run(ctx, s.db.Batch, func(tx *bolt.Tx) error {
		for _, key := range keys {
			if err := write(tx, key, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Update implements [store.KV].
func (s *Store) Update(ctx context.Context, key string, change store.Change) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	// A refusal is kept aside instead of returned: a batch with an error in it is rolled back and run again
	// without the caller, and a transaction that has written nothing needs no rollback.
	var refusal error
	err := s.run(ctx, s.db.Batch, func(tx *bolt.Tx) error {
		refusal = nil
		rec, err := s.live(tx, key)
		if err != nil {
			return err
		}
		var current []byte
		if rec != nil {
			if current, refusal = rec.value(); refusal != nil {
				return nil
			}
		}
		next, ttl, err := change(current)
		if err == nil && next != nil {
			err = store.CheckValue(next)
		}
		switch {
		case err != nil:
			refusal = err
			return nil
		case next == nil:
			return write(tx, key, nil)
		default:
			return write(tx, key, valueRecord(next, s.end(ttl)))
		}
	})
	if err != nil {
		return err
	}
	return refusal
}

// Count implements [store.KV]. A sum that would not fit stays at the largest that does.
func (s *Store) Count(ctx context.Context, key string, delta int64, window time.Duration) (int64, time.Duration, error) {
	if err := store.CheckKey(key); err != nil {
		return 0, 0, err
	}
	var sum int64
	var left time.Duration
	err := s.run(ctx, s.db.Batch, func(tx *bolt.Tx) error {
		sum, left = 0, 0
		rec, err := s.live(tx, key)
		if err != nil {
			return err
		}
		end := s.end(window)
		if rec != nil {
			if sum, err = rec.sum(); err != nil {
				return err
			}
			end = rec.end()
		} else if delta <= 0 {
			return nil
		}
		if delta > math.MaxInt64-sum { // sum is never negative
			delta = math.MaxInt64 - sum
		}
		sum = max(0, sum+delta)
		if end != 0 {
			left = time.UnixMilli(end).Sub(s.now())
		}
		return write(tx, key, counterRecord(sum, end))
	})
	return sum, left, err
}

// Ping implements [store.KV]: it commits an empty transaction, which fails on a full or failing disk.
func (s *Store) Ping(ctx context.Context) error {
	return s.run(ctx, s.db.Batch, func(*bolt.Tx) error { return nil })
}

// Close ends the sweeper, waits for the transactions under way, and lets go of the file.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.quit) })
	s.done.Wait()
	return s.db.Close()
}

// run carries fn out in a transaction of the given kind. All writes go through bbolt's Batch, which lets
// concurrent ones share a commit and is as durable as a transaction of one's own; fn may run more than once.
func (s *Store) run(ctx context.Context, transact func(func(*bolt.Tx) error) error, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("embedded %w: %w", store.ErrUnavailable, err)
	}
	err := transact(fn)
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, errKind) {
		return err
	}
	return fmt.Errorf("embedded %w: %w", store.ErrUnavailable, err)
}
