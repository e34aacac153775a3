package e2e

import (
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// withPolicy is the configuration of one upstream that asks for so much everywhere.
func withPolicy(up *harness.Upstream, policy string) string {
	return fmt.Sprintf("  - { url: %q, access: { policy: %s } }", up.URL, policy)
}

func TestTheRecipeOfTheAPIWorksToTheLetter(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()

	// One factor is all that the user has and the upstream needs.
	login := c.Post("/auth/login", harness.Fields{"email": "alice@example.com", "password": harness.Password}).Want(200).Is("success", true)
	if cookie := login.Cookie("sallyport"); !cookie.HttpOnly || cookie.Path != "/" || cookie.Secure {
		t.Errorf("the session's cookie on http is %v, want HttpOnly, Path=/ and not Secure", cookie)
	}

	// Step 2: the user enrols. The picture, the URL and the secret are the same key.
	setup := c.Post("/auth/2fa/setup", nil).Want(200)
	secret := setup.Text("secret")
	if raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret); err != nil || len(raw) != 20 {
		t.Errorf("the secret %q is not base32 of 20 bytes", secret)
	}
	if seen := harness.ReadQR(t, harness.Picture(t, setup.Text("qrCode"))); seen != setup.Text("otpauthUrl") {
		t.Errorf("the QR code says %q, otpauthUrl %q", seen, setup.Text("otpauthUrl"))
	}
	app := harness.NewAuthenticator(t, setup.Text("otpauthUrl"))
	if app.Key.Secret() != secret || app.Key.Issuer() != "Sallyport" {
		t.Errorf("otpauthUrl holds %s of %s, want %s of Sallyport", app.Key.Secret(), app.Key.Issuer(), secret)
	}
	app.Recovery = c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code(), "secret": secret}).
		Want(200).Is("success", true).List("recoveryCodes")
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(app.Recovery)))); distinct != 10 {
		t.Errorf("%d distinct recovery codes, want 10: %q", distinct, app.Recovery)
	}

	// Step 3: the sign-in now takes two steps, and the second opens a full session.
	c = g.Client()
	login = c.Post("/auth/login", harness.Fields{"email": "alice@example.com", "password": harness.Password}).Want(200).Is("requiresTwoFactor", true)
	if methods := login.List("available2faMethods"); !slices.Equal(methods, []string{"totp", "recovery"}) {
		t.Errorf("available2faMethods is %q, want totp and recovery", methods)
	}
	if c.SignedIn() {
		t.Error("the password alone signs in a user with an authenticator")
	}
	c.Post("/auth/2fa/verify", harness.Fields{"tempToken": login.Text("tempToken"), "totpCode": app.Code()}).Want(200).Is("success", true)
	me := c.Get("/auth/me").Want(200).Is("username", "alice").Is("email", "alice@example.com").
		Is("name", "Alice Example").Is("isTotpEnabled", true)
	for _, key := range []string{"id", "sub", "expiresAt"} {
		me.Text(key)
	}
	if amr := me.List("amr"); !slices.Equal(amr, []string{"pwd", "otp"}) {
		t.Errorf("amr is %q, want pwd and otp", amr)
	}
	if groups := me.List("groups"); !slices.Equal(groups, []string{"admins", "staff"}) {
		t.Errorf("groups are %q, want admins and staff", groups)
	}

	// The table's last row: the second factor goes again.
	c.Post("/auth/2fa/disable", nil).Want(200).Is("success", true)
	g.Client().Login("alice").Want(200).Is("success", true)
}

func TestAFirstSignInWherePolicyAsksForTwoFactorsSetsUpTheSecond(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	c := g.Client()
	pending := c.Login("alice").Want(403, "2FA_SETUP_REQUIRED").Is("requires2FASetup", true).Text("tempToken")
	setting := c.With("Authorization", "Bearer "+pending)
	first := setting.Post("/auth/2fa/setup", nil).Want(200)
	app := harness.NewAuthenticator(t, first.Text("otpauthUrl"))
	setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Wrong(1)}).Want(400, "INVALID_TOTP_CODE")
	code := app.Code()
	setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": code, "secret": strings.Repeat("A", 32)}).Want(400)
	if c.SignedIn() {
		t.Fatal("a session before the enrolment is confirmed")
	}
	codes := setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": code}).Want(200).List("recoveryCodes")
	c.Get("/auth/2fa").Want(200).Is("totp", true).Is("required", true).Is("recoveryCodesLeft", float64(len(codes)))
	c.Post("/auth/2fa/disable", nil).Want(403, "2FA_REQUIRED")

	// The token is spent: it signs in once.
	setting = g.Bearer(pending)
	setting.Post("/auth/2fa/setup", nil).Want(401)
	setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(401)
}

func TestARecoveryCodeSignsInOnceAndNewCodesVoidTheOld(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	c := g.Client()
	app := c.Enrol("alice")
	recover := func(code string) (*harness.Client, harness.Answer) {
		c := g.Client()
		pending := c.Login("alice").Want(200).Text("tempToken")
		return c, c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": code})
	}
	used := app.RecoveryCode()
	c, a := recover(" " + strings.ToUpper(used) + " ")
	a.Want(200)
	c.Get("/auth/2fa").Want(200).Is("recoveryCodesLeft", float64(9))
	_, a = recover(used)
	a.Want(401)

	old := app.RecoveryCode()
	fresh := c.Post("/auth/2fa/recovery-codes", nil).Want(200).List("recoveryCodes")
	if len(fresh) != 10 || slices.Contains(fresh, old) {
		t.Errorf("the new codes are %q, want ten others", fresh)
	}
	_, a = recover(old)
	a.Want(401)
	_, a = recover(fresh[0])
	a.Want(200)
}

func TestACodeOfAnAuthenticatorIsTypedWithSpacesAndIsAcceptedOnce(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	app := g.Client().Enrol("alice")
	code := app.Code()
	sign := func(code string) harness.Answer {
		c := g.Client()
		pending := c.Login("alice").Want(200).Text("tempToken")
		return c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": code})
	}
	sign(code[:3] + " " + code[3:]).Want(200)
	sign(code).Want(401, "INVALID_TOTP_CODE")
	sign(app.At(harness.Now()-3)).Want(401, "INVALID_TOTP_CODE")
	sign(app.At(harness.Now()+3)).Want(401, "INVALID_TOTP_CODE")
}

func TestWrongCodesRunOut(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: harness.Proxied(harness.StartUpstream(t)),
		Users:     []harness.User{{Name: "alice"}, {Name: "bob"}, {Name: "carol"}},
	})

	t.Run("the same wrong code sent again counts as one attempt", func(t *testing.T) {
		app := g.Client().Enrol("alice")
		c := g.Client()
		pending := c.Login("alice").Want(200).Text("tempToken")
		for range 8 {
			c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Wrong(1)}).Want(401, "INVALID_TOTP_CODE")
		}
		c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Code()}).Want(200)
	})
	t.Run("five wrong codes spend the temp token", func(t *testing.T) {
		app := g.Client().Enrol("bob")
		c := g.Client()
		pending := c.Login("bob").Want(200).Text("tempToken")
		for i := range 5 {
			c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Wrong(i)}).Want(401)
		}
		c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Code()}).Want(401, "INVALID_TEMP_TOKEN")
	})
	t.Run("new sign-ins do not bring new attempts without end", func(t *testing.T) {
		app := g.Client().Enrol("carol")
		for i := range 10 {
			c := g.Client()
			pending := c.Login("carol")
			if pending.Status == 429 {
				wantRetryAfter(t, pending)
				return
			}
			a := c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending.Want(200).Text("tempToken"), "totpCode": app.Wrong(i)})
			if a.Status == 429 {
				wantRetryAfter(t, a.Want(429, "RATE_LIMITED"))
				return
			}
			a.Want(401)
		}
		c := g.Client()
		a := c.Login("carol")
		if a.Status == 200 {
			a = c.Post("/auth/2fa/verify", harness.Fields{"tempToken": a.Text("tempToken"), "totpCode": app.Code()})
		}
		wantRetryAfter(t, a.Want(429, "RATE_LIMITED"))
	})
}

func wantRetryAfter(t *testing.T, a harness.Answer) {
	t.Helper()
	if a.Header.Get("Retry-After") == "" {
		t.Errorf("%s: 429 without Retry-After", a.What)
	}
}

func TestATempTokenEndsByItself(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t)), More: "two_factor: { temp_token_lifetime: 1s }"})
	pending := g.Client().Login("alice").Want(403).Text("tempToken")
	harness.Eventually(t, "the temp token ends", func() bool {
		return g.Bearer(pending).Post("/auth/2fa/setup", nil).Status == 401
	})
}

func TestATempTokenOpensNothingElse(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(up), Users: []harness.User{{Name: "alice"}, {Name: "bob"}}})
	app := g.Client().Enrol("alice")
	verifying := g.Client().Login("alice").Want(200).Text("tempToken")
	setting := g.Client().Login("bob").Want(403).Text("tempToken")
	code := app.Code() // good wherever it were looked at
	for name, token := range map[string]string{"of a sign-in": verifying, "of an enrolment": setting} {
		for how, c := range map[string]*harness.Client{
			"as bearer token": g.Bearer(token),
			"as cookie":       g.Client().With("Cookie", "sallyport="+token),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				for _, path := range []string{"/auth/me", "/auth/2fa", "/auth/sessions", "/app", "/app?tempToken=" + token} {
					c.Get(path).Want(401)
				}
				for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/refresh", "/auth/change-password"} {
					if a := c.Post(path, harness.Fields{"currentPassword": harness.Password, "newPassword": "a longer password", "refreshToken": token}); a.Status != 401 {
						t.Errorf("%s: status %d, want 401: %s", a.What, a.Status, a.Body)
					}
				}
				c.Do("DELETE", "/auth/sessions/any", "").Want(401)
			})
		}
	}
	t.Run("of a sign-in sets no authenticator up", func(t *testing.T) {
		g.Bearer(verifying).Post("/auth/2fa/setup", nil).Want(401)
		g.Bearer(verifying).Post("/auth/2fa/verify-setup", harness.Fields{"token": code}).Want(401)
	})
	t.Run("of an enrolment verifies no code", func(t *testing.T) {
		g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": setting, "totpCode": code}).Want(401)
	})
	t.Run("of one user takes no code of another's", func(t *testing.T) {
		other := g.Client().Enrol("bob")
		g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": verifying, "totpCode": other.Code(), "username": "bob"}).Want(401)
	})
	up.Untouched()
}
