package appsignin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Answer is what an answer of the app's must be: all that is given must hold. With nothing given it is zero and asks
// nothing.
type Answer struct {
	Status []int // one of them
	// Location and NotLocation are patterns of the path that the answer redirects to, with a * at the end for any ending.
	// A pattern with a question mark is of path and query. NotLocation holds without a redirect. A redirect out of the
	// app fits neither.
	Location, NotLocation string
	Cookie                string // a name, or the beginning of one and a *: the answer sets such a cookie, with a value, and deletes none
	Body                  string // a part of the body, letter by letter
}

func (w Answer) isZero() bool {
	return len(w.Status) == 0 && w.Location == "" && w.NotLocation == "" && w.Cookie == "" && w.Body == ""
}

// seen is what there is to judge by.
type seen struct {
	*answer
	redirected bool
	location   *url.URL // nil: none, or out of the app
	body       []byte
	doc        *document // nil: no page
	fresh      bool      // a cookie is new, or has a new value
	back       place
}

// place says where a redirect leads.
type place int

const (
	elsewhere place = iota
	nearLogin       // to where a login page may be
	toLogin
)

// judge reads the answer to a form and says what it means.
func (f *Form) judge(ctx context.Context, x *exchange, a *answer, start, login *url.URL) (*Result, error) {
	if a.StatusCode == http.StatusTooManyRequests || a.StatusCode >= 500 {
		return nil, x.unclear(a.to, "answered %d", a.StatusCode)
	}
	s, err := f.look(ctx, x, a)
	if err != nil {
		return nil, err
	}
	if s.location != nil {
		s.back = backTo(start, login, s.location)
	}
	success, failure := s.accepted(), s.refused()
	if !f.Success.isZero() {
		success = f.Success.holds(s)
	}
	if !f.Failure.isZero() {
		failure = f.Failure.holds(s)
	}
	switch {
	case success && !failure:
		return x.result(), nil
	case failure && !success:
		return nil, fmt.Errorf("%s: %w: %s %s", x.app.Name, ErrRefused, a.to, s.describe(x))
	case success:
		return nil, x.unclear(a.to, "%s, which fits both success and failure; say in both what only one of them is", s.describe(x))
	}
	return nil, x.unclear(a.to, "%s, which fits neither success nor failure; say in success and failure what the app answers", s.describe(x))
}

// look reads from an answer what the judgement needs of it.
func (f *Form) look(ctx context.Context, x *exchange, a *answer) (*seen, error) {
	s := &seen{answer: a, redirected: isRedirect(a.StatusCode)}
	if location := a.Header.Get("Location"); s.redirected && location != "" {
		if u, inside := x.app.resolve(a.url, location); inside {
			s.location = u
		}
	}
	s.fresh = slices.ContainsFunc(a.set, func(c setCookie) bool { return c.hasValue() && !slices.ContainsFunc(x.before, c.same) })
	html := isHTML(a.Header) && showsPage(a.StatusCode)
	if !html && f.Success.Body == "" && f.Failure.Body == "" {
		return s, nil
	}
	body, err := x.read(a)
	if err != nil {
		return nil, err
	}
	s.body = body
	if html {
		if s.doc, err = parse(ctx, body); err != nil {
			return nil, x.unclear(a.to, "answered with a page that cannot be used: %v", err)
		}
	}
	return s, nil
}

// showsPage says whether a page with this status is the app's answer to a person. Some frameworks show a form again with
// 400 or 422. A login form on a page with 404 is part of its frame.
func showsPage(status int) bool {
	return status/100 == 2 || status == http.StatusBadRequest || status == http.StatusUnprocessableEntity
}

// backTo says whether a redirect leads back to the login page. It may do so where the page is one by its query
// (/doku.php?do=login) and only the path is the same; where it leads to a path below; and where it leads to the start, from
// which the way to the login page began: somebody who is signed in would stay there.
func backTo(start, login, to *url.URL) place {
	folder := func(u *url.URL) string { return strings.TrimSuffix(u.Path, "/") + "/" }
	switch page := folder(login); {
	case folder(to) == page:
		query := to.Query()
		for name, values := range login.Query() {
			if !slices.Equal(query[name], values) {
				return nearLogin
			}
		}
		return toLogin
	case page != "/" && strings.HasPrefix(to.Path, page), folder(to) == folder(start):
		return nearLogin
	}
	return elsewhere
}

func (s *seen) accepted() bool {
	entered := s.location != nil && s.back == elsewhere
	shown := s.StatusCode/100 == 2 && s.doc != nil && !s.doc.password
	return s.fresh && (entered || shown)
}

func (s *seen) refused() bool {
	return isRefusal(s.StatusCode) || s.back == toLogin || s.hasLoginForm()
}

func (s *seen) hasLoginForm() bool {
	return s.doc != nil && slices.ContainsFunc(s.doc.forms, func(e *formElement) bool { return len(e.passwords()) > 0 })
}

// holds says whether an answer is what is asked for.
func (w Answer) holds(s *seen) bool {
	return (len(w.Status) == 0 || slices.Contains(w.Status, s.StatusCode)) &&
		(w.Location == "" || s.location != nil && fits(w.Location, s.location)) &&
		(w.NotLocation == "" || !s.redirected || s.location != nil && !fits(w.NotLocation, s.location)) &&
		(w.Cookie == "" || slices.ContainsFunc(s.set, func(c setCookie) bool { return c.hasValue() && matches(w.Cookie, c.Name) })) &&
		(w.Body == "" || bytes.Contains(s.body, []byte(w.Body)))
}

func fits(pattern string, u *url.URL) bool {
	p := u.Path
	if strings.Contains(pattern, "?") {
		p = u.RequestURI()
	}
	return matches(pattern, p)
}

// matches compares with a pattern that may end in a star.
func matches(pattern, s string) bool {
	if beginning, any := strings.CutSuffix(pattern, "*"); any {
		return strings.HasPrefix(s, beginning)
	}
	return s == pattern
}

// describe says what was seen.
func (s *seen) describe(x *exchange) string {
	words := fmt.Sprintf("answered %d", s.StatusCode)
	switch {
	case s.location != nil:
		words += " to " + x.show(s.location)
	case s.redirected:
		words += " to somewhere out of the app"
	case s.hasLoginForm():
		words += " with a login form"
	case s.doc != nil:
		words += " with a page without a login form"
	}
	if s.fresh {
		return words + " and a new cookie"
	}
	return words + " and no new cookie"
}
