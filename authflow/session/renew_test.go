package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport/authflow/store"
)

func use(s *Session, at time.Time) Use {
	return Use{Key: s.Key, SeenAt: at.Unix(), EndsAt: s.EndsAt, IdleFor: s.IdleFor}
}

func TestARenewalKeepsManySessionsAliveAndBringsNoneBack(t *testing.T) {
	k, c := keeper(t)
	used, first := begin(t, k, func(s *Session) { s.UserAgent = browsers[0] })
	unused, _ := begin(t, k, nil)
	_, revoked := begin(t, k, nil)
	if err := k.Revoke(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	never := &Session{Key: NewToken().Key(), EndsAt: first.EndsAt, IdleFor: 3600}
	for range 3 {
		c.pass(25 * time.Minute)
		gone, err := k.Renew(t.Context(), []Use{use(revoked, c.Now()), use(first, c.Now()), use(never, c.Now())})
		if err != nil || !slices.Equal(gone, []string{revoked.Key, never.Key}) {
			t.Fatalf("gone are %q, %v; want %q and %q", gone, err, revoked.Key, never.Key)
		}
	}
	want := *first
	want.SeenAt = c.Now().Unix()
	if got, err := k.Lookup(t.Context(), used.Opener()); err != nil || got.SeenAt != want.SeenAt || got.UserAgent != want.UserAgent || got.EndsAt != want.EndsAt {
		t.Errorf("the one in use: %+v, %v, want %+v", got, err, want)
	}
	if _, err := k.Lookup(t.Context(), unused.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("the one that nobody used: %v", err)
	}
	if list, err := k.List(t.Context(), "file:alice"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions live, %v", len(list), err)
	}
}

func TestARenewedSessionStillEndsAtItsEnd(t *testing.T) {
	k, c := keeper(t)
	token, s := begin(t, k, nil)
	for range 23 {
		c.pass(30 * time.Minute)
		if gone, err := k.Renew(t.Context(), []Use{use(s, c.Now())}); err != nil || len(gone) > 0 {
			t.Fatal(gone, err)
		}
	}
	if _, err := k.Lookup(t.Context(), token.Opener()); err != nil {
		t.Errorf("half an hour before its end: %v", err)
	}
	c.pass(30 * time.Minute)
	if gone, err := k.Renew(t.Context(), []Use{use(s, c.Now())}); err != nil {
		t.Error(gone, err)
	}
	if _, err := k.Lookup(t.Context(), token.Opener()); !errors.Is(err, ErrNone) {
		t.Errorf("at its end: %v", err)
	}
}

func TestARenewalThatTheStoreCannotTakeSaysSo(t *testing.T) {
	k, _ := keeper(t)
	_, s := begin(t, k, nil)
	if err := k.KV.Close(); err != nil {
		t.Fatal(err)
	}
	if gone, err := k.Renew(t.Context(), []Use{use(s, k.Now())}); !errors.Is(err, store.ErrUnavailable) || gone != nil {
		t.Errorf("%q, %v", gone, err)
	}
}
