package proxy

import (
	"container/list"
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

// vigil is kept over one request while it is under way. It ends the request when the session ends, when the person may
// not have what is asked for any more, when that cannot be found out twice in a row, and when neither of the bodies has
// moved for a while. So a WebSocket or an event stream does not outlive a sign-out, nor a lost group. A look does not
// count as a use: an open connection keeps nobody signed in. What is over before the first look costs none.
//
// It is the request's context itself, which ends with the vigil, but for a request on the short way: there the exchange
// says what is to be done at the end, and the context, of which each request would need one more and a watch on the one
// before, is only the client's. That the client has gone is seen at a look then.
type vigil struct {
	context.Context
	passage *passage
	cancel  context.CancelCauseFunc // nil on the short way
	began   time.Time
	failed  bool // the last look found nothing out; only one look is taken at a time

	silent time.Duration // the longest silence; 0: any
	heard  atomic.Int64  // when a byte passed last, in nanoseconds since began

	turn *list.Element // of the gateway's vigils, who guard this; nil: there is none to come
	due  time.Time     // when it comes

	mu       sync.Mutex // guards what follows
	answered bool       // the answer has begun: it cannot become another any more
	over     bool       // the client's connection must not be touched any more
	cause    error      // with which the vigil has ended the request; nil: it has not
	abort    func()     // what that does to the exchange under way; nil: nothing
}

// Value gives the passage, and what the request's context has.
func (v *vigil) Value(key any) any {
	if key == (passageKey{}) {
		return v.passage
	}
	return v.Context.Value(key)
}

// keep begins the vigil over a request, under ctx. silent is the longest silence; 0: any. short says that the request goes the
// short way.
func (v *vigil) keep(ctx context.Context, p *passage, silent time.Duration, short bool) {
	v.passage, v.silent, v.Context = p, silent, ctx
	if !short {
		v.Context, v.cancel = context.WithCancelCause(ctx)
	}
	if short || p.watched || silent > 0 {
		v.began = time.Now()
		p.gateway.vigils.add(v, v.began)
	}
}

// end is for when the request is over.
func (v *vigil) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.passage.gateway.vigils.remove(v)
	if v.cancel != nil {
		v.cancel(nil)
	}
}

// look is what there is to do at each turn.
func (v *vigil) look() {
	if v.silent > 0 && time.Since(v.began)-time.Duration(v.heard.Load()) >= v.silent {
		v.cutOff()
		return
	}
	err := v.Err()
	if err == nil && v.passage.watched {
		err = v.stillAllowed()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.interrupt(err)
	} else if !v.over {
		v.passage.gateway.vigils.add(v, time.Now())
	}
}

// interrupt ends the request. The caller has v.mu.
func (v *vigil) interrupt(cause error) {
	if v.cause != nil || v.over {
		return
	}
	v.cause = cause
	if v.cancel != nil {
		v.cancel(cause)
	}
	if v.abort != nil {
		v.abort()
	}
}

// guard has abort called, once, when the vigil ends the request, and at once where it has.
func (v *vigil) guard(abort func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.abort = abort; v.cause != nil {
		abort()
	}
}

// release is for when what guard was given is over. false: it was called.
func (v *vigil) release() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.abort = nil
	return v.cause == nil
}

// under gives a context that the vigil ends, by way of guard, and ctx at the latest.
func (v *vigil) under(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	v.guard(func() { cancel(v.cause) })
	return ctx
}

// endOf gives the reason for which a request is to end, by its context or by the vigil over it; nil: there is none yet.
func endOf(ctx context.Context) error {
	if v := shortVigil(ctx); v != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.cause != nil {
			return v.cause
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// shortVigil gives the vigil over a request on the short way, by its context; nil: the request is not on it.
func shortVigil(ctx context.Context) *vigil {
	if p, ok := ctx.Value(passageKey{}).(*passage); ok && p.vigil.cancel == nil {
		return &p.vigil
	}
	return nil
}

// stillAllowed says why the person may not have what is under way any more; nil: they may, or nobody knows yet.
func (v *vigil) stillAllowed() error {
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
	v.interrupt(errSilence)
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
