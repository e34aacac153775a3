package authflow

import (
	"context"
	"crypto/hmac"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/recovery"
	"sallyport/authflow/session"
	"sallyport/authflow/totp"
	"sallyport/authflow/users"
)

// Enroller is who sets an authenticator up: a sign-in that waits for it, or somebody who is signed in.
// One of the two is set.
type Enroller struct {
	Challenge *ChallengeToken
	Current   *Current
}

// Enrolment is a secret handed out to be confirmed. It is not in force yet.
type Enrolment struct {
	Secret    string // base32, without spaces
	URL       string // otpauth://
	Account   string // as the authenticator app shows it
	User      users.User
	Replacing bool // another authenticator is in force until this one is confirmed
	Forced    bool // a sign-in waits for it
	Invite    bool // an invitation is needed
	Return    string
}

// record names the challenge that an enrolment lives in. Somebody who is signed in has one to their
// session.
func (e Enroller) record() string {
	if e.Challenge != nil {
		return e.Challenge.record()
	}
	return "enrolling/" + e.Current.Session.Key
}

// BeginEnrolment hands out a secret. With renew it is always a new one, and the one handed out before can
// no longer be confirmed; without, a page that is loaded again shows the same. To replace an authenticator
// a fresh second factor is needed, in the session or as proof, and still when it is confirmed.
func (f *Flow) BeginEnrolment(ctx context.Context, e Enroller, proof *Proof, returnTo string, renew bool, client Client) (*Enrolment, error) {
	c, user, err := f.enroller(ctx, e, proof, client)
	if err != nil {
		return nil, err
	}
	var secret string
	now := f.Now()
	err = f.KV.Update(ctx, e.record(), func(raw []byte) ([]byte, time.Duration, error) {
		current, err := f.readChallenge(raw)
		switch {
		case errors.Is(err, ErrNoChallenge) && e.Current != nil:
			current = c
		case err != nil:
			return nil, 0, err
		}
		current.ProvedAt = c.ProvedAt
		if returnTo != "" {
			current.Return = returnTo
		}
		secret = ""
		if opened, err := f.Keys.Open(current.Secret, user.Subject, fieldTOTP); err == nil && !renew {
			secret = string(opened)
		} else {
			secret = totp.NewSecret()
			current.Secret = f.Keys.Seal([]byte(secret), user.Subject, fieldTOTP)
		}
		c = current
		next, life := current.encode(now)
		return next, life, nil
	})
	if err != nil {
		return nil, err
	}
	account := user.Email
	if account == "" {
		account = user.Username
	}
	return &Enrolment{
		Secret: secret, URL: totp.URL(secret, f.Settings.Issuer, account), Account: account, User: user,
		Replacing: c.replaces(), Forced: e.Challenge != nil, Invite: f.Settings.InviteOnly && !c.replaces(), Return: c.Return,
	}, nil
}

// enroller says whether e may set an authenticator up now, and for whom. The challenge it returns is the
// stored one, or a new one for somebody who is signed in.
func (f *Flow) enroller(ctx context.Context, e Enroller, proof *Proof, client Client) (c *challenge, user users.User, err error) {
	if e.Challenge != nil {
		c, user, err = f.openChallenge(ctx, e.record())
		if err == nil && !c.Enrol {
			err = ErrNoChallenge // it waits for a code of the authenticator that is there
		}
		return c, user, err
	}
	user = e.Current.User
	a, err := f.authenticator(ctx, user.Subject)
	if err != nil {
		return nil, user, err
	}
	c = &challenge{
		Subject: user.Subject, Stamp: user.Stamp, Enrol: true, Session: e.Current.Session.Key,
		EndsAt: f.Now().Add(enrollingFor).Unix(),
	}
	if a.enrolled() {
		if err := f.confirm(ctx, e.Current, proof, client); err != nil {
			return nil, user, err
		}
		c.ProvedAt = e.Current.Session.SecondFactorAt
		if proof != nil {
			c.ProvedAt = f.Now().Unix()
		}
	}
	return c, user, nil
}

// Confirmation is the first code of a new authenticator.
type Confirmation struct {
	Code   string // as it was typed
	Secret string // empty, or the secret that the client believes it confirms
	Invite string // as it was typed
}

// ConfirmEnrolment puts the secret last handed out into force, where the code is right, and makes the
// recovery codes. A sign-in that waited is finished by it; somebody who is signed in gets a new session of
// two factors. Their other sessions end. A replacement that is confirmed too long after its second factor is
// [ErrReauthenticate]: who finds an enrolment open in somebody's browser must not be able to finish it.
func (f *Flow) ConfirmEnrolment(ctx context.Context, e Enroller, given Confirmation, client Client) (*Outcome, error) {
	record := e.record()
	c, user, err := f.openChallenge(ctx, record)
	switch {
	case errors.Is(err, ErrNoChallenge) && e.Current != nil, err == nil && c.Enrol && len(c.Secret) == 0:
		return nil, ErrNoEnrolment
	case err != nil:
		return nil, err
	case !c.Enrol:
		return nil, ErrNoChallenge
	case c.replaces() && !session.Fresh(c.ProvedAt, f.Settings.FreshFor, f.Now()):
		return nil, ErrReauthenticate
	}
	secret, err := f.Keys.Open(c.Secret, user.Subject, fieldTOTP)
	if err != nil {
		return nil, err
	}
	if given.Secret != "" && subtle.ConstantTimeCompare([]byte(bare(given.Secret)), secret) != 1 {
		return nil, fmt.Errorf("%w: the secret is not the one that was handed out last", ErrBadRequest)
	}
	step, err := f.matchFirst(ctx, e, record, user, string(secret), given, client)
	if err != nil {
		return nil, err
	}
	codes := recovery.New()
	replaced, err := f.putInForce(ctx, c, user, given.Invite, authenticator{
		Secret: c.Secret, LastStep: step, AddedAt: f.Now().Unix(), Recovery: f.digestCodes(user.Subject, codes),
	})
	if err != nil {
		return nil, err
	}
	out, err := f.finish(ctx, record, e.Challenge, user, c, client)
	if err != nil {
		return nil, err
	}
	out.RecoveryCodes = codes
	kind := audit.AuthenticatorAdded
	if replaced {
		kind = audit.AuthenticatorReplaced
	}
	f.Trail.Record(ctx, audit.Event{Kind: kind, Subject: user.Subject, Address: client.Address})
	return out, f.Sessions.RevokeAll(ctx, user.Subject, out.Session.Key)
}

// bare is a secret without the spaces in which people read it.
func bare(secret string) string {
	return strings.ToUpper(strings.ReplaceAll(secret, " ", ""))
}

// matchFirst counts and checks the first code of a new secret. The same code with another invitation is another
// attempt: the code may have been right.
func (f *Flow) matchFirst(ctx context.Context, e Enroller, record string, user users.User, secret string, given Confirmation, client Client) (int64, error) {
	code, ok := totp.Code(given.Code)
	if !ok {
		return 0, ErrWrongCode
	}
	var err error
	if e.Challenge != nil {
		err = f.attempt(ctx, record, user.Subject, code+given.Invite, client)
	} else {
		err = f.countCode(ctx, user.Subject, client) // a session is not used up by wrong codes, its owner is slowed
	}
	if err != nil {
		return 0, err
	}
	step, ok := totp.Match(secret, code, 0, f.Now())
	if !ok {
		f.Trail.Record(ctx, audit.Event{Kind: audit.SecondFactorFailed, Subject: user.Subject, Address: client.Address, Reason: "enrolment"})
		return 0, ErrWrongCode
	}
	return step, f.Throttle.Return(ctx, codeCounter(user.Subject), limitCodes)
}

// putInForce writes a confirmed authenticator and says whether it replaced one. An enrolment that was not
// begun as a replacement does not overwrite an authenticator that was set up meanwhile.
func (f *Flow) putInForce(ctx context.Context, c *challenge, user users.User, invite string, next authenticator) (replaced bool, err error) {
	if !c.replaces() && f.Settings.InviteOnly {
		if err := f.spendInvite(ctx, user.Subject, invite); err != nil {
			return false, err
		}
	}
	err = f.updateAuthenticator(ctx, user.Subject, func(a *authenticator) error {
		replaced = a.enrolled()
		if replaced && !c.replaces() {
			return ErrAlreadyEnrolled
		}
		*a = next
		return nil
	})
	return replaced, err
}

// inviteFor is how long an invitation is good.
const inviteFor = 7 * 24 * time.Hour

func inviteRecord(subject string) string { return "invite/" + subject }

// Invite makes an invitation to a first enrolment, in the form of a recovery code. A new one voids the one
// before.
func (f *Flow) Invite(ctx context.Context, subject string) (code string, life time.Duration, err error) {
	code = recovery.New()[0]
	spelled, _ := recovery.Code(code)
	if err := f.KV.Put(ctx, inviteRecord(subject), f.Keys.Digest([]byte(spelled), subject, fieldInvite), inviteFor); err != nil {
		return "", 0, fmt.Errorf("store invitation: %w", err)
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.Invited, Subject: subject})
	return code, inviteFor, nil
}

// spendInvite takes an invitation away in one atomic step, or returns [ErrInvite].
func (f *Flow) spendInvite(ctx context.Context, subject, typed string) error {
	spelled, ok := recovery.Code(typed)
	if !ok {
		return ErrInvite
	}
	digests := f.Keys.Digests([]byte(spelled), subject, fieldInvite)
	return f.KV.Update(ctx, inviteRecord(subject), func(raw []byte) ([]byte, time.Duration, error) {
		if !slices.ContainsFunc(digests, func(d []byte) bool { return hmac.Equal(d, raw) }) {
			return nil, 0, ErrInvite
		}
		return nil, 0, nil
	})
}
