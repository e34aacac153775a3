package session

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authflow/store"
)

const (
	// believedFor is how long after the last word of the store's that all is told what is remembered opens
	// anything. With it a revocation is in force everywhere within 250 ms, whatever happens to the word of it.
	believedFor = 220 * time.Millisecond

	// rememberedMost bounds the sessions that are remembered: some 60 MiB of them.
	rememberedMost = 1 << 17

	cacheShards = 64
)

// Cache remembers sessions that were read from the store, so that a request costs no read, for as long as whatever
// ends or changes one is heard of. It holds rememberedMost sessions at most; where there are more, some that were not
// used lately are forgotten. It is safe for concurrent use.
//
// It never remembers that a token opens nothing.
type Cache struct {
	now    func() time.Time
	began  time.Time
	alone  bool         // nobody else changes the store: what this process changes, it forgets itself
	told   atomic.Int64 // see UpTo: nanoseconds since began; 0: never
	shards [cacheShards]cacheShard
	uses   uses
}

var _ store.Follower = (*Cache)(nil)

type cacheShard struct {
	sync.RWMutex
	known   map[Digest]*known
	reading map[Digest]*flight
}

// known is one session that is remembered.
type known struct {
	session Session      // as it was read; never changed
	seen    atomic.Int64 // when it was used last, here; Unix time
	written atomic.Int64 // what of that the store knows, or is about to hear
}

// newKnown puts the texts of a session side by side in one piece of memory, for the collector goes to each piece of each
// session.
func newKnown(s *Session) *known {
	e := &known{session: *s}
	e.written.Store(s.SeenAt)
	text := s.Key + s.Subject + s.Stamp + s.Address + s.UserAgent
	for _, field := range []*string{&e.session.Key, &e.session.Subject, &e.session.Stamp, &e.session.Address, &e.session.UserAgent} {
		*field, text = text[:len(*field)], text[len(*field):]
	}
	return e
}

// lastUse is when the session was used last, as far as this process knows.
func (e *known) lastUse() int64 { return max(e.session.SeenAt, e.seen.Load()) }

// over says whether the session is past one of its ends, as far as this process knows.
func (e *known) over(now int64) bool {
	return now >= e.session.EndsAt || now >= e.lastUse()+e.session.IdleFor
}

// flight is one read of a session that is under way, for everybody who asks meanwhile.
type flight struct {
	done    chan struct{} // closed when what follows is set
	session *Session
	err     error
	current bool // nothing was heard of it while it was read
}

// landed is closed.
var landed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// NewCache makes a cache. alone says that only this process changes the store; otherwise the cache remembers nothing
// until it is told, as a [store.Follower], that it hears of changes. now gives times with a monotonic reading.
func NewCache(alone bool, now func() time.Time) *Cache {
	c := &Cache{now: now, began: now().Add(-time.Second), alone: alone}
	c.uses.waiting, c.uses.hurry = map[string]Use{}, make(chan struct{}, 1)
	for i := range c.shards {
		c.shards[i].known, c.shards[i].reading = map[Digest]*known{}, map[Digest]*flight{}
	}
	return c
}

func (c *Cache) shard(d Digest) *cacheShard { return &c.shards[d[0]%cacheShards] }

// believed says whether what is remembered may open something at this moment.
func (c *Cache) believed(now time.Time) bool {
	if c.alone {
		return true
	}
	told := c.told.Load()
	return told != 0 && now.Sub(c.began)-time.Duration(told) < believedFor
}

// find returns what is remembered and may open something now; nil: nothing.
func (c *Cache) find(d Digest, now time.Time) *known {
	if c == nil || !c.believed(now) {
		return nil
	}
	s := c.shard(d)
	s.RLock()
	defer s.RUnlock()
	return s.known[d]
}

// begin says that a session is about to be read, since what the caller has found of it opens nothing; nil: there was
// nothing. Where somebody reads it already, their flight is returned, and false. So is one that is over where it has been
// remembered since the caller looked.
func (c *Cache) begin(d Digest, found *known) (f *flight, mine bool) {
	s := c.shard(d)
	s.Lock()
	defer s.Unlock()
	if f, under := s.reading[d]; under {
		return f, false
	}
	if e := s.known[d]; e != nil && e != found {
		return &flight{done: landed, session: &e.session, current: true}, false
	}
	f = &flight{done: make(chan struct{})}
	s.reading[d] = f
	return f, true
}

// end tells whoever waits for the flight what was read, and remembers it unless it may have changed meanwhile.
func (c *Cache) end(d Digest, f *flight) {
	s := c.shard(d)
	s.Lock()
	defer s.Unlock()
	if f.current = s.reading[d] == f; f.current {
		delete(s.reading, d)
		if f.err == nil {
			s.remember(d, f.session)
		}
	}
	close(f.done)
}

// remember makes room where there is none: the session that was not used for longest, of a few, is forgotten.
func (s *cacheShard) remember(d Digest, ses *Session) {
	const looked = 8
	if len(s.known) >= rememberedMost/cacheShards {
		oldest, oldestUse, n := Digest{}, int64(0), 0
		for other, e := range s.known { // begins anywhere
			if use := e.lastUse(); n == 0 || use < oldestUse {
				oldest, oldestUse = other, use
			}
			if n++; n == looked {
				break
			}
		}
		delete(s.known, oldest)
	}
	s.known[d] = newKnown(ses)
}

// forget drops sessions of which this process has changed the records, or has tried to.
func (c *Cache) forget(keys ...string) {
	for _, key := range keys {
		c.drop(digestOf(key))
	}
}

func (c *Cache) drop(d Digest) {
	if c == nil {
		return
	}
	s := c.shard(d)
	s.Lock()
	defer s.Unlock()
	delete(s.known, d)
	delete(s.reading, d)
}

// Changed implements [store.Follower].
func (c *Cache) Changed(record string) {
	if d, ok := recordDigest(record); ok {
		c.drop(d)
	}
}

// Missed implements [store.Follower].
func (c *Cache) Missed() {
	c.told.Store(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		clear(s.known)
		clear(s.reading)
		s.Unlock()
	}
}

// UpTo implements [store.Follower].
func (c *Cache) UpTo(asOf time.Time) { c.told.Store(int64(asOf.Sub(c.began))) }

// Witness implements [store.Follower]: any session that is not about to end.
func (c *Cache) Witness() string {
	now, first := c.now().Unix(), rand.N(cacheShards)
	for i := range c.shards {
		if key := c.shards[(first+i)%cacheShards].lasting(now); key != "" {
			return recordName(key)
		}
	}
	return ""
}

// lasting returns the key of a session that the store has for a while yet; "": a look at one has found none.
func (s *cacheShard) lasting(now int64) string {
	const margin = 10 // seconds: more than the store may be behind
	s.RLock()
	defer s.RUnlock()
	for _, e := range s.known { // begins anywhere
		if min(e.session.EndsAt, e.written.Load()+e.session.IdleFor) > now+margin {
			return e.session.Key
		}
		break
	}
	return ""
}

// Vanished implements [store.Follower].
func (c *Cache) Vanished(record string) {
	d, ok := recordDigest(record)
	s := c.shard(d)
	s.RLock()
	_, believed := s.known[d]
	s.RUnlock()
	if ok && believed {
		c.Missed()
	}
}
