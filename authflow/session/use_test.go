package session

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/authflow/store"
)

func TestUsesAreWrittenTogetherAndOnceAMinuteForEachSession(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	var tokens []Token
	for range 20 {
		token, _ := begin(t, k, nil)
		opens(t, k, kv, token)
		tokens = append(tokens, token)
	}
	renewing := &renewals{KV: kv.KV}
	kv.KV = renewing
	for range 180 { // three minutes
		c.pass(time.Second)
		for _, token := range tokens {
			opens(t, k, kv, token)
		}
		k.writeUses(t.Context())
	}
	if renewing.calls > 3 || renewing.sessions < 20 || renewing.sessions > 60 {
		t.Errorf("%d writes of %d sessions in three minutes, want 3 at most of 20 each", renewing.calls, renewing.sessions)
	}
	if s, err := (&Keeper{KV: kv.KV, Now: c.Now}).Peek(t.Context(), tokens[0].Key()); err != nil || c.Now().Unix()-s.SeenAt > 62 {
		t.Errorf("the store has %+v, %v", s, err)
	}
}

// renewals counts calls of Renew, and may refuse them.
type renewals struct {
	store.KV
	calls, sessions int
	refuse          error
}

func (r *renewals) Renew(ctx context.Context, all []store.Renewal) ([]string, error) {
	r.calls++
	r.sessions += len(all)
	if r.refuse != nil {
		return nil, r.refuse
	}
	return r.KV.Renew(ctx, all)
}

func TestUsesThatTheStoreDoesNotTakeAreWrittenLater(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	opens(t, k, kv, token)
	renewing := &renewals{KV: kv.KV, refuse: store.ErrUnavailable}
	kv.KV = renewing
	c.pass(2 * time.Minute)
	opens(t, k, kv, token)
	k.writeUses(t.Context())
	renewing.refuse = nil
	k.writeUses(t.Context())
	if got, err := (&Keeper{KV: renewing.KV, Now: c.Now}).Peek(t.Context(), s.Key); err != nil || got.SeenAt != s.SeenAt+120 {
		t.Errorf("the store has %+v, %v", got, err)
	}
}

func TestAUseOfASessionThatIsGoneEndsItHere(t *testing.T) {
	k, c, kv := rememberingKeeper(t, true)
	token, s := begin(t, k, nil)
	opens(t, k, kv, token)
	if err := kv.KV.Delete(t.Context(), recordName(s.Key)); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Minute)
	opens(t, k, kv, token) // nobody has said so yet
	k.writeUses(t.Context())
	wantNone(t, k, token, "after its use found no record")
}

func TestRunWritesUsesUntilItEndsAndOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _, kv := rememberingKeeper(t, true)
		renewing := &renewals{KV: kv.KV}
		kv.KV = renewing
		k.Now, k.Cache = time.Now, NewCache(true, time.Now)
		kv.KV = &fixedStore{renewals: renewing}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.Run(ctx, nil) })
		k.Cache.uses.add(Use{Key: "a", SeenAt: 1}, false)
		time.Sleep(usesEvery + time.Millisecond)
		synctest.Wait()
		k.Cache.uses.add(Use{Key: "b", SeenAt: 1}, true)
		synctest.Wait()
		if renewing.calls != 2 {
			t.Errorf("%d writes, want one after a second and one at once", renewing.calls)
		}
		k.Cache.uses.add(Use{Key: "c", SeenAt: 1}, false)
		stop()
		running.Wait()
		if renewing.sessions != 3 {
			t.Errorf("%d sessions written, want 3", renewing.sessions)
		}
	})
}

// fixedStore takes renewals and needs no file.
type fixedStore struct{ *renewals }

func (f *fixedStore) Renew(_ context.Context, all []store.Renewal) ([]string, error) {
	f.calls++
	f.sessions += len(all)
	return nil, nil
}
