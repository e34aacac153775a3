package authflow

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/recovery"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
)

// The fields under which secrets are sealed or digested; see package seal.
const (
	fieldTOTP     = "totp"
	fieldRecovery = "recovery"
	fieldInvite   = "invite"
)

// authenticator is what the store knows of a person's second factor: one record, so that every acceptance
// is one atomic update.
type authenticator struct {
	Secret   []byte   `json:"secret,omitempty"` // sealed; none: not enrolled
	LastStep int64    `json:"step,omitempty"`   // the last TOTP step accepted
	AddedAt  int64    `json:"added,omitempty"`
	Recovery [][]byte `json:"recovery,omitempty"` // digests of the unused recovery codes
}

func (a *authenticator) enrolled() bool { return len(a.Secret) > 0 }

// findRecovery returns the index of the code that one of the digests belongs to, or -1.
func (a *authenticator) findRecovery(digests [][]byte) int {
	return slices.IndexFunc(a.Recovery, func(have []byte) bool {
		return slices.ContainsFunc(digests, func(d []byte) bool { return hmac.Equal(have, d) })
	})
}

func authenticatorRecord(subject string) string { return "authenticator/" + subject }

// authenticator reads a person's record; nobody's is the zero value.
func (f *Flow) authenticator(ctx context.Context, subject string) (*authenticator, error) {
	raw, err := f.KV.Get(ctx, authenticatorRecord(subject))
	if errors.Is(err, store.ErrNotFound) {
		return &authenticator{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look authenticator up: %w", err)
	}
	return readAuthenticator(raw)
}

func readAuthenticator(raw []byte) (*authenticator, error) {
	a := &authenticator{}
	if raw == nil {
		return a, nil
	}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("read authenticator record: %w", err)
	}
	return a, nil
}

// updateAuthenticator changes a person's record in one atomic step; change may run more than once.
func (f *Flow) updateAuthenticator(ctx context.Context, subject string, change func(*authenticator) error) error {
	return f.KV.Update(ctx, authenticatorRecord(subject), func(raw []byte) ([]byte, time.Duration, error) {
		a, err := readAuthenticator(raw)
		if err != nil {
			return nil, 0, err
		}
		if err := change(a); err != nil {
			return nil, 0, err
		}
		next, err := json.Marshal(a)
		return next, 0, err
	})
}

// Status is what a person may know of their second factor.
type Status struct {
	TOTP         bool
	RecoveryLeft int
	Required     bool // policy demands a second factor of them
}

// Status returns it for the person who is signed in.
func (f *Flow) Status(ctx context.Context, cur *Current) (Status, error) {
	a, err := f.authenticator(ctx, cur.User.Subject)
	if err != nil {
		return Status{}, err
	}
	return Status{TOTP: a.enrolled(), RecoveryLeft: len(a.Recovery), Required: f.Policy.DemandsTwoFactor(cur.User.Groups)}, nil
}

// Enrolled says whether the subject has an authenticator.
func (f *Flow) Enrolled(ctx context.Context, subject string) (bool, error) {
	a, err := f.authenticator(ctx, subject)
	return err == nil && a.enrolled(), err
}

// Disable takes the authenticator and the recovery codes away, unless policy demands a second factor of
// this person. It ends their other sessions and lowers this one to one factor.
func (f *Flow) Disable(ctx context.Context, cur *Current, proof *Proof, client Client) error {
	status, err := f.Status(ctx, cur)
	if err != nil {
		return err
	}
	if !status.TOTP {
		return ErrNotEnrolled
	}
	if status.Required {
		return ErrTwoFactorRequired
	}
	if err := f.confirm(ctx, cur, proof, client); err != nil {
		return err
	}
	// Before it as well as after it: once the authenticator is gone, nobody can ask for this again.
	if err := f.Sessions.RevokeAll(ctx, cur.User.Subject, cur.Session.Key); err != nil {
		return err
	}
	if err := f.RemoveAuthenticator(ctx, cur.User.Subject, cur.Session.Key); err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.AuthenticatorRemoved, Subject: cur.User.Subject, Address: client.Address})
	return f.Sessions.Lower(ctx, cur.Session)
}

// RemoveAuthenticator forgets a person's authenticator and recovery codes and ends all their sessions but
// the one under the key except.
func (f *Flow) RemoveAuthenticator(ctx context.Context, subject, except string) error {
	if err := f.KV.Delete(ctx, authenticatorRecord(subject)); err != nil {
		return fmt.Errorf("remove authenticator: %w", err)
	}
	return f.Sessions.RevokeAll(ctx, subject, except)
}

// NewRecoveryCodes replaces a person's recovery codes; the old ones open nothing from then on.
func (f *Flow) NewRecoveryCodes(ctx context.Context, cur *Current, proof *Proof, client Client) ([]string, error) {
	enrolled, err := f.Enrolled(ctx, cur.User.Subject)
	if err != nil {
		return nil, err
	}
	if !enrolled {
		return nil, ErrNotEnrolled
	}
	if err := f.confirm(ctx, cur, proof, client); err != nil {
		return nil, err
	}
	codes := recovery.New()
	err = f.updateAuthenticator(ctx, cur.User.Subject, func(a *authenticator) error {
		if !a.enrolled() {
			return ErrNotEnrolled
		}
		a.Recovery = f.digestCodes(cur.User.Subject, codes)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.RecoveryCodesReplaced, Subject: cur.User.Subject, Address: client.Address})
	return codes, nil
}

func (f *Flow) digestCodes(subject string, codes []string) [][]byte {
	digests := make([][]byte, len(codes))
	for i, c := range codes {
		spelled, _ := recovery.Code(c)
		digests[i] = f.Keys.Digest([]byte(spelled), subject, fieldRecovery)
	}
	return digests
}

// KeepCodes keeps a new set for the page that shows it, sealed and bound to the session, until
// [Flow.DropCodes] or a few minutes later: a person who reloads the page does not lose them.
func (f *Flow) KeepCodes(ctx context.Context, s *session.Session, shown ShownCodes) error {
	raw, err := json.Marshal(shown)
	if err != nil {
		return fmt.Errorf("keep recovery codes: %w", err)
	}
	return f.KV.Put(ctx, codesRecord(s), f.Keys.Seal(raw, s.Key, fieldRecovery), codesShownFor)
}

const codesShownFor = 10 * time.Minute

func codesRecord(s *session.Session) string { return "codes/" + s.Key }

// ShownCodes are recovery codes on their way to the page that shows them, and where it leads on to.
type ShownCodes struct {
	Codes  []string `json:"codes"`
	Return string   `json:"rd"`
}

// Codes returns the set that [Flow.KeepCodes] kept, or store.ErrNotFound.
func (f *Flow) Codes(ctx context.Context, s *session.Session) (ShownCodes, error) {
	sealed, err := f.KV.Get(ctx, codesRecord(s))
	if err != nil {
		return ShownCodes{}, err
	}
	raw, err := f.Keys.Open(sealed, s.Key, fieldRecovery)
	if err != nil {
		return ShownCodes{}, err
	}
	var shown ShownCodes
	if err := json.Unmarshal(raw, &shown); err != nil {
		return ShownCodes{}, fmt.Errorf("read recovery codes: %w", err)
	}
	return shown, nil
}

// DropCodes forgets them.
func (f *Flow) DropCodes(ctx context.Context, s *session.Session) error {
	return f.KV.Delete(ctx, codesRecord(s))
}
