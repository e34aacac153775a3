package e2e

import (
	"testing"

	"sallyport/e2e/harness"
)

// wantTokens checks the answer of a sign-in in bearer mode and returns its tokens.
func wantTokens(t *testing.T, a harness.Answer) (access, refresh string) {
	t.Helper()
	a.Want(200).Is("success", true).Is("tokenType", "Bearer")
	if seconds, _ := a.JSON["expiresIn"].(float64); seconds <= 0 || seconds > 15*60 {
		t.Errorf("%s: expiresIn is %v, want up to 900 seconds", a.What, a.JSON["expiresIn"])
	}
	if len(a.Header["Set-Cookie"]) != 0 {
		t.Errorf("%s sets a cookie in bearer mode: %v", a.What, a.Header["Set-Cookie"])
	}
	return a.Text("accessToken"), a.Text("refreshToken")
}

func TestABearerClientSignsInWithTwoFactorsAndReachesTheUpstream(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(up)})
	app := g.Client().Enrol("alice")
	pending := g.AsApp().Login("alice").Want(200).Text("tempToken")
	access, refresh := wantTokens(t, g.AsApp().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Code()}))

	g.Bearer(access).Get("/auth/me").Want(200).Is("username", "alice")
	up.Forget()
	g.Bearer(access).Get("/app").Want(200)
	seen := up.Only()
	if got := seen.Header["Authorization"]; got != nil {
		t.Errorf("the upstream gets the access token: %q", got)
	}
	if got := seen.Header.Get("Remote-User"); got != "alice" {
		t.Errorf("Remote-User is %q, want alice", got)
	}
	for what, token := range map[string]string{"the refresh token": refresh, "nonsense": "nonsense", "nothing": ""} {
		if a := g.Bearer(token).Get("/app"); a.Status != 401 {
			t.Errorf("%s as access token: status %d, want 401", what, a.Status)
		}
	}
	up.Untouched()
}

func TestABearerClientEnrolsOnItsFirstSignIn(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	pending := g.AsApp().Login("alice").Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")
	setting := g.AsApp().With("Authorization", "Bearer "+pending)
	app := harness.NewAuthenticator(t, setting.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
	done := setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()})
	access, _ := wantTokens(t, done)
	if codes := done.List("recoveryCodes"); len(codes) != 10 {
		t.Errorf("%d recovery codes, want 10", len(codes))
	}
	g.Bearer(access).Get("/auth/me").Want(200).Is("isTotpEnabled", true)
}

func TestARefreshTokenIsUsedOnceAndASecondUseEndsTheSession(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	_, refresh := wantTokens(t, g.AsApp().Login("alice"))
	access2, refresh2 := wantTokens(t, g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": refresh}))
	if refresh2 == refresh {
		t.Error("a refresh gives the same refresh token again")
	}
	g.Bearer(access2).Get("/auth/me").Want(200)

	g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": refresh}).Want(401, "SESSION_REVOKED")
	g.Bearer(access2).Get("/auth/me").Want(401)
	g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": refresh2}).Want(401)
}

func TestAnAccessTokenEndsBeforeItsSession(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: withPolicy(harness.StartUpstream(t), "one_factor"),
		More:      "session: { access_token_lifetime: 2s }",
	})
	access, refresh := wantTokens(t, g.AsApp().Login("alice"))
	harness.Eventually(t, "the access token ends", func() bool { return !g.Bearer(access).SignedIn() })
	wantTokens(t, g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": refresh}))
}

func TestACookieClientRefreshesItsSession(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	c.Post("/auth/refresh", nil).Want(401, "UNAUTHENTICATED")
	c.Login("alice").Want(200)
	c.Post("/auth/refresh", nil).Want(200).Is("success", true)
	c.Get("/auth/me").Want(200)
}
