package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// errNotSignedOut says that the app has signed somebody out whose session at the gateway could not be ended.
var errNotSignedOut = errors.New("the gateway's session could not be ended")

// signOut is the page with which an app signs people out. nil: there is none.
type signOut struct {
	path  pattern
	query url.Values // one value for each name
}

// newSignOut reads a path of [Rule.Paths], and after a question mark the parameters that tell the page from others.
func newSignOut(page string) (*signOut, error) {
	if page == "" {
		return nil, nil
	}
	path, query, _ := strings.Cut(page, "?")
	p, err := newPattern(path)
	if err != nil {
		return nil, fmt.Errorf("sign-out %w", err)
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("sign-out path %q: the query: %w", page, err)
	}
	for name, values := range parameters {
		if len(values) > 1 {
			return nil, fmt.Errorf("sign-out path %q: %s is given twice, and a request has to match both", page, name)
		}
	}
	return &signOut{path: p, query: parameters}, nil
}

// takes says whether a request is for the page. Where servers disagree on what a query says (a parameter with two
// values, a malformed escape, a semicolon) it is not.
func (s *signOut) takes(path *requestPath, rawQuery string) bool {
	if s == nil || s.path.match(path) != same {
		return false
	}
	if len(s.query) == 0 {
		return true
	}
	given, err := url.ParseQuery(rawQuery)
	if err != nil {
		return false
	}
	for name, want := range s.query {
		if values := given[name]; len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return v != want[0] }) {
			return false
		}
	}
	return true
}

// signsOut says whether a request with this verdict is for the page with which the app signs people out.
func (v *verdict) signsOut(r *http.Request) bool {
	return v.route.signOut.takes(&v.path, r.URL.RawQuery)
}

// signOutToo ends the gateway's session after the app has signed out. An answer that refuses has signed nobody out.
func (p *passage) signOutToo(res *http.Response) error {
	if p.id == nil || !p.verdict.signsOut(p.in) || res.StatusCode >= http.StatusBadRequest {
		return nil
	}
	lines, err := p.gateway.options.SignOut(p.in)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSignedOut, err)
	}
	for _, line := range lines {
		res.Header.Add("Set-Cookie", line)
	}
	return nil
}
