package authflow

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sallyport/authflow/store"
)

// unconfirming is a store whose deletions of the named keys stand, and are known to no replica.
type unconfirming struct {
	store.KV
	keys string // how they begin; empty: none
	told int    // how often it said so
}

func (u *unconfirming) Delete(ctx context.Context, keys ...string) error {
	err := u.KV.Delete(ctx, keys...)
	if err == nil && u.keys != "" && len(keys) > 0 && strings.HasPrefix(keys[0], u.keys) {
		u.told++
		return errors.Join(store.ErrUnavailable, store.ErrUnconfirmed)
	}
	return err
}

// unconfirmed puts such a store under the flow.
func (f *fixture) unconfirmed(keys string) *unconfirming {
	kv := &unconfirming{KV: f.KV, keys: keys}
	f.KV, f.Sessions.KV = kv, kv
	return kv
}

func TestAFaultWhileTheAuthenticatorIsTurnedOffLeavesNoOtherSession(t *testing.T) {
	f := newFixture(t, true)
	secret, other := f.enrolled("alice")
	out, err := f.second(f.challenged("alice"), f.code(secret, 0))
	if err != nil {
		t.Fatal(err)
	}
	f.Policy = demands(false)
	f.unconfirmed("authenticator/")
	f.wants(f.Disable(t.Context(), f.current(out), nil, here), store.ErrUnconfirmed, "turning it off")
	f.wants(f.Disable(t.Context(), f.current(out), nil, here), ErrNotEnrolled, "once more") // the write stands
	_, err = f.Authenticate(t.Context(), other.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the other session")
}

func TestASignOutIsConfirmedOnlyByAReplicaHoweverOftenItIsAskedFor(t *testing.T) {
	f := newFixture(t, true)
	_, out := f.enrolled("alice")
	kv := f.unconfirmed("s/")
	for try := 1; try <= 3; try++ {
		f.wants(f.SignOut(t.Context(), out.Token, here), store.ErrUnconfirmed, "signing out")
		if kv.told != try {
			t.Errorf("%d tries asked the store %d times", try, kv.told)
		}
	}
	kv.keys = ""
	f.wants(f.SignOut(t.Context(), out.Token, here), nil, "with a replica again")
}
