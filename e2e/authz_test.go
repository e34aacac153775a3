package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// asking is how a front proxy asks about a request of c's for a host and target: c as that proxy, and the path it asks by.
type asking func(c *client, host, target string) (*client, string)

// askings are the forms of the proxies that the tests do not run, and nginx's beside them.
var askings = map[string]asking{
	// Traefik 3, middlewares.forwardAuth: a GET of the address with the client's headers, and these five.
	"traefik": func(c *client, host, target string) (*client, string) {
		return c.with("X-Forwarded-Method", "GET").with("X-Forwarded-Proto", "https").with("X-Forwarded-Host", host).
			with("X-Forwarded-Uri", target).with("X-Forwarded-For", "192.0.2.1"), "/auth/authz/forward-auth"
	},
	// Envoy 1.3x, envoy.filters.http.ext_authz with an http_service: method, Host and path of the request itself, the path
	// after path_prefix, no body, and of the headers those that allowed_headers names.
	"envoy": func(c *client, host, target string) (*client, string) {
		return c.with("Host", host).with("X-Forwarded-Proto", "https").with("X-Forwarded-For", "192.0.2.1").with("Content-Length", "0"),
			"/auth/authz/ext-authz" + target
	},
	// nginx, auth_request: a GET of the location's proxy_pass with the client's headers, and these three.
	"nginx": func(c *client, host, target string) (*client, string) {
		return c.with("X-Original-URL", "https://"+host+target).with("X-Original-Method", "GET").with("X-Forwarded-For", "192.0.2.1"), "/auth/authz/auth-request"
	},
}

// eachAsking runs a test for every form.
func eachAsking(t *testing.T, test func(t *testing.T, ask asking)) {
	for name, ask := range askings {
		t.Run(name, func(t *testing.T) { test(t, ask) })
	}
}

// asked returns the answer to the question whether c may have target on a host.
func (ask asking) asked(t *testing.T, c *client, host, target string) answer {
	t.Helper()
	proxy, path := ask(c, host, target)
	proxy.t = t
	return proxy.get(path)
}

// signedInToWiki is a client that has given the first factor, which is all that most of the wiki asks for. A front proxy
// passes the wiki's cookies on to the gateway's own address, so they are in its jar under both hosts.
func (g *gateway) signedInToWiki(name string) *client {
	g.t.Helper()
	c := g.client()
	c.with("Host", siteName).form("/auth/login", "username", name, "password", password, "rd", "/").want(303)
	c.http.Jar.SetCookies(&url.URL{Scheme: "http", Host: g.Address}, c.http.Jar.Cookies(&url.URL{Scheme: "http", Host: siteName}))
	return c
}

// says fails the test where the identity headers of an answer are not each there once with the values, or, without
// values, where any is there.
func (a answer) says(values map[string]string) {
	a.t.Helper()
	for name := range identityNames {
		var want []string
		if values != nil {
			want = []string{values[name]}
		}
		if got := a.Header.Values(name); !slices.Equal(got, want) {
			a.t.Errorf("%s: %s is %q, want %q", a.what, name, got, want)
		}
	}
}

func TestAFrontProxyIsAnsweredInItsOwnForm(t *testing.T) {
	g := startGateway(t, settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32", Users: []user{{Name: "alice", Groups: "admins, staff"}, {Name: "bob"}}})
	alice, bob := g.signedInToWiki("alice"), g.signedInToWiki("bob")
	eachAsking(t, func(t *testing.T, ask asking) {
		ask.asked(t, alice.with("Remote-User", "mallory"), siteName, "/admin/x?a=b").want(200).says(identityNames)
		ask.asked(t, bob, siteName, "/app/x").want(200).says(map[string]string{
			"Remote-User": "bob", "Remote-Email": "bob@example.com", "Remote-Name": "Bob Example", "Remote-Groups": "", "X-Forwarded-User": "bob"})
		ask.asked(t, g.client().with("Remote-User", "mallory"), siteName, "/public/x").want(200).says(map[string]string{})
		ask.asked(t, bob, siteName, "/admin/x").want(403, "FORBIDDEN").says(nil)
		ask.asked(t, bob, siteName, "/a/../public/x").want(400).says(nil)

		ask.asked(t, alice, "other.example.com", "/public/x").want(403).says(nil)

		a := ask.asked(t, g.client(), siteName, "/app/x?a=1&b=2").want(401, "UNAUTHENTICATED")
		a.says(nil)
		login := "https://" + siteName + "/auth/login?rd=" + url.QueryEscape("https://"+siteName+"/app/x?a=1&b=2")
		if a.text("loginUrl") != login {
			t.Errorf("loginUrl is %s, want %s", a.text("loginUrl"), login)
		}
		long := ask.asked(t, g.client(), siteName, "/app/"+strings.Repeat("%C3%A9", 1000)).want(401).text("loginUrl")
		if long != "https://"+siteName+"/auth/login" { // an address that the login page would not go back to
			t.Errorf("loginUrl of an address of 6 KB is %.100s", long)
		}
		page := ask.asked(t, g.client().with("Accept", "text/html").with("Sec-Fetch-Mode", "navigate"), siteName, "/app/x?a=1&b=2")
		if page.Status != 302 && !(page.Status == 401 && strings.HasSuffix(page.what, "/auth-request")) || page.Header.Get("Location") != login {
			t.Errorf("a page load: %d to %s, want it sent to %s", page.Status, page.Header.Get("Location"), login)
		}
		page.says(nil)
		second := ask.asked(t, alice.with("Accept", "text/html"), siteName, "/secret/x")
		if got := second.Header.Get("Location"); !strings.HasPrefix(got, "https://"+siteName+"/auth/enroll?rd=https%3A") {
			t.Errorf("with one factor where two are needed a page load is sent to %q", got)
		}
	})
}

func TestTheLoginPageIsThePublicOneWhereItsCookiesReach(t *testing.T) {
	g := startGateway(t, settings{
		PublicURL: "https://auth.example.com", More: "session: { cookie_domain: example.com }", Trusted: "127.0.0.1/32",
		Upstreams: "  - { name: wiki, hosts: [wiki.example.com, wiki.example.net] }",
	})
	eachAsking(t, func(t *testing.T, ask asking) {
		for host, login := range map[string]string{siteName: "https://auth.example.com", "wiki.example.net": "https://wiki.example.net"} {
			want := login + "/auth/login?rd=" + url.QueryEscape("https://"+host+"/x?y&z")
			if got := ask.asked(t, g.client(), host, "/x?y&z").want(401).text("loginUrl"); got != want {
				t.Errorf("loginUrl is %s, want %s", got, want)
			}
		}
	})
}

func TestASignInBehindAProxyThatSpeaksHTTPSComesBackOverHTTPS(t *testing.T) {
	for trusted, want := range map[string]string{"127.0.0.1/32": "https://" + siteName + "/app/x?a&b", "192.0.2.0/24": "/"} {
		g := startGateway(t, settings{Upstreams: strings.Replace(wikiWithoutURL, "policy: two_factor", "policy: deny", 1), Trusted: trusted})
		c := g.client().with("Host", siteName).with("X-Forwarded-Proto", "https")
		a := c.form("/auth/login", "username", "alice", "password", password, "rd", "https://"+siteName+"/app/x?a&b").want(303)
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("trusting %s, sign-in leads to %q, want %q", trusted, got, want)
		}
	}
}

func TestNobodyButATrustedProxyIsAnswered(t *testing.T) {
	for _, trusted := range []string{"", "192.0.2.0/24"} {
		g := startGateway(t, settings{Upstreams: wikiWithoutURL, Trusted: trusted})
		alice := g.signedInToWiki("alice")
		eachAsking(t, func(t *testing.T, ask asking) {
			for _, target := range []string{"/public/x", "/app/x"} {
				ask.asked(t, alice, siteName, target).want(400).says(nil)
			}
		})
	}
}

func TestWhatIsNoSessionOpensNothingToAFrontProxy(t *testing.T) {
	g := startGateway(t, settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32"})
	c := g.client()
	temp := c.login("alice").want(403, "2FA_SETUP_REQUIRED").text("tempToken")
	ended := g.signedInToWiki("alice")
	cookie := ended.http.Jar.Cookies(&url.URL{Scheme: "http", Host: g.Address})[0].String()
	ended.post("/auth/logout", nil).want(200)
	eachAsking(t, func(t *testing.T, ask asking) {
		for what, c := range map[string]*client{
			"after the password alone": c, "the temp token as bearer": g.bearer(temp), "as cookie": g.client().with("Cookie", "sallyport="+temp),
			"a session that has ended": g.client().with("Cookie", cookie),
		} {
			if a := ask.asked(t, c, siteName, "/app/x"); a.Status != 401 {
				t.Errorf("%s: %d, want 401", what, a.Status)
			}
		}
		ask.asked(t, g.client(), siteName, "/app/x?tempToken="+temp).want(401).says(nil)
	})
}

func TestWithoutTheStoreAFrontProxyIsToldNo(t *testing.T) {
	r := startRedis(t)
	g := startGateway(t, settings{Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32", Redis: r})
	c := g.signedInToWiki("alice")
	r.stop()
	eachAsking(t, func(t *testing.T, ask asking) {
		ask.asked(t, c.timely(10*time.Second), siteName, "/app/x").want(503, "STORE_UNAVAILABLE").says(nil)
		ask.asked(t, g.client(), siteName, "/public/x").want(200).says(map[string]string{})
	})
	r.start()
	eventually(t, "a front proxy is told yes again", func() bool { return askings["traefik"].asked(t, c, siteName, "/app/x").Status == 200 })
}

// The pages of the proxies that are not run here name what the forms above rest on.
func TestThePagesOfTheOtherProxiesNameTheEndpointAndEveryHeader(t *testing.T) {
	for page, endpoint := range map[string]string{"traefik.md": "address: http://127.0.0.1:8080/auth/authz/forward-auth\n", "envoy.md": "path_prefix: /auth/authz/ext-authz\n"} {
		text := strings.ToLower(read(t, "docs/forward-auth/"+page))
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
