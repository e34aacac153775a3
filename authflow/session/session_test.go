package session

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/store"
	"sallyport/authflow/store/boltstore"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func keeper(t *testing.T) (*Keeper, *clock) {
	t.Helper()
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	kv, err := boltstore.Open(filepath.Join(t.TempDir(), "s.db"), boltstore.Options{Now: c.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	return &Keeper{KV: kv, Now: c.Now}, c
}

func begin(t *testing.T, k *Keeper, change func(*Session)) (Token, *Session) {
	t.Helper()
	s := Session{Subject: "file:alice", AMR: []string{"pwd"}, EndsAt: k.Now().Add(12 * time.Hour).Unix(), IdleFor: 3600}
	if change != nil {
		change(&s)
	}
	token := NewToken()
	started, err := k.Start(t.Context(), token, s)
	if err != nil {
		t.Fatal(err)
	}
	return token, started
}

func TestATokenIsNotInItsKeyNorTheKeyInItsHandle(t *testing.T) {
	token := NewToken()
	s := Session{Key: token.Key()}
	written := []string{string(token[:]), hex.EncodeToString(token[:]), base64.RawURLEncoding.EncodeToString(token[:]), base64.RawStdEncoding.EncodeToString(token[:])}
	for _, as := range written {
		if strings.Contains(token.Key(), as) {
			t.Errorf("the key %s holds the token", token.Key())
		}
	}
	if strings.Contains(s.Handle(), s.Key) || strings.Contains(s.Key, s.Handle()) {
		t.Errorf("key %s, handle %s", s.Key, s.Handle())
	}
	for _, length := range []int{0, 31, 33} {
		if _, err := TokenFrom(make([]byte, length)); !errors.Is(err, ErrNone) {
			t.Errorf("%d bytes are a token", length)
		}
	}
}

func TestASecondFactorIsFreshOnlyForItsTimeAndNeverFromTheFuture(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for age, want := range map[time.Duration]bool{
		0: true, 5 * time.Minute: true, 5*time.Minute + time.Second: false, -time.Second: true, -time.Minute: false,
	} {
		s := Session{SecondFactorAt: now.Add(-age).Unix()}
		if s.FreshWithin(5*time.Minute, now) != want {
			t.Errorf("%s old: fresh is %v", age, !want)
		}
	}
	if (&Session{}).FreshWithin(time.Hour, time.Unix(1, 0)) {
		t.Error("a second factor that was never given is fresh")
	}
}

func TestUseKeepsASessionAliveAndALookDoesNot(t *testing.T) {
	k, c := keeper(t)
	used, _ := begin(t, k, nil)
	_, looked := begin(t, k, nil)
	for range 3 {
		c.pass(25 * time.Minute)
		if _, err := k.Lookup(t.Context(), used.Opener()); err != nil {
			t.Fatal(err)
		}
		k.Peek(t.Context(), looked.Key)
	}
	if _, err := k.Peek(t.Context(), looked.Key); !errors.Is(err, ErrNone) {
		t.Errorf("a session that was only looked at: %v", err)
	}
}

func TestTheTimeOfTheLastRequestIsWrittenOnceAMinuteAtMost(t *testing.T) {
	k, c := keeper(t)
	token, s := begin(t, k, nil)
	c.pass(50 * time.Second)
	if got, err := k.Lookup(t.Context(), token.Opener()); err != nil || got.SeenAt != s.SeenAt {
		t.Errorf("after 50 s it was written: %v, %v", got, err)
	}
	c.pass(20 * time.Second)
	if got, err := k.Lookup(t.Context(), token.Opener()); err != nil || got.SeenAt != s.SeenAt+70 {
		t.Errorf("after 70 s: %v, %v", got, err)
	}
}

func TestAShortIdleTimeoutEndsAfterTheLastRequestAndNotTheFirst(t *testing.T) {
	k, c := keeper(t)
	token, _ := begin(t, k, func(s *Session) { s.IdleFor = 2 })
	for range 10 {
		c.pass(time.Second)
		if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(2 * time.Second)
	if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("after the timeout: %v", err)
	}
}

func TestAClockThatJumpsLetsNoSessionLiveLonger(t *testing.T) {
	k, c := keeper(t)
	token, started := begin(t, k, nil)
	c.pass(30 * time.Minute)
	if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
		t.Fatal(err)
	}
	c.pass(-90 * time.Second) // set back: used meanwhile, and no end moves on
	s, err := k.Lookup(t.Context(), token.Opener())
	if err != nil || s.EndsAt != started.EndsAt || s.SeenAt != started.SeenAt+1800 {
		t.Fatalf("after the clock was set back: %+v, %v", s, err)
	}
	c.pass(61 * time.Minute) // 59.5 min after the last use that was written
	if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
		t.Fatalf("before the idle end: %v", err)
	}
	c.pass(time.Hour) // set forward
	if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("after the clock was set forward by an hour: %v", err)
	}
	used, fresh := begin(t, k, nil)
	for range 30 { // in constant use for longer than its life, with a jump each half hour
		c.pass(31 * time.Minute)
		c.pass(-90 * time.Second)
		_, err = k.Lookup(t.Context(), used.Opener())
		if over := k.Now().Unix() >= fresh.EndsAt; over != errors.Is(err, ErrNone) {
			t.Fatalf("at %d, with its end at %d: %v", k.Now().Unix(), fresh.EndsAt, err)
		}
	}
	if !errors.Is(err, ErrNone) {
		t.Error("the loop was not longer than the life")
	}
}

func TestARevokedSessionIsNotBroughtBackByAUseAtTheSameTime(t *testing.T) {
	k, c := keeper(t)
	for range 50 {
		token, s := begin(t, k, nil)
		c.pass(2 * time.Minute) // so that a lookup writes
		var both sync.WaitGroup
		both.Go(func() { k.Lookup(t.Context(), token.Opener()) })
		both.Go(func() {
			if err := k.Revoke(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
			t.Fatalf("after its end: %v", err)
		}
	}
}

// hookedStore does something just before a session's record is written.
type hookedStore struct {
	store.KV
	before func()
}

func (h hookedStore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	h.before()
	return h.KV.Put(ctx, key, value, ttl)
}

func TestASessionThatIsBeingStartedWhenAllAreEndedDoesNotLive(t *testing.T) {
	k, _ := keeper(t)
	starting := &Keeper{Now: k.Now, KV: hookedStore{k.KV, func() {
		if err := k.RevokeAll(t.Context(), "file:alice", ""); err != nil {
			t.Error(err)
		}
	}}}
	started, err := starting.Start(t.Context(), NewToken(), Session{Subject: "file:alice", EndsAt: k.Now().Add(time.Hour).Unix(), IdleFor: 3600})
	if !errors.Is(err, ErrNone) || started != nil {
		t.Errorf("started: %v", err)
	}
	if list, err := k.List(t.Context(), "file:alice"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions live, %v", len(list), err)
	}
}

func TestASessionThatHasEndedIsNotReplaced(t *testing.T) {
	k, _ := keeper(t)
	_, old := begin(t, k, nil)
	if err := k.Revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Replace(t.Context(), old, NewToken(), *old); !errors.Is(err, ErrNone) {
		t.Errorf("replaced: %v", err)
	}
}

func TestReplacingLeavesOneSessionUnderANewToken(t *testing.T) {
	k, _ := keeper(t)
	token, old := begin(t, k, nil)
	next := NewToken()
	if _, err := k.Replace(t.Context(), old, next, *old); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Lookup(t.Context(), next.Opener()); err != nil {
		t.Errorf("the new token: %v", err)
	}
	if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("the old token: %v", err)
	}
	if list, err := k.List(t.Context(), "file:alice"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestRevokeAllSparesOneAndOtherPeople(t *testing.T) {
	k, _ := keeper(t)
	a, _ := begin(t, k, nil)
	b, spared := begin(t, k, nil)
	other, _ := begin(t, k, func(s *Session) { s.Subject = "file:bob" })
	if err := k.RevokeAll(t.Context(), "file:alice", spared.Key); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[Token]error{a: ErrNone, b: nil, other: nil} {
		if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// faultyStore fails a write where fault says so; the write of an ErrUnconfirmed stands.
type faultyStore struct {
	store.KV
	fault func(method, key string) error
}

func (f faultyStore) Update(ctx context.Context, key string, change store.Change) error {
	err := f.fault("Update", key)
	if err == nil || errors.Is(err, store.ErrUnconfirmed) {
		err = errors.Join(err, f.KV.Update(ctx, key, change))
	}
	return err
}

func (f faultyStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		err := f.fault("Delete", key)
		if err == nil || errors.Is(err, store.ErrUnconfirmed) {
			err = errors.Join(err, f.KV.Delete(ctx, key))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestEndingAllSessionsAgainAfterAFaultEndsWhatWasLeft(t *testing.T) {
	unconfirmed := errors.Join(store.ErrUnavailable, store.ErrUnconfirmed)
	for at := range 4 {
		for _, fault := range []error{store.ErrUnavailable, unconfirmed} {
			k, _ := keeper(t)
			a, _ := begin(t, k, nil)
			b, _ := begin(t, k, nil)
			kept, spared := begin(t, k, nil)
			writes := 0
			faulty := &Keeper{Now: k.Now, KV: faultyStore{k.KV, func(string, string) error {
				writes++
				if writes == at+1 {
					return fault
				}
				return nil
			}}}
			if err := faulty.RevokeAll(t.Context(), "file:alice", spared.Key); !errors.Is(err, fault) {
				t.Errorf("a fault at write %d: %v", at+1, err)
			}
			if err := faulty.RevokeAll(t.Context(), "file:alice", spared.Key); err != nil {
				t.Errorf("again after a fault at write %d: %v", at+1, err)
			}
			for token, want := range map[Token]error{a: ErrNone, b: ErrNone, kept: nil} {
				if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, want) {
					t.Errorf("after a fault (%v) at write %d: %v, want %v", fault, at+1, err, want)
				}
			}
			if entries, err := k.entries(t.Context(), "file:alice"); err != nil || len(entries) != 1 {
				t.Errorf("after a fault at write %d the index names %d sessions, %v", at+1, len(entries), err)
			}
		}
	}
}

func TestAUseThatNoReplicaHasHeardOfIsNoReasonToTurnSomebodyAway(t *testing.T) {
	k, c := keeper(t)
	token, _ := begin(t, k, nil)
	for fault, want := range map[error]error{store.ErrUnconfirmed: nil, store.ErrUnavailable: store.ErrUnavailable} {
		c.pass(2 * time.Minute)
		faulty := &Keeper{Now: k.Now, KV: faultyStore{k.KV, func(string, string) error { return fault }}}
		if s, err := faulty.Lookup(t.Context(), token.Opener()); !errors.Is(err, want) || (err == nil) != (s != nil) {
			t.Errorf("%v: %v, %v", fault, s, err)
		}
	}
}
