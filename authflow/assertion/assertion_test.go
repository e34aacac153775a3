package assertion

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"sallyport/authflow/seal"
	"sallyport/authflow/session"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// signer has the secret keys of the given bytes, the current one first.
func signer(t *testing.T, c *clock, secrets ...byte) *Signer {
	t.Helper()
	var all [][]byte
	for _, b := range secrets {
		all = append(all, bytes.Repeat([]byte{b}, seal.MinKey))
	}
	ring, err := seal.New(all[0], all[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return New("https://apps.example.com", ring.Derive, c.now)
}

func alice() *session.Identity {
	return &session.Identity{
		Subject: "file:alice", Username: "alice", Email: "alice@example.com", Name: "Alice Liddell", Groups: []string{"admins", "staff"},
		AMR: []string{"pwd", "otp"}, Key: "key",
	}
}

func (s *Signer) must(t *testing.T, id *session.Identity, audience string) string {
	t.Helper()
	token, err := s.For(id, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// checked is what an app does: it verifies the assertion with the published keys, and returns what it says.
func checked(t *testing.T, keys *Signer, token, audience string, at time.Time) (claims, error) {
	t.Helper()
	raw, err := keys.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), `"d"`) {
		t.Fatal("the set holds a private key")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return claims{}, err
	}
	var said claims
	known := set.Key(parsed.Headers[0].KeyID)
	if len(known) != 1 {
		return said, fmt.Errorf("%d keys by this name", len(known))
	}
	if err := parsed.Claims(known[0], &said); err != nil {
		return said, err
	}
	return said, said.ValidateWithLeeway(jwt.Expected{Issuer: "https://apps.example.com", AnyAudience: jwt.Audience{audience}, Time: at}, 0)
}

func TestAnAppChecksWhoAsksWithThePublishedKeysAlone(t *testing.T) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := signer(t, c, 1)
	said, err := checked(t, signer(t, c, 1), s.must(t, alice(), "wiki"), "wiki", c.at) // the keys of another replica
	if err != nil {
		t.Fatal(err)
	}
	if said.Subject != "file:alice" || said.Username != "alice" || !slices.Equal(said.Groups, []string{"admins", "staff"}) ||
		!slices.Equal(said.AMR, []string{"pwd", "otp"}) || said.Session != alice().Handle() || said.Email != "alice@example.com" || said.Name != "Alice Liddell" {
		t.Errorf("it says %+v", said)
	}
	if _, err := checked(t, s, s.must(t, alice(), "wiki"), "shop", c.at); err == nil {
		t.Error("another app takes it")
	}
	if _, err := checked(t, signer(t, c, 2), s.must(t, alice(), "wiki"), "wiki", c.at); err == nil {
		t.Error("it passes with the keys of another secret")
	}
	if _, err := checked(t, s, s.must(t, alice(), "wiki"), "wiki", c.at.Add(life+time.Second)); err == nil {
		t.Error("it is good after a minute")
	}
}

func TestAPersonOfAnAppIsNotTakenForAnotherOfTheSameName(t *testing.T) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := signer(t, c, 1)
	id := alice()
	id.Subject, id.Source = "app:wiki:alice", "wiki"
	for audience, want := range map[string]string{"wiki": "alice", "shop": "wiki/alice"} {
		if said, err := checked(t, s, s.must(t, id, audience), audience, c.at); err != nil || said.Username != want || said.Subject != "app:wiki:alice" {
			t.Errorf("%s is told %q, %v, want %q", audience, said.Username, err, want)
		}
	}
}

func TestOneAssertionServesASessionAtAnAppForMostOfAMinute(t *testing.T) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := signer(t, c, 1)
	first := s.must(t, alice(), "wiki")
	c.at = c.at.Add(reuse - time.Second)
	if s.must(t, alice(), "wiki") != first {
		t.Error("a second one was made")
	}
	if s.must(t, alice(), "shop") == first {
		t.Error("another app got the same")
	}
	other := alice()
	other.Key = "other"
	if s.must(t, other, "wiki") == first {
		t.Error("another session got the same")
	}
	less := alice()
	less.Groups = []string{"staff"}
	changed := s.must(t, less, "wiki")
	if said, err := checked(t, s, changed, "wiki", c.at); err != nil || !slices.Equal(said.Groups, []string{"staff"}) {
		t.Errorf("after a group was dropped it says %v, %v", said.Groups, err)
	}
	c.at = c.at.Add(reuse)
	if s.must(t, less, "wiki") == changed {
		t.Error("it is handed out when it has no ten seconds left")
	}
	c.at = c.at.Add(-time.Hour) // a clock that was set back must not keep an old one in use
	if _, err := checked(t, s, s.must(t, less, "wiki"), "wiki", c.at); err != nil {
		t.Errorf("after the clock was set back: %v", err)
	}
}

func TestKeysArePublishedBeforeTheySignAndAfter(t *testing.T) {
	c := &clock{time.Unix(0, 0).Add(700 * period)}
	before := signer(t, c, 1)
	old := before.must(t, alice(), "wiki")
	made := c.at
	fetched, err := before.KeySet() // an app keeps these for a period
	if err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(period)
	if _, err := checked(t, before, old, "wiki", made); err != nil {
		t.Errorf("the key of the last period is gone: %v", err)
	}
	next := before.must(t, alice(), "wiki")
	parsed, err := jwt.ParseSigned(next, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if next == old || !bytes.Contains(fetched, []byte(parsed.Headers[0].KeyID)) {
		t.Error("an app that fetched the keys a period ago does not know the present one")
	}
	// A rotation of the secret: the new one is published by being among the previous ones first.
	announced, rotated := signer(t, c, 1, 2), signer(t, c, 2, 1)
	if _, err := checked(t, announced, rotated.must(t, alice(), "wiki"), "wiki", c.at); err != nil {
		t.Errorf("before the rotation has reached every replica: %v", err)
	}
	if _, err := checked(t, rotated, next, "wiki", c.at); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := signer(t, c, 1)
	id := alice()
	for i := range maxKept {
		s.kept[keptKey{fmt.Sprint(i), "wiki"}] = kept{made: c.at.Add(-reuse)}
	}
	s.must(t, id, "wiki")
	if len(s.kept) != 1 {
		t.Errorf("%d are kept, want the one that is new", len(s.kept))
	}
	for i := range maxKept {
		s.kept[keptKey{fmt.Sprint(i), "wiki"}] = kept{made: c.at}
	}
	id.Key = "one more"
	s.must(t, id, "wiki")
	if len(s.kept) > maxKept {
		t.Errorf("%d are kept", len(s.kept))
	}
}

func BenchmarkAnAssertionThatIsKept(b *testing.B) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	ring, err := seal.New(bytes.Repeat([]byte{1}, seal.MinKey))
	if err != nil {
		b.Fatal(err)
	}
	s := New("https://apps.example.com", ring.Derive, c.now)
	id := alice()
	for b.Loop() {
		if _, err := s.For(id, "wiki"); err != nil {
			b.Fatal(err)
		}
	}
}
