package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func returnServer(t testing.TB, public string, hosts ...string) *Server {
	t.Helper()
	u, err := url.Parse(public)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Options: Options{PublicURL: u, Hosts: hosts, AuthPath: "/auth",
		Secure: func(r *http.Request) bool { return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" }}}
}

func TestAReturnLeadsToThisGatewaysHostsAlone(t *testing.T) {
	s := returnServer(t, "https://auth.example.com", "wiki.example.com", "shop.example.com:8443", "[2001:db8::1]")
	r := httptest.NewRequest("GET", "https://here.example.com:444/auth/login", nil)
	for _, good := range []string{
		"/", "/a?b=c&d=e#f", "/a%2Fb", "/wiki/../x", "https://here.example.com:444/x", "https://auth.example.com/", "https://auth.example.com:443/x?y",
		"https://wiki.example.com", "https://WIKI.example.com/x", "https://wiki.example.com:443/x", "https://shop.example.com:8443/", "https://[2001:db8::1]/x",
		"/search?q=https://evil.example/", "/%C3%A9",
	} {
		if got := s.returnTo(r, good); got == "" {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "x", "?x", "#x", `/%2fevil.example/"`, "/%2Fevil.example/{}", "/%2fevil.example/é", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "\t//evil.example", " /x", "/x ",
		"https://evil.example/", "https://wiki.example.com.evil.example/", "https://wiki.example.com@evil.example/", "https://evil.example#wiki.example.com",
		"https://evil.example?wiki.example.com", "https://evil.example\\@wiki.example.com/", "http://wiki.example.com/", "http://auth.example.com/",
		"https://wiki.example.com:8443/", "https://shop.example.com/", "https://here.example.com/", "https:/evil.example", "https:evil.example", "https:///evil.example",
		"javascript:alert(1)", "data:text/html,x", "ftp://wiki.example.com/", "https://user@wiki.example.com/", "https://wiki.example.com:/", "https://wiki.example.com:99999/",
		"/x\r\nSet-Cookie: a=b", "/x\x00", "/x\x7f", "https://wiki.example.com\u200b/", "https://ｗｉｋｉ.example.com/", "/\u2028", "/\xff", "/%zz",
		"https://wiki.example.com%00.evil.example/", "https://wiki.example.com./", "/" + strings.Repeat("a", maxReturn),
	} {
		if got := s.returnTo(r, bad); got != "" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
}

func TestAReturnOverPlainHTTPMayStayThere(t *testing.T) {
	s := returnServer(t, "http://localhost:8080", "app.test")
	r := httptest.NewRequest("GET", "http://127.0.0.1:8080/auth/login", nil)
	for raw, want := range map[string]bool{
		"http://127.0.0.1:8080/x": true, "http://localhost:8080/x": true, "http://app.test:8080/": true, "https://app.test:8080/": true,
		"http://app.test/": false, "http://localhost/": false, "http://127.0.0.1:9090/": false,
	} {
		if got := s.returnTo(r, raw); (got != "") != want {
			t.Errorf("%q: %q, want allowed %v", raw, got, want)
		}
	}
	r.TLS = &tls.ConnectionState{}
	if got := s.returnTo(r, "http://localhost:8080/x"); got != "" {
		t.Errorf("from https down to http: %q", got)
	}
}

func TestAReturnMayLeadToTheHTTPSThatAProxyInFrontSpeaks(t *testing.T) {
	s := returnServer(t, "http://localhost:8080")
	r := httptest.NewRequest("GET", "http://app.test/auth/login", nil)
	for _, proxied := range []bool{false, true} {
		if proxied {
			r.Header.Set("X-Forwarded-Proto", "https")
		}
		for raw, want := range map[string]bool{"https://app.test/x": proxied, "http://app.test/x": !proxied, "https://app.test:8443/x": false} {
			if got := s.returnTo(r, raw); (got != "") != want {
				t.Errorf("behind a proxy that speaks https: %t, %q leads to %q", proxied, raw, got)
			}
		}
	}
}

// FuzzReturnTo reads what was allowed as a browser does and looks where it leads.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{
		"/x", "//evil", "/\\evil", "https://wiki.example.com/x", "https:evil", "/%2f/evil", "http://[::1]:80/", "https://wiki.example.com:443", "https://wiki.example.com@evil",
		"https://evil\\@wiki.example.com", "\t//evil", "https://wiki.example.com%2eevil", "HTTPS://ｗiki.example.com", "https:///evil", "/\u2028/evil", "javascript:x",
	} {
		f.Add(seed)
	}
	s := returnServer(f, "https://auth.example.com", "wiki.example.com")
	own := []place{{"https", "here.example.com", ""}, {"https", "auth.example.com", ""}, {"https", "wiki.example.com", ""}}
	r := httptest.NewRequest("GET", "https://here.example.com/auth/login", nil)
	f.Fuzz(func(t *testing.T, raw string) {
		location := s.returnTo(r, raw)
		if location == "" {
			return
		}
		if to, ok := browse(location, "here.example.com"); !ok || !slices.Contains(own, to) {
			t.Fatalf("%q was allowed as %q and leads to %+v (%t)", raw, location, to, ok)
		}
		if again := s.returnTo(r, location); again != location {
			t.Fatalf("%q was allowed as %q, which itself is read as %q", raw, location, again)
		}
	})
}
