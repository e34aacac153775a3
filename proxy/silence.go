package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// errSilence ends a request over which no byte has passed for too long. It is a timeout to [tooSlow].
var errSilence error = silenceError{}

type silenceError struct{}

func (silenceError) Error() string {
	return "no byte passed in either direction for as long as the upstream's timeouts.idle"
}
func (silenceError) Is(target error) bool { return target == os.ErrDeadlineExceeded }
func (silenceError) Timeout() bool        { return true }
func (silenceError) Temporary() bool      { return false }

// silence ends one request when neither of its bodies has moved for a while. The connection to the client gets a
// deadline as well, since a client that has stopped reading or sending would hold the request up forever.
type silence struct {
	after  time.Duration
	cancel context.CancelCauseFunc
	client *http.ResponseController
	timer  *time.Timer

	mu       sync.Mutex
	begun    bool // the answer has: it cannot become another any more
	finished bool // the client's connection must not be touched any more
}

// watchSilence gives a context that ends with [errSilence], and a function to be called when the request is over.
func watchSilence(ctx context.Context, client *http.ResponseController, after time.Duration) (*silence, context.Context, func()) {
	s := &silence{after: after, client: client}
	ctx, s.cancel = context.WithCancelCause(ctx)
	s.timer = time.AfterFunc(after, s.fire)
	return s, ctx, s.end
}

func (s *silence) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.cancel(errSilence)
	past := time.Unix(1, 0)
	s.client.SetReadDeadline(past)
	if s.begun {
		s.client.SetWriteDeadline(past)
	}
}

func (s *silence) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
}

func (s *silence) end() {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.cancel(nil)
}

// body gives a body that tells of each byte that passes. One that can also be written to, a WebSocket's, still can.
func (s *silence) body(of io.ReadCloser) io.ReadCloser {
	if of == nil || of == http.NoBody {
		return of
	}
	heard := heardBody{ReadCloser: of, silence: s}
	if rw, ok := of.(io.ReadWriteCloser); ok {
		return heardConn{heard, rw}
	}
	return heard
}

type heardBody struct {
	io.ReadCloser
	silence *silence
}

func (b heardBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.silence.timer.Reset(b.silence.after)
	}
	return n, err
}

type heardConn struct {
	heardBody
	to io.Writer
}

func (c heardConn) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	if n > 0 {
		c.silence.timer.Reset(c.silence.after)
	}
	return n, err
}

// CloseWrite passes on that the client has said all, where the connection can tell.
func (c heardConn) CloseWrite() error {
	if half, ok := c.to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
