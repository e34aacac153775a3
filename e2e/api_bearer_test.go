package e2e

import "testing"

// asApp returns a client of its own that asks for tokens in the body.
func (g *gateway) asApp() *client { return g.client().with("X-Auth-Strategy", "bearer") }

// wantTokens checks the answer of a sign-in in bearer mode and returns its tokens.
func wantTokens(t *testing.T, a answer) (access, refresh string) {
	t.Helper()
	a.want(200).is("success", true).is("tokenType", "Bearer")
	if seconds, _ := a.JSON["expiresIn"].(float64); seconds <= 0 || seconds > 15*60 {
		t.Errorf("%s: expiresIn is %v, want up to 900 seconds", a.what, a.JSON["expiresIn"])
	}
	if len(a.Header["Set-Cookie"]) != 0 {
		t.Errorf("%s sets a cookie in bearer mode: %v", a.what, a.Header["Set-Cookie"])
	}
	return a.text("accessToken"), a.text("refreshToken")
}

func TestABearerClientSignsInWithTwoFactorsAndReachesTheUpstream(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: proxied(up)})
	app := g.client().enrol("alice")
	pending := g.asApp().login("alice").want(200).text("tempToken")
	access, refresh := wantTokens(t, g.asApp().post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}))

	g.bearer(access).get("/auth/me").want(200).is("username", "alice")
	up.forget()
	g.bearer(access).get("/app").want(200)
	seen := up.only()
	if got := seen.Header["Authorization"]; got != nil {
		t.Errorf("the upstream gets the access token: %q", got)
	}
	if got := seen.Header.Get("Remote-User"); got != "alice" {
		t.Errorf("Remote-User is %q, want alice", got)
	}
	for what, token := range map[string]string{"the refresh token": refresh, "nonsense": "nonsense", "nothing": ""} {
		if a := g.bearer(token).get("/app"); a.Status != 401 {
			t.Errorf("%s as access token: status %d, want 401", what, a.Status)
		}
	}
	up.untouched()
}

func TestABearerClientEnrolsOnItsFirstSignIn(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t))})
	pending := g.asApp().login("alice").want(403, "2FA_SETUP_REQUIRED").text("tempToken")
	setting := g.asApp().with("Authorization", "Bearer "+pending)
	app := newAuthenticator(t, setting.post("/auth/2fa/setup", nil).want(200).text("otpauthUrl"))
	done := setting.post("/auth/2fa/verify-setup", fields{"token": app.code()})
	access, _ := wantTokens(t, done)
	if codes := done.list("recoveryCodes"); len(codes) != 10 {
		t.Errorf("%d recovery codes, want 10", len(codes))
	}
	g.bearer(access).get("/auth/me").want(200).is("isTotpEnabled", true)
}

func TestARefreshTokenIsUsedOnceAndASecondUseEndsTheSession(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	_, refresh := wantTokens(t, g.asApp().login("alice"))
	access2, refresh2 := wantTokens(t, g.asApp().post("/auth/refresh", fields{"refreshToken": refresh}))
	if refresh2 == refresh {
		t.Error("a refresh gives the same refresh token again")
	}
	g.bearer(access2).get("/auth/me").want(200)

	g.asApp().post("/auth/refresh", fields{"refreshToken": refresh}).want(401, "SESSION_REVOKED")
	g.bearer(access2).get("/auth/me").want(401)
	g.asApp().post("/auth/refresh", fields{"refreshToken": refresh2}).want(401)
}

func TestAnAccessTokenEndsBeforeItsSession(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: withPolicy(startUpstream(t), "one_factor"),
		More:      "session: { access_token_lifetime: 2s }",
	})
	access, refresh := wantTokens(t, g.asApp().login("alice"))
	eventually(t, "the access token ends", func() bool { return !g.bearer(access).signedIn() })
	wantTokens(t, g.asApp().post("/auth/refresh", fields{"refreshToken": refresh}))
}

func TestACookieClientRefreshesItsSession(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()
	c.post("/auth/refresh", nil).want(401, "UNAUTHENTICATED")
	c.login("alice").want(200)
	c.post("/auth/refresh", nil).want(200).is("success", true)
	c.get("/auth/me").want(200)
}
