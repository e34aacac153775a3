// Package session is the life of a session: it starts, is looked up on every request, is raised when a
// person proves more, and ends by itself or by revocation.
//
// It does not know how a person proves who they are, nor how a token travels. A token is 256 random bits;
// the store knows only its SHA-256.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"
)

// ErrNone says that a token opens no session: it never did, it has ended, or it was revoked.
var ErrNone = errors.New("session: none")

// ErrReused says that a refresh token was used a second time. The session it belonged to has been ended.
var ErrReused = errors.New("session: refresh token used twice")

// Token opens a session. It is a secret.
type Token [32]byte

// NewToken returns a random token.
func NewToken() Token {
	var t Token
	rand.Read(t[:]) // never fails (crypto/rand)
	return t
}

// TokenFrom reads a token from the bytes that an envelope carried.
func TokenFrom(raw []byte) (Token, error) {
	if len(raw) != len(Token{}) {
		return Token{}, ErrNone
	}
	return Token(raw), nil
}

// Digest is the SHA-256 of a token. It opens nothing.
type Digest [sha256.Size]byte

// Digest returns the digest under which a token's record is stored.
func (t Token) Digest() Digest { return sha256.Sum256(t[:]) }

// String is the digest as a [Session.Key].
func (d Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// Key is the digest as text.
func (t Token) Key() string { return t.Digest().String() }

// Opener is a token and its digest, which need not be worked out for each request of those that are known.
type Opener struct {
	Token  Token
	Digest Digest
}

// Opener returns the token with its digest.
func (t Token) Opener() Opener { return Opener{t, t.Digest()} }

// Session is one person signed in on one device. Times are whole seconds; the zero time is "never".
type Session struct {
	Key     string // the token's digest
	Subject string
	// Stamp is the digest of the password's hash at sign-in: a session does not outlive a change of the
	// password.
	Stamp          string
	AMR            []string
	SignedInAt     int64
	SecondFactorAt int64
	SeenAt         int64
	EndsAt         int64 // absolute
	IdleFor        int64 // seconds without a request after which it ends
	Remembered     bool
	Address        string
	UserAgent      string
	// Bearer sessions are opened by access tokens and never by a cookie. Generation counts the refresh
	// tokens that were handed out: only the last one is good.
	Bearer     bool
	Generation int64
	// Password is the person's own, for the apps that ask for it, sealed under the token: what is stored does not
	// open it. nil: no app needs it, or it is no longer right.
	Password []byte
}

// Handle names the session to people and programs. It opens nothing, and the store key cannot be told
// from it.
func (s *Session) Handle() string { return handleOf(s.Key) }

func handleOf(key string) string {
	sum := sha256.Sum256([]byte("sallyport session handle " + key))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Ended says whether the session is past its absolute or its idle end. The end itself is past.
func (s *Session) Ended(now time.Time) bool {
	return now.Unix() >= s.EndsAt || now.Unix() >= s.SeenAt+s.IdleFor
}

// left is how long the session lives if nobody uses it, and at least a second.
func (s *Session) left(now time.Time) time.Duration {
	end := min(s.EndsAt, s.SeenAt+s.IdleFor)
	return max(time.Unix(end, 0).Sub(now), time.Second)
}

// FreshWithin says whether a second factor was given within d before now.
func (s *Session) FreshWithin(d time.Duration, now time.Time) bool {
	return Fresh(s.SecondFactorAt, d, now)
}

// Fresh is [Session.FreshWithin] for a second factor that was given at a Unix time; 0: none was. A second factor of
// the future (the clock was set back) is not fresh.
func Fresh(at int64, d time.Duration, now time.Time) bool {
	age := now.Sub(time.Unix(at, 0))
	return at != 0 && age >= -time.Second && age <= d
}

// TwoFactor says whether the session rests on two factors.
func (s *Session) TwoFactor() bool { return s.SecondFactorAt != 0 }
