package web

import (
	"net/http"
	"net/url"
	"strings"
)

const (
	preflightFor       = "60" // seconds that a browser may remember the answer to a preflight
	maxPreflightHeader = 1024 // bytes of Access-Control-Request-Headers that are echoed
)

// ownForeignOrigin is the origin of the page that made a request, where it is one of the gateway's own but not that of
// the request: a page of one app asks another. It is "" for every other request.
func (s *Server) ownForeignOrigin(r *http.Request) string {
	values := r.Header["Origin"]
	if len(values) != 1 {
		return ""
	}
	u, err := url.Parse(values[0])
	if err != nil || u.Scheme+"://"+u.Host != values[0] || !s.ownOrigin(r, u) || strings.EqualFold(u.Host, r.Host) {
		return ""
	}
	return values[0]
}

// allowOrigin lets a page of another of the gateway's own origins read an answer of the gateway's (Fetch standard,
// section 3.3.5), and says whether it is such a page that asks.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	origin := s.ownForeignOrigin(r)
	if origin == "" {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	return true
}

// preflight answers a CORS preflight from a page of another of the gateway's own origins, and says whether it was
// one. Preflights carry no cookies, so without an answer of ours the request would never come, signed in or not. What
// the app thinks of the request the proxy asks it when the request comes with a session.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) bool {
	method, names := r.Header["Access-Control-Request-Method"], strings.Join(r.Header["Access-Control-Request-Headers"], ", ")
	if r.Method != http.MethodOptions || len(method) != 1 || method[0] == "" || len(names) > maxPreflightHeader || !s.allowOrigin(w, r) {
		return false
	}
	h := w.Header()
	h["Vary"] = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
	h.Set("Access-Control-Allow-Methods", method[0])
	if names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Set("Access-Control-Max-Age", preflightFor)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// loginURL is where the caller of a background request sends the person to sign in: a path for a page of the same
// host, and the whole address for one of another host, from which a path would lead elsewhere.
func (s *Server) loginURL(r *http.Request, path string, fromOther bool) string {
	path = withReturn(path, s.pageBehind(r))
	if !fromOther {
		return path
	}
	scheme := s.PublicURL.Scheme
	if s.Secure(r) {
		scheme = "https"
	}
	return scheme + "://" + r.Host + path
}
