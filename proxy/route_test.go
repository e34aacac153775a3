package proxy

import (
	"net/url"
	"strings"
	"testing"
)

func TestTheMostParticularHostThenTheLongestPathTakesARequest(t *testing.T) {
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	g := newGateway(t, options([]Upstream{
		{Name: "any", URL: to, Policy: Bypass},
		{Name: "any-wiki", Path: "/wiki", URL: to, Policy: Bypass},
		{Name: "a", Hosts: []string{"A.example.com"}, URL: to, Policy: Bypass},
		{Name: "a-deep", Hosts: []string{"a.example.com", "b.example.com"}, Path: "/x/y/", URL: to, Policy: Bypass},
		{Name: "a-x", Hosts: []string{"a.example.com"}, Path: "/x", URL: to, Policy: Bypass},
		{Name: "a-8443", Hosts: []string{"a.example.com:8443"}, URL: to, Policy: Bypass},
		{Name: "c-443", Hosts: []string{"c.example.com:443"}, URL: to, Policy: Bypass},
		{Name: "six", Hosts: []string{"[2001:DB8:0::1]"}, URL: to, Policy: Bypass},
	}))
	cases := []struct {
		host, path string
		secure     bool
		want       string
	}{
		{"other", "/", false, "any"},
		{"other", "/wiki", false, "any-wiki"},
		{"other", "/wiki/x", false, "any-wiki"},
		{"other", "/wikix", false, "any"},
		{"a.example.com", "/", false, "a"},
		{"a.example.com", "/wiki", false, "a"},
		{"a.example.com:99", "/x", false, "a-x"},
		{"a.example.com", "/x/y", false, "a-deep"},
		{"a.example.com", "/x/yz", false, "a-x"},
		{"a.example.com:8443", "/x", false, "a-8443"},
		{"b.example.com", "/x/y/z", false, "a-deep"},
		{"b.example.com", "/x", false, "any"},
		{"c.example.com", "/", true, "c-443"},
		{"c.example.com:443", "/", false, "c-443"},
		{"c.example.com", "/", false, "any"},
		{"[2001:db8::1]:80", "/", false, "six"},
	}
	for _, c := range cases {
		host, ok := parseAuthority(c.host)
		if !ok {
			t.Fatalf("%s is no authority", c.host)
		}
		v, no := g.judge(question{host: host, secure: c.secure, method: "GET"}, c.path)
		if no != nil || v.route.name != c.want {
			t.Errorf("%s%s: got %+v, %+v, want %s", c.host, c.path, v.route, no, c.want)
		}
	}
}

func TestAHostOrPathThatNoUpstreamHasIsNotFound(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options([]Upstream{
		{Name: "wiki", Hosts: []string{"wiki.example.com"}, URL: j.url, Policy: Bypass},
		{Name: "app", Hosts: []string{"app.example.com"}, Path: "/app", URL: j.url, Policy: Bypass},
		{Name: "asked", Hosts: []string{"app.example.com"}, Path: "/asked", Policy: Bypass}, // without a url it only answers forward-auth
	}))
	for _, raw := range []string{get("/"), get("/asked"), strings.Replace(get("/"), "app.", "unknown.", 1)} {
		if res, _ := send(t, addr, raw); res.StatusCode != 404 {
			t.Errorf("%q: got %s, want 404", raw, describe(res))
		}
	}
	j.empty(t)
}

func TestAnAuthorityIsAHostAndPerhapsAPort(t *testing.T) {
	good := map[string]string{"App.Example.COM": "app.example.com", "app.": "app", "app:8080": "app:8080", "app.:1": "app:1", "my_host-1": "my_host-1", "127.0.0.1:65535": "127.0.0.1:65535",
		"[::1]": "[::1]", "[0:0::1]:80": "[::1]:80"}
	for in, want := range good {
		if got, ok := parseAuthority(in); !ok || got.String() != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"", ":", ":80", ".", "app:", "app:0", "app:080", "app:+80", "app:65536", "app:80abc", "app:80:80", "a b", "a/b", "a@b", "a..b", ".a", "a\x00", "bücher", "a%41",
		"::1", "[::1", "::1]", "[::1]80", "[::1%eth0]", "[127.0.0.1]", "[app]", "[[::1]]", "*.example.com", "a,b", strings.Repeat("a", 254)} {
		if got, ok := parseAuthority(in); ok {
			t.Errorf("%q: got %q, want a refusal", in, got)
		}
	}
}

func TestAWrongOptionIsOneClearLine(t *testing.T) {
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	good := Upstream{Name: "wiki", URL: to, Policy: Bypass, Where: "c.yaml:3"}
	with := func(change func(*Upstream)) []Upstream {
		u := good
		change(&u)
		return []Upstream{u}
	}
	cases := []struct {
		upstreams []Upstream
		want      string
	}{
		{with(func(u *Upstream) { u.Policy = 0 }), `c.yaml:3: upstream "wiki": no policy`},
		{with(func(u *Upstream) { u.Path = "wiki" }), `c.yaml:3: upstream "wiki": path "wiki"`},
		{with(func(u *Upstream) { u.Path = "/a/../b" }), `c.yaml:3: upstream "wiki": path "/a/../b"`},
		{with(func(u *Upstream) { u.URL = &url.URL{Scheme: "ftp", Host: "x"} }), `c.yaml:3: upstream "wiki": url "ftp://x"`},
		{with(func(u *Upstream) { u.URL = &url.URL{Scheme: "http"} }), `c.yaml:3: upstream "wiki": url "http:"`},
		{with(func(u *Upstream) { u.Hosts = []string{"a b"} }), `c.yaml:3: upstream "wiki": host "a b"`},
		{with(func(u *Upstream) { u.Rules = []Rule{{Where: "c.yaml:9"}} }), `c.yaml:3: upstream "wiki": rule at c.yaml:9: no policy`},
		{with(func(u *Upstream) { u.Rules = []Rule{{Policy: Deny, Paths: []string{"x"}, Where: "c.yaml:9"}} }), `c.yaml:3: upstream "wiki": rule at c.yaml:9: path "x"`},
		{[]Upstream{good, {Name: "again", URL: to, Path: "/", Policy: Deny, Where: "c.yaml:7"}}, `c.yaml:7: upstream "again": takes the same host and path as upstream "wiki" (c.yaml:3)`},
		{[]Upstream{{Name: "a", Path: "/W", Policy: Deny, Where: "c.yaml:1"}, {Name: "b", Path: "/w", Policy: Deny, Where: "c.yaml:2"}}, `c.yaml:2: upstream "b": takes the same host`},
	}
	for _, c := range cases {
		_, err := New(options(c.upstreams))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line that begins with %s", err, c.want)
		}
	}
	for _, authPath := range []string{"", "/", "auth", "/a/../b"} {
		o := options([]Upstream{good})
		o.AuthPath = authPath
		if _, err := New(o); err == nil {
			t.Errorf("auth path %q is taken", authPath)
		}
	}
	if _, err := New(Options{AuthPath: "/auth"}); err == nil {
		t.Error("a gateway without Identify, Answers and Log is made")
	}
}
