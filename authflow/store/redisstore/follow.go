package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
)

// Changes are announced over publish and subscribe, by the very scripts that make them, so that no change is without
// its word. A subscriber that has missed one learns nothing of that. So it sends itself a word by the way of all
// changes, beat by beat: what it hears of a beat, it heard of every change before it.
const (
	beatEvery = 100 * time.Millisecond
	// witnessEvery is how many beats there are to one look for a witness.
	witnessEvery = 3
	// silenceMost is how long nothing may be heard, beats included, before the subscription is begun anew.
	silenceMost = time.Second
	// followAgain is the pause after a subscription that came to nothing.
	followAgain = 100 * time.Millisecond
)

var _ store.Announcer = (*Store)(nil)

// changes is the channel of the announcements, each the key of what has changed, with its prefix.
func (s *Store) changes() string { return s.prefix + "changed" }

// announcing is what the scripts that change a key get to know: the channel, or "" where nobody is to hear of it.
func (s *Store) announcing(key string) string {
	if s.announced == "" || !strings.HasPrefix(key, s.announced) {
		return ""
	}
	return s.changes()
}

// Follow implements [store.Announcer].
func (s *Store) Follow(ctx context.Context, f store.Follower) {
	level := slog.LevelWarn
	for ctx.Err() == nil {
		began := time.Now()
		err := s.follow(ctx, f)
		f.Missed()
		if time.Since(began) > 3*silenceMost {
			level = slog.LevelWarn // it was heard for a while
		}
		if ctx.Err() == nil {
			s.log.Log(ctx, level, "redis: the announcements of changes are not heard: until they are, each request reads its session", "cause", err)
			level = slog.LevelDebug // one line for one trouble
		}
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// follow hears announcements over one subscription until it fails or ctx ends.
func (s *Store) follow(ctx context.Context, f store.Follower) error {
	h := &hearing{store: s, follower: f, own: s.prefix + "echo/" + rand.Text(), echoes: make(chan string, 64)}
	sub := s.client.Subscribe(ctx, s.changes(), h.own)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	for range 2 { // both channels are confirmed
		if got, err := sub.ReceiveTimeout(ctx, silenceMost); err != nil {
			return err
		} else if _, ok := got.(*redis.Subscription); !ok {
			return fmt.Errorf("subscribed, and heard a %T", got)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { h.beat(ctx) })
	defer beating.Wait()
	defer stop()
	for {
		got, err := sub.ReceiveTimeout(ctx, silenceMost)
		if err != nil {
			return err
		}
		if err := h.hear(got); err != nil {
			return err
		}
	}
}

// hearing is one subscription, and the beats by which it is known to be whole.
type hearing struct {
	store    *Store
	follower store.Follower
	own      string      // the channel of the beats, nobody else's
	echoes   chan string // beats that were heard, each once for every master
}

func (h *hearing) hear(got any) error {
	m, ok := got.(*redis.Message)
	if !ok { // the client library has subscribed anew by itself, and nobody knows what was said meanwhile
		return fmt.Errorf("heard a %T", got)
	}
	if m.Channel != h.own {
		h.follower.Changed(strings.TrimPrefix(m.Payload, h.store.prefix))
		return nil
	}
	select {
	case h.echoes <- m.Payload:
		return nil
	default:
		return errors.New("beats are heard that nobody waits for")
	}
}

// beat sends beats until ctx ends.
func (h *hearing) beat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		h.beatOnce(ctx, strconv.Itoa(n), n%witnessEvery == 0)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// beatOnce has every master publish a beat. Once all are heard, so is all that any of them has announced before: in a
// Cluster too each master's words arrive in their order, and by no other way than the changes' own.
func (h *hearing) beatOnce(ctx context.Context, beat string, look bool) {
	ctx, cancel := context.WithTimeout(ctx, silenceMost)
	defer cancel()
	witness, stands := "", true
	if look {
		witness = h.follower.Witness()
	}
	if witness != "" { // before the beat: what has removed it was announced before that
		left, err := h.store.do(ctx, "pttl", h.store.prefix+witness)
		if err != nil {
			return
		}
		stands = left != int64(-2)
	}
	sent := time.Now()
	var masters atomic.Int32
	err := h.store.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		masters.Add(1)
		return node.Do(ctx, "publish", h.own, beat).Err()
	})
	if err != nil {
		return
	}
	for heard := int32(0); heard < masters.Load(); {
		select {
		case echo := <-h.echoes:
			if echo == beat { // an older one has come too late
				heard++
			}
		case <-ctx.Done():
			return
		}
	}
	h.follower.UpTo(sent)
	if !stands {
		h.follower.Vanished(witness)
	}
}
