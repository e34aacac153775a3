package e2e

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// redis is a redis-server of the test's own, which keeps its data over a stop and a start.
type redis struct {
	t       *testing.T
	Address string
	dir     string
	process *process
}

func startRedis(t *testing.T) *redis {
	t.Helper()
	for range 5 {
		r := &redis{t: t, Address: freeAddress(t), dir: t.TempDir()}
		if r.start(); r.answers() {
			return r
		}
	}
	t.Fatal("redis-server found no free port in five tries")
	return nil
}

// start runs redis-server and waits until it answers or has ended.
func (r *redis) start() {
	r.t.Helper()
	r.process = start(r.t, r.dir, "redis-server", "--bind", "127.0.0.1", "--port", port(r.t, r.Address),
		"--dir", r.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	eventually(r.t, "redis-server at "+r.Address+" answers", func() bool { return r.answers() || r.process.ended() })
}

// stop ends redis-server in its orderly way.
func (r *redis) stop() {
	r.t.Helper()
	r.process.signal(syscall.SIGTERM)
	r.process.wait()
}

// freeze makes redis-server hang with its connections open; thaw lets it go on.
func (r *redis) freeze() { r.process.signal(syscall.SIGSTOP) }
func (r *redis) thaw()   { r.process.signal(syscall.SIGCONT) }

func (r *redis) answers() bool {
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
