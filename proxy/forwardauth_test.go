package proxy

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// asks are the requests by which front proxies ask about https://app.example.com and a target, each in its own form.
var asks = map[string]func(method, target string, headers ...string) string{
	"auth-request": func(method, target string, headers ...string) string {
		return get("/auth/authz/auth-request", append(headers, "X-Original-URL: https://app.example.com"+target, "X-Original-Method: "+method)...)
	},
	"forward-auth": func(method, target string, headers ...string) string {
		return get("/auth/authz/forward-auth", append(headers, "X-Forwarded-Method: "+method, "X-Forwarded-Proto: https",
			"X-Forwarded-Host: app.example.com", "X-Forwarded-Uri: "+target)...)
	},
	"ext-authz": func(method, target string, headers ...string) string {
		return request(method, "/auth/authz/ext-authz"+target, append(headers, "X-Forwarded-Proto: https")...)
	},
}

// eachAsk runs a test for every endpoint.
func eachAsk(t *testing.T, test func(t *testing.T, ask func(method, target string, headers ...string) string)) {
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) { test(t, ask) })
	}
}

// startAuthz serves forward-auth, over the fixture's rules for app.example.com and without a URL to forward to.
func startAuthz(t *testing.T, change func(*Options)) string {
	t.Helper()
	o := options(fixture(nil))
	o.Upstreams[0].Hosts = []string{"app.example.com"}
	o.TrustedProxies = prefixes("127.0.0.0/8")
	if change != nil {
		change(&o)
	}
	s := httptest.NewServer(Front(http.HandlerFunc(newGateway(t, o).ForwardAuth), false))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// carries says whether an answer has every identity header once, in the order of identityHeaders; no values: none.
func carries(t *testing.T, res *http.Response, values ...string) {
	t.Helper()
	for i, name := range identityHeaders {
		var want []string
		if values != nil {
			want = []string{values[i]}
		}
		if got := res.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAFrontProxyIsToldWhoMakesTheRequest(t *testing.T) {
	addr := startAuthz(t, nil)
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "PROPFIND"} {
			res, body := send(t, addr, ask(method, "/secret/x?a=b&c=%zz", aliceTwo, "Remote-User: mallory", "Remote-Groups: admins"))
			if res.StatusCode != 200 || body != "" || res.Header.Get("Cache-Control") != "no-store" || res.Header["Set-Cookie"] != nil {
				t.Fatalf("%s: %s %v %q", method, describe(res), res.Header, body)
			}
			carries(t, res, "alice", "alice@example.com", "Zoë Liddell", "staff", "alice")
		}
		res, _ := send(t, addr, ask("GET", "/admin/x", "Authorization: Bearer root-2"))
		if res.StatusCode != 200 {
			t.Fatal(describe(res))
		}
		carries(t, res, "root", "", "", "admins,staff", "root") // nothing to say is said, too
		res, _ = send(t, addr, ask("GET", "/public/x", aliceTwo, "Remote_User: mallory"))
		if res.StatusCode != 200 {
			t.Fatal(describe(res))
		}
		carries(t, res, "", "", "", "", "")
	})
}

func TestTheEndpointItselfIsAskedByHeadToo(t *testing.T) {
	addr := startAuthz(t, nil)
	for _, endpoint := range []string{"auth-request", "forward-auth"} {
		res, _ := send(t, addr, strings.Replace(asks[endpoint]("GET", "/secret/x", aliceTwo), "GET", "HEAD", 1))
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", endpoint, describe(res))
		}
		carries(t, res, "alice", "alice@example.com", "Zoë Liddell", "staff", "alice")
	}
}

func TestWhoMayNotPassIsRefusedWithoutAnIdentity(t *testing.T) {
	addr := startAuthz(t, nil)
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for _, c := range []struct {
			target, cookie string
			status         int
			answer         string
		}{
			{"/secret/x", "Cookie: none=1", 401, "sign-in"},
			{"/secret/x", aliceOne, 401, "second-factor"},
			{"/admin/x", aliceTwo, 403, "refused"},
			{"/elsewhere", rootTwo, 403, "refused"},
			{"/auth/login", rootTwo, 403, "refused"},
			{"/secret/x", "Cookie: sallyport=store-gone", 503, "refused"},
		} {
			res, _ := send(t, addr, ask("GET", c.target, c.cookie))
			if res.StatusCode != c.status || res.Header.Get("Answer") != c.answer {
				t.Errorf("%s with %s: %s, want %d %s", c.target, c.cookie, describe(res), c.status, c.answer)
			}
			carries(t, res)
		}
	})
}

func TestTheAddressToComeBackToIsTheWholeOriginal(t *testing.T) {
	addr := startAuthz(t, nil)
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for _, target := range []string{"/secret/x?a=1&b=%26&rd=https://evil.example/", "/secret/%C3%A9?", "/secret/x?//../"} {
			res, _ := send(t, addr, ask("GET", target))
			if got, want := res.Header.Get("Location"), "/login?https://app.example.com"+target; got != want {
				t.Errorf("Location is %q, want %q", got, want)
			}
		}
	})
}

func TestAHostThatNoEntryHasIsRefused(t *testing.T) {
	addr := startAuthz(t, nil)
	for _, raw := range []string{
		get("/auth/authz/auth-request", rootTwo, "X-Original-URL: https://other.example.com/public/x", "X-Original-Method: GET"),
		get("/auth/authz/forward-auth", rootTwo, "X-Forwarded-Method: GET", "X-Forwarded-Proto: https", "X-Forwarded-Host: other.example.com", "X-Forwarded-Uri: /public/x"),
		strings.Replace(get("/auth/authz/ext-authz/public/x", rootTwo, "X-Forwarded-Proto: https"), "Host: app.", "Host: other.", 1),
	} {
		res, _ := send(t, addr, raw)
		if res.StatusCode != 403 {
			t.Errorf("%.60q: %s, want 403", raw, describe(res))
		}
		carries(t, res)
	}
}

func TestNobodyButATrustedProxyMayAsk(t *testing.T) {
	for _, trusted := range [][]string{nil, {"192.0.2.0/24"}} {
		addr := startAuthz(t, func(o *Options) { o.TrustedProxies = prefixes(trusted...) })
		eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
			res, _ := send(t, addr, ask("GET", "/public/x", aliceTwo, "X-Forwarded-For: 192.0.2.1"))
			if res.StatusCode != 400 {
				t.Errorf("trusting %v: %s, want 400", trusted, describe(res))
			}
			carries(t, res)
		})
	}
}

func TestAHeaderThatIsMissingDoubledOrMalformedIsRefused(t *testing.T) {
	addr := startAuthz(t, nil)
	own := map[string]map[string][]string{ // good values first; the rest are bad
		"auth-request": {
			"X-Original-URL": {"https://app.example.com/public/x", "/public/x", "app.example.com/public/x", "https:///public/x", "ftp://app.example.com/public/x",
				"https://u@app.example.com/public/x", "https://app.example.com\\@evil.example/public/x", "https://app.example.com:x/public/x",
				"https://app.example.com/public/%zz", "https://app.example.com/public/\x01", "https://app.example.com/public/%00", "https://app.example.com//public/x",
				"https://app.example.com/public/../secret", "https://app.example.com/public/x#y", "https://app.example.com/public/ x", "//app.example.com/public/x"},
			"X-Original-Method": {"GET", "get", "G T", "GET, POST", "CONNECT", "TRACE"},
		},
		"forward-auth": {
			"X-Forwarded-Method": {"GET", "get", "GET, POST", "CONNECT", "TRACE"},
			"X-Forwarded-Proto":  {"https", "HTTPS", "gopher", "https, http"},
			"X-Forwarded-Host":   {"app.example.com", "app.example.com, app.example.com", "app.example.com/x", "a@app.example.com", "app:80abc", "[::1"},
			"X-Forwarded-Uri": {"/public/x", "public/x", "https://app.example.com/public/x", "//app.example.com/public/x", "/public/%zz", "/public/%00", "/public//x",
				"/public/../secret/x", "/public/%2e%2e/secret/x", "/public/..%2fsecret", "/public/..;/secret", "/public/./x", "/public/x#y", "/public/x\\..\\..\\secret", "*", "?x"},
		},
	}
	for endpoint, headers := range own {
		for name, values := range headers {
			var others []string
			for other, v := range headers {
				if other != name {
					others = append(others, other+": "+v[0])
				}
			}
			path := "/auth/authz/" + endpoint
			if res, _ := send(t, addr, get(path, append(others, name+": "+values[0])...)); res.StatusCode != 200 {
				t.Errorf("%s: the good one: %s", endpoint, describe(res))
			}
			bad := [][]string{others, append(others, name+":"), append(others, name+": "+values[0], name+": "+values[0])}
			for _, v := range values[1:] {
				bad = append(bad, append(slices.Clone(others), name+": "+v))
			}
			for _, lines := range bad {
				res, _ := send(t, addr, get(path, append(slices.Clone(lines), rootTwo)...))
				if res.StatusCode != 400 && res.StatusCode != 405 {
					t.Errorf("%s with %q: %s, want 400", endpoint, lines, describe(res))
				}
				carries(t, res)
			}
		}
	}
}

func TestAPathThatAFrontProxyWouldCleanIsRefusedEvenWhereNoRuleLooksAtPaths(t *testing.T) {
	addr := startAuthz(t, func(o *Options) { o.Upstreams = whole(nil, OneFactor) })
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for path, want := range map[string]int{
			"/a/b": 200, "/a.b/..c/...": 200, "/a/../b": 400, "/..": 400, "/a/./b": 400, "/a/%2e%2E/b": 400, "/a/..%2fb": 400,
			"/a/..;x/b": 400, "/a/..\\b": 400, "/a/..%5cb": 400, "//b": 400, "/a//b": 400, "/a/%00": 400,
		} {
			res, _ := send(t, addr, ask("GET", path, aliceOne))
			if res.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, describe(res), want)
			}
		}
	})
}

func TestACheckOfEnvoysThatIsMalformedIsRefused(t *testing.T) {
	addr := startAuthz(t, nil)
	const https = "X-Forwarded-Proto: https"
	for raw, want := range map[string]int{
		request("GET", "/auth/authz/ext-authz/public/x", https):                                          200,
		request("GET", "/auth/authz/ext-authz/public/x"):                                                 400,
		request("GET", "/auth/authz/ext-authz/public/x", "X-Forwarded-Proto:"):                           400,
		request("GET", "/auth/authz/ext-authz/public/x", https, https):                                   400,
		request("GET", "/auth/authz/ext-authz/public/x", "X-Forwarded-Proto: x"):                         400,
		request("GET", "/auth/authz/ext-authz/public/%zz", https):                                        400,
		request("GET", "/auth/authz/ext-authz/public/%00", https):                                        400,
		request("GET", "/auth/authz/ext-authz//public/x", https):                                         400,
		request("GET", "/auth/authz/ext-authz/public/../secret/x", https, rootTwo):                       400,
		request("GET", "/auth/authz/ext-authz/a/../secret", https, rootTwo):                              400,
		request("GET", "/auth/authz/ext-authz/../ext-authz/public/x", https):                             400,
		request("GET", "/auth/authz/ext-authz", https):                                                   404,
		request("GET", "/auth/authz/ext-authzz/public/x", https):                                         404,
		request("GET", "/auth/authz/ext%2dauthz/public/x", https):                                        404,
		request("GET", "/auth/authz/", https):                                                            404,
		request("GET", "/auth/authz/auth-request/public/x", https):                                       404,
		request("GET", "/auth/authz//ext-authz/public/x", https):                                         404,
		request("TRACE", "/auth/authz/ext-authz/public/x", https):                                        405,
		strings.Replace(request("GET", "/auth/authz/ext-authz/public/x", https), "Host: ", "Host: @", 1): 400,
	} {
		res, _ := send(t, addr, raw)
		if res.StatusCode != want {
			t.Errorf("%.80q: %s, want %d", raw, describe(res), want)
		}
		if want != 200 {
			carries(t, res)
		}
	}
}

func TestAnEndpointReadsItsOwnHeadersAndNoOthers(t *testing.T) {
	addr := startAuthz(t, nil)
	families := map[string][]string{
		"auth-request": {"X-Original-URL: https://app.example.com/public/x", "X-Original-Method: OPTIONS", "X-Original-URL: doubled"},
		"forward-auth": {"X-Forwarded-Method: OPTIONS", "X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /public/x", "X-Forwarded-Uri: doubled"},
		"neither": {"X-Rewrite-URL: /public/x", "X-Forwarded-Prefix: /public", "X-Forwarded-Port: 1", "Forwarded: host=evil.example;proto=gopher",
			"X-HTTP-Method-Override: OPTIONS", "X_Original_URL: /public/x", "X.Forwarded.Uri: /public/x", "X-Real-IP: ::1", "X-Forwarded-Server: y"},
	}
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		endpoint := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
		for family, forged := range families {
			if family == endpoint {
				continue
			}
			if endpoint == "auth-request" {
				forged = append(forged, "X-Forwarded-Proto: gopher")
			}
			res, _ := send(t, addr, ask("GET", "/secret/x?y", forged...))
			if res.StatusCode != 401 || res.Header.Get("Location") != "/login?https://app.example.com/secret/x?y" {
				t.Errorf("with the headers of %s: %s, Location %q", family, describe(res), res.Header.Get("Location"))
			}
		}
	})
}

func TestTheOriginalMethodAndClientAreJudged(t *testing.T) {
	addr := startAuthz(t, func(o *Options) {
		o.Upstreams[0].Rules = []Rule{
			{Methods: []string{"OPTIONS"}, Policy: Bypass},
			{Networks: prefixes("10.0.0.0/8", "127.0.0.0/8"), Policy: Bypass},
		}
	})
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for _, c := range []struct {
			method, chain string
			status        int
		}{
			{"OPTIONS", "", 200}, {"GET", "", 403}, // the proxy's own address is nobody's
			{"GET", "X-Forwarded-For: 10.1.2.3", 200}, {"GET", "X-Forwarded-For: 10.1.2.3, 192.0.2.1", 403},
			{"GET", "X-Forwarded-For: 192.0.2.1, 10.1.2.3", 200}, {"GET", "X-Forwarded-For: 10.1.2.3, 127.0.0.2", 200}, {"GET", "X-Forwarded-For: x", 400},
		} {
			headers := slices.DeleteFunc([]string{c.chain}, func(s string) bool { return s == "" })
			if res, _ := send(t, addr, ask(c.method, "/x", headers...)); res.StatusCode != c.status {
				t.Errorf("%s with %q: %s, want %d", c.method, c.chain, describe(res), c.status)
			}
		}
	})
}

func TestAWebSocketOfAForeignPageIsRefusedToTheFrontProxy(t *testing.T) {
	addr := startAuthz(t, nil)
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for origin, want := range map[string]int{"https://app.example.com": 200, "https://evil.example": 403, "null": 403} {
			if res, _ := send(t, addr, ask("GET", "/secret/socket", key, aliceTwo, "Origin: "+origin)); res.StatusCode != want {
				t.Errorf("from %s: %s, want %d", origin, describe(res), want)
			}
		}
	})
}

func TestAPathIsForwardedToTheAppAsItWasJudged(t *testing.T) {
	addr := startAuthz(t, func(o *Options) { o.Upstreams = whole(nil, Bypass) })
	eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
		for target, want := range map[string]int{
			"/api/queues/%2F/x": 200, "/x;jsessionid=1": 200, "/x/": 200, "/%252e": 200, "/.well-known/x": 200, "/a..b/...": 200,
			"/a/../b": 400, "/a/%2E%2e": 400, "//a": 400, "/a//": 400, "/%7f": 400, "/a/..\\b": 400, "/a/.;x/b": 400,
		} {
			if res, _ := send(t, addr, ask("GET", target)); res.StatusCode != want {
				t.Errorf("%s: %s, want %d", target, describe(res), want)
			}
		}
	})
}

// FuzzForwardAuth asks in every way and wants no fault, and a yes for what lies under /public/ alone.
func FuzzForwardAuth(f *testing.F) {
	for _, seed := range []string{"/public/x", "/secret/x", "//secret", "/public/../secret", "/%zz", "/public/%2e%2e/secret", "/secret/x?/public/"} {
		f.Add("GET", "https", "app.example.com", seed)
	}
	o := options(fixture(nil))
	o.TrustedProxies = prefixes("192.0.2.0/24")
	g := newGateway(f, o)
	f.Fuzz(func(t *testing.T, method, scheme, host, target string) {
		r := httptest.NewRequest("GET", "/auth/authz/forward-auth", nil)
		r.RemoteAddr = "192.0.2.1:1234"
		for name, value := range map[string]string{"Method": method, "Proto": scheme, "Host": host, "Uri": target} {
			r.Header["X-Forwarded-"+name] = []string{value}
		}
		w := httptest.NewRecorder()
		g.ForwardAuth(w, r)
		raw, _, _ := strings.Cut(target, "?")
		path, err := canonicalPath(raw)
		if w.Code >= 500 || w.Code == 200 && (err != nil || !strings.HasPrefix(path.plain, "/public/")) {
			t.Fatalf("%q %q %q %q: %d", method, scheme, host, target, w.Code)
		}
	})
}
