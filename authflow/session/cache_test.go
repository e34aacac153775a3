package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authflow/store"
)

// countedStore counts what is read, and may hold a read up.
type countedStore struct {
	store.KV
	reads atomic.Int64
	held  func() // called with what was read, before it is returned; nil: nothing
}

func (c *countedStore) Get(ctx context.Context, key string) ([]byte, error) {
	c.reads.Add(1)
	raw, err := c.KV.Get(ctx, key)
	if c.held != nil {
		c.held()
	}
	return raw, err
}

// rememberingKeeper is a keeper with a cache. alone is as in [NewCache].
func rememberingKeeper(t *testing.T, alone bool) (*Keeper, *clock, *countedStore) {
	t.Helper()
	k, c := keeper(t)
	counted := &countedStore{KV: k.KV}
	k.KV, k.Cache = counted, NewCache(alone, c.Now)
	return k, c, counted
}

// opens looks a token up and returns how many reads that cost.
func opens(t *testing.T, k *Keeper, kv *countedStore, token Token) int64 {
	t.Helper()
	before := kv.reads.Load()
	if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
		t.Fatalf("a live session: %v", err)
	}
	return kv.reads.Load() - before
}

func wantNone(t *testing.T, k *Keeper, token Token, when string) {
	t.Helper()
	if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("%s the session still opens: %v", when, err)
	}
}

func TestASessionIsReadOnceAndThenRemembered(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	first := opens(t, k, kv, token)
	for range 100 {
		c.pass(500 * time.Millisecond)
		first += opens(t, k, kv, token)
		if _, err := k.Peek(t.Context(), s.Key); err != nil {
			t.Fatal(err)
		}
	}
	if first != 1 {
		t.Errorf("%d reads, want 1", first)
	}
}

func TestATokenThatOpensNothingIsAskedForEachTime(t *testing.T) {
	k, _, kv := rememberingKeeper(t, true)
	token := NewToken()
	for range 3 {
		wantNone(t, k, token, "before it began")
	}
	if _, err := k.Start(t.Context(), token, Session{Subject: "file:alice", EndsAt: k.Now().Unix() + 60, IdleFor: 60}); err != nil {
		t.Fatal(err)
	}
	if opens(t, k, kv, token) != 1 {
		t.Error("a session that has just begun is not read")
	}
}

func TestAHerdOnASessionThatIsNotRememberedCostsOneRead(t *testing.T) {
	k, _, kv := rememberingKeeper(t, true)
	token, _ := begin(t, k, nil)
	kv.reads.Store(0)
	all, waiting := make(chan struct{}), atomic.Int64{}
	kv.held = func() { <-all }
	var herd sync.WaitGroup
	for range 200 {
		herd.Go(func() {
			waiting.Add(1)
			if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
				t.Error(err)
			}
		})
	}
	for waiting.Load() < 200 {
		time.Sleep(time.Millisecond)
	}
	close(all)
	herd.Wait()
	if n := kv.reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

func TestWhoeverLooksJustBeforeTheReadOfAnotherEndsAndAsksJustAfterReadsNothing(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	token, _ := begin(t, k, nil)
	by := token.Opener()
	found := k.Cache.find(by.Digest, c.Now())
	kv.reads.Store(0)
	opens(t, k, kv, token)
	if _, err := k.read(t.Context(), by.Digest, found, c.Now(), true); err != nil {
		t.Error(err)
	}
	if n := kv.reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
	remembered := k.Cache.find(by.Digest, c.Now())
	if _, err := k.read(t.Context(), by.Digest, remembered, c.Now(), true); err != nil {
		t.Error(err)
	}
	if n := kv.reads.Load(); n != 2 {
		t.Errorf("%d reads after what is remembered was found to open nothing, want 2", n)
	}
}

func TestWhoeverWaitsForTheReadOfAnotherGoesWhenTheirClientDoes(t *testing.T) {
	k, _, kv := rememberingKeeper(t, true)
	token, _ := begin(t, k, nil)
	all, reading := make(chan struct{}), make(chan struct{})
	kv.held = sync.OnceFunc(func() { close(reading); <-all })
	var first sync.WaitGroup
	first.Go(func() { k.Lookup(t.Context(), token.Opener()) })
	<-reading
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Lookup(ctx, token.Opener()); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone: %v", err)
	}
	close(all)
	first.Wait()
}

// ends are all ways in which a process ends a session or changes what it is worth.
var ends = map[string]func(ctx context.Context, k *Keeper, token Token, s *Session) error{
	"revoked": func(ctx context.Context, k *Keeper, _ Token, s *Session) error { return k.Revoke(ctx, s) },
	"all revoked": func(ctx context.Context, k *Keeper, _ Token, s *Session) error {
		return k.RevokeAll(ctx, s.Subject, "")
	},
	"stays ended": func(ctx context.Context, k *Keeper, _ Token, s *Session) error { return k.StayEnded(ctx, s.Key) },
	"replaced": func(ctx context.Context, k *Keeper, _ Token, s *Session) error {
		_, err := k.Replace(ctx, s, NewToken(), *s)
		return err
	},
	"token reused": func(ctx context.Context, k *Keeper, token Token, _ *Session) error {
		_, err := k.Refresh(ctx, token, 7)
		return ignore(err, ErrReused)
	},
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

func TestWhatIsEndedHereOpensNothingHereAnyMore(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			k, _, kv := rememberingKeeper(t, true)
			token, s := begin(t, k, func(s *Session) { s.Bearer = true })
			opens(t, k, kv, token)
			if err := end(t.Context(), k, token, s); err != nil {
				t.Fatal(err)
			}
			wantNone(t, k, token, name)
		})
	}
}

func TestASessionThatOthersPushOutOfAPersonsListOpensNothingHere(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	oldest, _ := begin(t, k, nil)
	opens(t, k, kv, oldest)
	for range MaxPerUser {
		c.pass(time.Second)
		begin(t, k, nil)
	}
	wantNone(t, k, oldest, "with a hundred newer ones")
}

func TestWhatIsChangedHereIsSeenHere(t *testing.T) {
	k, _, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, func(s *Session) { s.AMR, s.SecondFactorAt, s.Bearer = []string{"pwd", "otp"}, 5, true })
	for name, step := range map[string]struct {
		change func() error
		seen   func(*Session) bool
	}{
		"lowered":       {func() error { return k.Lower(t.Context(), s) }, func(s *Session) bool { return !s.TwoFactor() }},
		"restamped":     {func() error { return k.Restamp(t.Context(), s, "new") }, func(s *Session) bool { return s.Stamp == "new" }},
		"password kept": {func() error { return k.KeepPassword(t.Context(), s.Key, []byte("sealed")) }, func(s *Session) bool { return string(s.Password) == "sealed" }},
		"refreshed":     {func() error { _, err := k.Refresh(t.Context(), token, 0); return err }, func(s *Session) bool { return s.Generation == 1 }},
	} {
		opens(t, k, kv, token)
		if err := step.change(); err != nil {
			t.Fatal(name, err)
		}
		if got, err := k.Lookup(t.Context(), token.Opener()); err != nil || !step.seen(got) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestWhatCouldNotBeEndedForSureIsNotRememberedEither(t *testing.T) {
	k, _, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	opens(t, k, kv, token)
	kv.KV = unconfirming{kv.KV}
	if err := k.Revoke(t.Context(), s); !errors.Is(err, store.ErrUnconfirmed) {
		t.Fatal(err)
	}
	wantNone(t, k, token, "after an end that no replica has heard of")
}

// unconfirming carries writes out and says that no replica has them.
type unconfirming struct{ store.KV }

func (u unconfirming) Delete(ctx context.Context, keys ...string) error {
	return errors.Join(u.KV.Delete(ctx, keys...), store.ErrUnconfirmed)
}

func TestAReadThatARevocationOvertakesIsNeitherRememberedNorShared(t *testing.T) {
	k, c, kv := rememberingKeeper(t, false)
	k.Cache.UpTo(c.Now())
	token, s := begin(t, k, nil)
	other := &Keeper{KV: kv.KV, Now: c.Now} // another replica
	read, goOn := make(chan struct{}), make(chan struct{})
	kv.held = sync.OnceFunc(func() { close(read); <-goOn })
	var late error
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
			t.Errorf("the request from before the end: %v", err)
		}
	})
	<-read
	if err := other.Revoke(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	both.Go(func() { _, late = k.Lookup(t.Context(), token.Opener()) })
	time.Sleep(50 * time.Millisecond) // so that it waits for the read; where it does not yet, it reads itself
	k.Cache.Changed(recordName(s.Key))
	close(goOn)
	both.Wait()
	if !errors.Is(late, ErrNone) {
		t.Errorf("a request from after the end that waited for a read from before it: %v", late)
	}
	wantNone(t, k, token, "after its end")
}

func TestWithoutWordOfChangesNothingIsRemembered(t *testing.T) {
	k, c, kv := rememberingKeeper(t, false)
	token, _ := begin(t, k, nil)
	wantReads := func(want int64, when string) {
		t.Helper()
		if got := opens(t, k, kv, token) + opens(t, k, kv, token); got != want {
			t.Errorf("%s: two lookups cost %d reads, want %d", when, got, want)
		}
	}
	wantReads(2, "before the first word")
	k.Cache.UpTo(c.Now())
	wantReads(1, "up to date")
	wantReads(0, "up to date, and read")
	c.pass(believedFor - time.Millisecond)
	wantReads(0, "just within the time")
	c.pass(time.Millisecond)
	wantReads(2, "when the word is too old")
	k.Cache.UpTo(c.Now())
	wantReads(0, "up to date again, with no change missed")
	k.Cache.Missed()
	wantReads(2, "when changes may have been missed")
	k.Cache.UpTo(c.Now())
	wantReads(1, "up to date after that")
}

func TestWhatAnotherReplicaEndsOpensNothingHereOnceThatIsHeard(t *testing.T) {
	k, c, kv := rememberingKeeper(t, false)
	k.Cache.UpTo(c.Now())
	token, s := begin(t, k, nil)
	opens(t, k, kv, token)
	other := &Keeper{KV: kv.KV, Now: c.Now}
	if err := other.Revoke(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	k.Cache.Changed("something/else")
	k.Cache.Changed(recordName(s.Key))
	wantNone(t, k, token, "after the word of its end")
}

func TestAStoreThatHasLostASessionWithoutAWordIsBelievedInNothing(t *testing.T) {
	k, c, kv := rememberingKeeper(t, false)
	k.Cache.UpTo(c.Now())
	if w := k.Cache.Witness(); w != "" {
		t.Errorf("with nothing remembered %q is to be there", w)
	}
	alice, s := begin(t, k, nil)
	bob, _ := begin(t, k, nil)
	opens(t, k, kv, alice)
	opens(t, k, kv, bob)
	if w := k.Cache.Witness(); w != recordName(s.Key) && w == "" {
		t.Errorf("the witness is %q", w)
	}
	k.Cache.Vanished(recordName("nobody's"))
	if opens(t, k, kv, bob) != 0 {
		t.Error("a session that nobody remembers is missed")
	}
	k.Cache.Vanished(recordName(s.Key))
	if err := errors.Join(kv.KV.Delete(t.Context(), recordName(s.Key))); err != nil {
		t.Fatal(err)
	}
	wantNone(t, k, alice, "after it was found to be lost")
	if opens(t, k, kv, bob) != 1 {
		t.Error("the others are remembered as before")
	}
}

func TestASessionThatEndsSoonIsNoWitness(t *testing.T) {
	k, c, kv := rememberingKeeper(t, false)
	k.Cache.UpTo(c.Now())
	token, _ := begin(t, k, func(s *Session) { s.EndsAt = c.Now().Unix() + 10 })
	opens(t, k, kv, token)
	if w := k.Cache.Witness(); w != "" {
		t.Errorf("%q is to be there for ten seconds more", w)
	}
}

func TestASessionThatAnotherReplicaUsesDoesNotEndHere(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	opens(t, k, kv, token)
	c.pass(50 * time.Minute)
	other := &Keeper{KV: kv.KV, Now: c.Now}
	if _, err := other.Lookup(t.Context(), token.Opener()); err != nil {
		t.Fatal(err)
	}
	c.pass(50 * time.Minute)
	if opens(t, k, kv, token) != 1 {
		t.Error("a session that seems idle is not read again")
	}
	c.pass(61 * time.Minute)
	wantNone(t, k, token, "after its idle time")
	if _, err := k.Peek(t.Context(), s.Key); !errors.Is(err, ErrNone) {
		t.Errorf("after its idle time a look finds it: %v", err)
	}
}

func TestARememberedSessionEndsOnTimeUnderConstantUse(t *testing.T) {
	k, c, _ := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	for c.Now().Unix() < s.EndsAt {
		if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
			t.Fatalf("%d s before its end: %v", s.EndsAt-c.Now().Unix(), err)
		}
		c.pass(time.Minute)
		k.writeUses(t.Context())
	}
	wantNone(t, k, token, "at its end")
}

func TestTheCacheIsBoundedAndForgetsWhatWasNotUsedLately(t *testing.T) {
	_, c := keeper(t)
	cache := NewCache(true, c.Now)
	const over = rememberedMost + rememberedMost/4
	for i := range over {
		d := sha256.Sum256([]byte(fmt.Sprint(i)))
		f, _ := cache.begin(d, nil)
		f.session = &Session{Key: Digest(d).String(), SeenAt: int64(i), EndsAt: 1 << 40, IdleFor: 1 << 40}
		cache.end(d, f)
	}
	n, latest := 0, 0
	for i := range over {
		if cache.find(sha256.Sum256([]byte(fmt.Sprint(i))), c.Now()) != nil {
			n++
			if i >= over-rememberedMost/4 {
				latest++
			}
		}
	}
	if n > rememberedMost || n < rememberedMost*9/10 {
		t.Errorf("%d are remembered, want nearly %d", n, rememberedMost)
	}
	if latest < rememberedMost/4*9/10 {
		t.Errorf("of the latest %d only %d are remembered", rememberedMost/4, latest)
	}
}

func TestSessionsAreNeverMixedUpWhileTheyComeAndGo(t *testing.T) {
	k, c, _ := rememberingKeeper(t, false)
	var work sync.WaitGroup
	stop := make(chan struct{})
	work.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			k.Cache.UpTo(c.Now())
			if i%100 == 0 {
				k.Cache.Missed()
			}
		}
	})
	var people sync.WaitGroup
	for i := range 8 {
		people.Go(func() {
			subject := fmt.Sprint("file:person", i)
			for range 30 {
				token, s := begin(t, k, func(s *Session) { s.Subject = subject })
				for range 20 {
					if got, err := k.Lookup(t.Context(), token.Opener()); err != nil || got.Subject != subject || got.Key != s.Key {
						t.Errorf("%s got %+v, %v", subject, got, err)
					}
				}
				if err := k.Revoke(t.Context(), s); err != nil {
					t.Error(err)
				}
				wantNone(t, k, token, "after its end")
			}
		})
	}
	people.Wait()
	close(stop)
	work.Wait()
}

func BenchmarkLookupOfARememberedSession(b *testing.B) {
	c := NewCache(true, time.Now)
	k := &Keeper{Now: time.Now, Cache: c}
	var openers []Opener
	for i := range 100_000 {
		by := NewToken().Opener()
		openers = append(openers, by)
		f, _ := c.begin(by.Digest, nil)
		f.session = &Session{Key: by.Digest.String(), SeenAt: time.Now().Unix(), EndsAt: 1 << 40, IdleFor: 1 << 30, Subject: fmt.Sprint(i)}
		c.end(by.Digest, f)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := k.Lookup(b.Context(), openers[i%len(openers)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
