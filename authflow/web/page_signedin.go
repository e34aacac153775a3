package web

import (
	"net/http"
	"net/url"
	"strings"

	"sallyport/authflow"
	"sallyport/templates"
)

// signedInPath is where a sign-in ends that was laid over a page of an app (docs/session-guard.md). Its rd is the path that
// was refused there, so that the sign-in asks for no more than that path does.
const signedInPath = "/signed-in"

// showSignedIn tells the page underneath that the person is signed in, by its script. Somebody who is not signs in first.
func (s *Server) showSignedIn(w http.ResponseWriter, r *http.Request) {
	here := s.here(r)
	cur, err := s.signedIn(r)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case cur == nil:
		s.startOver(w, r, here, authflow.ErrUnauthenticated)
	default:
		s.renderStep(w, http.StatusOK, templates.SignedInPage, templates.SignedIn{Base: s.base(r, "")}, here)
	}
}

// forPageBelow says whether a sign-in that leads to returnTo was laid over a page, and for which address there: "" where
// none is named.
func (s *Server) forPageBelow(returnTo string) (address string, laid bool) {
	path, query, _ := strings.Cut(returnTo, "?")
	if path != s.AuthPath+signedInPath {
		return "", false
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", true
	}
	return values.Get("rd"), true
}

// renderStep renders a page on the way to returnTo.
func (s *Server) renderStep(w http.ResponseWriter, code int, page string, data any, returnTo string) {
	s.allowFrame(w, returnTo)
	s.render(w, code, page, data)
}

// allowFrame lets a page of this origin, and only of this one, show the answer in a frame where the sign-in was laid over
// such a page. It gives nothing away: what has this origin can read and send the gateway's pages as it is. Every other
// page of ours stays out of frames.
func (s *Server) allowFrame(w http.ResponseWriter, returnTo string) {
	if _, laid := s.forPageBelow(returnTo); !laid {
		return
	}
	w.Header().Set("Content-Security-Policy", contentSecurityPolicy+"; frame-ancestors 'self'")
	w.Header().Set("X-Frame-Options", "SAMEORIGIN")
}
