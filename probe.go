package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"sallyport/authflow/appsignin"
	"sallyport/authflow/users"
)

// account is somebody's name and password at an app.
type account struct{ name, password string }

// probe tries a name and a password that nobody has on each app that people sign in to, then those of somebody, where
// they are given, and says what it saw. An app that takes the first or refuses the second, or whose answer is neither yes
// nor no, is wrongly configured; one that does not answer is a failure.
func (a *apps) probe(ctx context.Context, w io.Writer, someone *account) error {
	var failures []error
	misread := false
	for _, c := range a.checkers {
		if err := a.probeOne(ctx, w, c, someone); err != nil {
			misread = misread || errors.Is(err, appsignin.ErrUnclear) || errors.Is(err, appsignin.ErrRefused) || errors.Is(err, appsignin.ErrBadInput)
			failures = append(failures, fmt.Errorf("%s:%d: upstream %w", a.cfg.Path, a.upstream(c.upstream).Line, err))
		}
	}
	err := errors.Join(failures...)
	if misread {
		return usageError{err}
	}
	return err
}

func (a *apps) probeOne(ctx context.Context, w io.Writer, c appChecker, someone *account) error {
	ctx = visitor{origin: a.usualOrigin(a.upstream(c.upstream)), client: netip.IPv6Loopback()}.in(ctx)
	app, err := a.reach(ctx, c.upstream)
	if err != nil {
		return err
	}
	saw, err := appsignin.Probe(ctx, c.method, app)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "probed %s\n", saw)
	if someone == nil {
		return nil
	}
	if _, err := c.method.SignIn(ctx, app, someone.name, someone.password); err != nil {
		return fmt.Errorf("%w (asked about %q and the password that was given)", err, someone.name)
	}
	fmt.Fprintf(w, "probed %s: the app takes the name and password of %q\n", c.upstream, someone.name)
	return nil
}

// warnings says what is odd about accounts and names, one line each. Of a name that two sources have the first decides.
func (a *apps) warnings(dir *users.Directory) []string {
	out := slices.Clone(a.oddities)
	for _, u := range dir.All() {
		if a.g.flow.Mistakable(u.Username) {
			out = append(out, fmt.Sprintf("%s: %q is what apps are told of a person of another source; nobody can sign in by it", a.cfg.Users.File, u.Username))
		}
	}
	file := -1
	for i := range a.cfg.Users.Sources {
		if a.cfg.Users.Sources[i].IsFile() {
			file = i
		}
	}
	before := ""
	for i := range a.cfg.Users.Sources {
		s := &a.cfg.Users.Sources[i]
		if s.IsFile() {
			continue
		}
		where := fmt.Sprintf("%s:%d: users.sources[%d]", a.cfg.Path, s.Line, i)
		var both []string
		for _, u := range dir.All() {
			if name, err := users.Fold(u.Username); err == nil && s.Usernames.MatchString(name) {
				both = append(both, u.Username)
			}
		}
		switch {
		case len(both) == 0:
		case file < i:
			out = append(out, fmt.Sprintf("%s: %s may have people by the names of users in the users file, which comes first and decides: %s", where, s.Name, listed(both)))
		default:
			out = append(out, fmt.Sprintf("%s: %s is asked before the users file, also about the passwords of its users: %s", where, s.Name, listed(both)))
		}
		if before != "" {
			out = append(out, fmt.Sprintf("%s: a name that both %s and %s have is asked of %s first, and the first that takes the password decides", where, before, s.Name, before))
		}
		before = s.Name
	}
	return out
}

// listed names some of many.
func listed(names []string) string {
	const some = 5
	if len(names) <= some {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:some], ", "), len(names)-some)
}
