package passwordcommand

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// environment is all that the program gets. PATH is written out, so that the program finds the same ones however the
// gateway was started; LANG makes names and passwords UTF-8 for programs that decode their input.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}

const (
	keptError = 4 << 10     // bytes of standard error that go to the log
	grace     = time.Second // for what left the process group and holds standard error open
)

// answer is how a run ended: the exit status, or -1 and why there is none; and what was written to standard error.
type answer struct {
	status int
	why    error
	said   []byte
}

// run runs the program until it ends, the time is up or ctx ends, and keeps that much of its standard error. When it
// returns, the program has ended, and all that is left of its process group has been killed.
func (c *Command) run(ctx context.Context, input string, keep int64) answer {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("killed, since it took longer than %s", c.timeout))
	defer cancel()
	stdin, err := holding(input)
	if err != nil {
		return answer{status: -1, why: err}
	}
	defer stdin.Close()
	said, stderr, err := os.Pipe()
	if err != nil {
		return answer{status: -1, why: err}
	}
	defer said.Close()

	// Only files, so that Wait waits for the program and not for others that hold its standard error open.
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.Stdin, cmd.Stderr = stdin, stderr
	cmd.Env, cmd.Dir = environment, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	stderr.Close()
	if err != nil {
		return answer{status: -1, why: err}
	}
	heard := make(chan []byte, 1)
	go func() { heard <- head(said, keep) }()
	err = cmd.Wait() // also where the program was killed, since ctx ended
	// What is left of its group. While anything is, the group's number is given to no other.
	_ = killGroup(cmd.Process.Pid)
	_ = said.SetReadDeadline(time.Now().Add(grace))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return answer{status: cmd.ProcessState.ExitCode(), why: err, said: <-heard}
}

func killGroup(id int) error { return syscall.Kill(-id, syscall.SIGKILL) }

// holding returns a pipe that gives text and then ends. The text fits into it, so that no one need stay to write.
func holding(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.WriteString(text)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// head reads r to its end and returns what it began with. The rest is thrown away rather than left: a program whose
// writing is not read would stand still.
func head(r io.Reader, keep int64) []byte {
	text, _ := io.ReadAll(io.LimitReader(r, keep)) // what came before an error is all there is
	_, _ = io.Copy(io.Discard, r)
	return text
}

// printable is the first 4 KiB of text for the log. text goes on for as long as the password, so that one which begins within
// those 4 KiB is seen whole.
func printable(text []byte, password string) string {
	if strings.Contains(string(text), password) {
		return "(left out, since the password is in it)"
	}
	var b strings.Builder
	for _, r := range string(text[:min(len(text), keptError)]) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
