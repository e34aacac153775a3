package e2e

import (
	"slices"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// notice returns what the page says has been done.
func notice(p *harness.Tab) string { p.T.Helper(); return p.Text("main [role=status].message") }

// unfold opens a part of the account page and presses its button.
func unfold(p *harness.Tab, action string) int {
	p.T.Helper()
	p.Click(`details:has(form[action="/auth/account/` + action + `"]) > summary`)
	return p.Follow(`form[action="/auth/account/` + action + `"] button[type=submit]`)
}

func TestAPersonLooksAfterTheirAccountOnItsPage(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	elsewhere := g.Client().With("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	elsewhere.Login("alice").Want(200)
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/auth/account")
	p.GivePassword("alice", harness.Password)
	p.WantPage(harness.AccountPage)

	// The other session ends where the page says so.
	if text := p.Text("ul.sessions"); !strings.Contains(text, "Firefox on Linux") {
		t.Errorf("the session elsewhere is not on the list:\n%s", text)
	}
	p.Follow(`form[action="/auth/account/revoke"] button`)
	if said := notice(p); said == "" {
		t.Error("the page does not say that it is done")
	}
	elsewhere.Get("/auth/me").Want(401)

	// Enrolment by choice, then new recovery codes: the old ones are void.
	p.Follow(`a[href="/auth/enroll"]`)
	app := p.SetUp()
	p.Visit("/auth/account")
	unfold(p, "recovery-codes")
	p.WantPage(harness.CodesPage)
	fresh := strings.Fields(p.Text("#codes"))
	if len(fresh) != 10 || slices.Contains(fresh, app.Recovery[0]) {
		t.Errorf("the new codes are %q, want ten others", fresh)
	}
	p.Follow("main .primary")

	// The authenticator is replaced by another one, and both can be told apart.
	p.Visit("/auth/enroll")
	p.WantPage("Replace your authenticator app")
	next := harness.NewAuthenticator(t, harness.ReadQR(t, harness.Picture(t, p.Attribute("img.qr", "src"))))
	if next.Key.Secret() == app.Key.Secret() {
		t.Error("the page shows the secret in use")
	}
	p.Fill("#code", next.Code())
	p.Follow("main form button[type=submit]")
	p.WantPage(harness.CodesPage)
	p.Follow("main .primary")
	pending := g.Client().Login("alice").Want(200).Text("tempToken")
	g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Code()}).Want(401)
	g.Client().SignIn("alice", next)

	// The second factor goes, and the password changes.
	p.Visit("/auth/account")
	unfold(p, "disable-2fa")
	notice(p)
	g.Client().Login("alice").Want(200).Is("success", true)
	p.Click("section[aria-labelledby=password-heading] summary")
	p.Fill("#current-password", harness.Password)
	p.Fill("#new-password", "four candles and a fork handle")
	p.Follow("section[aria-labelledby=password-heading] button[type=submit]")
	notice(p)
	g.Client().Login("alice").Want(401)
	g.Client().Post("/auth/login", harness.Fields{"username": "alice", "password": "four candles and a fork handle"}).Want(200)
}

func TestAFormThatFailsIsShownAgainWithTheReason(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t)), Users: []harness.User{{Name: "alice"}, {Name: "bob"}}})
	shows := func(a harness.Answer, heading, field string) {
		t.Helper()
		for _, part := range []string{"<h1>" + heading, `name="` + field + `"`, `role="alert"`} {
			if !strings.Contains(a.Body, part) {
				t.Errorf("%s: the page lacks %q:\n%s", a.What, part, a.Body)
			}
		}
	}
	app := g.Client().Enrol("alice")
	c := g.Client()
	shows(c.Form("/auth/login", "username", "alice", "password", "wrong").Want(401), harness.LoginPage, "password")
	if to := c.Form("/auth/login", "username", "alice", "password", harness.Password, "rd", "/app").Want(303).Header.Get("Location"); !strings.HasPrefix(to, "/auth/2fa") {
		t.Fatalf("the password leads to %q, want the code page", to)
	}
	shows(c.Form("/auth/2fa", "code", app.Wrong(1), "rd", "/app").Want(401), harness.ChallengePage, "code")
	if to := c.Form("/auth/2fa", "code", app.Code(), "rd", "/app").Want(303).Header.Get("Location"); to != "/app" {
		t.Errorf("the code leads to %q, want /app", to)
	}
	c.Get("/app").Want(200)

	c = g.Client()
	if to := c.Form("/auth/login", "username", "bob", "password", harness.Password).Want(303).Header.Get("Location"); !strings.HasPrefix(to, "/auth/enroll") {
		t.Fatalf("the first password leads to %q, want the enrolment", to)
	}
	c.Page("/auth/enroll").Want(200)
	shows(c.Form("/auth/enroll", "code", "000000").Want(400), harness.EnrollPage, "code")

	limited := harness.Answer{}
	for range 30 {
		if limited = g.Client().Form("/auth/login", "username", "bob", "password", "wrong"); limited.Status == 429 {
			break
		}
	}
	shows(limited.Want(429), harness.LoginPage, "password")
	wantRetryAfter(t, limited)
}

func TestAFirstEnrolmentByInvitationNeedsTheCodeOfAnInvitation(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t)), More: "two_factor: { enrollment: invite }"})
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/")
	p.GivePassword("alice", harness.Password)
	app := p.Scan()
	p.Fill("#invite", "not an invitation")
	p.Fill("#code", app.Code())
	if status := p.Follow("main form button[type=submit]"); status < 400 {
		t.Fatalf("without an invitation: status %d\n%s", status, p.State())
	}
	lines := strings.Fields(g.Run("users", "invite", "alice"))
	invitation := lines[len(lines)-1]
	if again := p.Scan(); again.Key.Secret() != app.Key.Secret() {
		t.Error("after a wrong invitation the QR code is another one")
	}
	p.Do("emptying the field", harness.Emptied("#invite"))
	p.Fill("#invite", invitation)
	p.Fill("#code", app.Code())
	p.Follow("main form button[type=submit]")
	p.WantPage(harness.CodesPage)
}
