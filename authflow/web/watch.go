package web

import (
	"context"
	"sync"
	"time"

	"sallyport/authflow/session"
)

// watchEvery is how often a session is looked up while something forwarded for it is under way.
const watchEvery = 500 * time.Millisecond

// Watch returns a context that ends when the identity's session does, or when that can no longer be found
// out, so that a WebSocket or an event stream does not outlive a sign-out. It looks without noting that the
// session was used: an open connection keeps nobody signed in. A request that is over sooner costs no look.
func (s *Server) Watch(ctx context.Context, id *session.Identity) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{server: s, id: id, ctx: ctx, cancel: cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(watchEvery, w.look)
	return ctx, w.stop
}

type watch struct {
	server *Server
	id     *session.Identity
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows: look runs in the timer's goroutine
	timer   *time.Timer
	stopped bool
}

func (w *watch) look() {
	if w.ctx.Err() != nil {
		return
	}
	if w.server.Flow.Alive(w.ctx, w.id.Key) != nil {
		w.cancel()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(watchEvery)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
	w.cancel()
}
