// Package redistest starts real redis-servers for tests: one alone, one with TLS, a Sentinel with master and
// replica, a Cluster. They listen on the loopback only, keep their files in the test's folder, and end with it.
//
// It does not imitate Redis, and it skips nothing: where redis-server is missing, the test fails and says so.
package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 30 * time.Second
	// portTries bounds how often another port is chosen where somebody else took it between the choice and the start.
	portTries = 10
)

var errPortTaken = errors.New("the port is taken")

// Server is one redis-server process. Its methods are for the goroutine of the test alone, and end the test
// where they fail.
type Server struct {
	Addr string      // host:port on the loopback
	TLS  *tls.Config // what a client needs; nil where the server speaks plain TCP

	t    testing.TB
	args []string // what follows the configuration file on the command line
	conf []string // lines of redis.conf; "%port" stands for the port
	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

// Start runs a redis-server with these further lines of redis.conf, and returns when it answers. It keeps
// nothing on disk unless a line says so. The process is killed when the test ends.
func Start(t testing.TB, conf ...string) *Server {
	t.Helper()
	return start(t, nil, nil, append([]string{"port %port", `save ""`, "appendonly no"}, conf...))
}

func start(t testing.TB, clientTLS *tls.Config, args, conf []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatalf("redistest: %v: install it, on Debian and Ubuntu with: apt-get install redis-server", err)
	}
	s := &Server{TLS: clientTLS, t: t, args: args, dir: t.TempDir(),
		conf: append([]string{"bind 127.0.0.1", "daemonize no", "protected-mode no"}, conf...)}
	t.Cleanup(s.Stop)
	for range portTries {
		s.Addr = freeAddr(t)
		err := s.run()
		if err == nil {
			return s
		}
		if !errors.Is(err, errPortTaken) {
			t.Fatalf("redistest: %v", err)
		}
	}
	t.Fatalf("redistest: no free port in %d tries", portTries)
	return nil
}

// Stop kills the process, as a crash would, and waits until it is gone. Stopping twice is no error.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("redistest: %v", err)
	}
	<-s.gone
	s.cmd = nil
}

// Restart starts the stopped server again at the same address and with the same configuration, and returns
// when it answers. What it held is lost unless its configuration says otherwise.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Pause lets the process hang: connections stay open, and nothing is answered until [Server.Resume].
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends [Server.Pause].
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("redistest: %v: %v", sig, err)
	}
}

// run starts the process and waits until it answers or has ended.
func (s *Server) run() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	config, logName := filepath.Join(s.dir, "redis.conf"), filepath.Join(s.dir, "redis.log")
	lines := append([]string{"dir " + s.dir}, s.conf...)
	text := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "%port", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("redis-server", append([]string{config}, s.args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() { // ends with the process, which Stop sees to
		cmd.Wait()
		close(gone)
	}()
	s.cmd, s.gone = cmd, gone
	return s.untilReady(logName)
}

func (s *Server) untilReady(logName string) error {
	last := errors.New("it has not said that it is ready")
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		select {
		case <-s.gone:
			s.cmd = nil
			if saidIn(logName, "Address already in use") {
				return errPortTaken
			}
			text, _ := os.ReadFile(logName)
			return fmt.Errorf("redis-server ended at once:\n%s", text)
		case <-time.After(10 * time.Millisecond):
		}
		// An answer alone may come from another server that was quicker to take the port.
		if !saidIn(logName, "Ready to accept connections") && !saidIn(logName, "Sentinel ID is") {
			continue
		}
		if last = s.ping(); last == nil {
			return nil
		}
	}
	s.Stop()
	return fmt.Errorf("redis-server did not answer within %v: %w", startTimeout, last)
}

func saidIn(logName, words string) bool {
	text, err := os.ReadFile(logName)
	return err == nil && strings.Contains(string(text), words)
}

// ping speaks the inline form of the protocol, so that it needs no client and no password.
func (s *Server) ping() error {
	d := &net.Dialer{Timeout: time.Second}
	conn, err := d.Dial("tcp", s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if s.TLS != nil {
		conn = tls.Client(conn, s.TLS)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") {
		err = fmt.Errorf("PING: %q", answer)
	}
	return err
}

// freeAddr returns an address that nobody listened on a moment ago. The port 10,000 above is free too,
// because a node of a cluster takes it for its bus.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if port > 55_000 {
			continue
		}
		if bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10_000)); err == nil {
			bus.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("redistest: no free pair of ports on 127.0.0.1")
	return ""
}
