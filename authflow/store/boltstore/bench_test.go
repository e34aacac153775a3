package boltstore

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// many is how many records the large file of the benchmarks holds: of the size of a session's, under keys as random.
const many = 200_000

// manyRecords makes a file with that many records that live for an hour by the clock, and returns its path.
func manyRecords(b *testing.B, c *clock) string {
	b.Helper()
	path := newPath(b)
	s := open(b, path, Options{Now: c.now})
	value := make([]byte, 240)
	for range many / 5000 {
		err := s.db.Update(func(tx *bolt.Tx) error {
			for range 5000 {
				key := fmt.Sprintf("s/%016x%016x%011x", rand.Uint64(), rand.Uint64(), rand.Uint64()>>20)
				if err := write(tx, key, valueRecord(value, s.end(time.Hour+rand.N(time.Minute)))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkOpen200k opens a file with 200,000 live records.
func BenchmarkOpen200k(b *testing.B) {
	c := newClock()
	path := manyRecords(b, c)
	for b.Loop() {
		s, err := Open(path, Options{Now: c.now})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSweep200k removes 200,000 expired records while others read and write, and tells how long the slowest of
// these had to wait. Without a sweep a write waits for its own commit alone: "no sweep" is what to compare with.
func BenchmarkSweep200k(b *testing.B) {
	c := newClock()
	full := manyRecords(b, c)
	b.Run("no sweep", func(b *testing.B) {
		s := openUnswept(b, full, c)
		for b.Loop() {
			watchers(b, s, func() { time.Sleep(3 * time.Second) })
		}
	})
	c.advance(2 * time.Hour)
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s := openUnswept(b, full, c)
			b.StartTimer()
			watchers(b, s, func() {
				if err := s.sweep(); err != nil {
					b.Error(err)
				}
			})
		}
	})
}

// openUnswept opens a copy of the file without the goroutine that sweeps it.
func openUnswept(b *testing.B, full string, c *clock) *Store {
	b.Helper()
	content, err := os.ReadFile(full)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "copy.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.Fatal(err)
	}
	db, err := openFile(path)
	if err != nil {
		b.Fatal(err)
	}
	db.MaxBatchDelay = batchDelay
	s := &Store{db: db, now: c.now, log: slog.New(slog.DiscardHandler), quit: make(chan struct{})}
	b.Cleanup(func() { s.Close() })
	return s
}

// watchers reads and writes until work is done, and reports how long the longest, the 99th of a hundred and the middle one took.
func watchers(b *testing.B, s *Store, work func()) {
	b.Helper()
	var done atomic.Bool
	var both sync.WaitGroup
	calls := map[string]func() error{
		"put": func() error { return s.Put(b.Context(), "live", make([]byte, 240), time.Hour) },
		"get": func() error { _, err := s.Get(b.Context(), "live"); return err },
	}
	took := map[string]*[]time.Duration{}
	for _, name := range []string{"put", "get"} {
		if err := calls[name](); err != nil {
			b.Fatal(err)
		}
		list := new([]time.Duration)
		took[name] = list
		both.Go(func() {
			for !done.Load() {
				began := time.Now()
				if err := calls[name](); err != nil {
					b.Error(err)
					return
				}
				*list = append(*list, time.Since(began))
				time.Sleep(time.Millisecond) // a request now and then, for a busy loop would be a load of its own
			}
		})
	}
	work()
	done.Store(true)
	both.Wait()
	for name, list := range took {
		slices.Sort(*list)
		report := func(which string, d time.Duration) { b.ReportMetric(d.Seconds()*1000, which+"-"+name+"-ms") }
		report("longest", (*list)[len(*list)-1])
		report("99th", (*list)[len(*list)*99/100])
		report("half", (*list)[len(*list)/2])
	}
}
