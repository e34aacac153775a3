package attack

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/e2e/harness"
)

// site is two replicas on one Redis, and what stands behind them:
//
//	/public/*  bypass        /secret/*  two factors
//	/app/*     one factor    /admin/*   two factors and the group admins
//
// and everything else is denied. Under /stripped is the same again, by an upstream that does not see that part of the
// path. One peer is a trusted proxy: the one at frontProxy.
//
// All tests share one site, so each takes people of its own, and nobody else's address.
type site struct {
	t        *testing.T
	up       *upstream
	redis    *harness.Redis
	one, two *harness.Gateway
}

// frontProxy is the address of the peer whose headers are believed, and who may ask the forward-auth endpoints.
const frontProxy = "127.0.0.2"

var shared struct {
	start sync.Once
	site  *site
}

// enter returns the site, for this test, with an empty journal.
func enter(t *testing.T) *site {
	t.Helper()
	shared.start.Do(func() {
		s := &site{up: startUpstream(whole), redis: harness.StartRedis(whole)}
		s.one = harness.StartGateway(whole, s.settings())
		s.two = harness.StartGateway(whole, s.settings())
		shared.site = s
	})
	if shared.site == nil {
		t.Fatal("the fixture did not start")
	}
	s := *shared.site
	s.t, s.one, s.two = t, as(t, s.one), as(t, s.two)
	s.up.Forget()
	return &s
}

// as returns the gateway with its failures told to another test.
func as(t *testing.T, g *harness.Gateway) *harness.Gateway {
	next := *g
	next.T = t
	return &next
}

// settings are those of a replica.
func (s *site) settings() harness.Settings {
	return harness.Settings{Redis: s.redis, Trusted: frontProxy + "/32", Users: everybody(), Upstreams: upstreams(s.up)}
}

func upstreams(up *upstream) string {
	var b strings.Builder
	for _, folder := range []string{"", "/stripped"} {
		fmt.Fprintf(&b, `
  - url: %q
    path: %s/
    strip_path: %t
    access:
      policy: deny
      rules:
        - { paths: ["%s/public/*"], policy: bypass }
        - { paths: ["%s/app/*"], policy: one_factor }
        - { paths: ["%s/secret/*"], policy: two_factor }
        - { paths: ["%s/admin/*"], groups: [admins], policy: two_factor }`, up.URL, folder, folder != "", folder, folder, folder, folder)
	}
	return b.String()
}

// both are the replicas.
func (s *site) both() []*harness.Gateway { return []*harness.Gateway{s.one, s.two} }

// How many there are of each kind: nobody is given to two tests.
const (
	plainUsers    = 1200 // u0001, without a group
	adminUsers    = 60   // a0001, in admins
	disabledUsers = 10   // d0001
	accentedUsers = 5    // zoë0001
)

// everybody is the users file.
var everybody = sync.OnceValue(func() []harness.User {
	var all []harness.User
	for i := range plainUsers {
		all = append(all, harness.User{Name: fmt.Sprintf("u%04d", i+1)})
	}
	for i := range adminUsers {
		all = append(all, harness.User{Name: fmt.Sprintf("a%04d", i+1), Groups: "admins, staff"})
	}
	for i := range disabledUsers {
		all = append(all, harness.User{Name: fmt.Sprintf("d%04d", i+1), Disabled: true})
	}
	for i := range accentedUsers {
		all = append(all, harness.User{Name: fmt.Sprintf("zoë%04d", i+1)})
	}
	return all
})

// The kinds of people.
const (
	plain    = "u"
	admin    = "a"
	disabled = "d"
	accented = "zoë"
)

var given struct {
	sync.Mutex
	people map[string]int // by kind
	hosts  int
}

// newPerson returns somebody of a kind that no other test has met, at a computer of their own.
func newPerson(t *testing.T, kind string) *person {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	if given.people == nil {
		given.people = map[string]int{}
	}
	given.people[kind]++
	name := fmt.Sprintf("%s%04d", kind, given.people[kind])
	i := slices.IndexFunc(everybody(), func(u harness.User) bool { return u.Name == name })
	if i < 0 {
		t.Fatalf("the users file has no %s: make it longer", name)
	}
	given.hosts++
	return &person{User: everybody()[i], t: t, from: hostNumber(given.hosts)}
}

// newHost returns an address that nobody has used: failures from one address count together.
func newHost() string {
	given.Lock()
	defer given.Unlock()
	given.hosts++
	return hostNumber(given.hosts)
}

// nobody is a name that is in no users file, and that no other test has tried.
func nobody() string { return "nobody-" + strings.ReplaceAll(newHost(), ".", "-") }

func hostNumber(n int) string { return fmt.Sprintf("127.%d.%d.%d", 1+n/62500, n/250%250, 1+n%250) }

// person is somebody in the users file, and where they sit.
type person struct {
	harness.User
	t    *testing.T
	from string                 // the address of their computer
	app  *harness.Authenticator // nil: not enrolled
}

func (p *person) email() string { return p.Name + "@example.com" }

// browser returns a new browser on the person's computer: no cookies.
func (p *person) browser(g *harness.Gateway) *harness.Client { return from(p.t, g, p.from) }

// from returns a client at an address of the loopback network.
func from(t *testing.T, g *harness.Gateway, address string) *harness.Client {
	c := g.Client()
	c.T = t
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	c.Http.Transport = transport
	return c
}

// enrolled sets an authenticator up and returns the browser, which is then signed in with two factors.
func (p *person) enrolled(g *harness.Gateway) *harness.Client {
	p.t.Helper()
	c := p.browser(g)
	p.app = c.Enrol(p.Name)
	return c
}

// signedIn returns a new browser that is signed in with two factors. Nobody has more than two unused codes at a time:
// what signs the same person in a third time waits for the next step.
func (p *person) signedIn(g *harness.Gateway) *harness.Client {
	p.t.Helper()
	if p.app == nil {
		return p.enrolled(g)
	}
	c := p.browser(g)
	c.SignIn(p.Name, p.app)
	return c
}

// oneFactor returns a browser that the password alone has signed in, on the way to /app. The person must not be
// enrolled.
func (p *person) oneFactor(g *harness.Gateway) *harness.Client {
	p.t.Helper()
	c := p.browser(g)
	c.Form("/auth/login", "username", p.Name, "password", harness.Password, "rd", "/app/x").Want(303)
	return c
}

// pending returns the temp token of a new sign-in, after the right password.
func (p *person) pending(g *harness.Gateway) string {
	p.t.Helper()
	return p.browser(g).Login(p.Name).Text("tempToken")
}

// cookies are what the client would send, as a Cookie header's value.
func cookies(c *harness.Client) string {
	u, err := url.Parse(c.Base)
	if err != nil {
		c.T.Fatal(err)
	}
	var all []string
	for _, cookie := range c.Http.Jar.Cookies(u) {
		all = append(all, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(all, "; ")
}

// sessionOf is the value of the client's session cookie.
func sessionOf(c *harness.Client) string {
	c.T.Helper()
	u, err := url.Parse(c.Base)
	if err != nil {
		c.T.Fatal(err)
	}
	for _, cookie := range c.Http.Jar.Cookies(u) {
		if cookie.Name == "sallyport" {
			return cookie.Value
		}
	}
	c.T.Fatal("the client has no session")
	return ""
}

// endpoints are the forward-auth endpoints, and how a front proxy asks them about a request.
var endpoints = map[string]func(c *harness.Client, method, host, target string) (*harness.Client, string){
	"auth-request": func(c *harness.Client, method, host, target string) (*harness.Client, string) {
		return c.With("X-Original-URL", "http://"+host+target).With("X-Original-Method", method), "/auth/authz/auth-request"
	},
	"forward-auth": func(c *harness.Client, method, host, target string) (*harness.Client, string) {
		return c.With("X-Forwarded-Method", method).With("X-Forwarded-Proto", "http").With("X-Forwarded-Host", host).
			With("X-Forwarded-Uri", target), "/auth/authz/forward-auth"
	},
	"ext-authz": func(c *harness.Client, method, host, target string) (*harness.Client, string) {
		return c.With("X-Forwarded-Proto", "http").With("Host", host), "/auth/authz/ext-authz" + target
	},
}

// ask has the front proxy ask an endpoint about a request for target, on the gateway's own host, with these headers of
// the client's.
func ask(t *testing.T, g *harness.Gateway, endpoint, method, target string, client http.Header) harness.Answer {
	t.Helper()
	c := from(t, g, frontProxy)
	c.Header = client.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	c, path := endpoints[endpoint](c, method, g.Address, target)
	if endpoint == "ext-authz" {
		return c.Do(method, path, "")
	}
	return c.Get(path)
}

// identityNames are the headers by which an app learns who asks.
var identityNames = []string{"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "X-Forwarded-User"}

// identity is what they say of the person.
func (p *person) identity() map[string]string {
	return map[string]string{
		"Remote-User": p.Name, "Remote-Email": p.email(), "Remote-Name": strings.ToUpper(p.Name[:1]) + p.Name[1:] + " Example",
		"Remote-Groups": strings.ReplaceAll(p.Groups, " ", ""), "X-Forwarded-User": p.Name,
	}
}

// fold is a header's name as a CGI-style server reads it: lower case, each run of other than letters and digits one
// dash, none at the ends.
func fold(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}), "-")
}

// wantClean fails the test where a request did not reach the upstream CLEAN: exactly one of each identity header, with
// the person's own values, and no other header whose folded name equals one. Nobody's request has no identity at all.
func wantClean(t testing.TB, r received, p *person) {
	t.Helper()
	if r.Trouble != "" {
		t.Errorf("the upstream cannot read the request: %s: %q", r.Trouble, r.Head)
	}
	want := map[string]string{}
	if p != nil {
		want = p.identity()
	}
	seen := map[string]int{}
	for _, l := range append(r.lines(), trailerLines(r)...) {
		for _, name := range identityNames {
			if fold(l.name) != fold(name) {
				continue
			}
			seen[name]++
			if !strings.EqualFold(l.name, name) || l.value != want[name] {
				t.Errorf("the upstream sees %s: %q, want %q: %q", l.name, l.value, want[name], r.Head)
			}
		}
	}
	for _, name := range identityNames {
		if p != nil && seen[name] != 1 {
			t.Errorf("the upstream sees %s %d times: %q", name, seen[name], r.Head)
		}
	}
}

func trailerLines(r received) []line {
	as := received{Head: "\n" + r.Trailer}
	return as.lines()
}

// wantDenied fails the test where a request was not refused: sent to sign in, or 4xx, 501 or 505, and nothing reached
// the upstream.
func (s *site) wantDenied(a harness.Answer) {
	s.t.Helper()
	switch {
	case a.Status == 302 || a.Status == 303:
		where, err := url.Parse(a.Header.Get("Location"))
		if err != nil || !slices.Contains([]string{"/auth/login", "/auth/2fa", "/auth/enroll"}, where.Path) {
			s.t.Errorf("%s: sent to %q, want sign-in", a.What, a.Header.Get("Location"))
		}
	case a.Status >= 400 && a.Status < 500, a.Status == 501, a.Status == 505:
	default:
		s.t.Errorf("%s: status %d, want a refusal: %.200s", a.What, a.Status, a.Body)
	}
	for _, name := range identityNames {
		if a.Header[name] != nil {
			s.t.Errorf("%s: the refusal says %s: %q", a.What, name, a.Header[name])
		}
	}
	if seen := s.up.Requests(); len(seen) != 0 {
		s.t.Errorf("%s: the upstream saw %+v, want nothing", a.What, seen)
		s.up.Forget()
	}
}
