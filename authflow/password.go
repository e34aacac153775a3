package authflow

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/password"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

// How many wrong passwords are looked at. The limit by name slows a search for one person's password; a
// browser that the person has signed in with before has a counter of its own, so that a stranger's search
// does not lock them out (OWASP "device cookies"). The limit by address slows a search over many names.
var (
	limitByName    = throttle.Limit{Attempts: 10, Window: 15 * time.Minute}
	limitByDevice  = throttle.Limit{Attempts: 10, Window: 15 * time.Minute}
	limitByAddress = throttle.Limit{Attempts: 300, Window: 15 * time.Minute}
)

// Attempt is a first factor as it was given.
type Attempt struct {
	Login    string // user name or e-mail address
	Password string
	Remember bool
	Return   string // where the person is going, checked by the caller
	// Demand says whether that place asks for two factors of a person in these groups; nil: ask [Policy].
	Demand func(groups []string) bool
	Client Client
}

// Password checks a first factor. An unknown name, a disabled user and a wrong password end in the same
// [ErrInvalidCredentials] after the same work. The attempt is counted before anything is looked at.
func (f *Flow) Password(ctx context.Context, a Attempt) (*Outcome, error) {
	if a.Login == "" || a.Password == "" {
		return nil, fmt.Errorf("%w: user name and password are needed", ErrBadRequest)
	}
	if len(a.Password) > password.MaxLength {
		return nil, password.ErrTooLong
	}
	name, err := users.Fold(a.Login)
	if err != nil {
		return nil, fmt.Errorf("%w: user name: %w", ErrBadRequest, err)
	}
	user, err := f.checkPassword(ctx, name, f.candidates(a.Login, name), a.Password, a.Client)
	if err != nil {
		return nil, err
	}
	enrolled, err := f.authenticator(ctx, user.Subject)
	if err != nil {
		return nil, err
	}
	demand := a.Demand
	if demand == nil {
		demand = f.Policy.DemandsTwoFactor
	}
	now := f.Now()
	ch := challenge{
		Subject: user.Subject, Stamp: user.Stamp, Remember: a.Remember && f.Settings.RememberFor > 0,
		Return: a.Return, EndsAt: now.Add(f.Settings.ChallengeLifetime).Unix(),
	}
	switch nextStep(false, enrolled.enrolled(), demand(user.Groups)) {
	case StepCode:
		return f.challengeUser(ctx, user, ch, StepCode, a.Password)
	case StepEnrol:
		ch.Enrol = true
		return f.challengeUser(ctx, user, ch, StepEnrol, a.Password)
	default:
		return f.signIn(ctx, user, &ch, a.Client, false, a.Password)
	}
}

// checkPassword counts the attempt, asks the candidates, and gives the attempt back where it was no failure. folded is
// what was typed as the name, in its one spelling.
func (f *Flow) checkPassword(ctx context.Context, folded string, who []candidate, plain string, client Client) (users.User, error) {
	var first users.User // whom the log names
	if len(who) > 0 {
		first = who[0].user
	}
	counters := f.passwordCounters(folded, who, client)
	if err := f.reserve(ctx, counters, first.Subject, client); err != nil {
		return users.User{}, err
	}
	user, err := f.decide(ctx, who, plain, client)
	if errors.Is(err, ErrInvalidCredentials) {
		f.Trail.Record(ctx, audit.Event{Kind: audit.SignInFailed, Subject: first.Subject, Address: client.Address})
		return users.User{}, err
	}
	return user, errors.Join(err, f.giveBack(ctx, counters))
}

type counter struct {
	key   string
	limit throttle.Limit
}

// passwordCounters says which counters an attempt meets. Names go into keys as digests: people type
// passwords into the field for the name. A user of the users file has one counter under all their spellings.
func (f *Flow) passwordCounters(name string, who []candidate, client Client) []counter {
	for _, c := range who {
		if device, ok := deviceOf(client.Device, c.user.Subject); ok {
			return []counter{{"password/device/" + device, limitByDevice}}
		}
		if c.source == nil {
			name = c.user.Subject
		}
	}
	digest := base64.RawURLEncoding.EncodeToString(f.Keys.Digest([]byte(name), "", "name"))
	return []counter{
		{"password/from/" + network(client.Address).String(), limitByAddress},
		{"password/name/" + digest, limitByName},
	}
}

// reserve counts one attempt under each counter, or none where one of them is full.
func (f *Flow) reserve(ctx context.Context, counters []counter, subject string, client Client) error {
	for i, c := range counters {
		err := f.Throttle.Reserve(ctx, c.key, c.limit)
		if errors.Is(err, throttle.ErrTooMany) {
			f.Trail.Record(ctx, audit.Event{Kind: audit.SignInThrottled, Subject: subject, Address: client.Address})
			// What was not looked at is no failure of the counters before.
			return errors.Join(err, f.giveBack(ctx, counters[:i]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Flow) giveBack(ctx context.Context, counters []counter) error {
	for _, c := range counters {
		if err := f.Throttle.Return(ctx, c.key, c.limit); err != nil {
			return err
		}
	}
	return nil
}

// network is what one client is counted as: an IPv4 address, or the /64 in which an IPv6 host can choose
// addresses freely.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all such clients are one
	}
	return p
}
