// Package appsignin signs a person in to an app as their browser would, through the app's login form or by HTTP Basic
// authentication, and tells whether the app took the name and the password, refused them, or did neither.
//
// It knows HTTP and HTML, and nothing of sessions, users or stores. It asks for one app through the transport that it is
// given, and for no other host. What the app answers is hostile: pages, cookies, redirects and time are bounded.
//
// An acceptance is believed only where it is certain: what could be read in two ways is [ErrUnclear], and never a person
// signed in, nor a wrong password.
package appsignin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// What a sign-in ends with if it is not accepted. The text of an error says what was asked of the app and what it
// answered. It holds no password, no value of a cookie or a field, and no address of the app's own.
var (
	ErrRefused    = errors.New("the app refuses this name and password")
	ErrUnclear    = errors.New("the app's answer is neither yes nor no")            // the app or the configuration is wrong, not the person
	ErrOutOfReach = errors.New("the app is out of reach")                           // nothing is known of the password
	ErrBadInput   = errors.New("no app can be asked about such a name or password") // nothing was sent
	ErrBusy       = errors.New("too many sign-ins are under way at the app")        // nothing was sent; of a [Checker] alone
)

// patience bounds all the requests of one sign-in together.
const patience = 10 * time.Second

// maxInput bounds a name and a password, in bytes. What is longer is a mistake or an attack.
const maxInput = 1024

// App is one app as its people's browsers reach it through the gateway. An [*http.MaxBytesError] of its transport is an
// answer that is too long, and any other error an app out of reach.
type App struct {
	Name      string                // the upstream's, for errors
	Origin    *url.URL              // scheme and host under which browsers know it
	Transport http.RoundTripper     // carries requests to this app and nowhere else; answers are as a browser of the gateway's would see them
	Home      func(u string) string // gives the browsers' spelling of a URL under the app's own address, and any other as it stands; nil: no app writes one
	Now       func() time.Time      // the clock by which cookies expire
	// Header is sent along with each request, so that the app takes the person's browser for the one that signed in: there
	// are apps that tie a session to the browser's User-Agent. nil: nothing but what a request needs.
	Header http.Header
}

// Result is what an accepted sign-in leaves for the person's browser.
type Result struct {
	// Cookies are the app's Set-Cookie lines for [App.Origin], in the order in which it sent them, the last of each name,
	// domain and path. Each has a path, so that they mean the same on any answer of that origin.
	Cookies []string
}

// Method is a way to sign in: [*Form] or [*Basic].
type Method interface {
	// SignIn tries a name and a password. The errors are [ErrRefused], [ErrUnclear], [ErrOutOfReach] and
	// [ErrBadInput]. It ends with ctx, and after 10 seconds in any case. It may be used by any number of goroutines at once.
	SignIn(ctx context.Context, app App, name, password string) (*Result, error)
}

// checkInput refuses what no form and no header can carry, and an empty password: there are directories that take a
// name without one for an anonymous guest and say yes (RFC 4513 section 5.1.2).
func checkInput(app App, name, password string, nameless bool) error {
	what := ""
	switch {
	case name == "" && !nameless:
		what = "the name is empty"
	case password == "":
		what = "the password is empty"
	case len(name) > maxInput || len(password) > maxInput:
		what = fmt.Sprintf("one of them is longer than %d bytes", maxInput)
	case !utf8.ValidString(name) || !utf8.ValidString(password):
		what = "one of them is not UTF-8"
	case strings.ContainsAny(name+password, "\r\n\x00"):
		what = "one of them holds a line break or NUL"
	default:
		return nil
	}
	return fmt.Errorf("%s: %w: %s", app.Name, ErrBadInput, what)
}

// within takes a URL that the app has written to the browsers' spelling, and says whether it lies in the app's origin.
func (a App) within(u *url.URL) (*url.URL, bool) {
	if !a.isOrigin(u) && a.Home != nil {
		home, err := url.Parse(a.Home(u.String()))
		if err != nil {
			return nil, false
		}
		u = home
	}
	if !a.isOrigin(u) || u.User != nil {
		return nil, false
	}
	inside := *u
	inside.Fragment, inside.RawFragment = "", ""
	if inside.Path == "" {
		inside.Path = "/"
	}
	return &inside, true
}

func (a App) isOrigin(u *url.URL) bool {
	return u.Scheme == a.Origin.Scheme && strings.EqualFold(u.Hostname(), a.Origin.Hostname()) && port(u) == port(a.Origin)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// resolve reads a reference as a browser does on a page at base, and fails where it leads out of the app. A backslash is
// a slash to browsers and none to us, so that a reference with one is refused.
func (a App) resolve(base *url.URL, reference string) (*url.URL, bool) {
	reference = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(strings.Trim(reference, " \t\n\f\r"))
	u, err := base.Parse(reference)
	if err != nil || strings.Contains(reference, `\`) {
		return nil, false
	}
	return a.within(u)
}
