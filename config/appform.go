package config

import (
	"strconv"
	"strings"
	"unicode"
)

// SignIn is how an app is asked whether a name and a password are right: exactly one of the two.
type SignIn struct {
	Form  *LoginForm `key:"form"`
	Basic *Probe     `key:"basic"`
}

// Probe is a page that HTTP Basic opens.
type Probe struct {
	Path string `key:"probe"` // as browsers ask for it, with a query perhaps
}

// LoginForm is an app's own sign-in page. Names of fields are empty where they are to be found in the page.
type LoginForm struct {
	Page          string    `key:"page"` // as browsers ask for it, with a query perhaps
	UsernameField string    `key:"username_field"`
	PasswordField string    `key:"password_field"`
	NoUsername    bool      `key:"no_username"` // the form asks for a password alone
	Success       AppAnswer `key:"success"`
	Failure       AppAnswer `key:"failure"`
}

// AppAnswer is what an answer of an app's must be: everything that is given.
type AppAnswer struct {
	Status      []int  `key:"status"`
	Location    string `key:"location"`     // a path, as browsers see it, exact or with a * at the end
	NotLocation string `key:"not_location"` // the same
	Cookie      string `key:"cookie"`       // that it sets: a name, or a beginning with a * at the end
	Body        string `key:"body"`         // a text in it
}

// loginForm checks a form of an upstream's, and fills in the page: the upstream's first one.
func (c checker) loginForm(key string, f *LoginForm, u *Upstream) {
	if f.Page == "" {
		f.Page = strings.TrimSuffix(u.Path, "/") + "/"
	}
	c.appPage(key+".page", f.Page, u.Path)
	if f.NoUsername && f.UsernameField != "" {
		c.Report(key+".username_field", "given together with no_username; keep one of the two")
	}
	c.appAnswer(key+".success", f.Success)
	c.appAnswer(key+".failure", f.Failure)
}

// appPage checks a path, with a query perhaps, at which the gateway itself asks an app.
func (c checker) appPage(key, page, upstreamPath string) {
	path, query, _ := strings.Cut(page, "?")
	switch err := checkPath(path); {
	case err != nil:
		c.must(key, err)
	case strings.Contains(path, "*"):
		c.Report(key, "%q holds a *; name one page", page)
	case strings.Contains(query, "#") || strings.ContainsFunc(query, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		c.Report(key, "%q: a query has no #, space or control character", page)
	case !under(path, upstreamPath):
		c.Report(key, "%q is not under the upstream's path %s", page, upstreamPath)
	}
}

func (c checker) appAnswer(key string, a AppAnswer) {
	for i, status := range a.Status {
		if status < 200 || status > 599 {
			c.Report(at(key+".status", i), "%s is not a status of an answer: want 200 to 599", strconv.Itoa(status))
		}
	}
	for _, given := range [...]struct{ name, path string }{{"location", a.Location}, {"not_location", a.NotLocation}} {
		name, path := given.name, given.path
		base := strings.TrimSuffix(path, "*")
		if path != "" && (!strings.HasPrefix(base, "/") || strings.ContainsAny(base, "*#") || strings.ContainsFunc(base, unicode.IsControl)) {
			c.Report(key+"."+name, "%q is not a path, exact or with a * at its end, such as /login*", path)
		}
	}
	if name := strings.TrimSuffix(a.Cookie, "*"); a.Cookie != "" && !token.MatchString(name) {
		c.Report(key+".cookie", "%q is not the name of a cookie, nor the beginning of one with a * at its end", a.Cookie)
	}
}
