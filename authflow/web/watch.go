package web

import (
	"context"
	"errors"
	"sync"
	"time"

	"sallyport/authflow/session"
)

// watchEvery is how often a session is looked up while something forwarded for it is under way.
const watchEvery = 200 * time.Millisecond

// Watch returns a context that ends when the identity's session does, when still says no to what the
// directory says of its owner now, or when that cannot be found out twice in a row: a WebSocket or an event
// stream does not outlive a sign-out, nor a lost group. The context's cause says which: session.ErrNone,
// still's error or the store's. A look does not count as a use: an open connection keeps nobody signed in.
// What is over before the first look costs none.
func (s *Server) Watch(ctx context.Context, id *session.Identity, still func(*session.Identity) error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{server: s, key: id.Key, still: still, ctx: ctx, cancel: cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(watchEvery, w.look)
	return ctx, w.stop
}

type watch struct {
	server *Server
	key    string
	still  func(*session.Identity) error
	ctx    context.Context
	cancel context.CancelCauseFunc
	failed bool // the last look found nothing out; only the timer's goroutine looks

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	stopped bool
}

func (w *watch) look() {
	if w.ctx.Err() != nil {
		return
	}
	id, err := w.server.Alive(w.ctx, w.key)
	known := err == nil || errors.Is(err, session.ErrNone)
	if err == nil {
		err = w.still(id)
	}
	if err != nil && (known || w.failed) {
		w.cancel(err)
		return
	}
	w.failed = !known
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
	w.cancel(nil)
}
