// Package web speaks to people and programs for the sign-in flow: the pages and the JSON API under
// server.auth_path, and the answers that the proxy gives instead of forwarding. Each action parses, makes
// one call of the flow, and answers.
//
// It decides nothing about who may do what: that is package authflow's, and for proxied requests the
// proxy's.
package web

import (
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/session"
	"sallyport/templates"
)

// Options are what the pages need to know. All are set but KeepPost, which may be 0, and lists, which may be empty.
type Options struct {
	Flow      *authflow.Flow
	Codec     *cookie.Codec
	Jar       cookie.Jar
	AuthPath  string   // without a slash at its end
	PublicURL *url.URL // the origin that browsers use
	Hosts     []string // of the upstreams, with or without a port: where a person may be sent back to
	Product   string   // what the pages call the gateway
	KeepPost  int64    // the longest form post that is kept over a sign-in, in bytes; 0: none is
	// AppCookies are expired when somebody signs out at the gateway.
	AppCookies []AppCookies
	// KeySet gives the public keys of assertions, as JSON.
	KeySet func() ([]byte, error)
	// Apps have a sign-in of their own, or a hint for their people.
	Apps []*App
	// ClientAddr says where a request came from, trusted proxies taken into account.
	ClientAddr func(*http.Request) netip.Addr
	// Secure says whether the client speaks https, trusted proxies taken into account.
	Secure func(*http.Request) bool
	// PageLoad says whether a browser asks for a page, which can be answered by one.
	PageLoad func(*http.Request) bool
	// Route says whether target, on the host of r where it names none, is a route, of which upstream, and whether that
	// route asks for two factors.
	Route func(r *http.Request, target *url.URL) (upstream string, twoFactor, found bool)
	Log   *slog.Logger
}

// Server answers everything under AuthPath. It is safe for concurrent use.
type Server struct {
	Options
	pages   *template.Template
	routes  map[string]methods
	origins *http.CrossOriginProtection
	apps    map[string]*AppSignIn // by upstream

	cookies  envelopes[session.Opener] // of sessions
	accesses envelopes[accessToken]
}

// methods are the actions of one path.
type methods map[string]http.HandlerFunc

// New makes a server.
func New(o Options) (*Server, error) {
	pages, err := templates.Parse()
	if err != nil {
		return nil, err
	}
	s := &Server{Options: o, pages: pages, origins: http.NewCrossOriginProtection(), apps: map[string]*AppSignIn{}}
	for _, a := range o.Apps {
		s.apps[a.Name] = &AppSignIn{app: a, server: s}
	}
	s.routes = s.routeTable()
	return s, nil
}

// routeTable is every path under AuthPath but the two that carry a name: /static/… and /sessions/….
func (s *Server) routeTable() map[string]methods {
	return map[string]methods{
		"":                {"GET": s.toAccount},
		"/":               {"GET": s.toAccount},
		"/login":          {"GET": s.showLogin, "POST": s.byContent(s.postLogin, s.api(s.apiLogin))},
		"/2fa":            {"GET": s.byAccept(s.showChallenge, s.api(s.apiStatus)), "POST": s.form(s.postChallenge)},
		"/enroll":         {"GET": s.showEnroll, "POST": s.form(s.postEnroll)},
		"/recovery-codes": {"GET": s.showCodes, "POST": s.form(s.postCodes)},
		"/account":        {"GET": s.showAccount},
		"/logout":         {"GET": s.showLogout, "POST": s.postLogout},
		signedInPath:      {"GET": s.showSignedIn},
		keptPath:          {"GET": s.showKept, "POST": s.form(s.postDropKept)},
		appPasswordPath:   {"GET": s.showAppPassword, "POST": s.form(s.postAppPassword)},

		"/account/recovery-codes": {"POST": s.form(s.postNewCodes)},
		"/account/disable-2fa":    {"POST": s.form(s.postDisable)},
		"/account/revoke":         {"POST": s.form(s.postRevoke)},
		"/account/revoke-others":  {"POST": s.form(s.postRevokeOthers)},
		"/account/password":       {"POST": s.form(s.postPassword)},

		"/2fa/setup":          {"POST": s.api(s.apiSetup)},
		"/2fa/verify-setup":   {"POST": s.api(s.apiVerifySetup)},
		"/2fa/verify":         {"POST": s.api(s.apiVerify)},
		"/2fa/disable":        {"POST": s.api(s.apiDisable)},
		"/2fa/recovery-codes": {"POST": s.api(s.apiNewCodes)},
		"/me":                 {"GET": s.api(s.apiMe)},
		"/sessions":           {"GET": s.api(s.apiSessions)},
		"/refresh":            {"POST": s.api(s.apiRefresh)},
		"/change-password":    {"POST": s.api(s.apiChangePassword)},
		"/healthz":            {"GET": s.healthz},

		"/.well-known/jwks.json": {"GET": s.keySet},
	}
}

// ServeHTTP answers a request whose path is AuthPath or lies below it. Paths are compared as they came,
// decoded once: there is no cleaning, so nothing is redirected to another spelling of itself.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.guard(w)
	path := strings.TrimPrefix(r.URL.Path, s.AuthPath)
	if name, ok := strings.CutPrefix(path, "/static/"); ok {
		s.serveAsset(w, r, name)
		return
	}
	actions, ok := s.routes[path]
	if handle, isSession := strings.CutPrefix(path, "/sessions/"); isSession && handle != "" {
		actions, ok = methods{"DELETE": s.api(func(c *call) (any, error) { return s.apiRevoke(c, handle) })}, true
	}
	if !ok {
		s.fail(w, r, errNotFound)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	action, ok := actions[method]
	if !ok {
		w.Header().Set("Allow", allowed(actions))
		s.fail(w, r, errMethod)
		return
	}
	if err := s.origins.Check(r); err != nil {
		s.fail(w, r, errCrossOrigin)
		return
	}
	// A body of ours is small, so a client that is slow with it holds a connection and sends nothing useful.
	// Where the connection takes no deadline, the server's own bounds hold.
	_ = http.NewResponseController(w).SetReadDeadline(s.Flow.Now().Add(bodyWithin))
	action(w, r)
}

// bodyWithin is how long a client may take to send the body of a request to the pages or the API.
const bodyWithin = 20 * time.Second

func allowed(actions methods) string {
	var names []string
	for _, m := range []string{"GET", "POST", "DELETE"} {
		if actions[m] != nil {
			names = append(names, m)
		}
		if m == "GET" && actions[m] != nil {
			names = append(names, "HEAD")
		}
	}
	return strings.Join(names, ", ")
}

// contentSecurityPolicy has no form-action: browsers hold it against every redirect that follows a form,
// and after a sign-in that redirect leads to an app, which may lead anywhere.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'"

// guard sets the headers that every answer of the gateway's own has.
func (s *Server) guard(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentSecurityPolicy+"; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer: with it browsers send "Origin: null" along with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.PublicURL.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// keySet serves the keys with which apps check assertions (RFC 7517). Apps may keep them for a while: the next one is
// among them long before it signs.
func (s *Server) keySet(w http.ResponseWriter, r *http.Request) {
	keys, err := s.KeySet()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Write(keys)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}
