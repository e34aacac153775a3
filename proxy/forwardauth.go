package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"sallyport/authflow/session"
)

// inquiry is what a front proxy says of the request that it asks about.
type inquiry struct {
	method, scheme, host string
	target               string // path and query, as the client sent them
}

// authzEndpoint is one way to ask. Each reads its own headers and no others: a front proxy sets one family, and passes a
// client's own headers of every other family on.
type authzEndpoint struct {
	read   func(r *http.Request, below string) (inquiry, error) // below is what the path has after the endpoint's own
	signIn int                                                  // the status with which a page load is sent to the login page
}

var authzEndpoints = map[string]authzEndpoint{
	"/auth-request": {readOriginalURL, http.StatusUnauthorized}, // nginx takes no redirect from its auth_request
	"/forward-auth": {readForwarded, http.StatusFound},
	"/ext-authz":    {readCheck, http.StatusFound},
}

// ForwardAuth answers a front proxy that asks whether it may forward a request, on the paths /authz/auth-request (nginx),
// /authz/forward-auth (Traefik, Caddy) and /authz/ext-authz/… (Envoy) under the auth path. The request that it asks about
// is judged as one that came to [Gateway.ServeHTTP]: 200 with every identity header, empty where there is nothing to say,
// or what [Answers] make of a refusal. A host or path that no upstream has is refused with 403.
//
// Only trusted proxies may ask. Everybody else, and one that asks with a header of the endpoint's missing, doubled or
// malformed, gets 400. [Front] is to stand before it.
func (g *Gateway) ForwardAuth(w http.ResponseWriter, r *http.Request) {
	endpoint, below, ok := g.authzEndpoint(r)
	if !ok {
		g.refuse(w, r, refusal{status: http.StatusNotFound, why: "no such forward-auth endpoint"})
		return
	}
	asked, from, err := g.askedAbout(r, endpoint, below)
	if err != nil {
		g.refuse(w, r, refusal{status: http.StatusBadRequest, why: err.Error()})
		return
	}
	if status, words := inspect(asked); status != 0 {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", forwardedMethods)
		}
		g.refuse(w, asked, refusal{status: status, why: words})
		return
	}
	v, no := g.judge(question{host: from.host, secure: from.secure, method: asked.Method, client: from.client}, rawPath(asked.URL))
	if no != nil {
		if no.status == http.StatusNotFound { // to a front proxy that would be no refusal but a fault of ours
			no.status = http.StatusForbidden
		}
		g.refuse(w, asked, *no)
		return
	}
	id, ok := g.admit(w, asked, v, &from, func(id *session.Identity) { g.options.Answers.SignInFor(w, asked, id, endpoint.signIn) })
	if !ok {
		return
	}
	if id == nil {
		id = &session.Identity{}
	}
	var lines headerLines
	setIdentity(&lines, id, v.route.name)
	lines.moveTo(w.Header())
	w.Header().Set(headerAssertion, g.assertion(id, v.route)) // empty where there is none, or the client's own would stay
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// authzEndpoint finds the endpoint that a request is for, in the spelling that was sent: an endpoint has no other.
func (g *Gateway) authzEndpoint(r *http.Request) (e authzEndpoint, below string, ok bool) {
	own := (&url.URL{Path: g.options.AuthPath + "/authz"}).EscapedPath()
	name, ok := strings.CutPrefix(rawPath(r.URL), own)
	if !ok {
		return e, "", false
	}
	if i := strings.IndexByte(strings.TrimPrefix(name, "/"), '/'); i >= 0 {
		name, below = name[:i+1], name[i+1:]
	}
	e, ok = authzEndpoints[name]
	return e, below, ok && (below != "") == (name == "/ext-authz")
}

// askedAbout makes the request that the front proxy asks about, with an absolute URL, and where it comes from. All headers
// of the client's are in it, which say who asks and whether a page is waited for.
func (g *Gateway) askedAbout(r *http.Request, e authzEndpoint, below string) (*http.Request, origin, error) {
	peer := peerAddr(r)
	if !peer.IsValid() || !inAny(g.trusted, peer) {
		return nil, origin{}, fmt.Errorf("%s asks for forward-auth and is not among the trusted proxies", peer)
	}
	said, err := e.read(r, below)
	if err != nil {
		return nil, origin{}, err
	}
	from, err := g.saidOrigin(r, peer, said)
	if err != nil {
		return nil, from, err
	}
	if err := checkOriginal(said.target); err != nil {
		return nil, from, fmt.Errorf("the original path holds %w", err)
	}
	u, err := url.ParseRequestURI(said.target)
	if err != nil {
		return nil, from, fmt.Errorf("the original path: %w", err)
	}
	u.Scheme, u.Host = from.proto(), from.host.String()
	asked := r.Clone(r.Context())
	asked.Method, asked.URL, asked.Host, asked.RequestURI = said.method, u, u.Host, said.target
	if len(asked.Header["Sec-Websocket-Key"]) > 0 { // Upgrade ends at the front proxy, this comes through
		asked.Header.Set("Upgrade", "websocket")
	}
	return asked, from, nil
}

// saidOrigin is where the original request comes from. Where no X-Forwarded-For says who made it, its client is the zero
// address, which no network holds: the peer is never the client here.
func (g *Gateway) saidOrigin(r *http.Request, peer netip.Addr, said inquiry) (origin, error) {
	from := origin{client: peer, via: peer.String(), secure: said.scheme == "https" || said.scheme == "wss"}
	if !from.secure && said.scheme != "http" && said.scheme != "ws" {
		return from, fmt.Errorf("the original scheme is %.64q, want http or https", said.scheme)
	}
	var ok bool
	if from.host, ok = parseAuthority(said.host); !ok {
		return from, fmt.Errorf("the original host is %.64q, which is none", said.host)
	}
	clients := elements(r.Header["X-Forwarded-For"])
	if len(clients) == 0 {
		from.client = netip.Addr{}
		return from, nil
	}
	return g.believe(from, &hops{clients: clients})
}

// checkOriginal refuses a path that a front proxy would clean: one path would be judged here and another forwarded there.
// On a host whose decision hangs on the path, [canonicalPath] refuses more.
func checkOriginal(target string) error {
	raw, _, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(raw, "/") {
		return errors.New("no slash at the start")
	}
	if strings.Contains(raw, "//") {
		return errors.New("an empty segment")
	}
	plain := decodeLeniently(raw)
	if strings.ContainsFunc(plain, unicode.IsControl) {
		return errors.New("a control character")
	}
	for segment := range strings.FieldsFuncSeq(plain, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
			return errors.New("a dot segment")
		}
	}
	return nil
}

// sole is the one value of a header that must be there once, and not empty.
func sole(h http.Header, name string) (string, error) {
	values := h[http.CanonicalHeaderKey(name)]
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("a front proxy is to send %s once and not empty, this one sends it %d times", name, len(values))
	}
	return values[0], nil
}

// readOriginalURL reads what nginx is configured to send.
func readOriginalURL(r *http.Request, _ string) (inquiry, error) {
	method, errMethod := sole(r.Header, "X-Original-Method")
	whole, errURL := sole(r.Header, "X-Original-URL")
	if err := cmp.Or(errMethod, errURL); err != nil {
		return inquiry{}, err
	}
	scheme, rest, ok := strings.Cut(whole, "://")
	if !ok {
		return inquiry{}, errors.New("X-Original-URL is no absolute URL")
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	return inquiry{method: method, scheme: scheme, host: host, target: target}, nil
}

// readForwarded reads what Traefik and Caddy send.
func readForwarded(r *http.Request, _ string) (inquiry, error) {
	method, errMethod := sole(r.Header, "X-Forwarded-Method")
	scheme, errScheme := sole(r.Header, "X-Forwarded-Proto")
	host, errHost := sole(r.Header, "X-Forwarded-Host")
	target, errTarget := sole(r.Header, "X-Forwarded-Uri")
	return inquiry{method: method, scheme: scheme, host: host, target: target}, cmp.Or(errMethod, errScheme, errHost, errTarget)
}

// readCheck reads what Envoy sends: the request itself, its path below the endpoint's.
func readCheck(r *http.Request, below string) (inquiry, error) {
	scheme, err := sole(r.Header, "X-Forwarded-Proto")
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		below += "?" + r.URL.RawQuery
	}
	return inquiry{method: r.Method, scheme: scheme, host: r.Host, target: below}, err
}
