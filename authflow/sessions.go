package authflow

import (
	"context"
	"errors"

	"sallyport/authflow/audit"
	"sallyport/authflow/password"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
)

// Current is who makes a call, by a live session, as the directory knows them now.
type Current struct {
	Session *session.Session
	User    users.User
	Token   session.Token // that opened the session; zero where it was looked up by its key
}

// Authenticate returns who a token opens a session for. A token of the wrong way of travelling, of a
// user who is gone or disabled, or from before a change of the password opens none: [ErrSessionEnded].
func (f *Flow) Authenticate(ctx context.Context, by session.Opener, bearer bool) (*Current, error) {
	s, user, err := f.opened(ctx, by, bearer)
	if err != nil {
		return nil, err
	}
	return &Current{Session: s, User: user, Token: by.Token}, nil
}

// Identify is [Flow.Authenticate] for the proxy, with the session that it rests on.
func (f *Flow) Identify(ctx context.Context, by session.Opener, bearer bool) (*session.Identity, *session.Session, error) {
	s, user, err := f.opened(ctx, by, bearer)
	if err != nil {
		return nil, nil, err
	}
	return identityOf(s, &user), s, nil
}

func (f *Flow) opened(ctx context.Context, by session.Opener, bearer bool) (*session.Session, users.User, error) {
	s, err := f.Sessions.Lookup(ctx, by)
	if errors.Is(err, session.ErrNone) {
		err = ErrSessionEnded
	}
	if err != nil {
		return nil, users.User{}, err
	}
	user, err := f.holder(s, bearer)
	return s, user, err
}

// holder returns whose session it is, as the directory knows them now.
func (f *Flow) holder(s *session.Session, bearer bool) (users.User, error) {
	user, ok := f.bySubject(s.Subject)
	if !ok || user.Disabled || user.Stamp != s.Stamp || s.Bearer != bearer {
		return users.User{}, ErrSessionEnded
	}
	return user, nil
}

// Alive returns who the session under the key belongs to, as the directory knows them now, or
// [session.ErrNone] where it opens nothing any more, or the store's error.
func (f *Flow) Alive(ctx context.Context, key string) (*session.Identity, error) {
	s, err := f.Sessions.Peek(ctx, key)
	if err != nil {
		return nil, err
	}
	user, err := f.holder(s, s.Bearer)
	if err != nil {
		return nil, session.ErrNone
	}
	return identityOf(s, &user), nil
}

// Identity is what the proxy needs to know of who makes a request.
func (c *Current) Identity() *session.Identity { return identityOf(c.Session, &c.User) }

func identityOf(s *session.Session, user *users.User) *session.Identity {
	id := session.NewIdentity(s, user.Username, user.Email, user.Name, user.Groups)
	id.Source = user.Source
	return id
}

// Refresh hands out the next generation of a bearer session's tokens. A refresh token that was used before
// ends the session.
func (f *Flow) Refresh(ctx context.Context, token session.Token, generation int64, client Client) (*Outcome, error) {
	s, err := f.Sessions.Refresh(ctx, token, generation)
	switch {
	case errors.Is(err, session.ErrReused):
		f.Trail.Record(ctx, audit.Event{Kind: audit.RefreshTokenReused, Address: client.Address})
		return nil, ErrSessionEnded
	case errors.Is(err, session.ErrNone):
		return nil, ErrSessionEnded
	case err != nil:
		return nil, err
	}
	user, err := f.holder(s, true)
	if err != nil {
		return nil, err
	}
	return &Outcome{Step: StepDone, User: user, Session: s, Token: token, RecoveryLeft: -1}, nil
}

// SignOut ends the session that the token opens. It is no error where it has ended already and stays so.
func (f *Flow) SignOut(ctx context.Context, token session.Token, client Client) error {
	s, err := f.Sessions.Peek(ctx, token.Key())
	if errors.Is(err, session.ErrNone) {
		return f.Sessions.StayEnded(ctx, token.Key())
	}
	if err == nil {
		err = f.Sessions.Revoke(ctx, s)
	}
	if err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.SignedOut, Subject: s.Subject, Address: client.Address})
	return nil
}

// ErrNoSession says that a handle names none of the person's sessions.
var ErrNoSession = errors.New("authflow: no such session")

// Revoke ends the session that a handle names, where it is one of the caller's own.
func (f *Flow) Revoke(ctx context.Context, cur *Current, handle string, client Client) error {
	list, err := f.Sessions.List(ctx, cur.User.Subject)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Handle() == handle {
			if err := f.Sessions.Revoke(ctx, s); err != nil {
				return err
			}
			f.Trail.Record(ctx, audit.Event{Kind: audit.SessionRevoked, Subject: s.Subject, Address: client.Address})
			return nil
		}
	}
	return ErrNoSession
}

// RevokeOthers ends every session of the caller but this one.
func (f *Flow) RevokeOthers(ctx context.Context, cur *Current, client Client) error {
	if err := f.Sessions.RevokeAll(ctx, cur.User.Subject, cur.Session.Key); err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.SessionRevoked, Subject: cur.User.Subject, Address: client.Address, Reason: "all others"})
	return nil
}

// ChangePassword sets a new password, given the present one, and ends every other session of the person.
// Somebody who has an authenticator must have used it in this session.
func (f *Flow) ChangePassword(ctx context.Context, cur *Current, present, next string, client Client) error {
	if cur.User.Source != "" {
		return ErrPasswordElsewhere
	}
	enrolled, err := f.Enrolled(ctx, cur.User.Subject)
	if err != nil {
		return err
	}
	if enrolled && !cur.Session.TwoFactor() {
		return ErrReauthenticate
	}
	if err := password.CheckNew(next, cur.User.Username); err != nil {
		return &WeakPasswordError{err}
	}
	if len(present) > password.MaxLength {
		return password.ErrTooLong
	}
	if _, err := f.checkPassword(ctx, cur.User.Subject, []candidate{{user: cur.User}}, present, client); err != nil {
		return err
	}
	phc, err := f.Passwords.Hash(ctx, next)
	if err != nil {
		return err
	}
	if err := f.Users.SetPassword(cur.User.Username, phc); err != nil {
		return err
	}
	user, ok := f.Users.BySubject(cur.User.Subject)
	if !ok {
		return ErrSessionEnded
	}
	if err := f.Sessions.Restamp(ctx, cur.Session, user.Stamp); err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.PasswordChanged, Subject: user.Subject, Address: client.Address})
	return f.Sessions.RevokeAll(ctx, user.Subject, cur.Session.Key)
}
