package authflow

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

// limitCodes is how many wrong codes of one person are looked at, over all their challenges and sessions.
// At three chances in a million each, a guesser who knows the password needs years.
var limitCodes = throttle.Limit{Attempts: 9, Window: 15 * time.Minute}

// enrollingFor is how long a secret handed out to somebody who is signed in waits for its first code.
const enrollingFor = 15 * time.Minute

// ChallengeToken opens a challenge: the temp token of the JSON API. It is a secret, and no session's token.
type ChallengeToken [32]byte

// ChallengeTokenFrom reads a token from the bytes that an envelope carried.
func ChallengeTokenFrom(raw []byte) (ChallengeToken, error) {
	if len(raw) != len(ChallengeToken{}) {
		return ChallengeToken{}, ErrNoChallenge
	}
	return ChallengeToken(raw), nil
}

func (t ChallengeToken) record() string {
	sum := sha256.Sum256(t[:])
	return "challenge/" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// challenge is a sign-in that waits for a second factor or for its enrolment, or, for somebody signed in,
// an enrolment under way.
type challenge struct {
	Subject string `json:"sub"`
	Stamp   string `json:"stamp"`           // as in a session
	Enrol   bool   `json:"enrol,omitempty"` // waits for an enrolment, and a code opens nothing
	// ProvedAt is when a second factor was given that lets the enrolment replace the authenticator in force, in
	// Unix seconds; 0: none was in force.
	ProvedAt int64 `json:"proved,omitempty"`
	// Session is the key of the session that is raised; empty where the sign-in began with a password.
	Session  string   `json:"session,omitempty"`
	Remember bool     `json:"keep,omitempty"`
	Return   string   `json:"rd,omitempty"`
	EndsAt   int64    `json:"end"`
	Tried    [][]byte `json:"tried,omitempty"`  // digests of the codes that were looked at
	Secret   []byte   `json:"secret,omitempty"` // sealed: the TOTP secret handed out, not in force yet
	// Password is what the sign-in began with, where some app needs it afterwards, sealed under the temp token.
	Password []byte `json:"pw,omitempty"`
}

// replaces says whether the enrolment is of another authenticator, in the place of the one in force.
func (c *challenge) replaces() bool { return c.ProvedAt != 0 }

func (c *challenge) encode(now time.Time) ([]byte, time.Duration) {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // a plain struct of strings and numbers always marshals
	}
	return raw, max(time.Unix(c.EndsAt, 0).Sub(now), time.Second)
}

// readChallenge decodes a record; none, or one past its end, is [ErrNoChallenge].
func (f *Flow) readChallenge(raw []byte) (*challenge, error) {
	if raw == nil {
		return nil, ErrNoChallenge
	}
	c := &challenge{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("read challenge record: %w", err)
	}
	if f.Now().Unix() >= c.EndsAt {
		return nil, ErrNoChallenge
	}
	return c, nil
}

// challengeUser stores a challenge under a new token. plain is the password that the sign-in began with, or empty.
func (f *Flow) challengeUser(ctx context.Context, user users.User, c challenge, step Step, plain string) (*Outcome, error) {
	var token ChallengeToken
	rand.Read(token[:]) // never fails (crypto/rand)
	if plain != "" && f.need(user) != NotNeeded {
		c.Password = seal.Under(token[:], []byte(plain), user.Subject, fieldPassword)
	}
	raw, life := c.encode(f.Now())
	if err := f.KV.Put(ctx, token.record(), raw, life); err != nil {
		return nil, fmt.Errorf("store challenge: %w", err)
	}
	return &Outcome{Step: step, User: user, Challenge: token, Return: c.Return, RecoveryLeft: -1}, nil
}

// ChallengeSession asks somebody who is signed in for a second factor: to raise a session of one factor,
// or to confirm a session of two before a change to the second factor.
func (f *Flow) ChallengeSession(ctx context.Context, cur *Current, returnTo string) (*Outcome, error) {
	a, err := f.authenticator(ctx, cur.User.Subject)
	if err != nil {
		return nil, err
	}
	if !a.enrolled() {
		return nil, ErrNotEnrolled
	}
	return f.challengeUser(ctx, cur.User, challenge{
		Subject: cur.User.Subject, Stamp: cur.User.Stamp, Session: cur.Session.Key, Return: returnTo,
		EndsAt: f.Now().Add(f.Settings.ChallengeLifetime).Unix(),
	}, StepCode, "")
}

// Pending describes an open challenge to the page that asks for it.
type Pending struct {
	User   users.User
	Step   Step // StepCode or StepEnrol
	StepUp bool // the person is signed in already
	Return string
}

// Pending returns what a temp token waits for, or [ErrNoChallenge].
func (f *Flow) Pending(ctx context.Context, token ChallengeToken) (*Pending, error) {
	c, user, err := f.openChallenge(ctx, token.record())
	if err != nil {
		return nil, err
	}
	p := &Pending{User: user, Step: StepCode, StepUp: c.Session != "", Return: c.Return}
	if c.Enrol {
		p.Step = StepEnrol
	}
	return p, nil
}

// openChallenge returns a live challenge and its user as the directory knows them now.
func (f *Flow) openChallenge(ctx context.Context, record string) (*challenge, users.User, error) {
	raw, err := f.KV.Get(ctx, record)
	if errors.Is(err, store.ErrNotFound) {
		return nil, users.User{}, ErrNoChallenge
	}
	if err != nil {
		return nil, users.User{}, fmt.Errorf("look challenge up: %w", err)
	}
	c, err := f.readChallenge(raw)
	if err != nil {
		return nil, users.User{}, err
	}
	user, ok := f.bySubject(c.Subject)
	if !ok || user.Disabled || user.Stamp != c.Stamp {
		return nil, users.User{}, ErrNoChallenge
	}
	return c, user, nil
}

var errRepeated = errors.New("authflow: the same code again")

// attempt counts a code before it is looked at: for the person, over everything they do, and for the
// challenge. The same wrong code again on the same challenge counts once, and is wrong again. A challenge
// that is spent goes on counting for the person, so that hammering on it ends in 429.
func (f *Flow) attempt(ctx context.Context, record, subject, code string, client Client) error {
	if err := f.countCode(ctx, subject, client); err != nil {
		return err
	}
	tried := f.Keys.Digest([]byte(code), record, "tried")[:16]
	err := f.KV.Update(ctx, record, func(raw []byte) ([]byte, time.Duration, error) {
		c, err := f.readChallenge(raw)
		if err != nil {
			return nil, 0, err
		}
		if slices.ContainsFunc(c.Tried, func(t []byte) bool { return bytes.Equal(t, tried) }) {
			return nil, 0, errRepeated
		}
		if len(c.Tried) >= f.Settings.MaxAttempts {
			return nil, 0, ErrNoChallenge
		}
		c.Tried = append(c.Tried, tried)
		raw, life := c.encode(f.Now())
		return raw, life, nil
	})
	if errors.Is(err, errRepeated) {
		return errors.Join(ErrWrongCode, f.Throttle.Return(ctx, codeCounter(subject), limitCodes))
	}
	return err
}

func codeCounter(subject string) string { return "code/" + subject }

// countCode counts a code for the person alone.
func (f *Flow) countCode(ctx context.Context, subject string, client Client) error {
	err := f.Throttle.Reserve(ctx, codeCounter(subject), limitCodes)
	if errors.Is(err, throttle.ErrTooMany) {
		f.Trail.Record(ctx, audit.Event{Kind: audit.SecondFactorThrottled, Subject: subject, Address: client.Address})
	}
	return err
}

// finish takes a challenge away in one atomic step and signs its user in with two factors. Of two calls that
// both gave the right answer, one finishes it. token is its temp token, nil where the enrolment of somebody signed in
// is finished.
func (f *Flow) finish(ctx context.Context, record string, token *ChallengeToken, user users.User, c *challenge, client Client) (*Outcome, error) {
	err := f.KV.Update(ctx, record, func(raw []byte) ([]byte, time.Duration, error) {
		_, err := f.readChallenge(raw)
		return nil, 0, err
	})
	if err != nil {
		return nil, err
	}
	plain := ""
	if token != nil && c.Password != nil {
		opened, err := seal.OpenUnder(token[:], c.Password, user.Subject, fieldPassword)
		if err != nil {
			return nil, err
		}
		plain = string(opened)
	}
	return f.signIn(ctx, user, c, client, true, plain)
}

// signIn begins a session for a sign-in that has all it needs, or raises the one that it began from. plain is the
// password that it began with, or empty.
func (f *Flow) signIn(ctx context.Context, user users.User, c *challenge, client Client, second bool, plain string) (*Outcome, error) {
	s := f.newSession(user, c, client)
	old := client.Session
	if c.Session != "" {
		// The session that is raised must be the one that this browser still has.
		if old == nil || old.Key != c.Session {
			return nil, ErrNoChallenge
		}
		s = *old
		s.Bearer = old.Bearer || client.Bearer
		plain, _ = f.OwnPassword(old, client.Token)
	}
	if second {
		s.AMR, s.SecondFactorAt = []string{"pwd", "otp"}, f.Now().Unix()
	}
	out := &Outcome{Step: StepDone, User: user, Return: c.Return, RecoveryLeft: -1, Token: session.NewToken()}
	out.Password, s.Password = f.passwordFor(user, out.Token, plain)
	var err error
	if c.Session != "" {
		out.Session, err = f.Sessions.Replace(ctx, old, out.Token, s)
	} else {
		if old != nil {
			err = f.Sessions.Revoke(ctx, old)
		}
		if err == nil {
			out.Session, err = f.Sessions.Start(ctx, out.Token, s)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, known := deviceOf(client.Device, user.Subject); !known {
		out.Device = newDevice(user.Subject)
	}
	kind := audit.SignedIn
	if c.Session != "" {
		kind = audit.SecondFactorConfirmed
	}
	f.Trail.Record(ctx, audit.Event{Kind: kind, Subject: user.Subject, Address: client.Address})
	return out, nil
}

// newSession is what a sign-in of one factor has earned.
func (f *Flow) newSession(user users.User, c *challenge, client Client) session.Session {
	now := f.Now()
	s := session.Session{
		Subject: user.Subject, Stamp: user.Stamp, AMR: []string{"pwd"}, Bearer: client.Bearer,
		EndsAt: now.Add(f.Settings.Lifetime).Unix(), IdleFor: int64(f.Settings.IdleTimeout / time.Second),
		Address: client.Address.String(), UserAgent: client.UserAgent,
	}
	if c.Remember {
		s.Remembered = true
		s.EndsAt, s.IdleFor = now.Add(f.Settings.RememberFor).Unix(), int64(f.Settings.RememberFor/time.Second)
	}
	return s
}
