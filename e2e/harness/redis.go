package harness

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server of the test's own, which keeps its data over a stop and a start.
type Redis struct {
	t       testing.TB
	Address string
	Dir     string
	process *Process
}

func StartRedis(t testing.TB) *Redis {
	t.Helper()
	for range 5 {
		r := &Redis{t: t, Address: FreeAddress(t), Dir: t.TempDir()}
		if r.Start(); r.answers() {
			return r
		}
	}
	t.Fatal("redis-server found no free port in five tries")
	return nil
}

// Start runs redis-server and waits until it answers or has ended.
func (r *Redis) Start() {
	r.t.Helper()
	r.process = Start(r.t, r.Dir, "redis-server", "--bind", "127.0.0.1", "--port", Port(r.t, r.Address),
		"--dir", r.Dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	Eventually(r.t, "redis-server at "+r.Address+" answers", func() bool { return r.answers() || r.process.Ended() })
}

// Stop ends redis-server in its orderly way.
func (r *Redis) Stop() {
	r.t.Helper()
	r.process.Signal(syscall.SIGTERM)
	r.process.Wait()
}

// Freeze makes redis-server hang with its connections open; thaw lets it go on.
func (r *Redis) Freeze() { r.process.Signal(syscall.SIGSTOP) }
func (r *Redis) Thaw()   { r.process.Signal(syscall.SIGCONT) }

func (r *Redis) answers() bool {
	c, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	pong := make([]byte, 5)
	n, err := c.Read(pong)
	return err == nil && string(pong[:n]) == "+PONG"
}
