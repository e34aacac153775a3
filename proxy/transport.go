package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What every connection to an upstream is bounded by, whatever the upstream's own settings.
const (
	idleConnTimeout      = 90 * time.Second // how long one is kept for the next request
	idleConnsPerUpstream = 256
	maxResponseHeader    = 1 << 20 // bytes
	pingAfter            = 30 * time.Second
)

// socketHost stands for the host of an upstream on a Unix socket, which has none.
const socketHost = "localhost"

// checkTarget says what keeps a URL from being one that requests can be forwarded to.
func checkTarget(u *url.URL) error {
	switch u.Scheme {
	case "http", "https", "h2c":
		if u.Host != "" {
			return nil
		}
	case "unix":
		if u.Host == "" && path.IsAbs(u.Path) {
			return nil
		}
	}
	return fmt.Errorf("url %q: want http://, https:// or h2c:// and a host, or unix: and the path of a socket", u.Redacted())
}

// onWire gives the URL that requests to a target carry: http or https, a host, the base path without a final slash.
func onWire(target *url.URL) *url.URL {
	u := &url.URL{Scheme: target.Scheme, Host: target.Host, Path: strings.TrimSuffix(target.Path, "/")}
	u.RawPath = strings.TrimSuffix(target.EscapedPath(), "/")
	switch target.Scheme {
	case "h2c":
		u.Scheme = "http"
	case "unix":
		return &url.URL{Scheme: "http", Host: socketHost}
	}
	return u
}

// wire is what two upstreams must have in common to share connections.
type wire struct {
	tls                *tls.Config
	socket             string // the path of a Unix socket; "": TCP
	h2c                bool
	connect, firstByte time.Duration
}

func newWire(u Upstream) wire {
	w := wire{h2c: u.URL.Scheme == "h2c", connect: u.Forwarding.Connect, firstByte: u.Forwarding.FirstByte}
	switch u.URL.Scheme {
	case "https":
		w.tls = u.Forwarding.TLS
	case "unix":
		w.socket = u.URL.Path
	}
	return w
}

// connections are a way to upstreams, and what is kept open on it.
type connections interface {
	http.RoundTripper
	CloseIdleConnections()
}

// connections makes those of a wire. Requests by https, which may be on a wire like any other, are left by the exchange.
func (w wire) connections() connections {
	if w.h2c {
		return w.transport()
	}
	return newExchange(w.transport())
}

// transport makes the connections of a wire by the standard library. It sends a request again only where that cannot be seen: when a
// kept connection turns out to be closed, and the request has no body and an idempotent method, or none of it was written.
func (w wire) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: w.connect}
	t := &http.Transport{
		Proxy:                  nil, // an upstream is reached directly, whatever HTTP_PROXY says
		DialContext:            dialer.DialContext,
		TLSClientConfig:        w.tls,
		TLSHandshakeTimeout:    w.connect,
		ResponseHeaderTimeout:  w.firstByte,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        idleConnTimeout,
		MaxIdleConnsPerHost:    idleConnsPerUpstream,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true, // bodies pass as they are
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter}, // finds connections that have died in silence
	}
	t.Protocols.SetUnencryptedHTTP2(w.h2c)
	t.Protocols.SetHTTP1(!w.h2c)
	t.Protocols.SetHTTP2(!w.h2c)
	if w.socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", w.socket)
		}
	}
	return t
}

// The sizes of buffers in bytes. A long body goes through a large one in a third of the calls, but many clients who are slow
// to read hold one each.
const (
	bufferSize       = 32 << 10
	largeBufferSize  = 128 << 10
	largeBuffersMost = 64
)

// bufferPool lends the buffers through which bodies are copied: large ones as long as few are lent. The zero value is ready.
type bufferPool struct {
	small, large sync.Pool
	lent         atomic.Int64 // large ones
}

func (p *bufferPool) Get() []byte {
	if p.lent.Add(1) <= largeBuffersMost {
		if b, ok := p.large.Get().(*[largeBufferSize]byte); ok {
			return b[:]
		}
		return make([]byte, largeBufferSize)
	}
	p.lent.Add(-1)
	if b, ok := p.small.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) {
	if len(b) == bufferSize {
		p.small.Put((*[bufferSize]byte)(b))
		return
	}
	p.large.Put((*[largeBufferSize]byte)(b))
	p.lent.Add(-1)
}

// tooSlow says whether an error means that time ran out, and not that something is wrong.
func tooSlow(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
