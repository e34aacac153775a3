package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sallyport/authflow/session"
)

// Options is what a Gateway is made of. Upstreams, AuthPath, Identify, Answers and Log are needed.
type Options struct {
	Upstreams      []Upstream
	AuthPath       string         // where the gateway's own pages live, e.g. "/auth": nothing under it is ever forwarded
	CookieNames    []string       // the gateway's own, exactly as browsers send them
	TrustedProxies []netip.Prefix // whose X-Forwarded-* and Forwarded are believed; none: nobody's

	// Identify says who makes a request: nil and no error is nobody. An error means that it could not be found
	// out (the store is gone); the request is then refused with 503. It is not called where the policy is bypass.
	Identify func(*http.Request) (*session.Identity, error)

	// OwnBearer says whether the Authorization header carries an access token of the gateway's, which is then not
	// passed on. It must not need the store. nil: there are no such tokens, and every Authorization header passes.
	OwnBearer func(*http.Request) bool

	// Alive says who the session under an identity's Key belongs to now, [session.ErrNone] where it has ended, and any
	// other error where that cannot be found out. It is called now and then for each request that is forwarded with an
	// identity, and cuts WebSockets and event streams short. nil: what is under way when a session ends runs to its own end.
	Alive func(ctx context.Context, key string) (*session.Identity, error)

	// Forms keeps form posts over a sign-in. nil: they are answered like any other request.
	Forms Forms

	// Guard is the script for pages of upstreams with SessionGuard; needed where there is such an upstream.
	Guard Guard

	// SignOut ends the session that a request came with, and returns the Set-Cookie lines that take its cookie out of
	// the browser. It is called when an app has answered at its SignOutPath. nil: no upstream may have one.
	SignOut func(*http.Request) ([]string, error)

	// Assert signs who asks for an upstream, in a form that stands in a header. Needed where an upstream has Assertion.
	Assert func(id *session.Identity, upstream string) (string, error)

	Answers Answers
	Log     *slog.Logger
}

// Answers writes what a person or a program gets when a request is not forwarded: a page where [PageLoad] says so,
// and JSON otherwise. Its methods are called from many goroutines.
type Answers interface {
	// SignIn answers a request that needs more assurance than it has. id is nil, or an identity with one factor
	// where two are needed. A CORS preflight from an origin whose pages may read the answer is answered as allowed:
	// the app is asked when the request itself comes.
	SignIn(w http.ResponseWriter, r *http.Request, id *session.Identity)

	// SignInFor is SignIn toward a front proxy, about a request r with an absolute URL. status is how it sends a page
	// load to the login page: 302, or 401 with a Location.
	SignInFor(w http.ResponseWriter, r *http.Request, id *session.Identity, status int)

	// Refuse answers 400, 403, 404, 405, 413, 502, 503 or 504. requestID is what the log line of the failure has, for the person to
	// quote, or "".
	Refuse(w http.ResponseWriter, r *http.Request, status int, requestID string)
}

// Forms looks after form posts whose sender has to sign in before they can be forwarded. Its methods are called from
// many goroutines.
type Forms interface {
	// Keep puts a request that needs more assurance than it has aside, for the person to send once they have it, and
	// answers it. false: it is not one to be kept, and nothing was answered. id is as in [Answers].
	Keep(w http.ResponseWriter, r *http.Request, id *session.Identity) bool

	// Restore gives the request to forward for one that may pass: r itself, or the one that was kept and that r, of the
	// same method, host and target, asks to send now. false: it has answered, and nothing is forwarded.
	Restore(w http.ResponseWriter, r *http.Request, id *session.Identity) (*http.Request, bool)
}

// Gateway decides on requests and forwards those that may pass. It does not change once made, so any number of
// goroutines may use it; a changed configuration is a new Gateway.
type Gateway struct {
	table    table
	authPath string // folded
	cookies  cookieNames
	trusted  []netip.Prefix
	options  Options

	transports map[wire]connections
	buffers    bufferPool
	vigils     vigils
}

// New makes a Gateway, or says in one line which upstream or option is wrong and why.
func New(o Options) (*Gateway, error) {
	if o.Identify == nil || o.Answers == nil || o.Log == nil {
		return nil, errors.New("proxy: Identify, Answers and Log are all needed")
	}
	authPath, err := fold(o.AuthPath)
	if err != nil || authPath == "" {
		return nil, fmt.Errorf("proxy: auth path %q: want a folder below /, such as /auth", o.AuthPath)
	}
	if o.Guard.Script == "" && slices.ContainsFunc(o.Upstreams, func(u Upstream) bool { return u.SessionGuard }) {
		return nil, errors.New("proxy: an upstream has SessionGuard, and there is no Guard")
	}
	if o.Assert == nil && slices.ContainsFunc(o.Upstreams, func(u Upstream) bool { return u.Assertion }) {
		return nil, errors.New("proxy: an upstream has Assertion, and there is no Assert")
	}
	g := &Gateway{authPath: authPath, cookies: slices.Clone(o.CookieNames), options: o, transports: map[wire]connections{}}
	if g.table, err = newTable(o.Upstreams); err != nil {
		return nil, err
	}
	g.connect()
	for _, n := range o.TrustedProxies {
		g.trusted = append(g.trusted, n.Masked())
	}
	return g, nil
}

// connect gives each route its way to the upstream. Routes that speak alike share their connections.
func (g *Gateway) connect() {
	errorLog := slog.NewLogLogger(g.options.Log.Handler(), slog.LevelDebug) // for answers that broke off
	for _, s := range g.table {
		for _, rt := range s.routes {
			if rt.target == nil || rt.forward != nil {
				continue
			}
			if g.transports[rt.wire] == nil {
				g.transports[rt.wire] = rt.wire.connections()
			}
			_, exchanging := g.transports[rt.wire].(*exchange)
			rt.short = exchanging && rt.target.Scheme == "http" && rt.signIn == nil
			rt.forward = newForward(g.transports[rt.wire], rt.forwarding.FlushInterval, &g.buffers, errorLog)
		}
	}
}

// Close closes the idle connections to upstreams. Requests under way are not touched.
func (g *Gateway) Close() {
	for _, t := range g.transports {
		t.CloseIdleConnections()
	}
}

// ClientAddr gives the address of whoever makes the request: the peer, or, where the peer is a trusted proxy, the
// last address in the chain that no trusted proxy has. A chain that cannot be read gives the peer; the zero
// address where even that is not known.
func (g *Gateway) ClientAddr(r *http.Request) netip.Addr {
	host, _ := parseAuthority(r.Host)
	from, _ := g.origin(r, host)
	return from.client
}

// Secure says whether the client speaks https, by what the gateway itself sees or a trusted proxy says.
func (g *Gateway) Secure(r *http.Request) bool {
	host, _ := parseAuthority(r.Host)
	from, _ := g.origin(r, host)
	return from.secure
}

// question is everything about a request that the decision hangs on, apart from who asks.
type question struct {
	host   authority
	secure bool
	method string
	client netip.Addr
	path   requestPath
}

// verdict is where a request goes and what it must come with.
type verdict struct {
	route  *route
	path   requestPath
	demand demand
}

// refusal is why a request gets neither: a status, and words for the log.
type refusal struct {
	status int
	why    string
	user   string // who was refused, where somebody is signed in
}

// judge finds the verdict on a request for a raw path. It is a pure function of the table and its arguments.
func (g *Gateway) judge(q question, raw string) (verdict, *refusal) {
	if !strings.HasPrefix(raw, "/") {
		return verdict{}, &refusal{status: http.StatusBadRequest, why: "the target has no path"}
	}
	s := g.table.site(q.host, q.secure)
	if s == nil {
		return verdict{}, &refusal{status: http.StatusNotFound, why: "no upstream has this host"}
	}
	if s.byPath {
		var err error
		if q.path, err = canonicalPath(raw); err != nil {
			return verdict{}, &refusal{status: http.StatusBadRequest, why: "the path holds " + err.Error()}
		}
		if under(q.path.folded, g.authPath) {
			return verdict{}, &refusal{status: http.StatusNotFound, why: "the path is reserved"}
		}
	} else if resembles(raw, g.authPath) {
		return verdict{}, &refusal{status: http.StatusNotFound, why: "the path is reserved"}
	}
	rt, d := s.route(&q)
	if rt == nil {
		return verdict{}, &refusal{status: http.StatusNotFound, why: "no upstream has this path"}
	}
	return verdict{route: rt, path: q.path, demand: d}, nil
}

// ServeHTTP forwards a request, or has [Answers] say why not. [Front] is to stand before it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, ok := parseAuthority(r.Host)
	if !ok {
		g.refuse(w, r, refusal{status: http.StatusBadRequest, why: "the host is malformed"})
		return
	}
	from, err := g.origin(r, host)
	if err != nil {
		g.refuse(w, r, refusal{status: http.StatusBadRequest, why: err.Error()})
		return
	}
	v, no := g.judge(question{host: host, secure: from.secure, method: r.Method, client: from.client}, rawPath(r.URL))
	if no == nil && v.route.target == nil {
		no = &refusal{status: http.StatusNotFound, why: "the upstream has no url"}
	}
	if no != nil {
		g.refuse(w, r, *no)
		return
	}
	id, ok := g.admit(w, r, v, &from, func(id *session.Identity) {
		if g.options.Forms == nil || !g.options.Forms.Keep(w, r, id) {
			g.options.Answers.SignIn(w, r, id)
		}
	})
	if !ok {
		return
	}
	p := &passage{gateway: g, verdict: v, origin: from, host: host, id: id, w: w, in: r}
	if !p.findCredentials() {
		return // before a form that was kept is taken out for good
	}
	if id != nil && g.options.Forms != nil {
		if r, ok = g.options.Forms.Restore(w, r, id); !ok {
			return
		}
		p.in = r
	}
	p.watched = id != nil && g.options.Alive != nil && !v.signsOut(r) // a sign-out is not cut short by its own success
	if id != nil && needsConsent(r, &from) && !g.ownBearer(r) && !g.consents(p) {
		return
	}
	p.serve(r.Context())
}

// admit finds out who asks, unless the policy is bypass, and answers the request itself where it may not pass: by signIn
// where it needs more assurance than it has.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request, v verdict, from *origin, signIn func(*session.Identity)) (*session.Identity, bool) {
	var id *session.Identity
	if v.demand.policy != Bypass && v.demand.policy != Deny {
		var err error
		if id, err = g.options.Identify(r); err != nil {
			requestID, level := newRequestID(), slog.LevelWarn
			if r.Context().Err() != nil {
				level = slog.LevelDebug // the client has gone, and anybody can go
			}
			g.options.Log.Log(r.Context(), level, "who asks could not be found out", "request_id", requestID, "upstream", v.route.name, "cause", err)
			g.options.Answers.Refuse(w, r, http.StatusServiceUnavailable, requestID)
			return nil, false
		}
	}
	switch v.demand.decide(id) {
	case allowed:
	case needsSignIn:
		signIn(id)
		return nil, false
	default:
		no := refusal{status: http.StatusForbidden, why: v.demand.words(forbidden, id)}
		if id != nil {
			no.user = id.UsernameAt("")
		}
		g.refuse(w, r, no)
		return nil, false
	}
	if id != nil && isWebSocket(r) && foreignOrigin(r, from) && !g.ownBearer(r) {
		g.refuse(w, r, refusal{status: http.StatusForbidden, why: "a WebSocket from a page of another origin", user: id.UsernameAt("")})
		return nil, false
	}
	return id, true
}

func (g *Gateway) ownBearer(r *http.Request) bool {
	return g.options.OwnBearer != nil && g.options.OwnBearer(r)
}

// refuse answers, and says in the log why. Where nobody is signed in that is a debug line: anybody can cause any
// number of them.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, no refusal) {
	level := slog.LevelDebug
	if no.user != "" {
		level = slog.LevelInfo
	}
	g.options.Log.Log(r.Context(), level, "request refused", "status", no.status, "why", no.why, "user", no.user,
		"method", r.Method, "host", r.Host, "path", r.URL.Path)
	g.options.Answers.Refuse(w, r, no.status, "")
}

// newRequestID names one failure to the person who meets it and in the log. It is short enough to be read aloud:
// 50 random bits.
func newRequestID() string { return rand.Text()[:10] }

// RouteFor says which upstream a GET of target would meet, and what it would ask of the client that makes r; where
// target has no host, r's is meant. It is false where the target would not be forwarded: no route, a path that is refused, the gateway's own pages. Groups are
// left out of account.
func (g *Gateway) RouteFor(r *http.Request, target *url.URL) (upstream string, policy Policy, found bool) {
	own, ok := parseAuthority(r.Host)
	if !ok {
		return "", 0, false
	}
	from, err := g.origin(r, own)
	if err != nil {
		return "", 0, false
	}
	q := question{host: own, secure: from.secure, method: http.MethodGet, client: from.client}
	if target.Host != "" {
		if q.host, ok = parseAuthority(target.Host); !ok {
			return "", 0, false
		}
		q.secure = strings.EqualFold(target.Scheme, "https")
	}
	v, no := g.judge(q, rawPath(target))
	if no != nil {
		return "", 0, false
	}
	return v.route.name, v.demand.policy, true
}

// DemandsTwoFactor says whether some upstream or rule that somebody in these groups can meet asks for two factors.
func (g *Gateway) DemandsTwoFactor(groups []string) bool {
	id := &session.Identity{Groups: groups}
	for _, s := range g.table {
		if slices.ContainsFunc(s.routes, func(rt *route) bool { return rt.demandsTwoFactor(id) }) {
			return true
		}
	}
	return false
}
