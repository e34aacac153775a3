package e2e

import (
	"slices"
	"strings"
	"testing"
)

// notice returns what the page says has been done.
func (p *tab) notice() string { p.t.Helper(); return p.text("main [role=status].message") }

// unfold opens a part of the account page and presses its button.
func (p *tab) unfold(action string) int {
	p.t.Helper()
	p.click(`details:has(form[action="/auth/account/` + action + `"]) > summary`)
	return p.follow(`form[action="/auth/account/` + action + `"] button[type=submit]`)
}

func TestAPersonLooksAfterTheirAccountOnItsPage(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	elsewhere := g.client().with("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	elsewhere.login("alice").want(200)
	p := startBrowser(t).open(t, g.URL)
	p.visit("/auth/account")
	p.givePassword("alice", password)
	p.wantPage(accountPage)

	// The other session ends where the page says so.
	if text := p.text("ul.sessions"); !strings.Contains(text, "Firefox on Linux") {
		t.Errorf("the session elsewhere is not on the list:\n%s", text)
	}
	p.follow(`form[action="/auth/account/revoke"] button`)
	if said := p.notice(); said == "" {
		t.Error("the page does not say that it is done")
	}
	elsewhere.get("/auth/me").want(401)

	// Enrolment by choice, then new recovery codes: the old ones are void.
	p.follow(`a[href="/auth/enroll"]`)
	app := p.setUp()
	p.visit("/auth/account")
	p.unfold("recovery-codes")
	p.wantPage(codesPage)
	fresh := strings.Fields(p.text("#codes"))
	if len(fresh) != 10 || slices.Contains(fresh, app.recovery[0]) {
		t.Errorf("the new codes are %q, want ten others", fresh)
	}
	p.follow("main .primary")

	// The authenticator is replaced by another one, and both can be told apart.
	p.visit("/auth/enroll")
	p.wantPage("Replace your authenticator app")
	next := newAuthenticator(t, readQR(t, picture(t, p.attribute("img.qr", "src"))))
	if next.key.Secret() == app.key.Secret() {
		t.Error("the page shows the secret in use")
	}
	p.fill("#code", next.code())
	p.follow("main form button[type=submit]")
	p.wantPage(codesPage)
	p.follow("main .primary")
	pending := g.client().login("alice").want(200).text("tempToken")
	g.client().post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}).want(401)
	g.client().signIn("alice", next)

	// The second factor goes, and the password changes.
	p.visit("/auth/account")
	p.unfold("disable-2fa")
	p.notice()
	g.client().login("alice").want(200).is("success", true)
	p.click("section[aria-labelledby=password-heading] summary")
	p.fill("#current-password", password)
	p.fill("#new-password", "four candles and a fork handle")
	p.follow("section[aria-labelledby=password-heading] button[type=submit]")
	p.notice()
	g.client().login("alice").want(401)
	g.client().post("/auth/login", fields{"username": "alice", "password": "four candles and a fork handle"}).want(200)
}

func TestAFormThatFailsIsShownAgainWithTheReason(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t)), Users: []user{{Name: "alice"}, {Name: "bob"}}})
	shows := func(a answer, heading, field string) {
		t.Helper()
		for _, part := range []string{"<h1>" + heading, `name="` + field + `"`, `role="alert"`} {
			if !strings.Contains(a.Body, part) {
				t.Errorf("%s: the page lacks %q:\n%s", a.what, part, a.Body)
			}
		}
	}
	app := g.client().enrol("alice")
	c := g.client()
	shows(c.form("/auth/login", "username", "alice", "password", "wrong").want(401), loginPage, "password")
	if to := c.form("/auth/login", "username", "alice", "password", password, "rd", "/app").want(303).Header.Get("Location"); !strings.HasPrefix(to, "/auth/2fa") {
		t.Fatalf("the password leads to %q, want the code page", to)
	}
	shows(c.form("/auth/2fa", "code", app.wrong(1), "rd", "/app").want(401), challengePage, "code")
	if to := c.form("/auth/2fa", "code", app.code(), "rd", "/app").want(303).Header.Get("Location"); to != "/app" {
		t.Errorf("the code leads to %q, want /app", to)
	}
	c.get("/app").want(200)

	c = g.client()
	if to := c.form("/auth/login", "username", "bob", "password", password).want(303).Header.Get("Location"); !strings.HasPrefix(to, "/auth/enroll") {
		t.Fatalf("the first password leads to %q, want the enrolment", to)
	}
	c.page("/auth/enroll").want(200)
	shows(c.form("/auth/enroll", "code", "000000").want(400), enrollPage, "code")

	limited := answer{}
	for range 30 {
		if limited = g.client().form("/auth/login", "username", "bob", "password", "wrong"); limited.Status == 429 {
			break
		}
	}
	shows(limited.want(429), loginPage, "password")
	wantRetryAfter(t, limited)
}

func TestAFirstEnrolmentByInvitationNeedsTheCodeOfAnInvitation(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t)), More: "two_factor: { enrollment: invite }"})
	p := startBrowser(t).open(t, g.URL)
	p.visit("/")
	p.givePassword("alice", password)
	app := p.scan()
	p.fill("#invite", "not an invitation")
	p.fill("#code", app.code())
	if status := p.follow("main form button[type=submit]"); status < 400 {
		t.Fatalf("without an invitation: status %d\n%s", status, p.state())
	}
	lines := strings.Fields(g.run("users", "invite", "alice"))
	invitation := lines[len(lines)-1]
	if again := p.scan(); again.key.Secret() != app.key.Secret() {
		t.Error("after a wrong invitation the QR code is another one")
	}
	p.do("emptying the field", emptied("#invite"))
	p.fill("#invite", invitation)
	p.fill("#code", app.code())
	p.follow("main form button[type=submit]")
	p.wantPage(codesPage)
}
