package boltstore

import (
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	sweepEvery = 10 * time.Second
	// sweepHold is how long one transaction of a sweep aims to keep other writers waiting, its commit included. How
	// many records that is depends on the disk: each of them lies on a page of its own, which is written anew. So
	// their number is between sweepLeast, for the commit alone takes two flushes of the disk, and sweepMost.
	sweepHold  = 5 * time.Millisecond
	sweepLeast = 16
	sweepMost  = 256
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

// sweep removes all records that have expired, or as many as it can until the store is closed. It takes transactions of
// about sweepHold, and rests after each for as long, so that whoever waits to write goes first. It looks before it
// writes, because an empty transaction too costs an fsync.
func (s *Store) sweep() error {
	for most := sweepLeast; ; {
		var found int
		err := s.db.View(func(tx *bolt.Tx) error {
			found = len(expiredEntries(tx, s.now(), 1))
			return nil
		})
		if err != nil || found == 0 {
			return err
		}
		var began time.Time
		err = s.db.Update(func(tx *bolt.Tx) error {
			began = time.Now() // from here on others wait
			return s.removeExpired(tx, most, began.Add(sweepHold))
		})
		if err != nil {
			return err
		}
		held := time.Since(began)
		if held > sweepHold {
			most = max(sweepLeast, most/2)
		} else {
			most = min(sweepMost, most+most/4)
		}
		select {
		case <-s.quit:
			return nil
		case <-time.After(held):
		}
	}
}

// removeExpired removes at most so many expired records, and fewer where that takes until the given time: a page that
// is not in memory is read first. It asks the index anew, for since the look a key may have been written again. The
// entry goes in any case, or one that no record answers to would be found for ever.
func (s *Store) removeExpired(tx *bolt.Tx, most int, until time.Time) error {
	now, records, ends := s.now(), tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
	for i, entry := range expiredEntries(tx, now, most) {
		if i > 0 && time.Now().After(until) {
			return nil
		}
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
