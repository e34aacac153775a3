package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// askBy sends one request and reads the whole answer.
func askBy(t testing.TB, by http.RoundTripper, base string) string {
	t.Helper()
	res, err := by.RoundTrip(toFirst(t, base))
	if err != nil {
		return "error: " + err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(body)
}

const firstAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"

func TestAConnectionOnWhichSomethingHappenedWhileItWasIdleGetsNoRequest(t *testing.T) {
	for name, happens := range map[string]func(net.Conn){
		"a whole answer comes": func(conn net.Conn) { io.WriteString(conn, stolen) },
		"one byte comes":       func(conn net.Conn) { io.WriteString(conn, "\n") },
		"it is closed":         func(conn net.Conn) { conn.Close() },
		"its one side ends":    func(conn net.Conn) { conn.(*net.TCPConn).CloseWrite() },
		"it is reset":          func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0); conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan net.Conn, 2)
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				io.WriteString(conn, firstAnswer)
				conns <- conn
			})
			x := newExchange(wire{}.transport())
			t.Cleanup(x.CloseIdleConnections)
			if got := askBy(t, x, j.url.String()); got != "first" {
				t.Fatal(got)
			}
			happens(<-conns)
			if got := askBy(t, x, j.url.String()); got != "first" {
				t.Errorf("the next request got %q", got)
			}
			if n := len(j.all()); n != 2 {
				t.Errorf("the upstream saw %d requests, want 2: none on the connection of before", n)
			}
		})
	}
}

func TestARequestIsSentAgainOnceAndOnlyBeforeAnyOfItsAnswerHasCome(t *testing.T) {
	for _, c := range []struct {
		name, second string // what the upstream writes to the second request of a connection before it hangs up
		requests     int32  // that it sees, the first one included
		want         string
	}{
		{"nothing", "", 3, "first"},
		{"a byte", "H", 2, "error"},
		{"103", "HTTP/1.1 103 Early Hints\r\n\r\n", 2, "error"},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi", 2, "error"},
	} {
		for _, way := range bothWays(t, wire{}) {
			var requests atomic.Int32
			var before sync.Map
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				requests.Add(1)
				if _, again := before.LoadOrStore(conn, true); again {
					io.WriteString(conn, c.second)
					conn.Close()
					return
				}
				io.WriteString(conn, firstAnswer)
			})
			askBy(t, way, j.url.String())
			if got := askBy(t, way, j.url.String()); !strings.HasPrefix(got, c.want) || requests.Load() != c.requests {
				t.Errorf("%s, %s: got %q after %d requests, want %s after %d", way.name, c.name, got, requests.Load(), c.want, c.requests)
			}
		}
	}
	for _, way := range bothWays(t, wire{}) {
		j := newJournal(t, fixed(""))
		if got := askBy(t, way, j.url.String()); !strings.HasPrefix(got, "error") || len(j.all()) != 1 {
			t.Errorf("%s, on a new connection: got %q after %d requests, want an error after one", way.name, got, len(j.all()))
		}
	}
}

func TestAnAnswerToARequestThatWasNotReadToItsEndIsSeen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n")
		conn.(*net.TCPConn).CloseWrite()
		io.CopyN(io.Discard, conn, 1<<20)
		conn.Close() // the rest is refused
	}()
	x := newExchange(wire{}.transport())
	r := toFirst(t, "http://"+listener.Addr().String())
	r.Header["X-A"] = []string{strings.Repeat("a", 64<<20)}
	res, err := x.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, %v", res, err)
	}
	if n := idle(x); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

// idle counts the connections that are kept.
func idle(x *exchange) (n int) {
	x.idle.mu.Lock()
	defer x.idle.mu.Unlock()
	for _, all := range x.idle.byHost {
		n += len(all)
	}
	return n
}

func TestABodyThatIsClosedBeforeItsEndTakesTheConnectionAlong(t *testing.T) {
	for name, blocked := range map[string]bool{"while nobody reads": false, "while it is read": true} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi")
				io.Copy(io.Discard, conn)
				close(gone)
			})
			x := newExchange(wire{}.transport())
			res, err := x.RoundTrip(toFirst(t, j.url.String()))
			if err != nil {
				t.Fatal(err)
			}
			if io.ReadFull(res.Body, make([]byte, 2)); blocked {
				go res.Body.Close()
				if n, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, errBodyClosed) {
					t.Errorf("a read that was cut short gave %d, %v", n, err)
				}
			}
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			if n, err := res.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errBodyClosed) {
				t.Errorf("a read after the end gave %d, %v", n, err)
			}
			<-gone
			if n := idle(x); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
}

func TestABodyThatWasReadHasNoMoreToDoWithTheConnection(t *testing.T) {
	upstream := answeringOddly(t, firstAnswer, false)
	x := newExchange(wire{}.transport())
	t.Cleanup(x.CloseIdleConnections)
	ctx, cancel := context.WithCancel(t.Context())
	res, err := x.RoundTrip(toFirst(t, upstream.url.String()).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadAll(res.Body)
	second := toFirst(t, upstream.url.String())
	second.URL.Path = "/second"
	other, err := x.RoundTrip(second) // on the same connection
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	res.Body.Close()
	if n, err := res.Body.Read(make([]byte, 6)); n != 0 || err != io.EOF {
		t.Errorf("the first body reads %d bytes of the second, %v", n, err)
	}
	if body, err := io.ReadAll(other.Body); string(body) != "second" || err != nil {
		t.Errorf("the second body is %q, %v", body, err)
	}
	if n := upstream.count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// endedWay is a way to send a request, and to end it.
type endedWay struct {
	name string
	http.RoundTripper
	ended func(testing.TB) (ctx context.Context, end func(why error))
	close bool // the request is not one for an exchange
}

// waysToEnd are both ways with a context that ends, and the exchange with a vigil that ends what is on the short way, where
// the context does not.
func waysToEnd(t *testing.T) (all []endedWay) {
	byContext := func(t testing.TB) (context.Context, func(error)) {
		ctx, cancel := context.WithCancelCause(t.Context())
		t.Cleanup(func() { cancel(nil) })
		return ctx, cancel
	}
	byVigil := func(t testing.TB) (context.Context, func(error)) {
		p := &passage{gateway: &Gateway{}}
		p.vigil.keep(t.Context(), p, 0, true)
		t.Cleanup(p.vigil.end)
		return &p.vigil, func(why error) {
			p.vigil.mu.Lock()
			defer p.vigil.mu.Unlock()
			p.vigil.interrupt(why)
		}
	}
	for _, way := range bothWays(t, wire{}) {
		all = append(all, endedWay{way.name + ", context", way.connections, byContext, false})
	}
	x := newExchange(wire{}.transport())
	t.Cleanup(x.CloseIdleConnections)
	return append(all, endedWay{"exchange, vigil", x, byVigil, false}, endedWay{"what the exchange leaves, vigil", x, byVigil, true})
}

func TestTheEndOfARequestEndsTheExchangeWhereverItIs(t *testing.T) {
	why := errors.New("the session was revoked")
	for _, c := range []struct {
		name   string
		writes string // by the upstream, which then waits
		huge   bool   // a request that cannot be written while nobody reads
	}{
		{"while the request is written", "", true},
		{"before an answer", "", false},
		{"in the head", "HTTP/1.1 200 OK\r\nX-A: ", false},
		{"behind an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n", false},
		{"in a body with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi", false},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n", false},
		{"in a body without a length", "HTTP/1.1 200 OK\r\n\r\nfi", false},
	} {
		for _, way := range waysToEnd(t) {
			t.Run(c.name+", "+way.name, func(t *testing.T) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				ctx, end := way.ended(t)
				var upstream sync.WaitGroup
				defer upstream.Wait()
				upstream.Go(func() {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					if c.huge {
						io.CopyN(io.Discard, conn, 1<<20)
					} else {
						readRequest(bufio.NewReader(conn))
						io.WriteString(conn, c.writes)
					}
					end(why)
					conn.SetDeadline(time.Now().Add(patience))
					if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection stays open")
					}
				})
				r := toFirst(t, "http://"+listener.Addr().String()).WithContext(ctx)
				r.Close = way.close
				if c.huge {
					r.Header["X-A"] = []string{strings.Repeat("a", 64<<20)}
				}
				res, err := way.RoundTrip(r)
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				if err != why {
					t.Errorf("got %v, want %v", err, why)
				}
			})
		}
	}
}

func TestTheEndOfARequestEndsTheDialling(t *testing.T) {
	why := errors.New("the session was revoked")
	for _, way := range waysToEnd(t) {
		x, ok := way.RoundTripper.(*exchange)
		if !ok || way.close {
			continue
		}
		ctx, end := way.ended(t)
		x.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			end(why)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		for _, when := range []string{"while it dials", "before"} {
			if _, err := x.RoundTrip(toFirst(t, "http://127.0.0.1:1").WithContext(ctx)); err != why {
				t.Errorf("%s, %s: got %v, want %v", way.name, when, err, why)
			}
		}
	}
}

func TestAnUpstreamHasSoLongForTheHeadOfItsAnswer(t *testing.T) {
	for name, writes := range map[string]string{
		"silent":         "",
		"half a head":    "HTTP/1.1 200 OK\r\nX-A: ",
		"interim alone":  "HTTP/1.1 103 Early Hints\r\n\r\n",
		"on a kept conn": firstAnswer,
	} {
		for _, way := range bothWays(t, wire{firstByte: 50 * time.Millisecond}) {
			var requests atomic.Int32
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				if requests.Add(1); requests.Load() == 1 || writes != firstAnswer {
					io.WriteString(conn, writes)
				}
			})
			if writes == firstAnswer {
				if res, err := way.RoundTrip(toFirst(t, j.url.String())); err == nil { // an error on a slow machine: then there is none to keep
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}
			seenBefore := requests.Load()
			_, err := way.RoundTrip(toFirst(t, j.url.String()))
			if !tooSlow(err) {
				t.Errorf("%s, %s: got %v, want that it was too slow", way.name, name, err)
			}
			if n := requests.Load() - seenBefore; n > 1 {
				t.Errorf("%s, %s: the request was sent %d times", way.name, name, n)
			}
		}
	}
}

// deadlined notes the last deadline of a connection for what is read.
type deadlined struct {
	*net.TCPConn
	set  int
	last time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.set, d.last = d.set+1, t
	return d.TCPConn.SetReadDeadline(t)
}

func TestABodyHasAllTheTimeThatItNeeds(t *testing.T) {
	for limit, want := range map[time.Duration]int{0: 0, time.Hour: 2} {
		goOn := make(chan struct{})
		j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			<-goOn
			io.WriteString(conn, "ok")
		})
		x := newExchange(wire{firstByte: limit}.transport())
		var conn *deadlined
		dial := x.dial
		x.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err == nil {
				conn = &deadlined{TCPConn: c.(*net.TCPConn)}
			}
			return conn, err
		}
		res, err := x.RoundTrip(toFirst(t, j.url.String()))
		if err != nil {
			t.Fatal(err)
		}
		if conn.set != want || !conn.last.IsZero() {
			t.Errorf("limit %v: the connection got %d deadlines, the last %v; want %d, and none at the end", limit, conn.set, conn.last, want)
		}
		close(goOn)
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
			t.Errorf("limit %v: got %q, %v", limit, body, err)
		}
	}
}

// TestEverybodyGetsTheirOwnAnswer has an upstream that answers each request by its own path, in the many ways in which the
// next one could get a part of it, and clients that go away at any time.
func TestEverybodyGetsTheirOwnAnswer(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, q received) {
		mark := q.path()
		switch rand.IntN(8) {
		case 0: // more than was promised
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(mark), mark, stolen)
		case 1: // and the end
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(mark), mark)
			conn.Close()
		case 2:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(mark), mark)
			io.WriteString(conn, "0\r\n\r\n")
		case 3: // in two parts
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(mark), mark[:1])
			io.WriteString(conn, mark[1:])
		case 4: // broken off
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(mark)+1, mark)
			conn.Close()
		default:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(mark), mark)
		}
	})
	x := newExchange(wire{}.transport())
	t.Cleanup(x.CloseIdleConnections)
	var all sync.WaitGroup
	var whole atomic.Int32
	for client := range 8 {
		all.Go(func() {
			for i := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				r := toFirst(t, j.url.String()).WithContext(ctx)
				r.URL.Path = fmt.Sprintf("/%d-%d", client, i)
				if rand.IntN(4) == 0 {
					go cancel() // at any time
				}
				res, err := x.RoundTrip(r)
				if err == nil {
					body, err := io.ReadAll(res.Body)
					if rand.IntN(2) == 0 {
						go res.Body.Close() // as late as can be
					} else {
						res.Body.Close()
					}
					if err == nil && string(body) != r.URL.Path || !strings.HasPrefix(r.URL.Path, string(body)) {
						t.Errorf("%s got %q, %v", r.URL.Path, body, err)
					}
					if err == nil {
						whole.Add(1)
					}
				}
				cancel()
			}
		})
	}
	all.Wait()
	if whole.Load() == 0 {
		t.Error("nobody got a whole answer")
	}
}
