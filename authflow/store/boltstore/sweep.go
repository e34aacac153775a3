package boltstore

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	sweepEvery = 10 * time.Second
	// sweepLook bounds how many expired records one look finds, each some 100 bytes of memory.
	sweepLook = 1 << 17
	// sweepHold is how long one transaction of a sweep aims to keep other writers waiting, beside the two flushes that
	// the disk takes for any commit. How many records that is depends on the machine, and is found out between sweepLeast
	// and sweepMost.
	sweepHold  = time.Millisecond
	sweepLeast = 32
	sweepMost  = 1024
	sweepRests = 4
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

// sweep removes all records that have expired, or as many as it can until the store is closed.
//
// What a transaction costs is the pages that it changes. So the records go in the order of their keys, many of one page
// together, and then their entries in the index, in the order of their ends. An entry without a record is harmless, and
// the next sweep takes it away.
func (s *Store) sweep() error {
	for {
		var byEnd [][]byte
		err := s.db.View(func(tx *bolt.Tx) error {
			byEnd = expiredEntries(tx, s.now(), sweepLook)
			return nil
		})
		if err != nil || len(byEnd) == 0 {
			return err
		}
		byKey := slices.Clone(byEnd)
		slices.SortFunc(byKey, func(a, b []byte) int { return bytes.Compare(keyOf(a), keyOf(b)) })
		if err := s.inTurns(byKey, s.removeRecord); err != nil {
			return err
		}
		if err := s.inTurns(byEnd, removeEntry); err != nil {
			return err
		}
	}
}

// inTurns removes the entries in transactions of about sweepHold and a commit, and rests after each for sweepRests times as
// long, so that whoever waits to write goes first, and the collector of garbage keeps up.
func (s *Store) inTurns(entries [][]byte, remove func(*bolt.Tx, []byte) error) error {
	quickest := time.Duration(math.MaxInt64) // what a commit takes at the least
	for most := sweepLeast; len(entries) > 0; {
		var began time.Time
		var done int
		err := s.db.Update(func(tx *bolt.Tx) error {
			began, done = time.Now(), 0 // from here on others wait
			// A page that is not in memory is read first, so the clock is looked at here too.
			for done < min(most, len(entries)) && (done == 0 || time.Since(began) < sweepHold) {
				if err := remove(tx, entries[done]); err != nil {
					return err
				}
				done++
			}
			return nil
		})
		if err != nil {
			return err
		}
		entries = entries[done:]
		held := time.Since(began)
		quickest = min(quickest, held)
		if held-quickest > sweepHold {
			most = max(sweepLeast, most/2)
		} else {
			most = min(sweepMost, most+most/4)
		}
		select {
		case <-s.quit:
			return berrors.ErrDatabaseNotOpen
		case <-time.After(sweepRests * held):
		}
	}
	return nil
}

// removeRecord asks the record anew, for since the look its key may have been written again.
func (s *Store) removeRecord(tx *bolt.Tx, entry []byte) error {
	records, key := tx.Bucket(recordsBucket), keyOf(entry)
	if rec, err := parseRecord(records.Get(key)); err != nil || !rec.expired(s.now()) {
		return nil
	}
	return records.Delete(key)
}

// removeEntry removes an entry that no record answers to, or it would be found for ever. One whose record is still
// there stays: the clock was set back since the look.
func removeEntry(tx *bolt.Tx, entry []byte) error {
	rec, err := parseRecord(tx.Bucket(recordsBucket).Get(keyOf(entry)))
	if err == nil && bytes.Equal(entry, indexKey(rec.end(), string(keyOf(entry)))) {
		return nil
	}
	return tx.Bucket(endsBucket).Delete(entry)
}
