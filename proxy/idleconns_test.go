package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// pairs gives connections as an exchange has them, whose other sides are held open.
func pairs(t testing.TB, n int, host string) (all []*plainConn) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range n {
		conn, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		other, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(); other.Close() })
		c, err := newPlainConn(conn, host)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func isClosed(c *plainConn) bool { return errors.Is(c.SetDeadline(time.Time{}), net.ErrClosed) }

func TestIdleConnectionsAreFewAndForAHostAndNotForLong(t *testing.T) {
	var p idleConns
	t.Cleanup(p.closeAll)
	many := pairs(t, idleConnsPerUpstream+1, "a")
	for i, c := range many {
		if kept := p.put(c); kept != (i < idleConnsPerUpstream) {
			t.Fatalf("connection %d: kept %v", i, kept)
		}
	}
	other := pairs(t, 1, "b")[0]
	if !p.put(other) || p.take("c") != nil || p.take("b") != other || p.take("b") != nil {
		t.Error("a connection is not for its own host, or for it twice")
	}
	last := many[idleConnsPerUpstream-1]
	if got := p.take("a"); got != last {
		t.Error("not the one that was used last comes first")
	}
	p.sweep(last.idleSince.Add(idleConnTimeout / 2))
	if isClosed(many[0]) || p.sweeper == nil {
		t.Error("a connection was closed too early, or nobody would come for it")
	}
	p.sweep(last.idleSince.Add(idleConnTimeout))
	if !isClosed(many[0]) || isClosed(last) || len(p.byHost) != 0 || p.sweeper != nil {
		t.Errorf("after its time something is left of the idle, or one in use is closed: %v %v %v", p.byHost, p.sweeper, isClosed(last))
	}
}

func TestASweepTakesWhatTheUpstreamHasClosed(t *testing.T) {
	conns := make(chan net.Conn, 1)
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, firstAnswer)
		conns <- conn
	})
	x := newExchange(wire{}.transport())
	t.Cleanup(x.CloseIdleConnections)
	askBy(t, x, j.url.String())
	if x.idle.sweep(time.Now()); idle(x) != 1 {
		t.Fatalf("%d connections are kept, want 1", idle(x))
	}
	(<-conns).Close()
	if x.idle.sweep(time.Now()); idle(x) != 0 {
		t.Errorf("%d connections are kept, want none", idle(x))
	}
}

func TestNothingIsKeptOnceTheIdleConnectionsAreClosed(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) { io.WriteString(conn, firstAnswer) })
	x := newExchange(wire{}.transport())
	t.Cleanup(x.CloseIdleConnections)
	askBy(t, x, j.url.String())
	under, err := x.RoundTrip(toFirst(t, j.url.String()))
	if err != nil {
		t.Fatal(err)
	}
	spare := pairs(t, 1, "b")[0]
	x.idle.put(spare)
	x.CloseIdleConnections()
	if !isClosed(spare) {
		t.Error("an idle connection stays open")
	}
	if body, err := io.ReadAll(under.Body); string(body) != "first" || err != nil {
		t.Errorf("what was under way ends with %q, %v", body, err)
	}
	if idle(x) != 0 || x.idle.sweeper != nil {
		t.Errorf("%d connections are kept, sweeper %v", idle(x), x.idle.sweeper)
	}
	if askBy(t, x, j.url.String()); idle(x) != 1 {
		t.Errorf("%d connections are kept after another request, want 1", idle(x))
	}
}
