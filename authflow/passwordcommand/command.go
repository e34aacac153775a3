// Package passwordcommand asks a program whether a name and a password are right, for apps whose people live where
// only a program of the operator's can look: a database, a directory, a file of some other kind.
//
// The program is run once for each question, without a shell, and reads on its standard input the name, a line feed, the
// password, a line feed, and the end of the file. It answers by its exit status:
//
//	0               the password is this person's
//	1               it is not, or there is no such person
//	anything else   neither: the program could not tell
//
// A signal, silence until the time is up, and a program that cannot be started are neither, too. What it writes to its
// standard output is thrown away. What it writes to its standard error goes to the gateway's log where the answer is neither.
//
// It runs in the folder / with an environment of PATH and LANG alone, since that of the gateway may hold secrets that
// are none of its business, and in a process group of its own, all of which is killed with it: also what it leaves
// running when it has answered.
//
// The package knows programs. It knows nothing of users, sources or throttling.
package passwordcommand

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sallyport/authflow/turns"
	"strings"
	"time"
)

var (
	// ErrNoAnswer says that the program told neither right nor wrong. Nothing may be concluded about the password.
	ErrNoAnswer = errors.New("the password program gave no answer")
	// ErrBusy says that too many questions wait for the program. Nothing may be concluded about the password; the
	// caller asks the client to come again later.
	ErrBusy = errors.New("too many passwords wait for the password program")
)

// MaxInput bounds name and password together, in bytes, with the two line feeds. It is what the smallest pipe holds, so
// that a program that never reads keeps nobody waiting.
const MaxInput = 4096

const waiting = 16 // callers that wait for their turn

// Limits bound what the program may take. A field that is 0 has its default.
type Limits struct {
	Timeout time.Duration // how long one run may take, and how long a caller waits for its turn; 5s
	AtOnce  int           // runs at the same time; 4
}

// Command is a program that is asked about passwords. It may be used by any number of goroutines at once.
type Command struct {
	program string
	args    []string
	timeout time.Duration
	log     *slog.Logger
	turns   *turns.Turns
}

// New returns the Command that runs the program at an absolute path with the given arguments. Whether it can be run is
// for [Command.CheckProgram] to say.
func New(program string, args []string, limits Limits, log *slog.Logger) *Command {
	if limits.Timeout == 0 {
		limits.Timeout = 5 * time.Second
	}
	if limits.AtOnce == 0 {
		limits.AtOnce = 4
	}
	return &Command{
		program: program, args: args, timeout: limits.Timeout, log: log,
		turns: turns.New(turns.Limits{AtOnce: limits.AtOnce, Waiting: waiting, Wait: limits.Timeout}),
	}
}

// CheckProgram says what keeps the program from being run, or from being trusted with passwords: that its path is not
// absolute, that it is no file which this process may execute, or that everybody on the machine could replace it.
func (c *Command) CheckProgram() error {
	if !filepath.IsAbs(c.program) {
		return fmt.Errorf("%q is not an absolute path; write where the program is, such as /usr/local/lib/sallyport/check", c.program)
	}
	file, err := filepath.EvalSymlinks(c.program)
	if err != nil {
		return fmt.Errorf("the program cannot be found: %w", err)
	}
	if _, err := exec.LookPath(file); err != nil {
		return fmt.Errorf("the program cannot be run by the gateway's user: %w", err)
	}
	for _, path := range []string{file, filepath.Dir(file)} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("the program cannot be found: %w", err)
		}
		kept := info.IsDir() && info.Mode()&os.ModeSticky != 0 // only the owner of a file may replace it there
		if info.Mode()&0o002 != 0 && !kept {
			return fmt.Errorf("%s can be written by everybody on this machine, who could read the passwords of all; chmod o-w it", path)
		}
	}
	return nil
}

// Check asks the program, once it is its turn. What cannot be asked, or could be read as another name, is not right, and
// the program is not run for it: an empty name or password, one with a line feed, a carriage return or NUL in it, and both
// together longer than [MaxInput].
//
// The errors are [ErrBusy], that of ctx where it ends before the program runs, and [ErrNoAnswer], which wraps what
// happened, and that of ctx where it ended meanwhile. None of them holds the password.
func (c *Command) Check(ctx context.Context, name, password string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	input := name + "\n" + password + "\n"
	if name == "" || password == "" || strings.ContainsAny(name+password, "\n\r\x00") || len(input) > MaxInput {
		return false, nil
	}
	done, err := c.turns.Take(ctx)
	if errors.Is(err, turns.ErrBusy) {
		return false, ErrBusy
	}
	if err != nil {
		return false, err
	}
	defer done()
	answer := c.run(ctx, input, int64(keptError+len(password)))
	switch answer.status {
	case 0:
		return true, nil
	case 1:
		return false, nil
	}
	if ctx.Err() == nil { // else nobody waits, which is no fault of the program
		c.log.Warn("the password program gave no answer", "program", c.program, "why", answer.why, "said", printable(answer.said, password))
	}
	return false, fmt.Errorf("%w: %s: %w", ErrNoAnswer, c.program, answer.why)
}
