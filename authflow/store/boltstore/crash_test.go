package boltstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/authflow/store"
)

// writerFile names the file that this program, run once more, writes into until it is killed.
const writerFile = "SALLYPORT_BOLTSTORE_WRITER"

const (
	writers = 4  // goroutines of it, which share commits
	remain  = 20 // the values that each leaves of those that it puts
	kills   = 100
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerFile); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled says on standard output what the store has acknowledged: a line for each write, with the number of
// its writer and of its kind.
func writeUntilKilled(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range writers {
		go func() {
			for {
				if err := writeRound(s, i); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// The kinds of writes, in the order of a round.
const (
	counts = iota
	updates
	puts
	deletes
	kinds
)

// tally is how many writes of each kind one writer had acknowledged.
type tally [kinds]int

func countKey(i int) string      { return fmt.Sprint("count/", i) }
func valueKey(i int) string      { return fmt.Sprint("value/", i) }
func putKey(i, round int) string { return fmt.Sprintf("put/%d/%d", i, round) }

// filling is what a writer puts in a round: of many lengths, so that pages are taken and given back.
func filling(round int) []byte { return bytes.Repeat([]byte{byte(round)}, round*97%9000) }

// writeRound counts, adds one to a value, puts a new one and deletes an old one, and says so after each.
func writeRound(s *Store, i int) error {
	ctx := context.Background()
	var round int
	for kind, write := range [kinds]func() error{
		counts: func() error { _, _, err := s.Count(ctx, countKey(i), 1, time.Hour); return err },
		updates: func() error {
			return s.Update(ctx, valueKey(i), func(current []byte) ([]byte, time.Duration, error) {
				before, _ := strconv.Atoi(string(current)) // none is 0
				round = before + 1
				return []byte(strconv.Itoa(round)), time.Hour, nil
			})
		},
		puts:    func() error { return s.Put(ctx, putKey(i, round), filling(round), time.Hour) },
		deletes: func() error { return s.Delete(ctx, putKey(i, round-remain)) },
	} {
		if err := write(); err != nil {
			return err
		}
		if _, err := fmt.Println(i, kind); err != nil {
			return err
		}
	}
	return nil
}

// killDuringWrites runs the program and kills it at some moment after so many writes. It returns those that each
// writer had acknowledged.
func killDuringWrites(t *testing.T, path string, writes int) (acknowledged [writers]tally) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), writerFile+"="+path), &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ { // to the end, for what it said before its death counts too
		var i, kind int
		if _, err := fmt.Sscan(lines.Text(), &i, &kind); err != nil || i < 0 || i >= writers || kind < 0 || kind >= kinds {
			t.Errorf("the writer said %q", lines.Text())
			continue
		}
		acknowledged[i][kind]++
		if n == writes {
			time.AfterFunc(rand.N(3*time.Millisecond), func() { _ = cmd.Process.Kill() }) // it has not been waited for
		}
	}
	if err := cmd.Wait(); err == nil || said.Len() > 0 {
		t.Fatalf("the writer ended by itself: %v: %s", err, said.String())
	}
	return acknowledged
}

// written is what a file holds of one writer.
type written struct{ count, value int }

// wantWritten checks what is left of one writer after it had acknowledged this much since before: all of it, and at
// most the one write besides that was under way.
func wantWritten(t *testing.T, s *Store, i int, acknowledged tally, before written) written {
	t.Helper()
	sum, _, err := s.Count(t.Context(), countKey(i), 0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Get(t.Context(), valueKey(i))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	value, _ := strconv.Atoi(string(raw)) // none is 0
	now := written{int(sum), value}
	counted, updated := now.count-before.count-acknowledged[counts], now.value-before.value-acknowledged[updates]
	if counted < 0 || updated < 0 || counted+updated > 1 {
		t.Fatalf("writer %d: %v were acknowledged, and from %+v came %+v", i, acknowledged, before, now)
	}
	last := before.value + acknowledged[puts]
	for round := max(before.value+1, last-remain+2); round <= last; round++ {
		if got, err := s.Get(t.Context(), putKey(i, round)); err != nil || !bytes.Equal(got, filling(round)) {
			t.Fatalf("writer %d: what round %d put: %d bytes, %v", i, round, len(got), err)
		}
	}
	last = before.value + acknowledged[deletes]
	if _, err := s.Get(t.Context(), putKey(i, last-remain)); acknowledged[deletes] > 0 && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("writer %d: what round %d deleted: %v", i, last, err)
	}
	return now
}

func TestWhatWasAcknowledgedIsThereAfterAHundredKillsDuringWrites(t *testing.T) {
	path := newPath(t)
	var before [writers]written
	total := 0
	for range kills {
		acknowledged := killDuringWrites(t, path, 1+rand.N(150))
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("after a kill: %v", err)
		}
		for i, done := range acknowledged {
			before[i] = wantWritten(t, s, i, done, before[i])
			for _, n := range done {
				total += n
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d writes acknowledged, none lost", kills, total)
}

// ranByItself runs the test in a process of its own and says that it has; false: this is that process.
func ranByItself(t *testing.T) bool {
	t.Helper()
	const alone = "SALLYPORT_TEST_ALONE"
	if os.Getenv(alone) != "" {
		return false
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	again.Env = append(os.Environ(), alone+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return true
}

// The limit is the process's own, so this runs in a process of its own: what the test program itself writes meanwhile
// would meet it too.
func TestAFullDiskIsAnErrorAndNoLossAndOverWhenThereIsRoom(t *testing.T) {
	if ranByItself(t) {
		return
	}
	path := newPath(t)
	s, ctx := open(t, path, Options{}), t.Context()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	makeRoom := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}
	defer makeRoom()
	kept := 0
	for _, limit := range []uint64{1 << 20, 8192} { // the file cannot grow; nothing but its first pages can be written
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 1000 {
			if err = s.Put(ctx, putKey(0, kept), bytes.Repeat([]byte{byte(kept)}, 9000), time.Hour); err != nil {
				break
			}
			kept++
		}
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "file too large") {
			t.Fatalf("a Put into a file of at most %d bytes: %v", limit, err)
		}
		refused := s.Update(ctx, "once", func([]byte) ([]byte, time.Duration, error) { return make([]byte, 100_000), 0, nil })
		if !errors.Is(refused, store.ErrUnavailable) {
			t.Errorf("Update: %v", refused)
		}
		if _, err := s.Get(ctx, "once"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what was refused: %v", err)
		}
		for round := range kept {
			if got, err := s.Get(ctx, putKey(0, round)); err != nil || len(got) != 9000 {
				t.Fatalf("while the disk is full: %d bytes, %v", len(got), err)
			}
		}
		makeRoom()
		if err := errors.Join(s.Ping(ctx), s.Put(ctx, "there is room", []byte{}, 0)); err != nil {
			t.Errorf("with room again: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	for round := range kept {
		if got, err := s.Get(ctx, putKey(0, round)); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(round)}, 9000)) {
			t.Fatalf("after reopening: %d bytes, %v", len(got), err)
		}
	}
}
