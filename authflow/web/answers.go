package web

import (
	"net/http"
	"net/url"

	"sallyport/authflow"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
)

// SignIn answers a proxied request that needs more assurance than it has: a page load is led to the page of
// the next step, anything else is told as JSON, in words that a page of another of our origins can read too. id is
// nil where nobody is signed in.
func (s *Server) SignIn(w http.ResponseWriter, r *http.Request, id *session.Identity) {
	s.guard(w)
	if s.preflight(w, r) {
		return
	}
	fromOther := s.allowOrigin(w, r)
	step, err := s.Flow.Next(r.Context(), id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if s.PageLoad(r) {
		http.Redirect(w, r, withReturn(s.pathOf(step), s.here(r)), http.StatusFound)
		return
	}
	tellSignIn(w, id, s.loginURL(r, s.pathOf(step), fromOther))
}

// SignInFor is SignIn where a front proxy asks on behalf of the request r, whose URL is absolute. The page that it
// names has a whole URL, and leads back to r's. status is how a page load is led there: 302, or 401 with a Location,
// for a front proxy that makes the redirect itself and gets the Location on every answer. Preflights are not allowed
// here: nobody could ask the app when the request itself comes.
func (s *Server) SignInFor(w http.ResponseWriter, r *http.Request, id *session.Identity, status int) {
	s.guard(w)
	step, err := s.Flow.Next(r.Context(), id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	returnTo := r.URL.String()
	if len(returnTo) > maxReturn {
		returnTo = "" // the login page would not take it, and a front proxy may choke on the header
	}
	page := withReturn(s.originFor(r.URL)+s.pathOf(step), returnTo)
	if status == http.StatusFound && s.PageLoad(r) {
		http.Redirect(w, r, page, http.StatusFound)
		return
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("Location", page)
	}
	tellSignIn(w, id, page)
}

// originFor is where a person signs in for an address that a front proxy serves: at public_url where its cookies reach
// the address, and otherwise at the address's own host.
func (s *Server) originFor(u *url.URL) string {
	if s.Jar.Reaches(u.Hostname()) {
		return s.PublicURL.String()
	}
	return u.Scheme + "://" + u.Host
}

// tellSignIn tells a program that more assurance is needed, and where a person can give it.
func tellSignIn(w http.ResponseWriter, id *session.Identity, page string) {
	code, words := "UNAUTHENTICATED", answerFor(authflow.ErrUnauthenticated).words
	if id != nil {
		code, words = "2FA_REQUIRED", "This needs a second factor."
	}
	writeJSON(w, http.StatusUnauthorized, failure{Error: words, Code: code, LoginURL: page})
}

// pageBehind is the page that sent a background request, as far as the browser says and it is one of ours:
// where to come back to after a sign-in, since the request itself is no page.
func (s *Server) pageBehind(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Host == r.Host {
		u.Scheme, u.Host = "", ""
	}
	return s.returnTo(r, u.String())
}

// refusals are the errors behind the statuses that the proxy answers with.
var refusals = map[int]error{
	http.StatusBadRequest:            errBadTarget,
	http.StatusForbidden:             errForbidden,
	http.StatusNotFound:              errNotFound,
	http.StatusMethodNotAllowed:      errMethod,
	http.StatusRequestEntityTooLarge: errTooLarge,
	http.StatusBadGateway:            errGateway,
	http.StatusServiceUnavailable:    store.ErrUnavailable,
	http.StatusGatewayTimeout:        errTimeout,
}

// Refuse answers a request that is not forwarded, or whose upstream failed, with one of the refusals. The
// request id is what the log line of the same failure holds.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, code int, requestID string) {
	s.guard(w)
	s.allowOrigin(w, r)
	a := answerFor(refusals[code])
	if s.PageLoad(r) || r.Header.Get("Sec-Fetch-Mode") == "navigate" { // a form that was sent, too
		s.errorPage(w, r, a, requestID)
		return
	}
	writeJSON(w, a.status, failure{Error: a.words, Code: a.code, RequestID: requestID})
}
