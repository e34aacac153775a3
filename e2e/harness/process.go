package harness

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that takes far less on a quiet machine.
const Patience = 30 * time.Second

// Process is a program under test, with what it has written so far.
type Process struct {
	t    *testing.T
	cmd  *exec.Cmd
	Out  LockedBuffer
	done chan struct{} // closed when it has ended
	err  error         // what Wait said; read after done
}

// Start runs a program. The end of the test kills it where it has not ended by then.
func Start(t *testing.T, dir, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.Out, &p.Out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		<-p.done
	})
	return p
}

// Signal sends a signal to the process; one that has ended already is left alone.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(sig) // it may end in this very moment
	}
}

// Wait waits for the end of the process and returns its exit status.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.t.Fatalf("%s has not ended after %s; it wrote:\n%s", p.cmd, Patience, p.Out.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// PeakMemory returns the most memory that the process has had in use so far, in bytes (VmHWM of proc_pid_status(5)).
func (p *Process) PeakMemory() int64 {
	p.t.Helper()
	path := fmt.Sprintf("/proc/%d/status", p.Pid())
	raw, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		p.t.Fatalf("%s has no VmHWM in kB: %v\n%s", path, err, raw)
	}
	return kib << 10
}

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// LockedBuffer collects the output of a process while tests read it.
type LockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*LockedBuffer)(nil)

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// FreeAddress returns a loopback address that nothing listens on at this moment.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Port returns the port of a host:port.
func Port(t *testing.T, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Eventually asks until the condition holds, and fails the test where it does not in good time.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %s: %s", Patience, what)
}

// Listens says whether it is the program itself that has the port of an address, and not another one. It looks into
// Linux's list of sockets and into the program's own (proc(5)).
func (p *Process) Listens(address string) bool {
	p.t.Helper()
	sockets, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		p.t.Fatal(err)
	}
	number, err := strconv.Atoi(Port(p.t, address))
	if err != nil {
		p.t.Fatal(err)
	}
	const listening = "0A"
	for line := range strings.Lines(string(sockets)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == listening && p.holds("socket:["+f[9]+"]") {
			return true
		}
	}
	return false
}

// holds says whether the program has a file open.
func (p *Process) holds(name string) bool {
	folder := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	files, err := os.ReadDir(folder)
	if err != nil {
		return false // it has ended
	}
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(folder, f.Name()))
		return err == nil && target == name
	})
}

// Taken says whether a program ended because another one had its port.
func (p *Process) Taken() bool {
	return p.Ended() && strings.Contains(strings.ToLower(p.Out.String()), "in use")
}
