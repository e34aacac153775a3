package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/authflow/cookie"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/store/boltstore"
	"sallyport/authflow/store/redisstore"
	"sallyport/authflow/users"
)

// Signing in a hundred thousand times would hash for an hour. So sessions begin here by the gateway's own
// [session.Keeper], one person's at a time in a store in memory, and what then stands there goes to the real store in
// one write a record. Nothing here knows how a record is written.

// browser is the User-Agent of the sessions, of a usual length.
const browser = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"

// seed is a number of sessions to begin.
type seed struct {
	Redis    []string // addresses; none: Bolt
	Cluster  bool
	Bolt     string // the embedded store's file
	Users    string // the users file whose people they are; empty: people whom nobody knows
	Only     string // of these people one alone
	Crowd    string // names the people whom nobody knows, so that two seeds are of different ones
	Secret   []byte // the gateway's
	Sessions int
	Each     int           // sessions of one person
	Life     time.Duration // from now; the idle timeout is an hour
	Spread   time.Duration // over how long before now they were last used: alike, as where all are in use for long
	Cookies  string        // the file for the cookies, one on each line; empty: none
	Keys     string        // the file for the keys of what the first people got, see [keysOf]
}

// plant begins sessions in a process of its own, whose memory ends with it.
func (b *bench) plant(s seed) error {
	s.Secret = b.users.secret
	job, err := json.Marshal(s)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(b.ctx, b.self, "seed", string(job)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("seed %d sessions: %w: %s", s.Sessions, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func seedPart(args []string) error {
	var s seed
	if len(args) != 1 {
		return fmt.Errorf("want one argument, found %d", len(args))
	}
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the process is short-lived, and the time is needed for the writes
	ctx := context.Background()
	kv, workers, err := s.open(ctx)
	if err != nil {
		return err
	}
	ring, err := seal.New(s.Secret)
	if err != nil {
		return err
	}
	owners, err := s.owners()
	if err != nil {
		return err
	}
	g := gardener{seed: s, kv: kv, codec: cookie.NewCodec(ring.Derive("cookie envelopes")), now: time.Now(), cookies: make([]string, s.Sessions)}
	err = g.plantAll(ctx, owners, workers)
	err = errors.Join(err, kv.Close())
	if err == nil && s.Cookies != "" {
		err = writeLines(s.Cookies, g.cookies)
	}
	if err == nil && s.Keys != "" {
		err = writeLines(s.Keys, g.keys)
	}
	return err
}

// open opens the real store. The embedded one commits what comes at once together, so it gets more workers.
func (s seed) open(ctx context.Context) (store.KV, int, error) {
	if len(s.Redis) == 0 {
		kv, err := boltstore.Open(s.Bolt, boltstore.Options{})
		return kv, 1000, err
	}
	kv, err := redisstore.Open(ctx, redisstore.Options{Addresses: s.Redis, Cluster: s.Cluster, KeyPrefix: keyPrefix})
	return kv, 64, err
}

// keyPrefix is the gateway's default.
const keyPrefix = "sallyport:"

type owner struct{ subject, stamp string }

// owners are as many people as the sessions need.
func (s seed) owners() ([]owner, error) {
	n := (s.Sessions + s.Each - 1) / s.Each
	var all []owner
	if s.Users == "" {
		for i := range n {
			all = append(all, owner{fmt.Sprintf("file:%s%07d", s.Crowd, i), "nobodysstampxxxx"})
		}
		return all, nil
	}
	dir, err := users.Open(s.Users, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	for _, u := range dir.All() {
		if s.Only == "" || u.Username == s.Only {
			all = append(all, owner{u.Subject, u.Stamp})
		}
	}
	if len(all) < n {
		return nil, fmt.Errorf("%d sessions of %d each need %d people: %s has %d", s.Sessions, s.Each, n, s.Users, len(all))
	}
	return all[:n], nil
}

// gardener plants the sessions of a seed.
type gardener struct {
	seed
	kv      store.KV
	codec   *cookie.Codec
	now     time.Time
	cookies []string // by the number of the session

	mu   sync.Mutex
	keys []string
}

func (g *gardener) plantAll(ctx context.Context, owners []owner, workers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range next {
				if err := g.plantFor(ctx, i, owners[i]); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := range owners {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// plantFor begins the sessions of one person.
func (g *gardener) plantFor(ctx context.Context, i int, who owner) error {
	st := &stage{KV: g.kv, values: map[string]staged{}, fresh: g.Users == ""}
	now := g.now
	keeper := &session.Keeper{KV: st, Now: func() time.Time { return now }}
	for n := i * g.Each; n < min((i+1)*g.Each, g.Sessions); n++ {
		now = g.now.Add(-g.Spread * time.Duration(n%g.Each) / time.Duration(g.Each))
		token := session.NewToken()
		_, err := keeper.Start(ctx, token, session.Session{
			Subject: who.subject, Stamp: who.stamp, AMR: []string{"pwd", "otp"}, SecondFactorAt: now.Unix(),
			EndsAt: g.now.Add(g.Life).Unix(), IdleFor: 3600, Address: fmt.Sprintf("203.0.113.%d", n%256), UserAgent: browser,
		})
		if err != nil {
			return err
		}
		if g.Cookies == "" {
			continue
		}
		if g.cookies[n], err = g.codec.Encode(cookie.Session, token[:]); err != nil {
			return err
		}
	}
	for key, v := range st.values {
		if err := g.kv.Put(ctx, key, v.value, v.ttl); err != nil {
			return err
		}
	}
	g.note(i, st)
	return nil
}

// notedPeople is of how many people the keys are told.
const notedPeople = 100

// note tells the keys of one of the first people: what was written once is a session's own, what was written again for
// each of them is the person's.
func (g *gardener) note(i int, st *stage) {
	if g.Keys == "" || i >= notedPeople {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, v := range st.values {
		kind := "session"
		if v.writes > 1 {
			kind = "person"
		}
		g.keys = append(g.keys, kind+" "+strconv.Quote(keyPrefix+key)) // keys are bytes, and may hold the end of a line
	}
}

// keysOf reads what note wrote, and says how many sessions it is about.
func keysOf(path string) (sessions, persons []string, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(string(raw)) {
		kind, quoted, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		switch kind {
		case "session":
			sessions = append(sessions, key)
		case "person":
			persons = append(persons, key)
		}
	}
	return sessions, persons, nil
}

// stage is a store in memory, in front of the real one, in which one person's sessions begin. It is for one goroutine.
type stage struct {
	store.KV // asked for what is not here
	values   map[string]staged
	fresh    bool // the real one has nothing of this person's, so there is nothing to ask
}

type staged struct {
	value  []byte
	ttl    time.Duration
	writes int
}

func (s *stage) Get(ctx context.Context, key string) ([]byte, error) {
	if v, here := s.values[key]; here {
		return slices.Clone(v.value), nil
	}
	if s.fresh {
		return nil, store.ErrNotFound
	}
	return s.KV.Get(ctx, key)
}

func (s *stage) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s.values[key] = staged{slices.Clone(value), ttl, s.values[key].writes + 1}
	return nil
}

func (s *stage) Update(ctx context.Context, key string, change store.Change) error {
	current, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	next, ttl, err := change(current)
	switch {
	case err != nil:
		return err
	case next == nil:
		return s.Delete(ctx, key)
	}
	return s.Put(ctx, key, next, ttl)
}

func (s *stage) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		delete(s.values, key)
	}
	if len(keys) == 0 || s.fresh {
		return nil
	}
	return s.KV.Delete(ctx, keys...)
}

func writeLines(path string, lines []string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	return errors.Join(w.Flush(), f.Close())
}

func readLines(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	return strings.Fields(string(raw)), err
}

// firstLines copies the first n lines of a file to another one, whose path it returns.
func (b *bench) firstLines(path string, n int) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	lines := strings.SplitN(string(raw), "\n", n+1)
	if len(lines) <= n {
		return "", fmt.Errorf("%s has fewer than %d lines", path, n)
	}
	out := filepath.Join(b.memory, fmt.Sprintf("%s-first-%d", filepath.Base(path), n))
	return out, writeLines(out, lines[:n])
}
