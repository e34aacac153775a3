package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

func TestARequestPassesOnlyWithTheAssuranceAndGroupThatItsRuleAsksFor(t *testing.T) {
	cases := []struct{ path, cookie, want string }{
		{"/public/x", "", "200"},
		{"/public/x", "nonsense", "200"},
		{"/app/x", "", "401 sign-in"},
		{"/app/x", "nonsense", "401 sign-in"},
		{"/app/x", "alice-1", "200"},
		{"/app/x", "alice-2", "200"},
		{"/secret/x", "", "401 sign-in"},
		{"/secret/x", "alice-1", "401 second-factor"},
		{"/secret/x", "alice-2", "200"},
		{"/admin/x", "", "401 sign-in"},
		{"/admin/x", "root-1", "401 second-factor"},
		{"/admin/x", "alice-1", "401 second-factor"}, // the wrong group is told only to whoever gave both factors
		{"/admin/x", "alice-2", "403 refused"},
		{"/admin/x", "root-2", "200"},
		{"/elsewhere", "", "403 refused"},
		{"/elsewhere", "root-2", "403 refused"},
		{"/publicx", "", "403 refused"},
	}
	for _, c := range cases {
		t.Run(c.path+" with "+c.cookie, func(t *testing.T) {
			j := newJournal(t, nil)
			res, _ := send(t, start(t, options(fixture(j.url))), get(c.path, "Cookie: sallyport="+c.cookie))
			if got := strings.TrimSpace(describe(res)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.want == "200" {
				j.only(t)
			} else {
				j.empty(t)
			}
		})
	}
}

func TestAStoreThatIsGoneClosesEverythingButBypass(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	for _, path := range []string{"/app/x", "/secret/x", "/admin/x"} {
		res, body := send(t, addr, get(path, "Cookie: sallyport=store-gone"))
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Request-Id") == "" {
			t.Errorf("%s: got %s, want 503 with a request id", path, describe(res))
		}
		if strings.Contains(body, "6379") {
			t.Errorf("%s: the client sees the store's address", path)
		}
	}
	j.empty(t)
	if res, _ := send(t, addr, get("/public/x", "Cookie: sallyport=store-gone")); res.StatusCode != http.StatusOK {
		t.Errorf("bypass: got %s, want 200", describe(res))
	}
	if got := j.only(t).values("Remote-User"); len(got) != 0 {
		t.Errorf("bypass was forwarded with an identity: %q", got)
	}
}

func TestAUserAgentOpensNothing(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	for _, agent := range []string{"kube-probe/1.32", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "Consul Health Check"} {
		if res, _ := send(t, addr, get("/secret/x", "User-Agent: "+agent)); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %s, want 401", agent, describe(res))
		}
	}
	j.empty(t)
}

// policyOf asks the way that main does, for the policy that a client at an address meets.
func policyOf(t *testing.T, upstreams []Upstream, method, client, path string) Policy {
	t.Helper()
	g := newGateway(t, options(upstreams))
	r := httptest.NewRequest(method, "http://app.example.com"+path, nil)
	r.RemoteAddr = client + ":40000"
	host, _ := parseAuthority(r.Host)
	v, no := g.judge(question{host: host, method: method, client: g.ClientAddr(r)}, rawPath(r.URL))
	if no != nil {
		t.Fatalf("%s %s: %s", method, path, no.why)
	}
	return v.demand.policy
}

func TestTheFirstRuleWhoseConditionsAllHoldDecides(t *testing.T) {
	upstreams := []Upstream{{Name: "app", Policy: TwoFactor, Rules: []Rule{
		{Paths: []string{"/api/*"}, Methods: []string{"POST", "DELETE"}, Policy: Deny},
		{Paths: []string{"/api/*"}, Networks: prefixes("10.0.0.0/8", "fd00::/8"), Policy: Bypass},
		{Paths: []string{"/api/open", "/api/v1*"}, Policy: OneFactor},
		{Methods: []string{"GET"}, Paths: []string{"/get"}, Policy: OneFactor},
	}}}
	cases := []struct {
		method, client, path string
		want                 Policy
	}{
		{"POST", "10.1.2.3", "/api/open", Deny},
		{"GET", "10.1.2.3", "/api/open", Bypass},
		{"GET", "[::ffff:10.1.2.3]", "/api/open", Bypass},
		{"GET", "[fd00::1]", "/api/x", Bypass},
		{"GET", "11.1.2.3", "/api/open", OneFactor},
		{"GET", "11.1.2.3", "/api/open/more", TwoFactor},
		{"GET", "11.1.2.3", "/api/v1", OneFactor},
		{"GET", "11.1.2.3", "/api/v12/x", OneFactor},
		{"GET", "11.1.2.3", "/api/other", TwoFactor},
		{"GET", "11.1.2.3", "/get", OneFactor},
		{"HEAD", "11.1.2.3", "/get", OneFactor},
		{"OPTIONS", "11.1.2.3", "/get", TwoFactor},
	}
	for _, c := range cases {
		if got := policyOf(t, upstreams, c.method, c.client, c.path); got != c.want {
			t.Errorf("%s %s from %s: got %s, want %s", c.method, c.path, c.client, got, c.want)
		}
	}
}

func TestAnotherSpellingOfAPathIsNeverLaxer(t *testing.T) {
	upstreams := []Upstream{
		{Name: "app", Policy: OneFactor, Rules: []Rule{
			{Paths: []string{"/public/*"}, Policy: Bypass},
			{Paths: []string{"/Admin/*", "/exact"}, Policy: Deny},
			{Paths: []string{"/lax/*"}, Policy: Bypass},
			{Paths: []string{"/LAX"}, Policy: TwoFactor},
			{Paths: []string{"/.*", "/Priv*"}, Policy: Deny},
		}},
		{Name: "wiki", Path: "/wiki", Policy: TwoFactor},
	}
	cases := []struct {
		path string
		want Policy
	}{
		{"/public/x", Bypass},
		{"/PUBLIC/x", OneFactor}, // a laxer rule needs its own spelling
		{"/public", OneFactor},
		{"/Admin/x", Deny},
		{"/admin/x", Deny},
		{"/ADMIN/x", Deny},
		{"/Admin", Deny},
		{"/admin", Deny},
		{"/admin./x", Deny},
		{"/admin%20/x", Deny},
		{"/adm%C4%B1n/x", Deny},             // dotless i, which is I in upper case
		{"/%EF%BD%81dmin/x", Deny},          // full-width a
		{"/%E2%84%AAey/%C5%BFx", OneFactor}, // Kelvin sign, long s: odd, but nothing hangs on them
		{"/exact", Deny},
		{"/exact/", Deny},
		{"/EXACT", Deny},
		{"/exact/more", OneFactor},
		{"/lax", TwoFactor}, // a rule that applies with case overlooked is not hidden by a laxer one before it
		{"/lax/x", Bypass},
		{"/.git", Deny},
		{"/.well-known/x", Deny},
		{"/private/x", Deny},
		{"/pri", OneFactor},
		{"/wiki/x", TwoFactor},
		{"/Wiki/x", TwoFactor},
		{"/wikix", OneFactor},
	}
	for _, c := range cases {
		if got := policyOf(t, upstreams, "GET", "192.0.2.1", c.path); got != c.want {
			t.Errorf("%s: got %s, want %s", c.path, got, c.want)
		}
	}
}

func TestTheGroupsOfARuleStandInForThoseOfItsUpstream(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options([]Upstream{{Name: "app", URL: j.url, Policy: OneFactor, Groups: []string{"admins"}, Rules: []Rule{
		{Paths: []string{"/staff/*"}, Groups: []string{"staff", "guests"}, Policy: OneFactor},
		{Paths: []string{"/plain/*"}, Policy: OneFactor},
		{Paths: []string{"/open/*"}, Policy: Bypass},
	}}}))
	for path, want := range map[string]int{"/": 403, "/staff/x": 200, "/plain/x": 403, "/open/x": 200, "/STAFF/x": 403} {
		if res, _ := send(t, addr, get(path, aliceOne)); res.StatusCode != want {
			t.Errorf("%s for alice of staff: got %s, want %d", path, describe(res), want)
		}
	}
}

func TestAPolicyThatIsNoneLetsNothingThrough(t *testing.T) {
	if got := (demand{}).decide(people["root-2"]); got != forbidden {
		t.Errorf("the zero demand: got %d, want forbidden", got)
	}
	if got := (demand{policy: 99}).decide(people["root-2"]); got != forbidden {
		t.Errorf("an unknown policy: got %d, want forbidden", got)
	}
}

func TestAPolicyIsReadAsItIsWritten(t *testing.T) {
	for _, p := range []Policy{Bypass, OneFactor, TwoFactor, Deny} {
		if got, err := ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("%s: got %v, %v", p, got, err)
		}
	}
	if got := Policy(0).String(); got != "policy(0)" {
		t.Errorf("the zero policy calls itself %s", got)
	}
	for _, name := range []string{"", "two-factor", "BYPASS", "policy(0)"} {
		if _, err := ParsePolicy(name); err == nil || !strings.Contains(err.Error(), "two_factor") {
			t.Errorf("%q: got %v, want an error that names the policies", name, err)
		}
	}
	if !(Bypass < OneFactor && OneFactor < TwoFactor && TwoFactor < Deny) {
		t.Error("policies are not in the order of their strictness")
	}
}

func TestTwoFactorsAreDemandedOfWhoeverCanMeetARuleThatAsksForThem(t *testing.T) {
	admins := []Upstream{{Name: "a", Policy: OneFactor, Rules: []Rule{{Paths: []string{"/admin/*"}, Groups: []string{"admins"}, Policy: TwoFactor}}}}
	shadowed := []Upstream{{Name: "a", Policy: TwoFactor, Rules: []Rule{{Policy: OneFactor}}}}
	cases := []struct {
		name      string
		upstreams []Upstream
		groups    []string
		want      bool
	}{
		{"a rule of a group they are in", admins, []string{"staff", "admins"}, true},
		{"a rule of a group they are not in", admins, []string{"staff"}, false},
		{"no groups at all", admins, nil, false},
		{"an upstream for everybody", []Upstream{{Name: "a", Policy: TwoFactor}}, nil, true},
		{"a policy that a rule without conditions hides", shadowed, nil, false},
		{"nothing but bypass and deny", []Upstream{{Name: "a", Policy: Deny, Rules: []Rule{{Paths: []string{"/x"}, Policy: Bypass}}}}, nil, false},
	}
	for _, c := range cases {
		if got := newGateway(t, options(c.upstreams)).DemandsTwoFactor(c.groups); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestThePolicyOfATargetIsWhatAGetOfItMeets(t *testing.T) {
	upstreams := append(fixture(nil), Upstream{Name: "wiki", Hosts: []string{"wiki.example.com:443"}, Policy: TwoFactor,
		Rules: []Rule{{Networks: prefixes("192.0.2.0/24"), Policy: OneFactor}}})
	g := newGateway(t, options(upstreams))
	cases := []struct {
		target string
		want   Policy
		ok     bool
	}{
		{"/app/x?y", OneFactor, true},
		{"/secret/x", TwoFactor, true},
		{"/elsewhere", Deny, true},
		{"https://wiki.example.com/x", OneFactor, true},
		{"http://wiki.example.com/x", Deny, true}, // port 80 is another entry's
		{"/auth/account", 0, false},
		{"/app/../secret", 0, false},
		{"http://a:b/x", 0, false},
	}
	broken := httptest.NewRequest("POST", "http://app.example.com/auth/login", nil)
	broken.Host = "app:80abc"
	nowhere := httptest.NewRequest("POST", "http://app.example.com/auth/login", nil)
	nowhere.RemoteAddr = "@"
	for _, r := range []*http.Request{broken, nowhere} {
		if _, got, ok := g.RouteFor(r, &url.URL{Path: "/app/x"}); ok {
			t.Errorf("from %s to %s: got %s, want none", r.RemoteAddr, r.Host, got)
		}
	}
	for _, c := range cases {
		target, err := url.Parse(c.target)
		if err != nil {
			target = &url.URL{Scheme: "http", Host: "a:b", Path: "/x"}
		}
		r := httptest.NewRequest("POST", "http://app.example.com/auth/login", nil)
		if _, got, ok := g.RouteFor(r, target); got != c.want || ok != c.ok {
			t.Errorf("%s: got %s, %v, want %s, %v", c.target, got, ok, c.want, c.ok)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	var upstreams []Upstream
	for i := range 10 {
		u := Upstream{Name: "app", Path: "/app" + string(rune('a'+i)), Policy: TwoFactor}
		for j := range 20 {
			u.Rules = append(u.Rules, Rule{Paths: []string{"/app/rule" + string(rune('a'+j)) + "/*"}, Methods: []string{"GET"}, Policy: Bypass})
		}
		upstreams = append(upstreams, u)
	}
	g := newGateway(b, options(upstreams))
	r := httptest.NewRequest("GET", "http://app.example.com/appj/some/page/of/it", nil)
	for _, name := range strings.Fields("Accept Accept-Language Accept-Encoding User-Agent Cookie Sec-Fetch-Mode Sec-Fetch-Site Referer Cache-Control") {
		r.Header.Set(name, "some value")
	}
	id := &session.Identity{Username: "alice", AMR: []string{"pwd", "otp"}}
	b.ReportAllocs()
	for b.Loop() {
		host, _ := parseAuthority(r.Host)
		from, _ := g.origin(r, host)
		v, no := g.judge(question{host: host, method: r.Method, client: from.client}, rawPath(r.URL))
		if no != nil || v.demand.decide(id) != allowed {
			b.Fatal("not allowed")
		}
		dropForeignHeaders(r.Header, true)
	}
}
