// Package authflow raises a person's assurance to what a route asks for: password, then a second factor or
// the enrolment of one, then a session.
//
//	Password ──► nothing more is needed ─────────────────────────────► session (one factor)
//	   │
//	   ├──► an authenticator is enrolled ──► challenge ──► SecondFactor ──► session (two factors)
//	   │
//	   └──► one is demanded, none enrolled ──► challenge ──► BeginEnrolment ──► ConfirmEnrolment ──► session
//
// A challenge is a sign-in that waits: a record under the digest of a temp token, which opens nothing but
// the next call. [Flow.Next] alone decides which step comes next. What must happen once (an accepted TOTP
// step, a spent recovery code, a finished challenge) is one atomic update of one record.
//
// The package knows neither HTTP nor a particular store, and has no clock of its own. Package web speaks
// to people and programs for it.
package authflow

import (
	"context"
	"net/netip"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/password"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

// Directory says who exists. A change of it is in force with the next call.
type Directory interface {
	Find(login string) (users.User, bool)
	BySubject(subject string) (users.User, bool)
	SetPassword(username, phc string) error
}

// Policy says what routes ask for.
type Policy interface {
	// DemandsTwoFactor says whether some route that a person of these groups may reach asks for two factors.
	DemandsTwoFactor(groups []string) bool
}

// Settings are the operator's choices; the configuration has checked them.
type Settings struct {
	Issuer              string // the name shown in authenticator apps
	InviteOnly          bool   // a first enrolment needs a code from the operator
	ChallengeLifetime   time.Duration
	MaxAttempts         int // wrong codes that one challenge survives
	FreshFor            time.Duration
	IdleTimeout         time.Duration
	Lifetime            time.Duration
	RememberFor         time.Duration // 0: nobody is kept signed in
	AccessTokenLifetime time.Duration
}

// Flow is the whole of signing in and of looking after one's second factor. Its fields are set once; it is
// safe for concurrent use, and any number of replicas may share a store.
type Flow struct {
	Users     Directory
	Passwords *password.Checker
	Sessions  *session.Keeper
	KV        store.KV
	Keys      *seal.Keyring
	Throttle  *throttle.Throttle
	Trail     *audit.Trail
	Policy    Policy
	// Sources are asked about a password in their order; a nil entry is Users. None at all: Users alone.
	Sources []*Source
	// PasswordNeed says for how long a person's own password is needed after it was checked. nil: for nobody's.
	PasswordNeed func(users.User) Need
	Now          func() time.Time
	Settings     Settings
}

// Client is where a request came from.
type Client struct {
	Address   netip.Addr
	UserAgent string
	// Device is what the browser's device cookie carried; nil where it has none. See [Flow.Password].
	Device []byte
	// Session is the session that the browser came with, which a new sign-in ends; nil where there is none.
	// Token is the one that opened it.
	Session *session.Session
	Token   session.Token
	// Bearer asks for a session that access tokens open instead of a cookie.
	Bearer bool
}

// Step is what a person has to do next.
type Step int

// The steps of a sign-in, in their order.
const (
	StepPassword Step = iota // give the first factor
	StepCode                 // give a second factor
	StepEnrol                // set one up
	StepDone                 // nothing: go where you were going
)

// nextStep is the one place where the next step after a first factor is decided.
func nextStep(twoFactor, enrolled, demanded bool) Step {
	switch {
	case twoFactor:
		return StepDone
	case enrolled:
		return StepCode // even where nothing demands it: what a person has set up, they are asked for
	case demanded:
		return StepEnrol
	default:
		return StepDone
	}
}

// Next says what a person with this identity (nil: nobody) has to do before a route that asks for two
// factors lets them through.
func (f *Flow) Next(ctx context.Context, id *session.Identity) (Step, error) {
	if id == nil {
		return StepPassword, nil
	}
	if id.TwoFactor() {
		return StepDone, nil
	}
	a, err := f.authenticator(ctx, id.Subject)
	if err != nil {
		return StepPassword, err
	}
	return nextStep(false, a.enrolled(), true), nil
}

// Outcome is where a step has led.
type Outcome struct {
	Step Step
	User users.User
	// Session and Token are set with [StepDone].
	Session *session.Session
	Token   session.Token
	// Password is the person's own, with [StepDone] after a sign-in, where some app needs it. It is a secret.
	Password string
	// Challenge is set with [StepCode] and [StepEnrol].
	Challenge ChallengeToken
	// Return is where the person was going when the sign-in began; the caller checked it then.
	Return string
	// Device is what the browser's device cookie shall carry from now on; nil where it stays as it is.
	Device []byte
	// RecoveryCodes are a new set, to be shown once.
	RecoveryCodes []string
	// RecoveryLeft is how many recovery codes are left after one was used; -1 where none was.
	RecoveryLeft int
}
