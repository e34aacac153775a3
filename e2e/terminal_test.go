package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"

	"sallyport/e2e/harness"
)

// openTerminal returns the two ends of a pseudo-terminal: what a person types into and looks at, and what a
// program has as its terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestAPasswordTypedOnATerminalIsNotShown(t *testing.T) {
	person, program := openTerminal(t)
	var shown harness.LockedBuffer
	go func() {
		piece := make([]byte, 1024)
		for {
			n, err := person.Read(piece)
			if err != nil {
				return // the terminal is closed at the end of the test
			}
			_, _ = shown.Write(piece[:n]) // a buffer takes everything
		}
	}()
	hash := exec.Command(harness.Binary, "hash-password", "--bcrypt")
	hash.Stdin, hash.Stderr = program, program
	var out strings.Builder
	hash.Stdout = &out
	if err := hash.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- hash.Wait() }()
	t.Cleanup(func() { _ = hash.Process.Kill() }) // it has ended by then, unless the test has failed
	for prompts := 1; prompts <= 2; prompts++ {
		harness.Eventually(t, "it asks for the password and has switched the echo off", func() bool {
			mode, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			return err == nil && mode.Lflag&unix.ECHO == 0 && strings.Count(shown.String(), ": ") == prompts
		})
		if _, err := person.WriteString(harness.Password + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("hash-password: %v: %s", err, shown.String())
		}
	case <-time.After(harness.Patience):
		t.Fatalf("it has not ended; the terminal shows %q", shown.String())
	}
	if err := bcrypt.CompareHashAndPassword([]byte(strings.TrimSpace(out.String())), []byte(harness.Password)); err != nil {
		t.Errorf("%q is not the hash of what was typed: %v", out.String(), err)
	}
	if strings.Contains(shown.String(), "horse") {
		t.Errorf("the terminal shows the password: %q", shown.String())
	}
}
