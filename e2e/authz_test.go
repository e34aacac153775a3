package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// asking is how a front proxy asks about a request of c's for a host and target: c as that proxy, and the path it asks by.
type asking func(c *harness.Client, host, target string) (*harness.Client, string)

// askings are the forms of the proxies that the tests do not run, and nginx's beside them.
var askings = map[string]asking{
	// Traefik 3, middlewares.forwardAuth: a GET of the address with the client's headers, and these five.
	"traefik": func(c *harness.Client, host, target string) (*harness.Client, string) {
		return c.With("X-Forwarded-Method", "GET").With("X-Forwarded-Proto", "https").With("X-Forwarded-Host", host).
			With("X-Forwarded-Uri", target).With("X-Forwarded-For", "192.0.2.1"), "/auth/authz/forward-auth"
	},
	// Envoy 1.3x, envoy.filters.http.ext_authz with an http_service: method, Host and path of the request itself, the path
	// after path_prefix, no body, and of the headers those that allowed_headers names.
	"envoy": func(c *harness.Client, host, target string) (*harness.Client, string) {
		return c.With("Host", host).With("X-Forwarded-Proto", "https").With("X-Forwarded-For", "192.0.2.1").With("Content-Length", "0"),
			"/auth/authz/ext-authz" + target
	},
	// nginx, auth_request: a GET of the location's proxy_pass with the client's headers, and these three.
	"nginx": func(c *harness.Client, host, target string) (*harness.Client, string) {
		return c.With("X-Original-URL", "https://"+host+target).With("X-Original-Method", "GET").With("X-Forwarded-For", "192.0.2.1"), "/auth/authz/auth-request"
	},
}

// eachAsking runs a test for every form.
func eachAsking(t *testing.T, test func(t *testing.T, ask asking)) {
	for name, ask := range askings {
		t.Run(name, func(t *testing.T) { test(t, ask) })
	}
}

// asked returns the answer to the question whether c may have target on a host.
func (ask asking) asked(t *testing.T, c *harness.Client, host, target string) harness.Answer {
	t.Helper()
	proxy, path := ask(c, host, target)
	proxy.T = t
	return proxy.Get(path)
}

// signedInToWiki is a client that has given the first factor, which is all that most of the wiki asks for. A front proxy
// passes the wiki's cookies on to the gateway's own address, so they are in its jar under both hosts.
func signedInToWiki(g *harness.Gateway, name string) *harness.Client {
	g.T.Helper()
	c := g.Client()
	c.With("Host", siteName).Form("/auth/login", "username", name, "password", harness.Password, "rd", "/").Want(303)
	c.Http.Jar.SetCookies(&url.URL{Scheme: "http", Host: g.Address}, c.Http.Jar.Cookies(&url.URL{Scheme: "http", Host: siteName}))
	return c
}

// says fails the test where the identity headers of an answer are not each there once with the values, or, without
// values, where any is there.
func says(a harness.Answer, values map[string]string) {
	a.T.Helper()
	for name := range identityNames {
		var want []string
		if values != nil {
			want = []string{values[name]}
		}
		if got := a.Header.Values(name); !slices.Equal(got, want) {
			a.T.Errorf("%s: %s is %q, want %q", a.What, name, got, want)
		}
	}
}

func TestAFrontProxyIsAnsweredInItsOwnForm(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32", Users: []harness.User{{Name: "alice", Groups: "admins, staff"}, {Name: "bob"}}})
	alice, bob := signedInToWiki(g, "alice"), signedInToWiki(g, "bob")
	eachAsking(t, func(t *testing.T, ask asking) {
		says(ask.asked(t, alice.With("Remote-User", "mallory"), siteName, "/admin/x?a=b").Want(200), identityNames)
		says(ask.asked(t, bob, siteName, "/app/x").Want(200), map[string]string{
			"Remote-User": "bob", "Remote-Email": "bob@example.com", "Remote-Name": "Bob Example", "Remote-Groups": "", "X-Forwarded-User": "bob"})
		says(ask.asked(t, g.Client().With("Remote-User", "mallory"), siteName, "/public/x").Want(200), map[string]string{})
		says(ask.asked(t, bob, siteName, "/admin/x").Want(403, "FORBIDDEN"), nil)
		says(ask.asked(t, bob, siteName, "/a/../public/x").Want(400), nil)

		says(ask.asked(t, alice, "other.example.com", "/public/x").Want(403), nil)

		a := ask.asked(t, g.Client(), siteName, "/app/x?a=1&b=2").Want(401, "UNAUTHENTICATED")
		says(a, nil)
		login := "https://" + siteName + "/auth/login?rd=" + url.QueryEscape("https://"+siteName+"/app/x?a=1&b=2")
		if a.Text("loginUrl") != login {
			t.Errorf("loginUrl is %s, want %s", a.Text("loginUrl"), login)
		}
		long := ask.asked(t, g.Client(), siteName, "/app/"+strings.Repeat("%C3%A9", 1000)).Want(401).Text("loginUrl")
		if long != "https://"+siteName+"/auth/login" { // an address that the login page would not go back to
			t.Errorf("loginUrl of an address of 6 KB is %.100s", long)
		}
		page := ask.asked(t, g.Client().With("Accept", "text/html").With("Sec-Fetch-Mode", "navigate"), siteName, "/app/x?a=1&b=2")
		if page.Status != 302 && !(page.Status == 401 && strings.HasSuffix(page.What, "/auth-request")) || page.Header.Get("Location") != login {
			t.Errorf("a page load: %d to %s, want it sent to %s", page.Status, page.Header.Get("Location"), login)
		}
		says(page, nil)
		second := ask.asked(t, alice.With("Accept", "text/html"), siteName, "/secret/x")
		if got := second.Header.Get("Location"); !strings.HasPrefix(got, "https://"+siteName+"/auth/enroll?rd=https%3A") {
			t.Errorf("with one factor where two are needed a page load is sent to %q", got)
		}
	})
}

func TestTheLoginPageIsThePublicOneWhereItsCookiesReach(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		PublicURL: "https://auth.example.com", More: "session: { cookie_domain: example.com }", Trusted: "127.0.0.1/32",
		Upstreams: "  - { name: wiki, hosts: [wiki.example.com, wiki.example.net] }",
	})
	eachAsking(t, func(t *testing.T, ask asking) {
		for host, login := range map[string]string{siteName: "https://auth.example.com", "wiki.example.net": "https://wiki.example.net"} {
			want := login + "/auth/login?rd=" + url.QueryEscape("https://"+host+"/x?y&z")
			if got := ask.asked(t, g.Client(), host, "/x?y&z").Want(401).Text("loginUrl"); got != want {
				t.Errorf("loginUrl is %s, want %s", got, want)
			}
		}
	})
}

func TestASignInBehindAProxyThatSpeaksHTTPSComesBackOverHTTPS(t *testing.T) {
	for trusted, want := range map[string]string{"127.0.0.1/32": "https://" + siteName + "/app/x?a&b", "192.0.2.0/24": "/"} {
		g := harness.StartGateway(t, harness.Settings{Upstreams: strings.Replace(wikiWithoutURL, "policy: two_factor", "policy: deny", 1), Trusted: trusted})
		c := g.Client().With("Host", siteName).With("X-Forwarded-Proto", "https")
		a := c.Form("/auth/login", "username", "alice", "password", harness.Password, "rd", "https://"+siteName+"/app/x?a&b").Want(303)
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("trusting %s, sign-in leads to %q, want %q", trusted, got, want)
		}
	}
}

func TestNobodyButATrustedProxyIsAnswered(t *testing.T) {
	for _, trusted := range []string{"", "192.0.2.0/24"} {
		g := harness.StartGateway(t, harness.Settings{Upstreams: wikiWithoutURL, Trusted: trusted})
		alice := signedInToWiki(g, "alice")
		eachAsking(t, func(t *testing.T, ask asking) {
			for _, target := range []string{"/public/x", "/app/x"} {
				says(ask.asked(t, alice, siteName, target).Want(400), nil)
			}
		})
	}
}

func TestWhatIsNoSessionOpensNothingToAFrontProxy(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32"})
	c := g.Client()
	temp := c.Login("alice").Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")
	ended := signedInToWiki(g, "alice")
	cookie := ended.Http.Jar.Cookies(&url.URL{Scheme: "http", Host: g.Address})[0].String()
	ended.Post("/auth/logout", nil).Want(200)
	eachAsking(t, func(t *testing.T, ask asking) {
		for what, c := range map[string]*harness.Client{
			"after the password alone": c, "the temp token as bearer": g.Bearer(temp), "as cookie": g.Client().With("Cookie", "sallyport="+temp),
			"a session that has ended": g.Client().With("Cookie", cookie),
		} {
			if a := ask.asked(t, c, siteName, "/app/x"); a.Status != 401 {
				t.Errorf("%s: %d, want 401", what, a.Status)
			}
		}
		says(ask.asked(t, g.Client(), siteName, "/app/x?tempToken="+temp).Want(401), nil)
	})
}

func TestWithoutTheStoreAFrontProxyIsToldNo(t *testing.T) {
	r := harness.StartRedis(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32", Redis: r})
	c := signedInToWiki(g, "alice")
	r.Stop()
	eachAsking(t, func(t *testing.T, ask asking) {
		says(ask.asked(t, c.Timely(10*time.Second), siteName, "/app/x").Want(503, "STORE_UNAVAILABLE"), nil)
		says(ask.asked(t, g.Client(), siteName, "/public/x").Want(200), map[string]string{})
	})
	r.Start()
	harness.Eventually(t, "a front proxy is told yes again", func() bool { return askings["traefik"].asked(t, c, siteName, "/app/x").Status == 200 })
}

// The pages of the proxies that are not run here name what the forms above rest on.
func TestThePagesOfTheOtherProxiesNameTheEndpointAndEveryHeader(t *testing.T) {
	for page, endpoint := range map[string]string{"traefik.md": "address: http://127.0.0.1:8080/auth/authz/forward-auth\n", "envoy.md": "path_prefix: /auth/authz/ext-authz\n"} {
		text := strings.ToLower(harness.Read(t, "docs/forward-auth/"+page))
		wanted := []string{endpoint}
		for name := range identityNames {
			wanted = append(wanted, name)
		}
		if page == "envoy.md" { // nothing goes along unless it is named
			for _, name := range []string{"cookie", "accept", "origin", "x-requested-with", "x-forwarded-for", "x-forwarded-proto", "sec-websocket-key"} {
				wanted = append(wanted, fmt.Sprintf("- { exact: %s }", name))
			}
		}
		for _, part := range wanted {
			if !strings.Contains(text, strings.ToLower(part)) {
				t.Errorf("%s does not have %q", page, part)
			}
		}
	}
}
