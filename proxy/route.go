package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Upstream is one entry of the routing table: the requests it takes, what they must come with, and where they go.
type Upstream struct {
	Name   string   // for logs
	Hosts  []string // "host" (any port) or "host:port"; none: any host that no other entry names
	Path   string   // prefix of whole segments, decoded, e.g. "/wiki"; "" and "/" mean every path
	URL    *url.URL // http, https or h2c, host, base path; or unix and the path of a socket; nil: decided on, but never proxied (404)
	Policy Policy   // where no rule applies
	Groups []string // any of these, where no rule says otherwise; none: anybody
	Rules  []Rule
	Where  string // where the entry was written, e.g. "config.yaml:12"; for errors and logs

	Forwarding   Forwarding
	SessionGuard bool // its pages get the script of [Options.Guard]

	// SignOutPath is where the app signs people out, as a browser asks for it: [Options.SignOut] then ends the
	// gateway's session too. It is a path as in [Rule.Paths], and, after a question mark, the parameters (as in a URL)
	// that the query must hold among others. Empty: nowhere.
	SignOutPath string

	SignIn    AppSignIn // nil: people are not signed in to the app
	Assertion bool      // it gets what [Options.Assert] makes
}

// Forwarding is how requests are carried to an upstream, and answers back. The zero value passes both on as they
// are and sets no limit.
type Forwarding struct {
	TLS       *tls.Config // client side of https, not to be changed any more; nil: the system's authorities
	OwnHost   bool        // the upstream sees its own host in Host, Origin and Referer, not the browser's
	StripPath bool        // the upstream does not see the entry's Path, and X-Forwarded-Prefix names it

	// RequestHeaders and ResponseHeaders change what passes. They cannot set what the gateway itself says: identity
	// and forwarding headers on the way there, its own cookies on the way back.
	RequestHeaders, ResponseHeaders HeaderChange

	Connect   time.Duration // to have a connection, and again to have TLS on it; 0: no limit
	FirstByte time.Duration // from the whole request to the head of the answer; 0: no limit
	Idle      time.Duration // without a byte of either body, or over a WebSocket; 0: no limit

	MaxBody       int64         // bytes of a request's body, 413 beyond; 0: any
	FlushInterval time.Duration // how long an answer of known length may lie in the buffer; 0: until that is full; negative: not at all
}

// HeaderChange takes headers off and puts others on, in this order.
type HeaderChange struct {
	Remove []string
	Set    map[string]string
}

func (c HeaderChange) apply(h http.Header) {
	for _, name := range c.Remove {
		h.Del(name)
	}
	for name, value := range c.Set {
		h.Set(name, value)
	}
}

// route is an Upstream made ready for matching. It does not change once made.
type route struct {
	name           string
	prefix, folded string    // without a final slash; "" is every path
	escapedPrefix  string    // prefix as it stands in a URL
	target         *url.URL  // on the wire: scheme, host and base path; nil: never proxied
	escapedTarget  string    // its base path as it stands in a URL
	addressed      authority // the host of target
	wire           wire
	forwarding     Forwarding
	forward        *httputil.ReverseProxy // nil where target is
	short          bool                   // requests without a body go by an exchange, and nobody is signed in to the app for them
	rules          []rule
	fallback       demand // where no rule applies
	byPath         bool   // a decision or a boundary hangs on the path
	byMethod       bool   // a decision hangs on the method
	guard          bool   // pages get the guard's script
	signOut        *signOut
	signIn         AppSignIn
	credentials    []string // the headers of signIn, folded
	assertion      bool
}

func newRoute(u Upstream) (*route, error) {
	if _, ok := policyNames[u.Policy]; !ok {
		return nil, errNoPolicy
	}
	folded, err := fold(cmp.Or(u.Path, "/"))
	if err != nil {
		return nil, fmt.Errorf("path %q holds %w, which no forwarded path does: write it decoded and without that", u.Path, err)
	}
	rt := &route{name: u.Name, prefix: strings.TrimSuffix(u.Path, "/"), folded: folded, forwarding: u.Forwarding, fallback: newDemand(u.Policy, u.Groups, u.Where)}
	if u.URL != nil {
		if err = rt.aim(u); err != nil {
			return nil, err
		}
	}
	rt.byPath = rt.prefix != "" || rt.target != nil && rt.target.Path != "" || u.SignOutPath != ""
	rt.guard, rt.assertion = u.SessionGuard, u.Assertion
	if rt.signOut, err = newSignOut(u.SignOutPath); err != nil {
		return nil, err
	}
	if err = rt.setSignIn(u.SignIn); err != nil {
		return nil, err
	}
	for i, r := range u.Rules {
		compiled, err := newRule(r, u.Groups)
		if err != nil {
			return nil, fmt.Errorf("rule at %s: %w", cmp.Or(r.Where, fmt.Sprint("index ", i)), err)
		}
		rt.rules = append(rt.rules, compiled)
		rt.byPath = rt.byPath || len(r.Paths) > 0
		rt.byMethod = rt.byMethod || len(r.Methods) > 0
	}
	return rt, nil
}

// aim points the route at an upstream.
func (rt *route) aim(u Upstream) error {
	if err := checkTarget(u.URL); err != nil {
		return err
	}
	if u.Forwarding.StripPath && rt.prefix == "" {
		return errors.New("strip path: there is no path to take off")
	}
	rt.target, rt.wire, rt.escapedPrefix = onWire(u.URL), newWire(u), escapedFolder(rt.prefix)
	rt.escapedTarget = rt.target.EscapedPath()
	var ok bool
	if rt.addressed, ok = parseAuthority(rt.target.Host); !ok {
		return fmt.Errorf("url %q: %q is not a host", u.URL.Redacted(), u.URL.Host)
	}
	return nil
}

func (rt *route) match(p *requestPath) likeness {
	switch {
	case rt.prefix == "" || under(p.plain, rt.prefix):
		return same
	case under(p.folded, rt.folded):
		return alike
	}
	return unlike
}

// site is the routes of one host: its own before those of any host, longer paths before shorter ones.
type site struct {
	routes []*route
	byPath bool // some route's byPath: the path must be canonical
}

// table finds the site of a host: by host and port, by host alone (no port), and every other host (the zero
// authority). It does not change once made, so any number of goroutines may read it.
type table map[authority]*site

func newTable(upstreams []Upstream) (table, error) {
	own := map[authority][]*route{}
	taken := map[authority]map[string]Upstream{} // by folded path: who has it
	for _, u := range upstreams {
		rt, err := newRoute(u)
		keys, errHosts := hostKeys(u.Hosts)
		if err := cmp.Or(err, errHosts); err != nil {
			return nil, fmt.Errorf("%s: upstream %q: %w", u.Where, u.Name, err)
		}
		for _, key := range keys {
			if other, ok := taken[key][rt.folded]; ok {
				return nil, fmt.Errorf("%s: upstream %q: takes the same host and path as upstream %q (%s), letter case aside: give one of them another path",
					u.Where, u.Name, other.Name, other.Where)
			}
			if taken[key] == nil {
				taken[key] = map[string]Upstream{}
			}
			taken[key][rt.folded] = u
			own[key] = append(own[key], rt)
		}
	}
	t := table{}
	for key, routes := range own {
		t[key] = newSite(routes)
	}
	for key := range own { // what the host itself does not take goes to the less particular entries
		if key.port != "" {
			t[key].add(own[authority{host: key.host}])
		}
		if key.host != "" {
			t[key].add(own[authority{}])
		}
	}
	return t, nil
}

func newSite(routes []*route) *site {
	s := &site{}
	s.add(routes)
	return s
}

// add puts routes behind those that are there, the longest path first.
func (s *site) add(routes []*route) {
	routes = slices.SortedStableFunc(slices.Values(routes), func(a, b *route) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	s.routes = append(s.routes, routes...)
	s.byPath = s.byPath || slices.ContainsFunc(routes, func(rt *route) bool { return rt.byPath })
}

func hostKeys(hosts []string) ([]authority, error) {
	if len(hosts) == 0 {
		return []authority{{}}, nil
	}
	keys := make([]authority, 0, len(hosts))
	for _, h := range hosts {
		a, ok := parseAuthority(h)
		if !ok {
			return nil, fmt.Errorf("host %q: want a name or an address, with or without :port", h)
		}
		keys = append(keys, a)
	}
	return keys, nil
}

// site gives the routes of a request's host; nil: the host is not known. A request without a port means the
// default port of its scheme.
func (t table) site(a authority, secure bool) *site {
	withPort := a
	if a.port == "" {
		withPort.port = defaultPort(secure)
	}
	for _, key := range [...]authority{withPort, {host: a.host}, {}} {
		if s, ok := t[key]; ok {
			return s
		}
	}
	return nil
}

func defaultPort(secure bool) string {
	if secure {
		return "443"
	}
	return "80"
}

// route gives the first route that takes the request, and what the request must come with. Routes before it
// that take only another spelling of the path tighten the demand, as in [route.demand].
func (s *site) route(q *question) (*route, demand) {
	var d demand
	for _, rt := range s.routes {
		switch rt.match(&q.path) {
		case same:
			return rt, d.and(rt.demand(q))
		case alike:
			d = d.and(rt.demand(q))
		}
	}
	return nil, demand{}
}

// authority is the host and port that a request is for.
type authority struct {
	host string // lower case, no final dot; an IPv6 address in its canonical form, with brackets
	port string // "" where none was given
}

func (a authority) String() string {
	if a.port == "" {
		return a.host
	}
	return a.host + ":" + a.port
}

// parseAuthority reads host[:port] (RFC 3986 section 3.2, without user information).
func parseAuthority(s string) (authority, bool) {
	var a authority
	end := strings.LastIndexByte(s, ':')
	if end < strings.LastIndexByte(s, ']') {
		end = -1 // the colon belongs to the address
	}
	if end >= 0 {
		if s, a.port = s[:end], s[end+1:]; !isPort(a.port) {
			return authority{}, false
		}
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" {
			return authority{}, false
		}
		a.host = "[" + ip.String() + "]"
		return a, true
	}
	a.host = strings.ToLower(strings.TrimSuffix(s, "."))
	return a, isHostName(a.host)
}

// isPort takes 1 to 65535 in their one decimal spelling.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// isHostName takes what resolvers and virtual hosts take, the underscore included, in lower case.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	afterDot := true
	for i := range len(s) {
		c := s[i]
		if !isHostByte[c] || c == '.' && afterDot {
			return false
		}
		afterDot = c == '.'
	}
	return !afterDot
}

var isHostByte = func() (allowed [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789-_." {
		allowed[c] = true
	}
	return allowed
}()
