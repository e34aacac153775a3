package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// twoHosts is a gateway of its own with a host that is open and one that is not, behind both the same app. It knows no
// other host.
func twoHosts(t *testing.T, up *upstream) *harness.Gateway {
	t.Helper()
	return harness.StartGateway(t, harness.Settings{Trusted: frontProxy + "/32", Upstreams: fmt.Sprintf(`
  - { name: open, hosts: [open.test], url: %q, access: { policy: bypass } }
  - { name: closed, hosts: [closed.test, "ports.test:8443"], url: %q, access: { policy: two_factor } }
  - { name: ports, hosts: [ports.test], url: %q, access: { policy: bypass } }`, up.URL, up.URL, up.URL)})
}

func TestT31T32OneAuthorityIsJudgedAndForwarded(t *testing.T) {
	up := startUpstream(t)
	g := twoHosts(t, up)
	get := func(target string, lines ...string) string {
		return "GET " + target + " HTTP/1.1\r\n" + strings.Join(append(lines, "Connection: close"), "\r\n") + "\r\n\r\n"
	}
	raws := []string{
		get("/x"), get("/x", "Host:"), get("/x", "Host: "), strings.Replace(get("/x"), "1.1", "1.0", 1),
		get("/x", "Host: open.test", "Host: closed.test"), get("/x", "Host: closed.test", "Host: open.test"), get("/x", "Host: closed.test", "host: closed.test"),
		get("/x", "Host: open.test\r\n closed.test"), get("/x", "Host : closed.test", "Host: open.test"), get("/x", "Host: open.test", "Host_: closed.test"),
		get("/x", "Host: open.test", "X-Forwarded-Host: closed.test"), get("/x", "Host: closed.test", "X-Forwarded-Host: open.test"), get("/x", "Host: closed.test", "X-Host: open.test"),
		get("/x", "Host: closed.test", "Forwarded: host=open.test"), get("/x", "Host: closed.test", "X-Original-Host: open.test"),
		get("http://closed.test/x", "Host: open.test"), get("http://open.test/x", "Host: closed.test"), get("https://closed.test/x", "Host: open.test"),
		get("HTTP://closed.test/x", "Host: open.test"), get("http://CLOSED.test./x", "Host: open.test"), get("http://open.test@closed.test/x", "Host: open.test"),
		get("http://closed.test@open.test/x", "Host: open.test"), get("http://closed.test", "Host: open.test"), get("http://closed.test?x", "Host: open.test"), get("http://open.test/x"),
		get("http://closed.test:80/x", "Host: open.test"), get("http://open.test:80abc/x", "Host: open.test"), get("http:///x", "Host: open.test"), get("http:/x", "Host: open.test"),
		get("http://closed.test/x", "Host: closed.test", "Host: open.test"), get("//closed.test/x", "Host: open.test"), get("//open.test/x", "Host: closed.test"),
		get(`http:\\closed.test/x`, "Host: open.test"), get("http://closed.test%2f@open.test/x", "Host: open.test"), get(`http://closed.test\@open.test/x`, "Host: open.test"),
		get("http://[open.test]/x", "Host: open.test"), get("http://open.test%00.closed.test/x", "Host: open.test"),
	}
	for _, host := range []string{
		"closed.test", "CLOSED.test", "Closed.Test.", "closed.test.", "closed.test:80", "closed.test.:80", "closed.test:", "closed.test:8080", "closed.test:80abc", "closed.test:0", "closed.test:+80",
		"closed.test:99999", "closed.test:080", "closed.test:80:80", "closed.test..", ".closed.test", "closed..test", "closed.test/", "closed.test/x", "closed.test#open.test", "closed.test?open.test",
		"open.test#closed.test", "open.test/closed.test", "open.test?closed.test", `open.test\closed.test`, "open.test@closed.test", "closed.test@open.test", "open.test:x@closed.test", "open.test:80@closed.test",
		"open.test, closed.test", "closed.test, open.test", "open.test closed.test", "open.test\tclosed.test", "open.test;closed.test", "open.test%00closed.test", "open.test\x00closed.test", "open.test%2eclosed.test",
		"closed%2etest", "%63losed.test", "closed\u3002test", "clo\u017fed.test", "\uff43losed.test", "closed\u200b.test", "[closed.test]", "[::1", "[::1]]", "::1", "[::1%25lo]", "[::ffff:127.0.0.1]:80",
		"http://closed.test", "*", "*.test", "test", "app:80abc", "open.test\r", "\"open.test\"", "<open.test>", "open.test:443", "open.test:80abc", "open.test:", "open.test:0", "open.test:080", "open.test:65616", "open.test.", "OPEN.TEST:80", strings.Repeat("a.", 150) + "test",
		"ports.test:8443", "PORTS.test.:8443", "ports.test:08443", "ports.test:+8443", "ports.test: 8443", "ports.test:8443:80", "ports.test:80", "ports.test",
	} {
		raws = append(raws, get("/x", "Host: "+host))
	}
	for _, raw := range raws {
		up.Forget()
		w := dial(t, g.Address)
		w.write(raw)
		replies := w.rest("GET")
		seen := up.Requests()
		switch {
		case len(replies) != 1:
			t.Errorf("%q: %d answers, want one", raw, len(replies))
		case len(seen) == 0 && !replies[0].denies() || len(seen) > 1:
			t.Errorf("%q: %d, and the upstream saw %d requests", raw, replies[0].status, len(seen))
		case len(seen) == 1:
			wantOpenHost(t, raw, seen[0])
		}
	}
}

// wantOpenHost fails the test where the request is for another host than one that is open, or for two.
func wantOpenHost(t *testing.T, what string, r received) {
	t.Helper()
	hosts := r.values("Host")
	if len(hosts) != 1 {
		t.Fatalf("%q: the upstream sees the hosts %q", what, hosts)
	}
	name, port, named := strings.Cut(hosts[0], ":")
	open := name == "open.test" || name == "ports.test" && port != "8443"
	if n, err := strconv.Atoi(port); named && (err != nil || strconv.Itoa(n) != port || n < 1 || n > 65535) {
		t.Errorf("%q: the upstream sees the port %q, which servers read in different ways", what, port)
	}
	if !open || !slices.Equal(r.values("X-Forwarded-Host"), hosts) || !strings.HasPrefix(r.target(), "/") || slices.ContainsFunc(r.lines(), namesClosed) {
		t.Errorf("%q: the upstream sees %q", what, r.Head)
	}
}

func namesClosed(l line) bool { return strings.Contains(strings.ToLower(l.name+l.value), "closed") }

func TestT31OtherLettersInAPathAreNeverLaxer(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.oneFactor(s.one))
	for _, target := range []string{
		"/SECRET/x", "/Secret/x", "/secret/X", "/secret./x", "/secret%20/x", "/%53ecret/x", "/\u017fecret/x", "/%c5%bfecret/x", "/secret", "/secret/", "/secret./", "/ADMIN/x", "/Admin", "/adm\u0131n/x",
		"/adm%c4%b0n/x", "/APP/../secret/x", "/PUBLIC/../secret/x", "/STRIPPED/secret/x", "/Stripped/Admin/x", "/stripped/SECRET/x", "/stripped/auth/../../secret/x",
	} {
		s.wantRefused(t, "GET", target)
		s.wantRefused(t, "GET", target, cookie)
	}
	// The gateway's own folder may be answered by the gateway, in whatever spelling, but never by the app.
	for _, target := range []string{
		"/Auth/me", "/AUTH/sessions", "/auth./me", "/auth%20/x", "/%61uth/x", "/auth%2fme", "/auth%5cme", "/auth;/me", "//auth/me", "/auth//me", "/./auth/me", "/AUTH/", "/%ef%bd%81uth/me", "/auth%e2%80%8b/me",
	} {
		s.wantRefused(t, "GET", target)
		s.up.Forget()
		speak(t, s.one.Address, "GET", target, "Host: "+s.one.Address, cookie)
		s.wantUntouched()
	}
}

func TestT59UnknownHostsAndTheGatewaysInsideAreNotExposed(t *testing.T) {
	up := startUpstream(t)
	g := twoHosts(t, up)
	inside := []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/readyz", "/healthz", "/livez", "/config", "/config.yaml", "/users.yaml", "/data", "/.env", "/.git/config", "/status", "/server-status", "/api", "/"}
	for _, host := range []string{"other.test", g.Address, "localhost", "127.0.0.1", "[::1]", "open.test.evil.example", "sub.open.test"} {
		for _, target := range append(inside, "/x") {
			if r := speak(t, g.Address, "GET", target, "Host: "+host); r.status != 404 {
				t.Errorf("%s of %s: %d, want 404", target, host, r.status)
			}
		}
	}
	for _, target := range inside[:len(inside)-1] {
		for _, path := range []string{"/auth" + target, "/auth/authz" + target, "/auth/static" + target, "/auth/static/.." + target, "/auth/static/%2e%2e" + target} {
			if r := speak(t, g.Address, "GET", path, "Host: open.test"); path != "/auth/healthz" && r.status != 404 && r.status != 400 {
				t.Errorf("%s: %d, want 404", path, r.status)
			}
		}
	}
	if seen := up.Requests(); len(seen) != 0 {
		t.Errorf("the upstream saw %+v, want nothing", seen)
	}
}

func TestT59TheAdministratorsPortHasNothingToDebug(t *testing.T) {
	up := startUpstream(t)
	admin := harness.FreeAddress(t)
	g := harness.StartGateway(t, harness.Settings{Admin: admin, Upstreams: "  - { url: " + up.URL + ", access: { policy: bypass } }"})
	for _, target := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/vars", "/auth/login", "/", "/x", "/users.yaml", "/metrics/../debug/vars"} {
		if r := speak(t, admin, "GET", target, "Host: "+admin); r.status != http.StatusNotFound && r.status/100 != 3 {
			t.Errorf("%s on the administrator's port: %d, want 404", target, r.status)
		}
	}
	speak(t, g.Address, "GET", "/who-was-here?secret=of-a-person", "Host: "+g.Address, "Cookie: sallyport=of-a-person")
	r := speak(t, admin, "GET", "/metrics", "Host: "+admin)
	if r.status != 200 || strings.Contains(r.body, "who-was-here") || strings.Contains(r.body, "of-a-person") {
		t.Errorf("the metrics: %d, and they tell of a request: %s", r.status, r.body)
	}
}
