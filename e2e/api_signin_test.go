package e2e

import (
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// withPolicy is the configuration of one upstream that asks for so much everywhere.
func withPolicy(up *upstream, policy string) string {
	return fmt.Sprintf("  - { url: %q, access: { policy: %s } }", up.URL, policy)
}

func TestTheRecipeOfTheAPIWorksToTheLetter(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()

	// One factor is all that the user has and the upstream needs.
	login := c.post("/auth/login", fields{"email": "alice@example.com", "password": password}).want(200).is("success", true)
	if cookie := login.cookie("sallyport"); !cookie.HttpOnly || cookie.Path != "/" || cookie.Secure {
		t.Errorf("the session's cookie on http is %v, want HttpOnly, Path=/ and not Secure", cookie)
	}

	// Step 2: the user enrols. The picture, the URL and the secret are the same key.
	setup := c.post("/auth/2fa/setup", nil).want(200)
	secret := setup.text("secret")
	if raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret); err != nil || len(raw) != 20 {
		t.Errorf("the secret %q is not base32 of 20 bytes", secret)
	}
	if seen := readQR(t, picture(t, setup.text("qrCode"))); seen != setup.text("otpauthUrl") {
		t.Errorf("the QR code says %q, otpauthUrl %q", seen, setup.text("otpauthUrl"))
	}
	app := newAuthenticator(t, setup.text("otpauthUrl"))
	if app.key.Secret() != secret || app.key.Issuer() != "Sallyport" {
		t.Errorf("otpauthUrl holds %s of %s, want %s of Sallyport", app.key.Secret(), app.key.Issuer(), secret)
	}
	app.recovery = c.post("/auth/2fa/verify-setup", fields{"token": app.code(), "secret": secret}).
		want(200).is("success", true).list("recoveryCodes")
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(app.recovery)))); distinct != 10 {
		t.Errorf("%d distinct recovery codes, want 10: %q", distinct, app.recovery)
	}

	// Step 3: the sign-in now takes two steps, and the second opens a full session.
	c = g.client()
	login = c.post("/auth/login", fields{"email": "alice@example.com", "password": password}).want(200).is("requiresTwoFactor", true)
	if methods := login.list("available2faMethods"); !slices.Equal(methods, []string{"totp", "recovery"}) {
		t.Errorf("available2faMethods is %q, want totp and recovery", methods)
	}
	if c.signedIn() {
		t.Error("the password alone signs in a user with an authenticator")
	}
	c.post("/auth/2fa/verify", fields{"tempToken": login.text("tempToken"), "totpCode": app.code()}).want(200).is("success", true)
	me := c.get("/auth/me").want(200).is("username", "alice").is("email", "alice@example.com").
		is("name", "Alice Example").is("isTotpEnabled", true)
	for _, key := range []string{"id", "sub", "expiresAt"} {
		me.text(key)
	}
	if amr := me.list("amr"); !slices.Equal(amr, []string{"pwd", "otp"}) {
		t.Errorf("amr is %q, want pwd and otp", amr)
	}
	if groups := me.list("groups"); !slices.Equal(groups, []string{"admins", "staff"}) {
		t.Errorf("groups are %q, want admins and staff", groups)
	}

	// The table's last row: the second factor goes again.
	c.post("/auth/2fa/disable", nil).want(200).is("success", true)
	g.client().login("alice").want(200).is("success", true)
}

func TestAFirstSignInWherePolicyAsksForTwoFactorsSetsUpTheSecond(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t))})
	c := g.client()
	pending := c.login("alice").want(403, "2FA_SETUP_REQUIRED").is("requires2FASetup", true).text("tempToken")
	setting := c.with("Authorization", "Bearer "+pending)
	first := setting.post("/auth/2fa/setup", nil).want(200)
	app := newAuthenticator(t, first.text("otpauthUrl"))
	setting.post("/auth/2fa/verify-setup", fields{"token": app.wrong(1)}).want(400, "INVALID_TOTP_CODE")
	code := app.code()
	setting.post("/auth/2fa/verify-setup", fields{"token": code, "secret": strings.Repeat("A", 32)}).want(400)
	if c.signedIn() {
		t.Fatal("a session before the enrolment is confirmed")
	}
	codes := setting.post("/auth/2fa/verify-setup", fields{"token": code}).want(200).list("recoveryCodes")
	c.get("/auth/2fa").want(200).is("totp", true).is("required", true).is("recoveryCodesLeft", float64(len(codes)))
	c.post("/auth/2fa/disable", nil).want(403, "2FA_REQUIRED")

	// The token is spent: it signs in once.
	setting = g.bearer(pending)
	setting.post("/auth/2fa/setup", nil).want(401)
	setting.post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(401)
}

func TestARecoveryCodeSignsInOnceAndNewCodesVoidTheOld(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t))})
	c := g.client()
	app := c.enrol("alice")
	recover := func(code string) (*client, answer) {
		c := g.client()
		pending := c.login("alice").want(200).text("tempToken")
		return c, c.post("/auth/2fa/verify", fields{"tempToken": pending, "recoveryCode": code})
	}
	used := app.recoveryCode()
	c, a := recover(" " + strings.ToUpper(used) + " ")
	a.want(200)
	c.get("/auth/2fa").want(200).is("recoveryCodesLeft", float64(9))
	_, a = recover(used)
	a.want(401)

	old := app.recoveryCode()
	fresh := c.post("/auth/2fa/recovery-codes", nil).want(200).list("recoveryCodes")
	if len(fresh) != 10 || slices.Contains(fresh, old) {
		t.Errorf("the new codes are %q, want ten others", fresh)
	}
	_, a = recover(old)
	a.want(401)
	_, a = recover(fresh[0])
	a.want(200)
}

func TestACodeOfAnAuthenticatorIsTypedWithSpacesAndIsAcceptedOnce(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t))})
	app := g.client().enrol("alice")
	code := app.code()
	sign := func(code string) answer {
		c := g.client()
		pending := c.login("alice").want(200).text("tempToken")
		return c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": code})
	}
	sign(code[:3] + " " + code[3:]).want(200)
	sign(code).want(401, "INVALID_TOTP_CODE")
	sign(app.at(now()-3)).want(401, "INVALID_TOTP_CODE")
	sign(app.at(now()+3)).want(401, "INVALID_TOTP_CODE")
}

func TestWrongCodesRunOut(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: proxied(startUpstream(t)),
		Users:     []user{{Name: "alice"}, {Name: "bob"}, {Name: "carol"}},
	})

	t.Run("the same wrong code sent again counts as one attempt", func(t *testing.T) {
		app := g.client().enrol("alice")
		c := g.client()
		pending := c.login("alice").want(200).text("tempToken")
		for range 8 {
			c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.wrong(1)}).want(401, "INVALID_TOTP_CODE")
		}
		c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}).want(200)
	})
	t.Run("five wrong codes spend the temp token", func(t *testing.T) {
		app := g.client().enrol("bob")
		c := g.client()
		pending := c.login("bob").want(200).text("tempToken")
		for i := range 5 {
			c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.wrong(i)}).want(401)
		}
		c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}).want(401, "INVALID_TEMP_TOKEN")
	})
	t.Run("new sign-ins do not bring new attempts without end", func(t *testing.T) {
		app := g.client().enrol("carol")
		for i := range 10 {
			c := g.client()
			pending := c.login("carol")
			if pending.Status == 429 {
				wantRetryAfter(t, pending)
				return
			}
			a := c.post("/auth/2fa/verify", fields{"tempToken": pending.want(200).text("tempToken"), "totpCode": app.wrong(i)})
			if a.Status == 429 {
				wantRetryAfter(t, a.want(429, "RATE_LIMITED"))
				return
			}
			a.want(401)
		}
		c := g.client()
		a := c.login("carol")
		if a.Status == 200 {
			a = c.post("/auth/2fa/verify", fields{"tempToken": a.text("tempToken"), "totpCode": app.code()})
		}
		wantRetryAfter(t, a.want(429, "RATE_LIMITED"))
	})
}

func wantRetryAfter(t *testing.T, a answer) {
	t.Helper()
	if a.Header.Get("Retry-After") == "" {
		t.Errorf("%s: 429 without Retry-After", a.what)
	}
}

func TestATempTokenEndsByItself(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t)), More: "two_factor: { temp_token_lifetime: 1s }"})
	pending := g.client().login("alice").want(403).text("tempToken")
	eventually(t, "the temp token ends", func() bool {
		return g.bearer(pending).post("/auth/2fa/setup", nil).Status == 401
	})
}

func TestATempTokenOpensNothingElse(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: proxied(up), Users: []user{{Name: "alice"}, {Name: "bob"}}})
	app := g.client().enrol("alice")
	verifying := g.client().login("alice").want(200).text("tempToken")
	setting := g.client().login("bob").want(403).text("tempToken")
	code := app.code() // good wherever it were looked at
	for name, token := range map[string]string{"of a sign-in": verifying, "of an enrolment": setting} {
		for how, c := range map[string]*client{
			"as bearer token": g.bearer(token),
			"as cookie":       g.client().with("Cookie", "sallyport="+token),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				for _, path := range []string{"/auth/me", "/auth/2fa", "/auth/sessions", "/app", "/app?tempToken=" + token} {
					c.get(path).want(401)
				}
				for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/refresh", "/auth/change-password"} {
					if a := c.post(path, fields{"currentPassword": password, "newPassword": "a longer password", "refreshToken": token}); a.Status != 401 {
						t.Errorf("%s: status %d, want 401: %s", a.what, a.Status, a.Body)
					}
				}
				c.do("DELETE", "/auth/sessions/any", "").want(401)
			})
		}
	}
	t.Run("of a sign-in sets no authenticator up", func(t *testing.T) {
		g.bearer(verifying).post("/auth/2fa/setup", nil).want(401)
		g.bearer(verifying).post("/auth/2fa/verify-setup", fields{"token": code}).want(401)
	})
	t.Run("of an enrolment verifies no code", func(t *testing.T) {
		g.client().post("/auth/2fa/verify", fields{"tempToken": setting, "totpCode": code}).want(401)
	})
	t.Run("of one user takes no code of another's", func(t *testing.T) {
		other := g.client().enrol("bob")
		g.client().post("/auth/2fa/verify", fields{"tempToken": verifying, "totpCode": other.code(), "username": "bob"}).want(401)
	})
	up.untouched()
}
