package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// recordsBucket holds key -> record. endsBucket is the index of expiry, end (8 bytes, big-endian, Unix
// milliseconds) followed by the key -> nothing, so that the sweeper reads the earliest first.
var (
	recordsBucket = []byte("records/1")
	endsBucket    = []byte("ends/1")
)

const (
	kindValue   = 'v'
	kindCounter = 'c'
	headerSize  = 1 + 8 // kind, end
)

var (
	errKind    = errors.New("store: wrong kind of record under this key")
	errDamaged = errors.New("damaged record")
)

// record is what stands under a key: one byte of kind, the end in Unix milliseconds as 8 bytes big-endian
// (0: none), then the value, or the sum of a counter as 8 bytes big-endian.
type record []byte

func valueRecord(value []byte, end int64) record {
	return append(header(kindValue, end, len(value)), value...)
}

func counterRecord(sum, end int64) record {
	return binary.BigEndian.AppendUint64(header(kindCounter, end, 8), uint64(sum))
}

func header(kind byte, end int64, room int) record {
	return binary.BigEndian.AppendUint64(append(make(record, 0, headerSize+room), kind), uint64(end))
}

// parseRecord takes what the file holds, which may be damaged. The record lies in b's memory.
func parseRecord(b []byte) (record, error) {
	rec := record(b)
	switch {
	case len(b) < headerSize, b[0] != kindValue && b[0] != kindCounter, rec.end() < 0:
		return nil, fmt.Errorf("%w of %d bytes", errDamaged, len(b))
	case b[0] == kindCounter && (len(b) != headerSize+8 || int64(binary.BigEndian.Uint64(b[headerSize:])) < 0):
		return nil, fmt.Errorf("%w: a counter of %d bytes", errDamaged, len(b))
	}
	return rec, nil
}

func (r record) end() int64 { return int64(binary.BigEndian.Uint64(r[1:headerSize])) }

// value returns a copy, for the record's own memory is gone when the transaction ends. It is never nil.
func (r record) value() ([]byte, error) {
	if r[0] != kindValue {
		return nil, fmt.Errorf("%w: a counter, where a value is wanted", errKind)
	}
	return append([]byte{}, r[headerSize:]...), nil
}

func (r record) sum() (int64, error) {
	if r[0] != kindCounter {
		return 0, fmt.Errorf("%w: a value, where a counter is wanted", errKind)
	}
	return int64(binary.BigEndian.Uint64(r[headerSize:])), nil
}

// live returns the record under key, nil where there is none or where its end has come: expiry does not
// wait for the sweeper. The record lies in the transaction's memory.
func (s *Store) live(tx *bolt.Tx, key string) (record, error) {
	b := tx.Bucket(recordsBucket).Get([]byte(key))
	if b == nil {
		return nil, nil
	}
	rec, err := parseRecord(b)
	if err != nil || rec.expired(s.now()) {
		return nil, err
	}
	return rec, nil
}

func (r record) expired(now time.Time) bool { return r.end() != 0 && now.UnixMilli() >= r.end() }

// end says when a record that is written now ends, in Unix milliseconds rounded up, so that it is never early.
func (s *Store) end(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return s.now().Add(ttl).UnixMilli() + 1
}

// write puts rec under key, or deletes the key where rec is nil, and keeps the index of ends in step.
func write(tx *bolt.Tx, key string, rec record) error {
	records, ends := tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
	if old := records.Get([]byte(key)); len(old) >= headerSize {
		if end := record(old).end(); end != 0 {
			if err := ends.Delete(indexKey(end, key)); err != nil {
				return err
			}
		}
	}
	if rec == nil {
		return records.Delete([]byte(key))
	}
	if end := rec.end(); end != 0 {
		if err := ends.Put(indexKey(end, key), nil); err != nil {
			return err
		}
	}
	return records.Put([]byte(key), rec)
}

func indexKey(end int64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(end)), key...)
}

// keyOf returns the key in an entry of the index, empty where a damaged one is too short to hold any.
func keyOf(entry []byte) []byte { return entry[min(8, len(entry)):] }

// expiredEntries returns up to limit entries of the index whose end has come, earliest first.
func expiredEntries(tx *bolt.Tx, now time.Time, limit int) (entries [][]byte) {
	bound := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	c := tx.Bucket(endsBucket).Cursor()
	for k, _ := c.First(); k != nil && len(entries) < limit; k, _ = c.Next() {
		if len(k) >= len(bound) && bytes.Compare(k[:len(bound)], bound) > 0 {
			break
		}
		entries = append(entries, bytes.Clone(k))
	}
	return entries
}
