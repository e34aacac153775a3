package attack

import (
	"encoding/base32"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// setUp hands out a secret, and returns the authenticator that has it.
func setUp(t *testing.T, c *harness.Client) *harness.Authenticator {
	t.Helper()
	return harness.NewAuthenticator(t, c.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
}

func TestT14AnEnrolmentConfirmsOnlyTheSecretHandedOutLast(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	c := p.browser(s.one).With("Authorization", "Bearer "+p.pending(s.one))
	there := c.At(s.two)
	first := setUp(t, c)
	last := setUp(t, there)
	if first.Key.Secret() == last.Key.Secret() {
		t.Fatal("the same secret twice")
	}
	own := base32.StdEncoding.EncodeToString([]byte("a secret of my own!!"))
	mine := harness.NewAuthenticator(t, "otpauth://totp/x?secret="+own)
	for what, body := range map[string]harness.Fields{
		"the first secret":                         {"token": first.Code()},
		"the first secret by its name":             {"token": first.At(first.Last), "secret": first.Key.Secret()},
		"the last one's code for the first":        {"token": last.At(harness.Now()), "secret": first.Key.Secret()},
		"a secret of the client's own":             {"token": mine.Code(), "secret": own},
		"a secret of the client's own, unnamed":    {"token": mine.At(mine.Last), "otpauthUrl": "otpauth://totp/x?secret=" + own},
		"the last one's code for the client's own": {"token": last.At(harness.Now()), "secret": own},
	} {
		if a := c.Post("/auth/2fa/verify-setup", body); a.Status != 400 && a.Status != 401 && a.Status != 429 {
			t.Errorf("%s: %d, want a refusal: %s", what, a.Status, a.Body)
		}
	}
	if from(t, s.one, p.from).Login(p.Name).Want(403).Is("requires2FASetup", true).Status != 403 {
		t.Error("an authenticator is in force")
	}
	// Those that were no code of the last secret's have used the temp token up; another begins anew.
	c = p.browser(s.two).With("Authorization", "Bearer "+p.pending(s.two))
	app := setUp(t, c)
	c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code(), "secret": app.Key.Secret()}).Want(200)
	p.app = app
	p.signedIn(s.one)
}

func TestT14TheSecretInForceStaysAndIsNeverShownAgain(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	overtaken := p.browser(s.two).With("Authorization", "Bearer "+p.pending(s.two))
	late := setUp(t, overtaken) // an enrolment under way when another one is finished
	browser := p.enrolled(s.one)
	overtaken.Post("/auth/2fa/verify-setup", harness.Fields{"token": late.Code()}).Want(403, "ALREADY_ENROLLED")

	signing := p.browser(s.one).With("Authorization", "Bearer "+p.pending(s.one))
	signing.Post("/auth/2fa/setup", nil).Want(401)
	signing.Post("/auth/2fa/verify-setup", harness.Fields{"token": p.app.At(harness.Now()), "secret": p.app.Key.Secret()}).Want(401)

	secret := p.app.Key.Secret()
	for _, path := range []string{"/auth/me", "/auth/2fa", "/auth/sessions", "/auth/account", "/auth/enroll", "/auth/recovery-codes", "/auth/2fa/setup", "/auth/2fa/verify-setup"} {
		for _, a := range []harness.Answer{browser.Get(path), browser.Page(path), browser.Do("HEAD", path, ""), browser.Do("OPTIONS", path, "")} {
			plain := strings.ReplaceAll(a.Body, " ", "")
			if strings.Contains(plain, secret) || strings.Contains(plain, p.app.Recovery[0]) {
				t.Errorf("%s shows the secret or a recovery code", a.What)
			}
		}
	}
	replacing := browser.Post("/auth/2fa/setup", nil).Want(200)
	if strings.Contains(replacing.Body, secret) {
		t.Error("a replacement begins with the secret in force")
	}
	if wrong := browser.Post("/auth/2fa/verify-setup", harness.Fields{"token": p.app.At(harness.Now() + 1)}); wrong.Status != 400 {
		t.Errorf("the old authenticator confirms a new one: %d", wrong.Status)
	}
	p.signedIn(s.two) // with the old one, which is still in force
}

// lax is a gateway on the site's Redis on which one factor is enough, so that an authenticator may be turned off. A
// second factor is fresh for a second.
func (s *site) lax() *harness.Gateway {
	s.t.Helper()
	return harness.StartGateway(s.t, harness.Settings{
		Redis: s.redis, Users: everybody(), More: "two_factor: { fresh_for: 1s }",
		Upstreams: "  - { url: \"" + s.up.URL + "\", access: { policy: one_factor } }",
	})
}

// enrolledHere sets an authenticator up by choice, in a session of one factor.
func (p *person) enrolledHere(g *harness.Gateway) *harness.Client {
	p.t.Helper()
	c := p.browser(g)
	c.Login(p.Name).Want(200)
	p.setUpEarly(c)
	return c
}

func TestT15AnOldSessionAloneChangesNoSecondFactor(t *testing.T) {
	s := enter(t)
	g := s.lax()
	p := newPerson(t, plain)
	c := p.enrolledHere(g)
	time.Sleep(2 * time.Second) // longer than a second factor is fresh
	changes := []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/2fa/setup"}
	for _, path := range changes {
		c.Post(path, nil).Want(403, "REAUTH_REQUIRED")
		c.Post(path, harness.Fields{}).Want(403, "REAUTH_REQUIRED")
		c.Post(path, harness.Fields{"password": harness.Password, "currentPassword": harness.Password}).Want(403, "REAUTH_REQUIRED")
		c.Post(path, harness.Fields{"totpCode": p.app.At(p.app.Last)}).Want(401, "INVALID_TOTP_CODE") // the one used already
	}
	for _, form := range []string{"disable-2fa", "recovery-codes"} {
		a := c.Form("/auth/account/" + form)
		if a.Status != 303 || !strings.HasPrefix(a.Header.Get("Location"), "/auth/2fa?") {
			t.Errorf("%s: %d to %q, want the question for a code", a.What, a.Status, a.Header.Get("Location"))
		}
	}
	if a := c.Page("/auth/enroll"); a.Status != 302 || !strings.HasPrefix(a.Header.Get("Location"), "/auth/2fa?") {
		t.Errorf("%s: %d to %q, want the question for a code", a.What, a.Status, a.Header.Get("Location"))
	}
	c.Get("/auth/2fa").Want(200).Is("totp", true).Is("recoveryCodesLeft", float64(10))

	limited := 0
	for i := range 20 {
		switch a := c.Post(changes[i%len(changes)], harness.Fields{"totpCode": p.app.Wrong(i)}); a.Status {
		case 401:
			if limited > 0 {
				t.Errorf("wrong code %d is looked at after a 429", i)
			}
		case 429:
			limited++
		default:
			t.Errorf("wrong code %d: %d: %s", i, a.Status, a.Body)
		}
	}
	if limited < 10 {
		t.Errorf("of twenty wrong codes %d were refused with 429, want ten at least", limited)
	}
	// The right one is not looked at now either, and everything is as it was.
	c.Post("/auth/2fa/disable", harness.Fields{"recoveryCode": p.app.Recovery[0]}).Want(429, "RATE_LIMITED")
	c.Get("/auth/2fa").Want(200).Is("totp", true).Is("recoveryCodesLeft", float64(10))
}

func TestT15TheSessionOfBeforeTheEnrolmentChangesNothing(t *testing.T) {
	s := enter(t)
	g := s.lax()
	p := newPerson(t, plain)
	old := p.browser(g)
	old.Login(p.Name).Want(200)
	begun := setUp(t, old) // an enrolment that was begun with the password alone
	p.enrolledHere(g)
	old.Get("/auth/me").Want(401) // an enrolment ends the other sessions
	for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/recovery-codes", "/auth/2fa/setup"} {
		old.Post(path, nil).Want(401)
	}
	old.Post("/auth/2fa/verify-setup", harness.Fields{"token": begun.Code()}).Want(401)
	p.browser(g).Login(p.Name).Want(200).Is("requiresTwoFactor", true)
}
