package boltstore

import (
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	sweepEvery = 10 * time.Second
	// sweepBatch bounds how long a sweep keeps other writers waiting: a few milliseconds.
	sweepBatch = 256
)

// sweepUntilClosed frees the room of expired records. It is the only goroutine of a Store.
func (s *Store) sweepUntilClosed() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		if err := s.sweep(); err != nil && !errors.Is(err, berrors.ErrDatabaseNotOpen) {
			s.log.Warn("embedded store: expired records could not be removed; trying again", "error", err, "in", sweepEvery)
		}
	}
}

// sweep removes all records that have expired, in transactions of sweepBatch, or as many as it can until
// the store is closed. It looks before it writes, because an empty transaction too costs an fsync.
func (s *Store) sweep() error {
	for {
		select {
		case <-s.quit:
			return nil
		default:
		}
		var found int
		err := s.db.View(func(tx *bolt.Tx) error {
			found = len(expiredEntries(tx, s.now(), 1))
			return nil
		})
		if err != nil || found == 0 {
			return err
		}
		if err := s.db.Update(s.removeExpired); err != nil {
			return err
		}
	}
}

// removeExpired asks the index anew, for since the look a key may have been written again. The entry goes in
// any case, or one that no record answers to would be found for ever.
func (s *Store) removeExpired(tx *bolt.Tx) error {
	now, records, ends := s.now(), tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
	for _, entry := range expiredEntries(tx, now, sweepBatch) {
		if err := ends.Delete(entry); err != nil {
			return err
		}
		if len(entry) <= 8 {
			continue
		}
		key := entry[8:]
		if rec, err := parseRecord(records.Get(key)); err != nil || !rec.expired(now) {
			continue
		}
		if err := records.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
