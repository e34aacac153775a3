// Package assertion says who makes a request in a form that an app can check for itself: a JWT (RFC 7519) signed with
// EdDSA (RFC 8037), for one app and for a minute, so that the app need not trust the network before it.
//
// It does not decide who somebody is, and reads no assertion: that is the app's part, with the keys of [Signer.KeySet].
package assertion

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"sallyport/authflow/session"
)

const (
	// life is how long an assertion is good for, and reuse how long it is handed out, so that an app has ten seconds at
	// least.
	life  = time.Minute
	reuse = 50 * time.Second
	// period is how long a key signs. The key of the next period, and that of the one before, are published as well, so
	// that an app which fetches the keys once in a period knows each before it is used.
	period = 30 * 24 * time.Hour
	// maxKept bounds the assertions that are kept to be handed out again.
	maxKept = 20_000
)

// Signer makes assertions. Every replica with the same secret key has the same keys, without a word between them. It is
// safe for concurrent use.
type Signer struct {
	issuer string
	derive func(purpose string) [][]byte
	now    func() time.Time

	mu     sync.Mutex
	number int64 // of the period that sign is for
	sign   jose.Signer
	kept   map[keptKey]kept
}

type keptKey struct{ session, audience string }

// kept is an assertion with what it says, so that it is not handed out once that has changed.
type kept struct {
	token string
	made  time.Time
	id    session.Identity
}

// New returns a signer. derive gives 32 bytes for a purpose from each secret key, the current one first; issuer is what
// assertions have as iss.
func New(issuer string, derive func(purpose string) [][]byte, now func() time.Time) *Signer {
	return &Signer{issuer: issuer, derive: derive, now: now, number: -1, kept: map[keptKey]kept{}}
}

// claims are what an assertion says beside the registered claims of RFC 7519.
type claims struct {
	jwt.Claims
	Groups   []string `json:"groups"`
	AMR      []string `json:"amr"` // RFC 8176
	Session  string   `json:"sid"` // names the session and opens nothing
	Username string   `json:"preferred_username"`
	Email    string   `json:"email,omitempty"`
	Name     string   `json:"name,omitempty"`
}

// For returns an assertion about id for the app that is called audience: one for a session and an app in most of a
// minute, or a new one where what it says has changed.
func (s *Signer) For(id *session.Identity, audience string) (string, error) {
	now := s.now()
	key := keptKey{id.Key, audience}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kept[key]; ok && !now.Before(k.made) && now.Sub(k.made) < reuse && saysTheSame(&k.id, id) {
		return k.token, nil
	}
	if err := s.turnOver(now); err != nil {
		return "", err
	}
	token, err := jwt.Signed(s.sign).Claims(claims{
		Claims: jwt.Claims{
			Issuer: s.issuer, Subject: id.Subject, Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
		},
		Groups: slices.Concat([]string{}, id.Groups), AMR: id.AMR, Session: id.Handle(),
		Username: id.UsernameAt(audience), Email: id.Email, Name: id.Name,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign an assertion: %w", err)
	}
	s.forgetOld(now)
	s.kept[key] = kept{token, now, *id}
	return token, nil
}

func saysTheSame(a, b *session.Identity) bool {
	return a.Subject == b.Subject && a.Username == b.Username && a.Source == b.Source && a.Email == b.Email && a.Name == b.Name &&
		slices.Equal(a.Groups, b.Groups) && slices.Equal(a.AMR, b.AMR)
}

// forgetOld makes room where the most are kept: of those that are not handed out any more, or else of all.
func (s *Signer) forgetOld(now time.Time) {
	if len(s.kept) < maxKept {
		return
	}
	for key, k := range s.kept {
		if now.Sub(k.made) >= reuse {
			delete(s.kept, key)
		}
	}
	if len(s.kept) >= maxKept {
		clear(s.kept)
	}
}

// turnOver makes the signer of the present period.
func (s *Signer) turnOver(now time.Time) error {
	number := periodOf(now)
	if number == s.number {
		return nil
	}
	private := s.keys(number)[0]
	id, err := keyID(private)
	if err != nil {
		return err
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id)
	s.sign, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, options)
	if err != nil {
		return fmt.Errorf("make the signer of assertions: %w", err)
	}
	s.number = number
	return nil
}

func periodOf(t time.Time) int64 { return t.Unix() / int64(period/time.Second) }

// keys are those of a period, one from each secret key, the current one first.
func (s *Signer) keys(number int64) []ed25519.PrivateKey {
	var out []ed25519.PrivateKey
	for _, seed := range s.derive("assertion key " + strconv.FormatInt(number, 10)) {
		out = append(out, ed25519.NewKeyFromSeed(seed))
	}
	return out
}

// keyID is the key's thumbprint (RFC 7638).
func keyID(private ed25519.PrivateKey) (string, error) {
	thumbprint, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("name the key of assertions: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(thumbprint), nil
}

// KeySet returns the public keys as a JWK Set (RFC 7517 section 5): of this period, the next and the last, from the
// current secret key and those before it.
func (s *Signer) KeySet() ([]byte, error) {
	var set jose.JSONWebKeySet
	now := periodOf(s.now())
	for _, number := range []int64{now, now + 1, now - 1} {
		for _, private := range s.keys(number) {
			id, err := keyID(private)
			if err != nil {
				return nil, err
			}
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: string(jose.EdDSA), Use: "sig"})
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("write the keys of assertions: %w", err)
	}
	return raw, nil
}
