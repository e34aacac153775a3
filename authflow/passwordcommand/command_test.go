package passwordcommand

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script writes a program of the shell and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// command has the time that no test needs, and a log that the test may read when nothing runs.
func command(t *testing.T, text string, args ...string) (*Command, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return New(script(t, text), args, Limits{Timeout: time.Minute}, slog.New(slog.NewJSONHandler(&log, nil))), &log
}

// eventually waits far longer than is ever needed, so that only a promise that is broken fails.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 1500 {
		if holds() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheExitStatusIsTheAnswer(t *testing.T) {
	c, log := command(t, `read -r name; read -r password; [ "$name" = alice ] || exit 1; exit "$password"`)
	for _, a := range []struct {
		name, password string
		right, answers bool
	}{
		{"alice", "0", true, true}, {"alice", "1", false, true}, {"bob", "0", false, true},
		{"alice", "2", false, false}, {"alice", "127", false, false}, {"alice", "255", false, false},
	} {
		log.Reset()
		right, err := c.Check(t.Context(), a.name, a.password)
		if right != a.right || a.answers != (err == nil) || !a.answers && !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s, %s: %t, %v", a.name, a.password, right, err)
		}
		if a.answers != (log.Len() == 0) {
			t.Errorf("%s, %s: the log says %s", a.name, a.password, log)
		}
		if want := c.program + ": exit status " + a.password; err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %s: %v does not say %q", a.name, a.password, err, want)
		}
	}
}

func TestTheProgramReadsTwoLinesAndTheEnd(t *testing.T) {
	c, _ := command(t, `cat >"$1"`, filepath.Join(t.TempDir(), "input"))
	long := strings.Repeat("x", MaxInput-len("alice")-2)
	for _, password := range []string{` a "$(b)' \n ü `, "-n", "tab\there", long} {
		if right, err := c.Check(t.Context(), "alice", password); !right || err != nil {
			t.Fatal(right, err)
		}
		if got, want := contents(t, c.args[0]), "alice\n"+password+"\n"; got != want {
			t.Errorf("it read %q, want %q", got, want)
		}
	}
}

func TestWhatCouldBeReadAsAnotherNameIsWrongWithoutARun(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	c, _ := command(t, `touch "$1"`, ran)
	for _, a := range [][2]string{
		{"", "x"}, {"alice", ""}, {"alice\nbob", "x"}, {"alice\r", "x"}, {"alice\x00", "x"}, {"alice", "x\ny"}, {"alice", "x\r"}, {"alice", "\x00x"},
		{"alice", strings.Repeat("x", MaxInput-len("alice")-1)},
	} {
		if right, err := c.Check(t.Context(), a[0], a[1]); right || err != nil {
			t.Errorf("%.20q: %t, %v", a, right, err)
		}
	}
	if _, err := os.Stat(ran); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the program was run")
	}
}

func TestAProgramThatCannotBeStartedGivesNoAnswer(t *testing.T) {
	c := New("/nowhere/check", nil, Limits{}, slog.New(slog.DiscardHandler))
	if right, err := c.Check(t.Context(), "alice", "hunter2"); right || !errors.Is(err, ErrNoAnswer) || !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %t, %v", right, err)
	}
}

func TestWhatAProgramSaysWithoutAnAnswerIsLogged(t *testing.T) {
	for said, want := range map[string]string{
		`printf 'no\ndatabase\033[2J "x" ü\n' >&2`:                 `no\ndatabase\x1b[2J "x" ü\n`,
		`echo "wrong: hunter2!" >&2`:                               "(left out, since the password is in it)",
		`head -c 4090 /dev/zero | tr '\0' a >&2; echo hunter2 >&2`: "(left out, since the password is in it)",
		`head -c 9000 /dev/zero | tr '\0' a >&2`:                   strings.Repeat("a", keptError),
		`echo hunter2`:                                             "",
	} {
		c, log := command(t, said+"; exit 9")
		_, err := c.Check(t.Context(), "alice", "hunter2")
		if !errors.Is(err, ErrNoAnswer) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", said, err)
		}
		line := log.String()
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(want)
		if !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, `"said":"`+quoted+`"`) || strings.Contains(line, "hunter2") {
			t.Errorf("%s: the log says %s", said, line)
		}
		if c, log := command(t, said+"; exit 1"); true {
			if right, err := c.Check(t.Context(), "alice", "hunter2"); right || err != nil || log.Len() > 0 {
				t.Errorf("%s, and an answer: %t, %v, the log says %s", said, right, err, log)
			}
		}
	}
}

func TestThePasswordIsNowhereInTheProcess(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_SECRET", "of the gateway")
	out := filepath.Join(t.TempDir(), "out")
	c, _ := command(t, `cat /proc/$$/cmdline /proc/$$/environ >"$1"; pwd >>"$1"`, out)
	if right, err := c.Check(t.Context(), "alice", "hunter2"); !right || err != nil {
		t.Fatal(right, err)
	}
	want := "/bin/sh\x00" + c.program + "\x00" + out + "\x00" + strings.Join(environment, "\x00") + "\x00/\n"
	if got := contents(t, out); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFiftyAtOnceAreRunFourAtATimeAndTheRestIsTurnedAway(t *testing.T) {
	folder := t.TempDir()
	c, _ := command(t, `cd "$1"; echo + >>log; while [ ! -e go ]; do sleep 0.05; done; echo - >>log`, folder)
	results := make(chan error, 50)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			right, err := c.Check(t.Context(), "alice", "x")
			if right != (err == nil) {
				t.Errorf("%t, %v", right, err)
			}
			results <- err
		})
	}
	for range 50 - 4 - waiting {
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Errorf("of those who find the queue full: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Errorf("of those who had a place: %v", err)
		}
	}
	now, most, ran := 0, 0, 0
	for line := range strings.Lines(contents(t, filepath.Join(folder, "log"))) {
		if line == "+\n" {
			now, ran = now+1, ran+1
		} else {
			now--
		}
		most = max(most, now)
	}
	if ran != 4+waiting || most > 4 {
		t.Errorf("%d ran, %d of them at once", ran, most)
	}
}

func TestPatienceInTheQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New("/nowhere/check", nil, Limits{AtOnce: 1}, slog.New(slog.DiscardHandler))
		if _, err := c.turns.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Check(t.Context(), "alice", "x"); !errors.Is(err, ErrBusy) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Check(ctx, "alice", "x"); !errors.Is(err, context.Canceled) || time.Since(start) != 6*time.Second {
			t.Errorf("whose client leaves: %v after %s", err, time.Since(start))
		}
		_, err := c.Check(ctx, "alice", "x")
		if _, queued := c.turns.Now(); !errors.Is(err, context.Canceled) || queued != 0 {
			t.Errorf("whose client was gone before: %v, %d in the queue", err, queued)
		}
	})
}

func TestAProgramThatCannotBeTrustedOrRunIsFoundBeforehand(t *testing.T) {
	folder := t.TempDir()
	at := func(name string, mode fs.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, open := at("good", 0o750), at("open", 0o757)
	inOpen, inSticky := at("public/check", 0o755), at("sticky/check", 0o755)
	for name, mode := range map[string]fs.FileMode{"public": 0o777, "sticky": 0o777 | fs.ModeSticky} {
		if err := os.Chmod(filepath.Join(folder, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": good, "tricky": inOpen} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	for program, want := range map[string]string{
		good: "", inSticky: "", filepath.Join(folder, "link"): "",
		"":                              `"" is not an absolute path`,
		"bin/check":                     `"bin/check" is not an absolute path`,
		filepath.Join(folder, "none"):   "no such file or directory",
		folder:                          "is a directory",
		at("plain", 0o600):              "permission denied",
		open:                            open + " can be written by everybody",
		inOpen:                          filepath.Dir(inOpen) + " can be written by everybody",
		filepath.Join(folder, "tricky"): filepath.Dir(inOpen) + " can be written by everybody",
	} {
		err := New(program, nil, Limits{}, nil).CheckProgram()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", program, err, want)
		}
	}
}
