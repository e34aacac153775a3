package authflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

// Need is for how long a person's own password is needed after it was checked.
type Need int

// The needs, the longer ones later.
const (
	NotNeeded      Need = iota
	NeededAtSignIn      // once, when the session begins; it is then not kept
	NeededLater         // as long as the session lasts
)

// fieldPassword binds a sealed password to what it is.
const fieldPassword = "own password"

func (f *Flow) need(user users.User) Need {
	if f.PasswordNeed == nil {
		return NotNeeded
	}
	return f.PasswordNeed(user)
}

// passwordFor returns what the caller and what the session's record get of a password: nothing where no app needs it.
func (f *Flow) passwordFor(user users.User, token session.Token, plain string) (atOnce string, kept []byte) {
	need := f.need(user)
	if plain == "" || need == NotNeeded {
		return "", nil
	}
	if need == NeededLater {
		kept = seal.Under(token[:], []byte(plain), user.Subject, fieldPassword)
	}
	return plain, kept
}

// OwnPassword opens the password that a session keeps with the token that opens the session. false: it keeps none.
func (f *Flow) OwnPassword(s *session.Session, token session.Token) (string, bool) {
	if s == nil || s.Password == nil {
		return "", false
	}
	plain, err := seal.OpenUnder(token[:], s.Password, s.Subject, fieldPassword)
	return string(plain), err == nil
}

// ForgetPassword takes the password out of a session, since an app says that it is no longer right. A session that has
// ended has none.
func (f *Flow) ForgetPassword(ctx context.Context, sessionKey string) error {
	if err := f.Sessions.KeepPassword(ctx, sessionKey, nil); err != nil && !errors.Is(err, session.ErrNone) {
		return fmt.Errorf("forget a password that is no longer right: %w", err)
	}
	return nil
}

// RenewPassword takes the present password of somebody who is signed in, for the apps that need it: try asks the app
// whether it is right. The attempt is counted as a sign-in's is, and a wrong one is [ErrInvalidCredentials].
func (f *Flow) RenewPassword(ctx context.Context, cur *Current, plain string, client Client, try func() (bool, error)) error {
	counters := f.passwordCounters(cur.User.Username, []candidate{{user: cur.User}}, client)
	if err := f.reserve(ctx, counters, cur.User.Subject, client); err != nil {
		return err
	}
	fits, err := try()
	if err == nil && !fits {
		f.Trail.Record(ctx, audit.Event{Kind: audit.SignInFailed, Subject: cur.User.Subject, Address: client.Address, Reason: "at an app"})
		return ErrInvalidCredentials
	}
	if err := errors.Join(err, f.giveBack(ctx, counters)); err != nil {
		return err
	}
	if f.need(cur.User) != NeededLater {
		return nil
	}
	return f.Sessions.KeepPassword(ctx, cur.Session.Key, seal.Under(cur.Token[:], []byte(plain), cur.User.Subject, fieldPassword))
}

// limitAppSignIns is how often one session is signed in to one app again.
var limitAppSignIns = throttle.Limit{Attempts: 3, Window: time.Minute}

// MaySignInToApp counts one more sign-in of a session to an app, on behalf of somebody who did not ask for it. false:
// there were too many of late.
func (f *Flow) MaySignInToApp(ctx context.Context, sessionKey, app string) (bool, error) {
	err := f.Throttle.Reserve(ctx, "app/"+app+"/"+sessionKey, limitAppSignIns)
	if errors.Is(err, throttle.ErrTooMany) {
		return false, nil
	}
	return err == nil, err
}
