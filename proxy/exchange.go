package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// exchange carries requests without a body to upstreams that speak HTTP/1.1 over plain TCP or a Unix socket. It writes
// and reads in the goroutine that asks, where http.Transport hands both to goroutines of the connection. What it does
// not take goes to rest, and what it takes it answers as rest would: docs/design/exchange.md. Its methods are called
// from many goroutines.
//
// Of the hooks of httptrace it calls Got1xxResponse and those that http.Request.Write calls.
type exchange struct {
	rest      *http.Transport
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	firstByte time.Duration // for the request to be written and the head of its answer to be read; 0: no limit
	idle      idleConns
}

func newExchange(rest *http.Transport) *exchange {
	return &exchange{rest: rest, dial: rest.DialContext, firstByte: rest.ResponseHeaderTimeout}
}

// CloseIdleConnections closes the connections that no request is using, and those in use when they are given back,
// unless a new request has come by then.
func (x *exchange) CloseIdleConnections() {
	x.idle.closeAll()
	x.rest.CloseIdleConnections()
}

// RoundTrip sends a request and reads the head of its answer, as http.RoundTripper says. The body of the answer may be
// closed while it is read.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	if !exchangeable(req) {
		return x.rest.RoundTrip(endedByVigil(req))
	}
	if err := checkHead(req); err != nil {
		return nil, err
	}
	ctx := req.Context()
	if end := endOf(ctx); end != nil {
		return nil, end
	}
	for c := x.idle.take(req.URL.Host); c != nil; c = x.idle.take(req.URL.Host) {
		res, err := x.over(c, req)
		if errors.Is(err, errSpoilt) && endOf(ctx) == nil {
			continue
		}
		if err == nil || c.heard || endOf(ctx) != nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return res, err
		}
		// The upstream closed the connection just as the request came. A new one cannot be an idle one that was
		// closed, so there is nothing to be tried a third time.
		break
	}
	c, err := x.connect(ctx, req.URL)
	if err != nil {
		return nil, err
	}
	return x.over(c, req)
}

// exchangeable says whether a request is one that an exchange takes: without a body, with no wish for anything but an
// answer, and of a method that can be sent again without harm, since a kept connection may turn out to be closed.
func exchangeable(r *http.Request) bool {
	if !bodiless(r) || len(r.Trailer) > 0 || r.Close {
		return false
	}
	for _, name := range [...]string{"Connection", "Upgrade", "Expect"} {
		if _, there := r.Header[name]; there {
			return false
		}
	}
	u := r.URL
	return u != nil && r.Header != nil && u.Scheme == "http" && u.Opaque == "" && u.Host != "" && isPlainHost(u.Host) && isPlainHost(r.Host)
}

// bodiless says whether a request has a method that can be sent again, and no body.
func bodiless(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.ContentLength == 0 && (r.Body == nil || r.Body == http.NoBody)
	default:
		return false
	}
}

// isPlainHost says whether a host can be looked up, and stand in a line, as it is written.
func isPlainHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '/' {
			return false
		}
	}
	return true
}

// checkHead refuses what would end a line of the head or a part of one. The path is written escaped.
func checkHead(r *http.Request) error {
	for i := range len(r.URL.RawQuery) {
		if c := r.URL.RawQuery[i]; c <= ' ' || c == 0x7f {
			return fmt.Errorf("the query holds %q, which ends a request's target: escape it", c)
		}
	}
	for name, values := range r.Header {
		if !isToken(name) {
			return fmt.Errorf("%q cannot be the name of a header: a name has letters, digits and dashes", name)
		}
		for _, v := range values {
			if err := checkValue(name, v); err != nil {
				return err
			}
		}
	}
	for _, line := range linesFor(r) {
		if err := checkValue(line.name, line.value); err != nil {
			return err
		}
	}
	return nil
}

func checkValue(name, value string) error {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("the header %s holds the control character %q: take it out", name, c) // the value may be a secret
		}
	}
	return nil
}

// connect opens a connection. Its error is the cause of the context's end where that has come.
func (x *exchange) connect(ctx context.Context, u *url.URL) (*plainConn, error) {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if v := shortVigil(ctx); v != nil {
		ctx = v.under(ctx)
		defer v.release()
	}
	conn, err := x.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, orEnd(ctx, err)
	}
	return newPlainConn(conn, u.Host)
}

// over sends a request over a connection, which is in nobody else's hands, and is kept or closed when the answer ends.
func (x *exchange) over(c *plainConn, req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	end := watchEnd(ctx, c.abort)
	res, err := c.roundTrip(req, linesFor(req), x.firstByte)
	if err != nil {
		end.stop()
		c.Close()
		return nil, orEnd(ctx, fmt.Errorf("no answer from %s: %w", c.host, err))
	}
	if res.Body == http.NoBody {
		x.release(c, end)
		return res, nil
	}
	res.Body = &answerBody{of: res.Body, exchange: x, conn: c, ctx: ctx, ending: end}
	return res, nil
}

// endWatch watches for the end of a request, by its vigil where the context does not tell, and else by the context.
type endWatch struct {
	vigil  *vigil
	unless func() bool // context.AfterFunc's; nil where there is the vigil
}

// watchEnd has abort called when a request ends.
func watchEnd(ctx context.Context, abort func()) endWatch {
	if v := shortVigil(ctx); v != nil {
		v.guard(abort)
		return endWatch{vigil: v}
	}
	return endWatch{unless: context.AfterFunc(ctx, abort)}
}

// stop ends the watch. false: the request has ended, and abort is being called, now or at any time from now.
func (e endWatch) stop() bool {
	if e.vigil != nil {
		return e.vigil.release()
	}
	return e.unless()
}

// endedByVigil gives a request on the short way a context that ends with its vigil, for whoever has nothing else to go by.
func endedByVigil(req *http.Request) *http.Request {
	if v := shortVigil(req.Context()); v != nil {
		return req.WithContext(v.under(req.Context()))
	}
	return req
}

// linesFor are what the gateway itself says to the upstream with a request, beside its headers.
func linesFor(r *http.Request) []headerLine {
	if p, ok := r.Context().Value(passageKey{}).(*passage); ok {
		return p.lines.all()
	}
	return nil
}

// release keeps a connection whose answer was read to its end, where nothing speaks against it, and closes it otherwise.
func (x *exchange) release(c *plainConn, end endWatch) {
	if !end.stop() || !c.reusable() || !x.idle.put(c) {
		c.Close()
	}
}

// orEnd gives the reason for which a request has ended, and err where it has not.
func orEnd(ctx context.Context, err error) error {
	if end := endOf(ctx); end != nil {
		return end
	}
	return err
}

// answerBody is the body of one answer. It gives the connection back at the end of the body, and closes it when the
// body is closed before. Each answer has its own, so that a handler that closes late does not close somebody else's.
type answerBody struct {
	of       io.ReadCloser // http.ReadResponse's; not closed, since it would read to the end
	exchange *exchange
	conn     *plainConn
	ctx      context.Context
	ending   endWatch

	mu  sync.Mutex
	err error // with which all is over: from then on the connection is not this body's
}

var errBodyClosed = errors.New("the body of the answer was closed before it was read")

func (b *answerBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	over := b.err
	b.mu.Unlock()
	if over != nil {
		return 0, over
	}
	n, err := b.of.Read(p)
	if err != nil {
		err = b.end(err)
	}
	return n, err
}

// Close may be called at any time, from any goroutine.
func (b *answerBody) Close() error {
	b.end(errBodyClosed)
	return nil
}

// end lets go of the connection, once, and gives the error with which the body has ended.
func (b *answerBody) end(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.err = err; err == io.EOF {
		b.exchange.release(b.conn, b.ending)
		return err
	}
	b.ending.stop()
	b.conn.Close()
	if err != errBodyClosed {
		b.err = orEnd(b.ctx, err)
	}
	return b.err
}
