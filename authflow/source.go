package authflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/authflow/users"
)

// ErrSourceAway says that a source of users could not be asked, so that nothing is known of the password.
var ErrSourceAway = errors.New("authflow: a source of users does not answer")

// Source knows people whose passwords the gateway does not keep: an app, or a program that is asked. They are known by
// its name and theirs, so that the same name in two sources is two people.
type Source struct {
	Name   string
	Groups []string // of everybody whom it knows
	// Knows says whether a folded name can be one of its people's. It must let one spelling of each person through.
	Knows func(name string) bool
	// Check asks about a name and a password. An error means that neither yes nor no was heard.
	Check func(ctx context.Context, name, password string, client Client) (bool, error)
}

// subject is unique: no source's name holds a colon.
func (s *Source) subject(name string) string { return "app:" + s.Name + ":" + name }

func (s *Source) user(name string) users.User {
	return users.User{Subject: s.subject(name), Username: name, Source: s.Name, Groups: s.Groups, Stamp: s.Name}
}

// candidate is somebody whom a login may mean, and who says so.
type candidate struct {
	user   users.User
	source *Source // nil: the users file
}

// candidates are whom a login may mean, in the order in which the sources are asked. folded is the login's one spelling.
func (f *Flow) candidates(login, folded string) []candidate {
	var found []candidate
	for _, s := range f.sources() {
		if s == nil {
			if u, ok := f.Users.Find(login); ok && !f.Mistakable(u.Username) {
				found = append(found, candidate{user: u})
			}
		} else if s.Knows(folded) {
			found = append(found, candidate{s.user(folded), s})
		}
	}
	return found
}

func (f *Flow) sources() []*Source {
	if len(f.Sources) == 0 {
		return []*Source{nil}
	}
	return f.Sources
}

// bySubject returns a person by their subject, as their source has them now.
func (f *Flow) bySubject(subject string) (users.User, bool) {
	rest, outside := strings.CutPrefix(subject, "app:")
	if !outside {
		u, ok := f.Users.BySubject(subject)
		return u, ok && !f.Mistakable(u.Username)
	}
	source, name, _ := strings.Cut(rest, ":")
	i := slices.IndexFunc(f.Sources, func(s *Source) bool { return s != nil && s.Name == source })
	if i < 0 || !f.Sources[i].Knows(name) {
		return users.User{}, false
	}
	return f.Sources[i].user(name), true
}

// Mistakable says whether a name of the users file is what apps are told of a person of another source, such as
// wiki/alice. Nobody signs in by it.
func (f *Flow) Mistakable(name string) bool {
	source, _, ok := strings.Cut(name, "/")
	return ok && slices.ContainsFunc(f.Sources, func(s *Source) bool { return s != nil && s.Name == source })
}

// Find returns the person whom an operator names: a user of the users file, or a source and a name, as in "wiki/alice".
func (f *Flow) Find(name string) (users.User, bool) {
	if source, own, ok := strings.Cut(name, "/"); ok {
		if folded, err := users.Fold(own); err == nil {
			if u, ok := f.bySubject("app:" + source + ":" + folded); ok {
				return u, true
			}
		}
	}
	return f.Users.Find(name)
}

// decide asks the candidates in their order. The users file's word is final: a name that stands in it means nobody
// else. An app's no is not, since it is the same for a name that the app does not have. Where nobody says yes and one
// could not be asked, the answer is [ErrSourceAway].
func (f *Flow) decide(ctx context.Context, who []candidate, plain string, client Client) (users.User, error) {
	var away error
	for _, c := range who {
		if c.source == nil {
			fits, err := f.Passwords.Verify(ctx, c.user.Password, plain)
			if err != nil {
				return users.User{}, err
			}
			if !fits || c.user.Disabled {
				break
			}
			return c.user, nil
		}
		fits, err := c.source.Check(ctx, c.user.Username, plain, client)
		if fits && err == nil {
			return c.user, nil
		}
		if err != nil {
			away = errors.Join(away, fmt.Errorf("%w: %s: %w", ErrSourceAway, c.source.Name, err))
		}
	}
	if len(who) == 0 {
		// Nobody has this name: the same work as for a name that somebody has.
		if _, err := f.Passwords.Verify(ctx, nil, plain); err != nil {
			return users.User{}, err
		}
	}
	if away != nil {
		return users.User{}, away
	}
	return users.User{}, ErrInvalidCredentials
}
