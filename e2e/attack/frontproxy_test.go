package attack

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// inquiry is what a front proxy sends to an endpoint: its path, and header lines, a client's among them.
type inquiry struct {
	path  string
	lines []string
}

// inquiries make the questions of the three endpoints about one request.
func inquiries(host, target, cookie string) map[string]inquiry {
	return map[string]inquiry{
		"auth-request": {"/auth/authz/auth-request", []string{"Host: " + host, cookie, "X-Original-Method: GET", "X-Original-URL: http://" + host + target}},
		"forward-auth": {"/auth/authz/forward-auth", []string{"Host: " + host, cookie, "X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: " + target}},
		"ext-authz":    {"/auth/authz/ext-authz" + target, []string{"Host: " + host, cookie, "X-Forwarded-Proto: http"}},
	}
}

func (s *site) inquire(t *testing.T, q inquiry) reply {
	t.Helper()
	return speakFrom(t, frontProxy, s.one.Address, "GET", q.path, q.lines...)
}

// wantNo fails the test where an answer lets a request through, sends anybody anywhere but to sign in, or is a fault.
func wantNo(t *testing.T, what string, r reply) {
	t.Helper()
	if !r.denies() {
		t.Errorf("%s: %d (to %q), want a refusal", what, r.status, r.header.Get("Location"))
	}
	for name := range r.header {
		if slices.ContainsFunc(identityNames, func(own string) bool { return fold(own) == fold(name) }) {
			t.Errorf("%s: the refusal says %s", what, name)
		}
	}
}

func TestT24EveryIdentityHeaderIsOnEveryYesAndOnNoRefusal(t *testing.T) {
	s := enter(t)
	p, boss := newPerson(t, plain), newPerson(t, admin) // p has no group
	for _, who := range []*person{p, boss} {
		session := http.Header{"Cookie": {cookies(who.signedIn(s.two))}}
		for _, name := range identityNames { // a client's own, which a front proxy passes on
			session[name] = []string{forged}
		}
		for endpoint := range endpoints {
			for _, target := range []string{"/secret/x", "/app/x", "/public/x"} {
				a := ask(t, s.one, endpoint, "GET", target, session).Want(200)
				for name, want := range who.identity() {
					if target == "/public/x" {
						want = "" // nobody is asked who they are
					}
					if got := a.Header[name]; !slices.Equal(got, []string{want}) {
						t.Errorf("%s about %s for %s: %s is %q, want %q", endpoint, target, who.Name, name, got, want)
					}
				}
			}
			s.wantDenied(ask(t, s.one, endpoint, "GET", "/elsewhere", session))
			s.wantDenied(ask(t, s.one, endpoint, "GET", "/secret/x", nil))
			s.wantDenied(ask(t, s.one, endpoint, "GET", "/public/../secret/x", session))
		}
	}
}

func TestT24SomebodyWithoutMailOrNameHasEmptyHeaders(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Trusted: frontProxy + "/32", Upstreams: "  - { url: \"http://127.0.0.1:9\", access: { policy: one_factor } }"})
	g.Write("users.yaml", "users:\n  bare:\n    password: "+harness.PasswordHash()+"\n")
	c := g.Client()
	harness.Eventually(t, "the new users file is in force", func() bool {
		return c.Post("/auth/login", harness.Fields{"username": "bare", "password": harness.Password}).Status == 200
	})
	for endpoint := range endpoints {
		a := ask(t, g, endpoint, "GET", "/x", http.Header{"Cookie": {cookies(c)}}).Want(200)
		for name, want := range map[string]string{"Remote-User": "bare", "X-Forwarded-User": "bare", "Remote-Email": "", "Remote-Groups": ""} {
			if got := a.Header[name]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %q, want %q", endpoint, name, got, want)
			}
		}
		if got := a.Header["Remote-Name"]; len(got) != 1 {
			t.Errorf("%s: Remote-Name is %q, want it once", endpoint, got)
		}
	}
}

// badValues are what each header of the endpoints' must not be. The person asks for what they may have, so that only
// the header can be the reason for a refusal.
var badValues = map[string][]string{
	"X-Forwarded-Method": {"", "get", "Get", "CONNECT", "TRACE", "TRACK", "GET, POST", "GET POST", "G\xffT", "GET/1", "*"},
	"X-Forwarded-Proto":  {"", "ftp", "javascript", "http, https", "http://", "https:", "h\xffttp", "file"},
	"X-Forwarded-Host":   {"", "a@b", "a/b", "x:80abc", "a b", "a, b", "a%00b", "[::1", "a\xffb", "http://a", "a?b", "a#b", `a\b`},
	"X-Forwarded-Uri": {"", "%zz", "/app/%zz", "/app/%", "/app/%00", "//", "//app/x", "/app//x", "/a/../app/x", "/app/./x", "/app/..", "/./app/x", "/app/%2e%2e/app/x", "/app/%2E/x", `/app\..\app\x`, "/app/..;/x",
		"app/x", "*", "/app/x#y", "/app/x y", "/app/\xff\tx", "http://evil.example/app/x", "?/app/x", "/app%2fx", "/app/%c0%ae%c0%ae/x", "/app/%252e%252e/x", "/app/%0d%0aRemote-User:%20root", "/app/" + strings.Repeat("../", 1000)},
	"X-Original-Method": {"", "get", "CONNECT", "TRACE", "GET, POST", "G\xffT"},
	"X-Original-URL": {"", "/app/x", "//HOST/app/x", "HOST/app/x", "http:HOST/app/x", "ftp://HOST/app/x", "javascript://HOST/app/x", "http:///app/x", "http://HOST", "http://a@HOST/app/x", "http://HOST:80abc/app/x",
		"http://HOST//app/x", "http://HOST/a/../app/x", "http://HOST/app/%zz", "http://HOST/app/%00", "http://HOST/app/%2e%2e/app/x", `http://HOST\app/x`, "http://HOST/app/x#y", "http://HOST/app/x y", "http://HOST#/app/x",
		"http://HOST, http://HOST/app/x", "http://HOST?/app/x", "://HOST/app/x", "http://[::1/app/x"},
}

func TestT35AMalformedQuestionIsRefused(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.signedIn(s.one))
	for endpoint, q := range inquiries(s.one.Address, "/app/x", cookie) {
		if r := s.inquire(t, q); r.status != 200 {
			t.Fatalf("%s with nothing wrong: %d, want 200: %s", endpoint, r.status, r.body)
		}
		wantNo(t, endpoint+" of anybody", speak(t, s.one.Address, "GET", q.path, q.lines...))
		for i, l := range q.lines {
			name, value, _ := strings.Cut(l, ": ")
			if name == "Host" || name == "Cookie" {
				continue
			}
			with := func(lines ...string) reply {
				return s.inquire(t, inquiry{q.path, slices.Concat(q.lines[:i], lines, q.lines[i+1:])})
			}
			wantNo(t, endpoint+" without "+name, with())
			wantNo(t, endpoint+" with two "+name, with(l, l))
			wantNo(t, endpoint+" with another "+name, with(l, name+": x"))
			wantNo(t, endpoint+" with an empty one before "+name, with(name+":", l))
			wantNo(t, endpoint+" with a list for "+name, with(l+", "+value))
			wantNo(t, endpoint+" with underscores for "+name, with(strings.ReplaceAll(name, "-", "_")+": "+value))
			wantNo(t, endpoint+" with dots for "+name, with(strings.ReplaceAll(name, "-", ".")+": "+value))
			for _, bad := range badValues[name] {
				bad = strings.ReplaceAll(bad, "HOST", s.one.Address)
				if r := with(name + ": " + bad); r.status < 400 || r.status >= 500 {
					t.Errorf("%s with %s: %.60q: %d (to %q), want 4xx", endpoint, name, bad, r.status, r.header.Get("Location"))
				}
			}
		}
	}
	s.wantUntouched()
}

func TestT35OneFamilyOfHeadersIsNotReadForAnother(t *testing.T) {
	s := enter(t)
	host := s.one.Address
	open := []string{
		"X-Original-URL: http://" + host + "/public/x", "X-Original-Method: OPTIONS", "X-Original-URI: /public/x", "X-Rewrite-URL: /public/x", "X-Forwarded-Uri: /public/x", "X-Forwarded-Method: OPTIONS",
		"X-Forwarded-Host: other.example", "X-Forwarded-Prefix: /public", "Forwarded: for=10.0.0.1;host=other.example", "X-Envoy-Original-Path: /public/x", "X-Auth-Request-Redirect: /public/x", "X_Forwarded_Uri: /public/x",
	}
	for endpoint, q := range inquiries(host, "/secret/x", "X-A: b") {
		own := map[string]bool{}
		for _, l := range q.lines {
			name, _, _ := strings.Cut(l, ":")
			own[name] = true
		}
		for _, l := range open {
			if name, _, _ := strings.Cut(l, ":"); !own[name] {
				wantNo(t, endpoint+" with "+l, s.inquire(t, inquiry{q.path, append(slices.Clone(q.lines), l)}))
			}
		}
	}
	for _, endpoint := range []string{"/auth/authz", "/auth/authz/", "/auth/authz/legacy", "/auth/authz/forward-auth/", "/auth/authz/forward-auth/x", "/auth/authz//forward-auth", "/auth/authz/Forward-Auth", "/auth/authz/ext-authz", "/auth/authz/forward%2dauth", "/AUTH/authz/forward-auth", "/auth/x/../authz/forward-auth", "/auth/authz/auth-request%00"} {
		q := inquiries(host, "/public/x", "X-A: b")["forward-auth"]
		wantNo(t, endpoint, s.inquire(t, inquiry{endpoint, q.lines}))
	}
}

func TestT35NoSpellingOfAnOriginalPathIsOpened(t *testing.T) {
	s := enter(t)
	targets := slices.Clone(aims)
	for _, climb := range climbs {
		targets = append(targets, "/public/"+climb.spelling+"admin/x", "/public/x/"+climb.spelling+climb.spelling+"secret/x")
	}
	for _, target := range targets {
		for endpoint, q := range inquiries(s.one.Address, target, "X-A: b") {
			r := s.inquire(t, q)
			switch inside := (received{Head: "GET " + target + " HTTP/1.1\r\n"}); {
			case endpoint == "ext-authz" && target == "": // no question at all
				wantNo(t, endpoint, r)
			case r.status == 200 && strings.HasPrefix(target, "/stripped/"):
				wantInside(t, received{Head: strings.Replace(inside.Head, "/stripped", "", 1)}, "/public/")
			case r.status == 200:
				wantInside(t, inside, "/public/")
			default:
				wantNo(t, endpoint+" about "+target, r)
			}
			if to, err := url.Parse(r.header.Get("Location")); err != nil || r.header.Get("Location") != "" && to.Path != "/auth/login" {
				t.Errorf("%s about %s: sent to %q", endpoint, target, r.header.Get("Location"))
			}
		}
	}
	s.wantUntouched()
}
