package fault

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// trouble is what a wire does to the bytes on it; the zero value passes them on.
type trouble struct {
	name     string
	delay    time.Duration // holds each piece back, both ways
	deafUp   bool          // nothing reaches the server any more
	deafDown bool          // nothing reaches the client any more
	reset    bool          // every connection is reset, and every new one
	cut      bool          // half of the server's next piece, then a reset
}

// wire is a TCP proxy between the gateway and one server, which a test puts in trouble and takes out of it.
type wire struct {
	t       *testing.T
	address string
	target  string
	closing chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	in    trouble
	conns map[*net.TCPConn]bool
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, address: listener.Addr().String(), target: target, closing: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	w.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			w.running.Go(func() { w.serve(client.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		close(w.closing)
		listener.Close()
		w.resetAll()
		w.running.Wait()
	})
	return w
}

// set begins a trouble. A connection that has lost bytes stays lost after it, as one does whose other end is gone.
func (w *wire) set(in trouble) {
	w.mu.Lock()
	w.in = in
	w.mu.Unlock()
	if in.reset {
		w.resetAll()
	}
}

func (w *wire) now() trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.in
}

func (w *wire) resetAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		reset(c)
	}
}

// reset closes with a RST instead of a FIN.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // of a connection that is closed already
	c.Close()
}

// keep notes an open connection, and says whether the wire still takes any.
func (w *wire) keep(c *net.TCPConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closing:
		return false
	default:
	}
	w.conns[c] = true
	return true
}

func (w *wire) forget(c *net.TCPConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

func (w *wire) serve(client *net.TCPConn) {
	defer reset(client)
	if w.now().reset || !w.keep(client) {
		return
	}
	defer w.forget(client)
	conn, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	if !w.keep(server) {
		return
	}
	defer w.forget(server)
	var both sync.WaitGroup
	for _, way := range []struct {
		from, to *net.TCPConn
		down     bool
	}{{client, server, false}, {server, client, true}} {
		both.Go(func() {
			w.pass(way.from, way.to, way.down)
			reset(client)
			server.Close()
		})
	}
	both.Wait()
}

// pass carries one direction until either end closes.
func (w *wire) pass(from, to io.ReadWriter, down bool) {
	piece := make([]byte, 32<<10)
	lost := false
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		in := w.now()
		if in.delay > 0 {
			select {
			case <-time.After(in.delay):
			case <-w.closing:
				return
			}
		}
		if lost = lost || down && in.deafDown || !down && in.deafUp; lost {
			continue
		}
		if in.cut && down {
			n /= 2
		}
		if _, err := to.Write(piece[:n]); err != nil || in.cut && down {
			return
		}
	}
}
