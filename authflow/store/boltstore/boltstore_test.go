package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"sallyport/authflow/store"
	"sallyport/authflow/store/storetest"
)

func open(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "data", "sallyport.db") }

func TestKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.KV { return open(t, newPath(t), Options{}) })
}

func TestWhatWasWrittenIsThereAfterReopening(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	for key, ttl := range map[string]time.Duration{"endless": 0, "hour": time.Hour} {
		if err := s.Put(t.Context(), key, []byte(key), ttl); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	for _, key := range []string{"endless", "hour"} {
		if got, err := s.Get(t.Context(), key); err != nil || string(got) != key {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
}

func TestFileAndFolderAreForTheirOwnerAlone(t *testing.T) {
	path := newPath(t)
	open(t, path, Options{})
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
}

func TestASecondOpeningSaysThatTheFileIsInUse(t *testing.T) {
	path := newPath(t)
	first := open(t, path, Options{})
	_, err := Open(path, Options{})
	if !errors.Is(err, ErrInUse) || !strings.HasPrefix(err.Error(), path+" is in use by another process") {
		t.Errorf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, Options{})
}

func TestADamagedFileIsAnErrorThatNamesItAndLeavesItAlone(t *testing.T) {
	sound := func(t *testing.T) []byte {
		path := newPath(t)
		s := open(t, path, Options{})
		for i := range 200 {
			if err := s.Put(t.Context(), fmt.Sprint(i), make([]byte, 2000), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, damage := range map[string]func([]byte) []byte{
		"text":                   func([]byte) []byte { return []byte("users:\n  alice:\n") },
		"zeros":                  func(b []byte) []byte { return make([]byte, len(b)) },
		"both meta pages broken": func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b },
		"cut short":              func(b []byte) []byte { return b[:3*os.Getpagesize()] },
		"body overwritten": func(b []byte) []byte {
			return append(b[:2*os.Getpagesize()], bytes.Repeat([]byte{0xff}, len(b)-2*os.Getpagesize())...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, content := filepath.Join(t.TempDir(), "sallyport.db"), damage(sound(t))
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line that begins with the file: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, content) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestAFolderThatCannotBeMadeIsAnErrorThatNamesIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "sallyport.db"), Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("opened a folder as a file")
	}
}

func TestAClosedStoreIsOutOfReachOnEveryMethod(t *testing.T) {
	s, ctx := open(t, newPath(t), Options{}), t.Context()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(ctx, "k")
	_, _, countErr := s.Count(ctx, "k", 1, time.Minute)
	_, renewErr := s.Renew(ctx, []store.Renewal{{Key: "k"}})
	for method, err := range map[string]error{
		"Get": getErr, "Count": countErr, "Put": s.Put(ctx, "k", []byte{}, 0), "Delete": s.Delete(ctx, "k"), "Ping": s.Ping(ctx),
		"Renew": renewErr, "Update": s.Update(ctx, "k", func([]byte) ([]byte, time.Duration, error) { return nil, 0, nil }),
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", method, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// clock is a wall clock that a test sets.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func TestARecordEndsByTheClockBeforeAnySweep(t *testing.T) {
	c := newClock()
	s := open(t, newPath(t), Options{Now: c.now})
	if err := s.Put(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		advance time.Duration
		there   bool
	}{{0, true}, {time.Minute, true}, {time.Millisecond, false}, {-time.Second, true}} {
		c.advance(step.advance)
		if _, err := s.Get(t.Context(), "k"); errors.Is(err, store.ErrNotFound) == step.there {
			t.Errorf("after %v more: %v", step.advance, err)
		}
	}
}

// rooms counts what the file holds, expired or not.
func rooms(t *testing.T, s *Store) (records, ends int) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		records, ends = tx.Bucket(recordsBucket).Stats().KeyN, tx.Bucket(endsBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, ends
}

func TestASweepRemovesWhatHasExpiredAndNothingElse(t *testing.T) {
	c := newClock()
	s, ctx := open(t, newPath(t), Options{Now: c.now}), t.Context()
	const short = sweepMost + 50 // more than one transaction takes
	put := func(key string, ttl time.Duration) {
		t.Helper()
		if err := s.Put(ctx, key, []byte("v"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	for i := range short {
		put(fmt.Sprint("short", i), time.Minute)
	}
	put("prolonged", time.Minute)
	put("prolonged", 3*time.Minute)
	put("made endless", time.Minute)
	put("made endless", 0)
	put("deleted", time.Minute)
	if err := s.Delete(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Count(ctx, "counter", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	sweepTo := func(wantRecords, wantEnds int) {
		t.Helper()
		if err := s.sweep(); err != nil {
			t.Fatal(err)
		}
		if records, ends := rooms(t, s); records != wantRecords || ends != wantEnds {
			t.Errorf("%d records and %d index entries, want %d and %d", records, ends, wantRecords, wantEnds)
		}
	}
	sweepTo(short+3, short+2)
	c.advance(2 * time.Minute)
	sweepTo(2, 1)
	c.advance(2 * time.Minute)
	sweepTo(1, 0)
	if _, err := s.Get(ctx, "made endless"); err != nil {
		t.Error(err)
	}
}

func TestASweepEndsWhereIndexAndRecordsDisagree(t *testing.T) {
	c := newClock()
	s := open(t, newPath(t), Options{Now: c.now})
	past := c.now().UnixMilli() - 1
	err := s.db.Update(func(tx *bolt.Tx) error {
		records, ends := tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
		return errors.Join(
			ends.Put(indexKey(past, "no record"), nil), ends.Put([]byte("short"), nil),
			ends.Put(indexKey(past, "damaged"), nil), records.Put([]byte("damaged"), []byte("?")),
			ends.Put(indexKey(past, "lives"), nil), records.Put([]byte("lives"), valueRecord([]byte("v"), 0)),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	if records, ends := rooms(t, s); records != 2 || ends != 0 {
		t.Errorf("%d records and %d index entries are left, want 2 and 0", records, ends)
	}
	if _, err := s.Get(t.Context(), "damaged"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a damaged record: %v", err)
	}
}

func TestASweepSparesWhatHasBeenWrittenAgainOrIsBackWithTheClock(t *testing.T) {
	c := newClock()
	s, ctx := open(t, newPath(t), Options{Now: c.now}), t.Context()
	for _, key := range []string{"again", "back"} {
		if err := s.Put(ctx, key, []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(2 * time.Minute)
	var found [][]byte
	err := s.db.View(func(tx *bolt.Tx) error { found = expiredEntries(tx, c.now(), 10); return nil })
	if err != nil || len(found) != 2 {
		t.Fatal(len(found), err)
	}
	c.advance(-90 * time.Second)
	if err := s.Put(ctx, "again", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.inTurns(found, s.removeRecord), s.inTurns(found, removeEntry)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"again", "back"} {
		if _, err := s.Get(ctx, key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	c.advance(2 * time.Minute)
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	if records, ends := rooms(t, s); records != 1 || ends != 1 {
		t.Errorf("%d records and %d index entries are left, want the one that was written again", records, ends)
	}
}

func TestClosingEndsASweepThatIsUnderWay(t *testing.T) {
	c := newClock()
	s := open(t, newPath(t), Options{Now: c.now})
	for i := range 2 * sweepLeast {
		if err := s.Put(t.Context(), fmt.Sprint(i), []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(time.Hour)
	s.once.Do(func() { close(s.quit) }) // as Close begins
	if err := s.sweep(); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		t.Errorf("the sweep ended with %v", err)
	}
	if records, _ := rooms(t, s); records == 0 {
		t.Error("it went on to the end")
	}
}

func TestASumStaysAtTheLargestNumber(t *testing.T) {
	s := open(t, newPath(t), Options{})
	for range 3 {
		if _, _, err := s.Count(t.Context(), "k", 1<<62, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if sum, _, err := s.Count(t.Context(), "k", 0, time.Minute); err != nil || sum != 1<<63-1 {
		t.Errorf("%d, %v", sum, err)
	}
}

func FuzzAnyBytesInTheFileAreARecordOrAnError(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(valueRecord([]byte("v"), 7)))
	f.Add([]byte(counterRecord(3, 0)))
	f.Add(binary.BigEndian.AppendUint64([]byte{kindCounter}, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		value, valueErr := rec.value()
		sum, sumErr := rec.sum()
		if (valueErr == nil) == (sumErr == nil) || rec.end() < 0 || sum < 0 {
			t.Fatalf("%x: value %x (%v), sum %d (%v), end %d", b, value, valueErr, sum, sumErr, rec.end())
		}
		again := valueRecord(value, rec.end())
		if sumErr == nil {
			again = counterRecord(sum, rec.end())
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
	})
}

// BenchmarkWrites compares a shared commit (Batch) with one commit for each write (Update).
func BenchmarkWrites(b *testing.B) {
	for _, writers := range []int{1, 50} {
		s := open(b, newPath(b), Options{})
		for name, transact := range map[string]func(func(*bolt.Tx) error) error{"batch": s.db.Batch, "update": s.db.Update} {
			b.Run(fmt.Sprintf("%s/%d writers", name, writers), func(b *testing.B) {
				b.SetParallelism(writers)
				var n atomic.Int64
				value := make([]byte, 500)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						key := fmt.Sprint(n.Add(1) % 10_000)
						err := s.run(b.Context(), transact, func(tx *bolt.Tx) error { return write(tx, key, valueRecord(value, s.end(time.Hour))) })
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
