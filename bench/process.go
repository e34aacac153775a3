package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait for a program to answer or to end.
const patience = 30 * time.Second

// process is a program that the benchmark has started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file with what it writes
	done chan struct{} // closed when it has ended
}

// program returns a command that is installed, also where /usr/sbin is not on the PATH.
func program(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: tools/setup installs it", name)
}

// start runs a program in dir. It ends with stopAll at the latest.
func (b *bench) start(dir, name string, args ...string) (*process, error) {
	path, err := program(name)
	if err != nil {
		return nil, err
	}
	p := &process{name: filepath.Base(name), done: make(chan struct{})}
	p.log = filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", p.name, time.Now().UnixNano()))
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the program has its own copy
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { // ends with the process, which stopAll sees to
		_ = p.cmd.Wait() // how it ended is asked of cmd.ProcessState
		close(p.done)
	}()
	b.started = append(b.started, p)
	return p, nil
}

// stop ends the process in its orderly way, or else by force.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has ended cannot be signalled and need not be
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stopAll ends what runs, the last started first.
func (b *bench) stopAll() {
	for _, p := range slices.Backward(b.started) {
		p.stop()
	}
	b.started, b.web = nil, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// until asks again and again, every step, whether something has come about.
func (p *process) until(what string, step time.Duration, holds func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(step) {
		if holds() {
			return nil
		}
		if p.ended() {
			return fmt.Errorf("%s ended (%s) before %s: %s", p.name, p.cmd.ProcessState, what, p.lastWords())
		}
	}
	return fmt.Errorf("%s: not within %s: %s: %s", p.name, patience, what, p.lastWords())
}

// lastWords are the end of what the program has written, in one line.
func (p *process) lastWords() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 400
	raw = bytes.TrimSpace(raw)
	return strings.ReplaceAll(string(raw[max(0, len(raw)-most):]), "\n", " | ")
}

// listens waits until the program takes connections.
func (p *process) listens(address string) error {
	return p.until("it listens on "+address, 5*time.Millisecond, func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// freeAddress returns a loopback address that nobody listened on a moment ago. The port 10,000 above is free too,
// because a node of a Redis Cluster takes it for its bus.
func freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10_000))
		if port > 55_000 || err != nil {
			continue
		}
		bus.Close()
		return l.Addr().String(), nil
	}
	return "", errors.New("no free pair of ports on 127.0.0.1 in 100 tries")
}
