package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// UserSource says who exists, or who knows: exactly one of File, App and Command is set.
type UserSource struct {
	File      string         `key:"file,path"`
	App       string         `key:"app"` // the name of an upstream
	SignIn    *SignIn        `key:"sign_in"`
	Name      string         `key:"name"`    // of a command; for an app it is the upstream's
	Command   []string       `key:"command"` // absolute path of a program, and its arguments
	Timeout   time.Duration  `key:"timeout"` // of a command
	AtOnce    int            `key:"at_once"` // how many of a command may run at the same time
	Groups    []string       `key:"groups"`
	Usernames *regexp.Regexp `key:"usernames"` // the whole of a name must match
	Line      int            // of the file
}

// parseWhole reads a pattern that a whole text must match.
func parseWhole(text string) (*regexp.Regexp, error) {
	pattern, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return nil, fmt.Errorf("%q is not a pattern (RE2 syntax): %w", text, err)
	}
	return pattern, nil
}

// IsFile says whether the source is the users file.
func (s *UserSource) IsFile() bool { return s.App == "" && len(s.Command) == 0 }

// HasFile says whether the users file is one of the sources.
func (u *Users) HasFile() bool {
	return slices.ContainsFunc(u.Sources, func(s UserSource) bool { return s.IsFile() })
}

// usualNames has one spelling for each person: no letter case, no accents that a database may overlook, no e-mail
// address beside a name. Marks stand alone and between letters, since there are apps (DokuWiki) that take "carroll." and
// "carroll" for the same person: whoever knew the password could enrol an authenticator of their own for the other spelling.
var usualNames = regexp.MustCompile(`^[a-z0-9](?:[._-]?[a-z0-9]){0,63}$`)

// userSources checks who is asked about passwords, and fills in what the file leaves out. The upstreams have their
// names by now.
func (c checker) userSources(cfg *Config) {
	u := &cfg.Users
	if len(u.Sources) == 0 {
		u.Sources = []UserSource{{File: u.File}}
		return
	}
	if c.Has("users.file") {
		c.Report("users.file", "given together with users.sources; name the file there")
	}
	u.File = ""
	names := map[string]int{}
	for i := range u.Sources {
		key, s := at("users.sources", i), &u.Sources[i]
		s.Line = c.Line(key)
		switch given := s.kinds(); {
		case len(given) != 1:
			c.Report(key, "needs one of file, app and command; found %s", foundWords(given))
			continue
		case s.File != "":
			c.fileSource(key, u, s)
			continue
		case s.App != "":
			c.appSource(key, cfg, s)
		default:
			c.commandSource(key, s)
		}
		if s.Usernames == nil {
			s.Usernames = usualNames
		}
		c.groups(key, s.Groups)
		if line := names[s.Name]; line > 0 {
			c.Report(key, "%s is also the source on line %d; each is asked once", s.Name, line)
		} else if s.Name != "" {
			names[s.Name] = s.Line
		}
	}
}

func (s *UserSource) kinds() []string {
	var given []string
	for name, is := range map[string]bool{"file": s.File != "", "app": s.App != "", "command": len(s.Command) > 0} {
		if is {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	return given
}

func foundWords(given []string) string {
	if len(given) == 0 {
		return "none"
	}
	return strings.Join(given, " and ")
}

func (c checker) fileSource(key string, u *Users, s *UserSource) {
	if u.File != "" {
		c.Report(key+".file", "is a second users file; put its users into the first")
	}
	u.File = s.File
	c.onlyFor(key, "an app or a command", "groups", "usernames")
	c.onlyFor(key, "an app", "sign_in")
	c.onlyFor(key, "a command", "name", "timeout", "at_once")
}

// onlyFor reports keys that mean something elsewhere and nothing here.
func (c checker) onlyFor(key, what string, names ...string) {
	for _, name := range names {
		if c.Has(key + "." + name) {
			c.Report(key+"."+name, "is for %s; take it out", what)
		}
	}
}

func (c checker) appSource(key string, cfg *Config, s *UserSource) {
	c.onlyFor(key, "a command", "name", "timeout", "at_once")
	s.Name = s.App
	i := slices.IndexFunc(cfg.Upstreams, func(u Upstream) bool { return u.Name == s.App })
	switch {
	case i < 0:
		c.Report(key+".app", "there is no upstream %q; give the upstream that name", s.App)
		return
	case cfg.Upstreams[i].URL == nil:
		c.Report(key+".app", "the upstream %q has no url, so nobody can be asked", s.App)
		return
	case s.SignIn == nil || (s.SignIn.Form == nil) == (s.SignIn.Basic == nil):
		c.Report(key+".sign_in", "needs one of form and basic: how %s is asked about a password", s.App)
		return
	}
	if f := s.SignIn.Form; f != nil {
		c.loginForm(key+".sign_in.form", f, &cfg.Upstreams[i])
		if f.NoUsername && s.Usernames == nil {
			c.Report(key+".usernames", "missing: with no_username the app does not look at names, so say which may sign in, such as \"admin\"")
		}
		return
	}
	switch b := s.SignIn.Basic; {
	case b.Path == "":
		c.Report(key+".sign_in.basic.probe", "missing: a page of the app's that asks for name and password")
	default:
		c.appPage(key+".sign_in.basic.probe", b.Path, cfg.Upstreams[i].Path)
	}
}

func (c checker) commandSource(key string, s *UserSource) {
	c.onlyFor(key, "an app", "sign_in")
	if !filepath.IsAbs(s.Command[0]) {
		c.Report(at(key+".command", 0), "%q is not an absolute path", s.Command[0])
	}
	if !upstreamName.MatchString(s.Name) {
		c.Report(key+".name", "missing, or not 1 to 64 letters, digits and . _ -: people are known by it and their own name")
	}
	if !c.Has(key + ".timeout") {
		s.Timeout = 5 * time.Second
	}
	if s.Timeout <= 0 || s.Timeout > time.Minute {
		c.Report(key+".timeout", "want more than 0 and at most 1m: somebody waits for it")
	}
	if !c.Has(key + ".at_once") {
		s.AtOnce = 4
	}
	if s.AtOnce < 1 || s.AtOnce > 256 {
		c.Report(key+".at_once", "want 1 to 256, found %d", s.AtOnce)
	}
}
