package passwordcommand

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// running says whether there is a process of that number that is not only waiting to be collected by its parent.
func running(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// pids returns the process numbers that a program has written, one on each line.
func pids(t *testing.T, path string, want int) []string {
	t.Helper()
	var found []string
	eventually(t, "the program writes its numbers", func() bool {
		text, err := os.ReadFile(path)
		found = strings.Fields(string(text))
		return err == nil && len(found) == want && strings.HasSuffix(string(text), "\n")
	})
	return found
}

func TestAProgramThatHangsIsKilledWithAllThatItStarted(t *testing.T) {
	for what, text := range map[string]string{
		"that ignores SIGTERM":                      `trap '' TERM INT HUP; echo $$ >>"$1"; while :; do sleep 1000; done`,
		"that never reads":                          `echo $$ >>"$1"; exec sleep 1000`,
		"that waits for a child with all the pipes": `sh -c 'trap "" TERM; echo $$ >>"$1"; sleep 1000' - "$1" & echo $$ >>"$1"; wait`,
	} {
		t.Run(what, func(t *testing.T) {
			goroutines, files := runtime.NumGoroutine(), openFiles(t)
			c, log := command(t, text, filepath.Join(t.TempDir(), "pids"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := c.Check(ctx, "alice", "hunter2")
				ended <- err
			}()
			started := pids(t, c.args[0], 1+strings.Count(text, "sh -c"))
			cancel()
			if err := <-ended; !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			for _, pid := range started {
				eventually(t, "the process has ended", func() bool { return !running(pid) })
			}
			eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
			eventually(t, "no file is left open", func() bool { return openFiles(t) <= files })
			if taken, _ := c.turns.Now(); taken != 0 || log.Len() != 0 {
				t.Errorf("%d places are taken, the log says %s", taken, log)
			}
		})
	}
}

func TestTheTimeOfAProgramIsBounded(t *testing.T) {
	c, log := command(t, `echo thinking >&2; while :; do sleep 1000; done`)
	c.timeout = time.Second
	if right, err := c.Check(t.Context(), "alice", "hunter2"); right || !errors.Is(err, ErrNoAnswer) || !strings.HasSuffix(err.Error(), c.program+": killed, since it took longer than 1s") {
		t.Errorf("got %t, %v", right, err)
	}
	if !strings.Contains(log.String(), "took longer than 1s") {
		t.Errorf("the log says %s", log)
	}
}

func TestASignalIsNoAnswer(t *testing.T) {
	c, _ := command(t, `kill -SEGV $$`)
	if right, err := c.Check(t.Context(), "alice", "hunter2"); right || !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "signal: segmentation fault") {
		t.Errorf("got %t, %v", right, err)
	}
}

func TestWhatIsLeftRunningAfterAnAnswerIsKilled(t *testing.T) {
	c, _ := command(t, `sleep 1000 & echo $! >"$1"; exit 0`, filepath.Join(t.TempDir(), "pids"))
	if right, err := c.Check(t.Context(), "alice", "x"); !right || err != nil {
		t.Errorf("got %t, %v", right, err)
	}
	eventually(t, "the process has ended", func() bool { return !running(pids(t, c.args[0], 1)[0]) })
}

func TestWhatLeavesTheGroupHoldsNobodyUp(t *testing.T) {
	c, _ := command(t, `setsid sh -c 'echo $$ >"$1"; sleep 1000' - "$1" & while [ ! -s "$1" ]; do sleep 0.05; done; echo left >&2; exit 3`,
		filepath.Join(t.TempDir(), "pids"))
	if right, err := c.Check(t.Context(), "alice", "x"); right || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %t, %v", right, err)
	}
	leader := pids(t, c.args[0], 1)[0]
	t.Cleanup(func() {
		if id, err := strconv.Atoi(leader); err != nil || killGroup(id) != nil {
			t.Errorf("the process %q is left", leader)
		}
	})
	if !running(leader) {
		t.Error("what left the group has ended, so nothing was tried")
	}
}

func TestOutputWithoutEndIsThrownAway(t *testing.T) {
	for _, stream := range []string{"1", "2"} {
		c, log := command(t, `head -c 104857600 /dev/zero >&`+stream+` && exit 7`)
		if right, err := c.Check(t.Context(), "alice", "x"); right || !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "exit status 7") {
			t.Errorf("stream %s: %t, %v", stream, right, err)
		}
		if log.Len() > 6*keptError { // each NUL is written \x00, with the \ twice in JSON, and there are other fields
			t.Errorf("stream %s: %d bytes in the log", stream, log.Len())
		}
	}
}

func TestNoZombieIsLeft(t *testing.T) {
	c := New(script(t, `echo $$ >"$1"; exit "$2"`), []string{filepath.Join(t.TempDir(), "pids"), "1"}, Limits{Timeout: time.Minute}, slog.New(slog.DiscardHandler))
	for range 5 {
		if right, err := c.Check(t.Context(), "alice", "x"); right || err != nil {
			t.Fatal(right, err)
		}
		if _, err := os.Stat(filepath.Join("/proc", pids(t, c.args[0], 1)[0])); err == nil {
			t.Error("the program is still in the table of processes")
		}
	}
}
