package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authflow/session"
)

// lookEvery is how often a session is looked up while something forwarded for it is under way.
const lookEvery = 200 * time.Millisecond

// errSilence ends a request over which no byte has passed for too long. It is a timeout to [tooSlow].
var errSilence error = silenceError{}

type silenceError struct{}

func (silenceError) Error() string {
	return "no byte passed in either direction for as long as the upstream's timeouts.idle"
}
func (silenceError) Is(target error) bool { return target == os.ErrDeadlineExceeded }
func (silenceError) Timeout() bool        { return true }
func (silenceError) Temporary() bool      { return false }

// vigil is kept over one request while it is under way. It ends the request's context when the session does, when the
// person may not have what is asked for any more, when that cannot be found out twice in a row, and when neither of the
// bodies has moved for a while. So a WebSocket or an event stream does not outlive a sign-out, nor a lost group. A look
// does not count as a use: an open connection keeps nobody signed in. What is over before the first look costs none.
//
// It is the request's context itself, and its timer the only one, since each request has one of it.
type vigil struct {
	context.Context
	passage *passage
	cancel  context.CancelCauseFunc
	began   time.Time
	failed  bool // the last look found nothing out; only the timer's goroutine looks

	silent time.Duration // the longest silence; 0: any
	heard  atomic.Int64  // when a byte passed last, in nanoseconds since began

	mu       sync.Mutex // guards what follows
	timer    *time.Timer
	answered bool // the answer has begun: it cannot become another any more
	over     bool // the client's connection must not be touched any more
}

// Value gives the passage, and what the request's context has.
func (v *vigil) Value(key any) any {
	if key == (passageKey{}) {
		return v.passage
	}
	return v.Context.Value(key)
}

// keep begins the vigil over a request, under ctx. silent is the longest silence; 0: any.
func (v *vigil) keep(ctx context.Context, p *passage, silent time.Duration) {
	v.passage, v.silent = p, silent
	v.Context, v.cancel = context.WithCancelCause(ctx)
	first := silent
	if p.watched && (first == 0 || first > lookEvery) {
		first = lookEvery
	}
	if first == 0 {
		return
	}
	v.began = time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.timer = time.AfterFunc(first, v.look)
}

// end is for when the request is over.
func (v *vigil) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	if v.timer != nil {
		v.timer.Stop()
	}
	v.cancel(nil)
}

// look is what the timer does.
func (v *vigil) look() {
	next := lookEvery
	if v.silent > 0 {
		left := v.silent - (time.Since(v.began) - time.Duration(v.heard.Load()))
		if left <= 0 {
			v.cutOff()
			return
		}
		next = left
	}
	if v.passage.watched {
		if err := v.stillAllowed(); err != nil {
			v.cancel(err)
			return
		}
		next = min(next, lookEvery)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.over {
		v.timer.Reset(next)
	}
}

// stillAllowed says why the person may not have what is under way any more; nil: they may, or nobody knows yet.
func (v *vigil) stillAllowed() error {
	if v.Err() != nil {
		return nil
	}
	p := v.passage
	id, err := p.gateway.options.Alive(v.Context, p.id.Key)
	known := err == nil || errors.Is(err, session.ErrNone)
	if err == nil {
		err = p.verdict.demand.still(id)
	}
	if err != nil && (known || v.failed) {
		return err
	}
	v.failed = !known
	return nil
}

// cutOff ends a request that is too silent. The connection to the client gets a deadline as well, since a client that has
// stopped reading or sending would hold the request up forever.
func (v *vigil) cutOff() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	v.cancel(errSilence)
	client, past := http.NewResponseController(v.passage.w), time.Unix(1, 0)
	client.SetReadDeadline(past)
	if v.answered {
		client.SetWriteDeadline(past)
	}
}

func (v *vigil) hasAnswered() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answered = true
}

// body gives a body that tells of each byte that passes. One that can also be written to, a WebSocket's, still can.
func (v *vigil) body(of io.ReadCloser) io.ReadCloser {
	if v.silent == 0 || of == nil || of == http.NoBody {
		return of
	}
	heard := heardBody{ReadCloser: of, vigil: v}
	if rw, ok := of.(io.ReadWriteCloser); ok {
		return heardConn{heard, rw}
	}
	return &heard
}

func (v *vigil) hear(n int) {
	if n > 0 {
		v.heard.Store(int64(time.Since(v.began)))
	}
}

type heardBody struct {
	io.ReadCloser
	vigil *vigil
}

func (b heardBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.vigil.hear(n)
	return n, err
}

type heardConn struct {
	heardBody
	to io.Writer
}

func (c heardConn) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.vigil.hear(n)
	return n, err
}

// CloseWrite passes on that the client has said all, where the connection can tell.
func (c heardConn) CloseWrite() error {
	if half, ok := c.to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
