package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sallyport/authflow/store"
)

const (
	// touchEvery bounds how often the time of the last request is written. A short idle timeout has it written
	// more often, so that its end is kept to a tenth.
	touchEvery = time.Minute

	// usesEvery is how long what was used is gathered before it is written.
	usesEvery = time.Second

	// gatheredLeast is the shortest time between two writes of a session that may wait for others. Where it is less,
	// the session could end before it is the turn of its use.
	gatheredLeast = 10 // seconds
)

// Lookup returns the session that a token opens, or [ErrNone], and notes that it was used. The session is shared and not
// to be changed.
func (k *Keeper) Lookup(ctx context.Context, by Opener) (*Session, error) {
	now := k.Now()
	e := k.Cache.find(by.Digest, now)
	if e == nil || e.over(now.Unix()) {
		return k.read(ctx, by.Digest, e, now, true) // another replica may have seen it used since
	}
	k.use(e, now.Unix())
	return &e.session, nil
}

// Peek returns a live session by its key, or [ErrNone], and does not note that it was used.
func (k *Keeper) Peek(ctx context.Context, key string) (*Session, error) {
	now, d := k.Now(), digestOf(key)
	e := k.Cache.find(d, now)
	if e == nil || e.over(now.Unix()) {
		return k.read(ctx, d, e, now, false)
	}
	return &e.session, nil
}

// read reads a session of which found opens nothing, once for everybody who asks meanwhile where that is as good as a
// read of one's own.
func (k *Keeper) read(ctx context.Context, d Digest, found *known, now time.Time, use bool) (*Session, error) {
	c, key := k.Cache, d.String()
	if c == nil || !c.believed(now) {
		return k.readAlone(ctx, key, use)
	}
	f, mine := c.begin(d, found)
	if mine {
		k.readFor(ctx, d, f)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("look session up: %w: %w", store.ErrUnavailable, ctx.Err())
	}
	if !mine && (!f.current || !c.believed(k.Now())) {
		return k.readAlone(ctx, key, use) // what was read may be from before this request
	}
	if f.err != nil {
		return nil, f.err
	}
	if e := c.find(d, now); use && e != nil {
		k.use(e, now.Unix())
	}
	return f.session, nil
}

// readFor reads for a flight. Others wait for it, so that it goes on when the client has gone who was the first.
func (k *Keeper) readFor(ctx context.Context, d Digest, f *flight) {
	defer k.Cache.end(d, f)
	f.err = errors.New("look session up: the reading ended in a panic")
	f.session, f.err = k.get(context.WithoutCancel(ctx), d.String())
}

// readAlone reads a session for one request. Nothing is remembered, so its use is written at once where that is due.
func (k *Keeper) readAlone(ctx context.Context, key string, use bool) (*Session, error) {
	s, err := k.get(ctx, key)
	if err != nil || !use {
		return s, err
	}
	now := k.Now().Unix()
	if now-s.SeenAt <= s.writtenEvery() {
		return s, nil
	}
	used, err := k.update(ctx, key, func(s *Session) error { s.SeenAt = max(s.SeenAt, now); return nil })
	if errors.Is(err, store.ErrUnconfirmed) {
		return s, nil // all that could be lost is when it was used last
	}
	return used, err
}

// writtenEvery is how far the store may be behind with the last use, in seconds.
func (s *Session) writtenEvery() int64 { return min(int64(touchEvery/time.Second), s.IdleFor/10) }

// use notes that a session is used, and that the store has to hear of it where that is due.
func (k *Keeper) use(e *known, now int64) {
	if seen := e.seen.Load(); seen >= now || !e.seen.CompareAndSwap(seen, now) {
		return // another request of the same second, or a clock that was set back
	}
	every, written := e.session.writtenEvery(), e.written.Load()
	if now-written > every && e.written.CompareAndSwap(written, now) {
		k.Cache.uses.add(Use{Key: e.session.Key, SeenAt: now, EndsAt: e.session.EndsAt, IdleFor: e.session.IdleFor}, every < gatheredLeast)
	}
}

// uses are the last uses that the store does not know yet, at most one of each session that is remembered.
type uses struct {
	mu      sync.Mutex
	waiting map[string]Use // by key
	hurry   chan struct{}  // holds one where some cannot wait
}

func (u *uses) add(use Use, now bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if use.SeenAt > u.waiting[use.Key].SeenAt && (len(u.waiting) < rememberedMost || u.waiting[use.Key].Key != "") {
		u.waiting[use.Key] = use
	}
	if now {
		select {
		case u.hurry <- struct{}{}:
		default:
		}
	}
}

func (u *uses) take() []Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := make([]Use, 0, len(u.waiting))
	for _, use := range u.waiting {
		taken = append(taken, use)
	}
	clear(u.waiting)
	return taken
}

// Run writes when sessions were used last, about once a second and all at once, until ctx ends, and then once more. Where
// others change the store too, it follows what they announce. It is for a Keeper with a cache.
func (k *Keeper) Run(ctx context.Context, announcer store.Announcer) {
	var following sync.WaitGroup
	if announcer != nil {
		following.Go(func() { announcer.Follow(ctx, k.Cache) })
	}
	tick := time.NewTicker(usesEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-k.Cache.uses.hurry:
		case <-ctx.Done():
		}
		k.writeUses(context.WithoutCancel(ctx))
	}
	following.Wait()
}

// writeUses hands on what was gathered. What the store does not take waits for the next time.
func (k *Keeper) writeUses(ctx context.Context) {
	used := k.Cache.uses.take()
	if len(used) == 0 {
		return
	}
	gone, err := k.Renew(ctx, used)
	if err != nil {
		for _, use := range used {
			k.Cache.uses.add(use, false)
		}
		return
	}
	k.Cache.forget(gone...)
}
