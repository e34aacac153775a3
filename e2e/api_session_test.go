package e2e

import (
	"net/http"
	"testing"
	"time"
)

func TestSessionsAreListedAndEndWhereTheUserSaysSo(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: withPolicy(up, "one_factor")})
	laptop, phone := g.client().with("User-Agent", "laptop"), g.client().with("User-Agent", "phone")
	laptop.login("alice").want(200)
	phone.login("alice").want(200)

	var handle string
	sessions := laptop.sessions()
	if len(sessions) != 2 {
		t.Fatalf("%d sessions, want 2: %v", len(sessions), sessions)
	}
	for _, s := range sessions {
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
	laptop.do("DELETE", "/auth/sessions/"+handle, "").want(200)
	phone.get("/auth/me").want(401)
	phone.get("/app").want(401)
	laptop.get("/auth/me").want(200)
	if left := laptop.sessions(); len(left) != 1 {
		t.Errorf("%d sessions are left, want 1: %v", len(left), left)
	}
	up.untouched()
}

func TestNobodyEndsTheSessionOfAnother(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
		Users:     []user{{Name: "alice"}, {Name: "mallory"}},
	})
	alice, mallory := g.client(), g.client()
	alice.login("alice").want(200)
	mallory.login("mallory").want(200)
	handle := alice.sessions()[0]["sessionHandle"].(string)
	if a := mallory.do("DELETE", "/auth/sessions/"+handle, ""); a.Status == 401 || a.Status >= 500 {
		t.Errorf("ending another's session: status %d: %s", a.Status, a.Body)
	}
	alice.get("/auth/me").want(200)
}

// sessions returns the client's sessions as the API lists them.
func (c *client) sessions() []fields {
	c.t.Helper()
	a := c.get("/auth/sessions").want(200)
	all, ok := a.JSON["sessions"].([]any)
	if !ok {
		c.t.Fatalf("no sessions in %s", a.Body)
	}
	var sessions []fields
	for _, s := range all {
		sessions = append(sessions, s.(fields))
	}
	return sessions
}

func TestSigningOutEndsTheSessionAndAlwaysSucceeds(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()
	stolen := g.client().with("Cookie", "sallyport="+c.login("alice").want(200).cookie("sallyport").Value)
	stolen.get("/auth/me").want(200)
	c.post("/auth/logout", nil).want(200).is("success", true)
	stolen.get("/auth/me").want(401)
	c.get("/auth/me").want(401, "UNAUTHENTICATED")
	c.post("/auth/logout", nil).want(200).is("success", true)
	g.bearer("nonsense").post("/auth/logout", nil).want(200).is("success", true)
}

func TestAChangedPasswordEndsTheOtherSessions(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	here, elsewhere := g.client(), g.client()
	here.login("alice").want(200)
	elsewhere.login("alice").want(200)
	const next = "four candles and a fork handle"
	here.post("/auth/change-password", fields{"currentPassword": "wrong", "newPassword": next}).want(401, "INVALID_CREDENTIALS")
	here.post("/auth/change-password", fields{"currentPassword": password, "newPassword": "short"}).want(400, "INVALID_REQUEST")
	elsewhere.get("/auth/me").want(200)
	here.post("/auth/change-password", fields{"currentPassword": password, "newPassword": next}).want(200).is("success", true)
	elsewhere.get("/auth/me").want(401)
	here.get("/auth/me").want(200)
	g.client().login("alice").want(401, "INVALID_CREDENTIALS")
	g.client().post("/auth/login", fields{"username": "ALICE", "password": next}).want(200)
}

func TestASessionGetsANewTokenAtEveryRiseOfAssurance(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()
	planted := c.with("Cookie", "sallyport=planted").login("alice").want(200).cookie("sallyport").Value
	setup := c.post("/auth/2fa/setup", nil).want(200)
	app := newAuthenticator(t, setup.text("otpauthUrl"))
	raised := c.post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(200).cookie("sallyport").Value
	if planted == "planted" || raised == planted {
		t.Error("the token of the session stays the same")
	}
	g.client().with("Cookie", "sallyport="+planted).get("/auth/me").want(401)
	g.client().with("Cookie", "sallyport="+raised).get("/auth/me").want(200)
}

func TestKeepMeSignedInOutlivesTheBrowser(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	passing := g.client().login("alice").want(200).cookie("sallyport")
	if passing.MaxAge != 0 || !passing.Expires.IsZero() {
		t.Errorf("a sign-in sets %v, want a cookie that ends with the browser", passing)
	}
	lasting := g.client().post("/auth/login", fields{"username": "alice", "password": password, "remember": true}).
		want(200).cookie("sallyport")
	if days := max(time.Duration(lasting.MaxAge)*time.Second, time.Until(lasting.Expires)).Hours() / 24; days < 29 || days > 31 {
		t.Errorf("with remember it sets %v, want a cookie of 30 days", lasting)
	}
}

func TestOnHTTPSTheCookieIsSecureAndBoundToItsHost(t *testing.T) {
	g := startGateway(t, settings{
		PublicURL: "https://gate.example.test",
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
	})
	cookie := g.client().with("Host", "gate.example.test").login("alice").want(200).cookie("__Host-sallyport")
	if !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("the cookie is %v, want Secure, HttpOnly, SameSite=Lax, Path=/ and no Domain", cookie)
	}
}

func TestASecondFactorChangesOnlyBehindAFreshOne(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
		More:      "two_factor: { fresh_for: 1s }",
	})
	c := g.client()
	c.login("alice").want(200)
	setup := c.post("/auth/2fa/setup", nil).want(200)
	app := newAuthenticator(t, setup.text("otpauthUrl"))
	app.recovery = c.post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(200).list("recoveryCodes")
	time.Sleep(1500 * time.Millisecond)
	for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/2fa/setup"} {
		c.post(path, nil).want(403, "REAUTH_REQUIRED")
	}
	c.post("/auth/2fa/disable", fields{"totpCode": app.wrong(1)}).want(401, "INVALID_TOTP_CODE")
	c.get("/auth/2fa").want(200).is("totp", true)
	c.post("/auth/2fa/disable", fields{"recoveryCode": app.recoveryCode()}).want(200)
	c.get("/auth/2fa").want(200).is("totp", false).is("required", false)
}

func TestASessionThatNobodyUsesEnds(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
		More:      "session: { idle_timeout: 4s }",
	})
	c := g.client()
	c.login("alice").want(200)
	c.get("/auth/me").want(200)
	time.Sleep(5 * time.Second)
	c.get("/auth/me").want(401)
}

func TestASessionInUseEndsAtTheEndOfItsLifetime(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
		More:      "session: { idle_timeout: 2s, lifetime: 4s }",
	})
	c := g.client()
	c.login("alice").want(200)
	eventually(t, "a session in constant use ends", func() bool { return !c.signedIn() })
}
