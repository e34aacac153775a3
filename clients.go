package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How long the gateway waits for a client: for the handshake and the head of its first request, and for the head of each
// one after that. Both are kept to a second or two.
const (
	firstHeadWithin = 10 * time.Second
	nextHeadWithin  = 2 * time.Minute
)

// clients is a listener that closes the connections of clients who take too long to ask for something. http.Server can do
// that too, by ReadHeaderTimeout and IdleTimeout, and sets and clears a timer for it four times for each request, which is
// a tenth of what a proxied request costs. Here a request sets two numbers, and one goroutine looks at them once a second.
type clients struct {
	net.Listener
	firstHead, nextHead time.Duration

	began time.Time
	now   atomic.Int64 // time since began, at the last look

	mu   sync.Mutex
	open map[*client]struct{}
}

// client is one connection.
type client struct {
	net.Conn
	of *clients
	// waiting is when it began to be waited for, by clients.now, plus 1; negative where its first request has not come
	// yet, and 0 where it is not waited for. Nobody waits for a connection before http.Server has it.
	waiting atomic.Int64
}

func newClients(l net.Listener) *clients {
	return &clients{Listener: l, firstHead: firstHeadWithin, nextHead: nextHeadWithin, began: time.Now(), open: map[*client]struct{}{}}
}

// Accept implements [net.Listener].
func (l *clients) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	return c, nil
}

// Close implements [net.Conn]. It may be called more than once.
func (c *client) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets http.Server end an answer before it has read all of the request, as it does with a *net.TCPConn.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// note is http.Server's ConnState. A request is in hand from the end of its head to the end of its answer.
func (l *clients) note(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(*client)
	if !ok {
		return
	}
	switch state {
	case http.StateNew:
		c.waiting.Store(-l.now.Load() - 1)
	case http.StateIdle:
		c.waiting.Store(l.now.Load() + 1)
	default:
		c.waiting.Store(0)
	}
}

// watch closes connections until ctx ends.
func (l *clients) watch(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, l.firstHead/10))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.now.Store(int64(time.Since(l.began)))
		for _, c := range l.tooLong() {
			c.Close()
		}
	}
}

// tooLong lists the connections that were waited for for too long. A request that comes at this very moment is too late.
func (l *clients) tooLong() (all []*client) {
	now := l.now.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		since := c.waiting.Load()
		if since > 0 && now-since >= int64(l.nextHead) || since < 0 && now+since >= int64(l.firstHead) {
			all = append(all, c)
		}
	}
	return all
}
