package e2e

import (
	"net/http"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

func TestSessionsAreListedAndEndWhereTheUserSaysSo(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(up, "one_factor")})
	laptop, phone := g.Client().With("User-Agent", "laptop"), g.Client().With("User-Agent", "phone")
	laptop.Login("alice").Want(200)
	phone.Login("alice").Want(200)

	var handle string
	open := sessions(laptop)
	if len(open) != 2 {
		t.Fatalf("%d sessions, want 2: %v", len(open), open)
	}
	for _, s := range open {
		for _, key := range []string{"sessionHandle", "createdAt", "lastActiveAt", "expiresAt", "ipAddress", "userAgent"} {
			if text, _ := s[key].(string); text == "" {
				t.Errorf("a session without %s: %v", key, s)
			}
		}
		if s["ipAddress"] != "127.0.0.1" {
			t.Errorf("ipAddress is %v, want 127.0.0.1", s["ipAddress"])
		}
		if isLaptop := s["userAgent"] == "laptop"; s["current"] != isLaptop {
			t.Errorf("current is %v of %v", s["current"], s["userAgent"])
		}
		if s["userAgent"] == "phone" {
			handle = s["sessionHandle"].(string)
		}
	}
	laptop.Do("DELETE", "/auth/sessions/"+handle, "").Want(200)
	phone.Get("/auth/me").Want(401)
	phone.Get("/app").Want(401)
	laptop.Get("/auth/me").Want(200)
	if left := sessions(laptop); len(left) != 1 {
		t.Errorf("%d sessions are left, want 1: %v", len(left), left)
	}
	up.Untouched()
}

func TestNobodyEndsTheSessionOfAnother(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
		Users:     []harness.User{{Name: "alice"}, {Name: "mallory"}},
	})
	alice, mallory := g.Client(), g.Client()
	alice.Login("alice").Want(200)
	mallory.Login("mallory").Want(200)
	handle := sessions(alice)[0]["sessionHandle"].(string)
	if a := mallory.Do("DELETE", "/auth/sessions/"+handle, ""); a.Status == 401 || a.Status >= 500 {
		t.Errorf("ending another's session: status %d: %s", a.Status, a.Body)
	}
	alice.Get("/auth/me").Want(200)
}

// sessions returns the client's sessions as the API lists them.
func sessions(c *harness.Client) []harness.Fields {
	c.T.Helper()
	a := c.Get("/auth/sessions").Want(200)
	all, ok := a.JSON["sessions"].([]any)
	if !ok {
		c.T.Fatalf("no sessions in %s", a.Body)
	}
	var sessions []harness.Fields
	for _, s := range all {
		sessions = append(sessions, s.(harness.Fields))
	}
	return sessions
}

func TestSigningOutEndsTheSessionAndAlwaysSucceeds(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	stolen := g.Client().With("Cookie", "sallyport="+c.Login("alice").Want(200).Cookie("sallyport").Value)
	stolen.Get("/auth/me").Want(200)
	c.Post("/auth/logout", nil).Want(200).Is("success", true)
	stolen.Get("/auth/me").Want(401)
	c.Get("/auth/me").Want(401, "UNAUTHENTICATED")
	c.Post("/auth/logout", nil).Want(200).Is("success", true)
	g.Bearer("nonsense").Post("/auth/logout", nil).Want(200).Is("success", true)
}

func TestAChangedPasswordEndsTheOtherSessions(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	here, elsewhere := g.Client(), g.Client()
	here.Login("alice").Want(200)
	elsewhere.Login("alice").Want(200)
	const next = "four candles and a fork handle"
	here.Post("/auth/change-password", harness.Fields{"currentPassword": "wrong", "newPassword": next}).Want(401, "INVALID_CREDENTIALS")
	here.Post("/auth/change-password", harness.Fields{"currentPassword": harness.Password, "newPassword": "short"}).Want(400, "INVALID_REQUEST")
	elsewhere.Get("/auth/me").Want(200)
	here.Post("/auth/change-password", harness.Fields{"currentPassword": harness.Password, "newPassword": next}).Want(200).Is("success", true)
	elsewhere.Get("/auth/me").Want(401)
	here.Get("/auth/me").Want(200)
	g.Client().Login("alice").Want(401, "INVALID_CREDENTIALS")
	g.Client().Post("/auth/login", harness.Fields{"username": "ALICE", "password": next}).Want(200)
}

func TestASessionGetsANewTokenAtEveryRiseOfAssurance(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	planted := c.With("Cookie", "sallyport=planted").Login("alice").Want(200).Cookie("sallyport").Value
	setup := c.Post("/auth/2fa/setup", nil).Want(200)
	app := harness.NewAuthenticator(t, setup.Text("otpauthUrl"))
	raised := c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200).Cookie("sallyport").Value
	if planted == "planted" || raised == planted {
		t.Error("the token of the session stays the same")
	}
	g.Client().With("Cookie", "sallyport="+planted).Get("/auth/me").Want(401)
	g.Client().With("Cookie", "sallyport="+raised).Get("/auth/me").Want(200)
}

func TestKeepMeSignedInOutlivesTheBrowser(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	passing := g.Client().Login("alice").Want(200).Cookie("sallyport")
	if passing.MaxAge != 0 || !passing.Expires.IsZero() {
		t.Errorf("a sign-in sets %v, want a cookie that ends with the browser", passing)
	}
	lasting := g.Client().Post("/auth/login", harness.Fields{"username": "alice", "password": harness.Password, "remember": true}).
		Want(200).Cookie("sallyport")
	if days := max(time.Duration(lasting.MaxAge)*time.Second, time.Until(lasting.Expires)).Hours() / 24; days < 29 || days > 31 {
		t.Errorf("with remember it sets %v, want a cookie of 30 days", lasting)
	}
}

func TestOnHTTPSTheCookieIsSecureAndBoundToItsHost(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		PublicURL: "https://gate.example.test",
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
	})
	cookie := g.Client().With("Host", "gate.example.test").Login("alice").Want(200).Cookie("__Host-sallyport")
	if !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("the cookie is %v, want Secure, HttpOnly, SameSite=Lax, Path=/ and no Domain", cookie)
	}
}

func TestASecondFactorChangesOnlyBehindAFreshOne(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
		More:      "two_factor: { fresh_for: 1s }",
	})
	c := g.Client()
	c.Login("alice").Want(200)
	setup := c.Post("/auth/2fa/setup", nil).Want(200)
	app := harness.NewAuthenticator(t, setup.Text("otpauthUrl"))
	app.Recovery = c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200).List("recoveryCodes")
	time.Sleep(1500 * time.Millisecond)
	for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/2fa/setup"} {
		c.Post(path, nil).Want(403, "REAUTH_REQUIRED")
	}
	c.Post("/auth/2fa/disable", harness.Fields{"totpCode": app.Wrong(1)}).Want(401, "INVALID_TOTP_CODE")
	c.Get("/auth/2fa").Want(200).Is("totp", true)
	c.Post("/auth/2fa/disable", harness.Fields{"recoveryCode": app.RecoveryCode()}).Want(200)
	c.Get("/auth/2fa").Want(200).Is("totp", false).Is("required", false)
}

func TestASessionThatNobodyUsesEnds(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
		More:      "session: { idle_timeout: 4s }",
	})
	c := g.Client()
	c.Login("alice").Want(200)
	c.Get("/auth/me").Want(200)
	time.Sleep(5 * time.Second)
	c.Get("/auth/me").Want(401)
}

func TestASessionInUseEndsAtTheEndOfItsLifetime(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
		More:      "session: { idle_timeout: 2s, lifetime: 4s }",
	})
	c := g.Client()
	c.Login("alice").Want(200)
	harness.Eventually(t, "a session in constant use ends", func() bool { return !c.SignedIn() })
}
