package config

import (
	"errors"
	"maps"
	"sallyport/config/strictyaml"
	"slices"
	"strings"
	"unicode"
)

// SignInToApp is how a person who has signed in at the gateway is signed in to the app: exactly one of Form, Basic
// and Header.
type SignInToApp struct {
	Form       *LoginForm        `key:"form"`
	Basic      *AppAccount       `key:"basic"`
	Header     map[string]string `key:"header"`           // those of HeaderFile among them
	HeaderFile map[string]string `key:"header_file,path"` // by header: the file that holds its value
	When       []string          `key:"when"`             // for Form: sign_in, expired
	SignedOut  *AppAnswer        `key:"signed_out"`       // for Form, beside 401 and the way to Page
}

// AppAccount is the account with which people are signed in to an app by HTTP Basic: their own, one for all, or those
// of a file.
type AppAccount struct {
	Own      bool   // the text "own" instead of keys
	Username string `key:"username"`
	Password string `key:"password,secret"`
	MapFile  string `key:"map_file,path"`
}

func parseAppAccount(text string) (AppAccount, error) {
	if text != "own" {
		return AppAccount{}, errors.New("want own, or a mapping with username and password, or with map_file")
	}
	return AppAccount{Own: true}, nil
}

// signInToApps checks how people are signed in to the apps. The sources of users have been checked by now.
func (c checker) signInToApps(cfg *Config) {
	for i := range cfg.Upstreams {
		c.signInToApp(at("upstreams", i)+".sign_in_to_app", cfg, &cfg.Upstreams[i])
	}
}

// hasAny says whether the file gives one of the names under key.
func (c checker) hasAny(key string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return c.Has(key + "." + name) })
}

// signInToApp checks how people are signed in to an upstream. An empty mapping is none.
func (c checker) signInToApp(key string, cfg *Config, u *Upstream) {
	s := u.SignInToApp
	if s == nil || !c.hasAny(key, "form", "basic", "header", "header_file", "when", "signed_out") {
		u.SignInToApp = nil
		return
	}
	given := 0
	for _, is := range []bool{s.Form != nil, s.Basic != nil, len(s.Header)+len(s.HeaderFile) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		c.Report(key, "needs one of form, basic and header: how people are signed in to the app")
		return
	case u.URL == nil:
		c.Report(key, "is for requests on their way through the gateway, and without a url none come through; take it out")
		return
	}
	if s.Form == nil {
		c.onlyFor(key, "form", "when", "signed_out")
	}
	switch {
	case s.Form != nil:
		c.formToApp(key, cfg, u)
	case s.Basic != nil:
		c.basicToApp(key+".basic", s.Basic)
	default:
		c.headerToApp(key, s)
	}
}

func (c checker) formToApp(key string, cfg *Config, u *Upstream) {
	s := u.SignInToApp
	if !c.hasAny(key+".form", "page", "username_field", "password_field", "no_username", "success", "failure") {
		// The form by which the app is asked about passwords is the one to sign in with.
		for _, source := range cfg.Users.Sources {
			if source.App == u.Name && source.SignIn != nil && source.SignIn.Form != nil {
				*s.Form = *source.SignIn.Form
			}
		}
	}
	c.loginForm(key+".form", s.Form, u)
	if !c.Has(key + ".when") {
		s.When = []string{"sign_in"}
	}
	for i, when := range s.When {
		if when != "sign_in" && when != "expired" {
			c.Report(at(key+".when", i), "unknown value %q; want sign_in or expired", when)
		}
	}
	if len(s.When) == 0 {
		c.Report(key+".when", "is empty, so nobody would ever be signed in; want sign_in, expired or both")
	}
	if s.SignedOut != nil {
		c.appAnswer(key+".signed_out", *s.SignedOut)
		if !slices.Contains(s.When, "expired") {
			c.Report(key+".signed_out", "is looked at with expired alone; add it to when")
		}
	}
}

func (c checker) basicToApp(key string, b *AppAccount) {
	single := b.Username != "" || b.Password != ""
	switch {
	case b.Own:
	case single == (b.MapFile != ""):
		c.Report(key, "want own, or username and password, or map_file")
	case single && (b.Username == "" || b.Password == ""):
		c.Report(key, "needs both username and password (or password_file)")
	case strings.Contains(b.Username, ":") || strings.ContainsFunc(b.Username+b.Password, unicode.IsControl):
		c.Report(key, "HTTP Basic takes no : in a name, and no control characters (RFC 7617 section 2)")
	}
}

func (c checker) headerToApp(key string, s *SignInToApp) {
	if s.Header == nil {
		s.Header = map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(s.HeaderFile)) {
		fileKey := strictyaml.Join(key+".header_file", name)
		if _, twice := s.Header[name]; twice {
			c.Report(fileKey, "given together with header; keep one of the two")
			continue
		}
		content, err := readFile(s.HeaderFile[name])
		if err != nil {
			c.must(fileKey, err)
			continue
		}
		s.Header[name] = strings.TrimSpace(string(content))
	}
	first := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		nameKey := strictyaml.Join(key+".header", name)
		switch folded := foldHeader(name); {
		case !token.MatchString(name):
			c.Report(nameKey, "%q is not the name of a header", name)
		case reserved(folded):
			c.Report(nameKey, "%s is said by the gateway, or passes untouched; take it out", name)
		case first[folded]:
			c.Report(nameKey, "%s is named twice", name)
		case s.Header[name] == "" || strings.ContainsFunc(s.Header[name], unicode.IsControl):
			c.Report(nameKey, "needs a value of one line")
		default:
			first[folded] = true
		}
	}
}
