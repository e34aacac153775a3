package authflow

import (
	"context"
	"errors"
	"fmt"

	"sallyport/authflow/audit"
	"sallyport/authflow/recovery"
	"sallyport/authflow/totp"
)

// Proof is a second factor as it was given: one of the two. Values are in the spelling that totp.Code and
// recovery.Code return; a value that they refuse is no proof of anything and is never counted.
type Proof struct {
	TOTP     string
	Recovery string
}

// ReadProof reads what a person typed into a field that takes either kind. ok is false where it has the
// form of neither.
func ReadProof(typed string) (Proof, bool) {
	if code, ok := totp.Code(typed); ok {
		return Proof{TOTP: code}, true
	}
	if code, ok := recovery.Code(typed); ok {
		return Proof{Recovery: code}, true
	}
	return Proof{}, false
}

func (p Proof) given() bool { return p != Proof{} }

// SecondFactor finishes a challenge with a code. A wrong one is [ErrWrongCode]; a token that opens nothing
// is [ErrNoChallenge]; too many are throttle.ErrTooMany. A TOTP step is accepted once per person over all
// replicas, a recovery code once for ever; its use ends the person's other sessions, since the device with
// the authenticator may be in other hands.
func (f *Flow) SecondFactor(ctx context.Context, token ChallengeToken, proof Proof, client Client) (*Outcome, error) {
	record := token.record()
	c, user, err := f.openChallenge(ctx, record)
	if err != nil {
		return nil, err
	}
	if c.Enrol {
		return nil, ErrNoChallenge
	}
	if !proof.given() {
		return nil, ErrWrongCode
	}
	if err := f.attempt(ctx, record, c.Subject, proof.TOTP+proof.Recovery, client); err != nil {
		return nil, err
	}
	left, err := f.accept(ctx, c.Subject, proof, client)
	if err != nil {
		return nil, err
	}
	out, err := f.finish(ctx, record, &token, user, c, client)
	if err != nil {
		return nil, err
	}
	if proof.Recovery != "" {
		out.RecoveryLeft = left
		if err := f.Sessions.RevokeAll(ctx, user.Subject, out.Session.Key); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// accept looks at a code that was counted already: it strikes out what was used in one atomic update, and
// gives the attempt back where the code was right. It returns how many recovery codes are left.
func (f *Flow) accept(ctx context.Context, subject string, proof Proof, client Client) (int, error) {
	var left int
	err := f.updateAuthenticator(ctx, subject, func(a *authenticator) error {
		var err error
		if proof.TOTP != "" {
			err = f.acceptTOTP(a, subject, proof.TOTP)
		} else {
			err = f.acceptRecovery(a, subject, proof.Recovery)
		}
		left = len(a.Recovery)
		return err
	})
	if errors.Is(err, ErrWrongCode) {
		f.Trail.Record(ctx, audit.Event{Kind: audit.SecondFactorFailed, Subject: subject, Address: client.Address})
	}
	if err != nil {
		return 0, err
	}
	if proof.Recovery != "" {
		f.Trail.Record(ctx, audit.Event{Kind: audit.RecoveryCodeUsed, Subject: subject, Address: client.Address,
			Reason: fmt.Sprintf("%d left", left)})
	}
	return left, f.Throttle.Return(ctx, codeCounter(subject), limitCodes)
}

func (f *Flow) acceptTOTP(a *authenticator, subject, code string) error {
	if !a.enrolled() {
		return ErrWrongCode
	}
	secret, err := f.Keys.Open(a.Secret, subject, fieldTOTP)
	if err != nil {
		return err
	}
	step, ok := totp.Match(string(secret), code, a.LastStep, f.Now())
	if !ok {
		return ErrWrongCode
	}
	a.LastStep = step
	if f.Keys.Stale(a.Secret) {
		a.Secret = f.Keys.Seal(secret, subject, fieldTOTP)
	}
	return nil
}

func (f *Flow) acceptRecovery(a *authenticator, subject, code string) error {
	i := a.findRecovery(f.Keys.Digests([]byte(code), subject, fieldRecovery))
	if !a.enrolled() || i < 0 {
		return ErrWrongCode
	}
	a.Recovery = append(a.Recovery[:i], a.Recovery[i+1:]...)
	return nil
}

// confirm lets a change to the second factor through: with a code that comes with the call, or because one
// was given a short while ago.
func (f *Flow) confirm(ctx context.Context, cur *Current, proof *Proof, client Client) error {
	if proof == nil {
		if cur.Session.FreshWithin(f.Settings.FreshFor, f.Now()) {
			return nil
		}
		return ErrReauthenticate
	}
	if !proof.given() {
		return ErrWrongCode
	}
	if err := f.countCode(ctx, cur.User.Subject, client); err != nil {
		return err
	}
	if _, err := f.accept(ctx, cur.User.Subject, *proof, client); err != nil || proof.Recovery == "" {
		return err
	}
	return f.Sessions.RevokeAll(ctx, cur.User.Subject, cur.Session.Key) // as when one opens a session
}
