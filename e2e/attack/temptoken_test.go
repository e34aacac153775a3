package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// bodyWith is a body that every call of the API can make something of, with a token wherever one may stand.
func bodyWith(token, code string) harness.Fields {
	return harness.Fields{
		"tempToken": token, "refreshToken": token, "accessToken": token, "totpCode": code, "token": code,
		"currentPassword": harness.Password, "newPassword": "four candles and a fork handle",
	}
}

// sessionCalls are the calls of the API that need a session, and what they are sent.
var sessionCalls = []struct{ method, path string }{
	{"GET", "/auth/me"}, {"GET", "/auth/2fa"}, {"GET", "/auth/sessions"}, {"DELETE", "/auth/sessions/any"},
	{"POST", "/auth/2fa/disable"}, {"POST", "/auth/2fa/recovery-codes"}, {"POST", "/auth/change-password"}, {"POST", "/auth/refresh"},
}

func TestT01ATempTokenOpensNothing(t *testing.T) {
	s := enter(t)
	p, q := newPerson(t, plain), newPerson(t, plain)
	p.enrolled(s.one)
	for kind, token := range map[string]string{"of a sign-in": p.pending(s.one), "of an enrolment": q.pending(s.one)} {
		for how, client := range map[string]func(*harness.Client) *harness.Client{
			"as the session's cookie": func(c *harness.Client) *harness.Client { return c.With("Cookie", "sallyport="+token) },
			"as every cookie of ours": func(c *harness.Client) *harness.Client {
				return c.With("Cookie", strings.ReplaceAll("sallyport=@; sallyport_pending=@; sallyport_device=@; sallyport_kept=@; __Host-sallyport=@", "@", token))
			},
			"as an access token":    func(c *harness.Client) *harness.Client { return c.With("Authorization", "Bearer "+token) },
			"as a bearer of old":    func(c *harness.Client) *harness.Client { return c.With("Authorization", "bearer  "+token) },
			"as a basic credential": func(c *harness.Client) *harness.Client { return c.With("Authorization", "Basic "+token) },
			"in headers of other kits": func(c *harness.Client) *harness.Client {
				return c.With("X-Auth-Token", token).With("X-Access-Token", token)
			},
		} {
			t.Run(kind+" "+how, func(t *testing.T) {
				s, c := s.forTest(t), client(from(t, s.two, p.from))
				for _, path := range []string{"/app/x", "/secret/x", "/stripped/app/x"} {
					for _, query := range []string{"", "?tempToken=" + token, "?token=" + token + "&access_token=" + token} {
						s.wantDenied(c.Get(path + query))
						s.wantDenied(c.Page(path + query))
					}
					for endpoint := range endpoints {
						s.wantDenied(ask(t, s.one, endpoint, "GET", path, c.Header))
					}
				}
				for _, call := range sessionCalls {
					if a := s.call(c, call.method, call.path, bodyWith(token, p.app.At(harness.Now()))); a.Status != 401 && a.Status != 403 {
						t.Errorf("%s: %d, want 401 or 403: %s", a.What, a.Status, a.Body)
					}
				}
			})
		}
	}
	// Each opens the door that it is for, so it was not refused for being dead.
	from(t, s.two, q.from).With("Authorization", "Bearer "+q.pending(s.one)).Post("/auth/2fa/setup", nil).Want(200)
	p.signedIn(s.two).Get("/secret/x").Want(200)
}

// call sends one call of the API, with its body where the method has one.
func (s *site) call(c *harness.Client, method, path string, body harness.Fields) harness.Answer {
	if method == "POST" {
		return c.Post(path, body)
	}
	return c.Do(method, path, "")
}

func TestT02ASessionsTokenIsNoTempToken(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	browser := p.enrolled(s.one)
	app := p.browser(s.one).With("X-Auth-Strategy", "bearer")
	tokens := app.Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
	for what, token := range map[string]string{
		"a session cookie": sessionOf(browser), "an access token": tokens.Text("accessToken"), "a refresh token": tokens.Text("refreshToken"),
		"a device cookie": cookieOf(browser, "sallyport_device"),
	} {
		t.Run(what, func(t *testing.T) {
			c := from(t, s.two, p.from)
			for _, code := range []harness.Fields{
				{"tempToken": token, "totpCode": p.app.At(harness.Now())},
				{"tempToken": token, "totpCode": p.app.At(harness.Now() + 1)},
				{"tempToken": token, "recoveryCode": p.app.Recovery[0]},
			} {
				c.Post("/auth/2fa/verify", code).Want(401, "INVALID_TEMP_TOKEN")
			}
			// As the browser's own pending sign-in.
			pending := c.With("Cookie", "sallyport_pending="+token)
			if a := pending.Form("/auth/2fa", "code", p.app.Recovery[0]); a.Status != 401 || setsSession(a) {
				t.Errorf("%s: %d %v, want 401 and no session", a.What, a.Status, a.Header)
			}
		})
	}
	// The recovery code was never looked at.
	p.browser(s.one).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "recoveryCode": p.app.Recovery[0]}).Want(200)
}

// setsSession says whether an answer gives a browser a session, and does not just take one away.
func setsSession(a harness.Answer) bool {
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if strings.HasSuffix(c.Name, "sallyport") && c.Value != "" {
			return true
		}
	}
	return false
}

// cookieOf is the value of one of the client's cookies.
func cookieOf(c *harness.Client, name string) string {
	c.T.Helper()
	for _, pair := range strings.Split(cookies(c), "; ") {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	c.T.Fatalf("the client has no cookie %s", name)
	return ""
}

func TestT03AfterThePasswordAloneNothingIsOpen(t *testing.T) {
	s := enter(t)
	enrolled, fresh := newPerson(t, admin), newPerson(t, admin)
	enrolled.enrolled(s.one)
	for what, p := range map[string]*person{"with an authenticator": enrolled, "before the enrolment": fresh} {
		t.Run(what, func(t *testing.T) {
			s, c := s.forTest(t), from(t, s.one, p.from)
			c.Form("/auth/login", "username", p.Name, "password", harness.Password, "rd", "/secret/x").Want(303)
			if cookies(c) == "" {
				t.Fatal("the password sets no cookie at all")
			}
			for _, g := range s.both() {
				there := c.At(g)
				there.T = t
				for _, path := range []string{"/app/x", "/secret/x", "/admin/x", "/else", "/stripped/secret/x", "/app/socket", "/"} {
					s.wantDenied(there.Get(path))
					s.wantDenied(there.Page(path))
					s.wantDenied(there.Do("POST", path, "a=b"))
					for endpoint := range endpoints {
						s.wantDenied(ask(t, g, endpoint, "GET", path, http.Header{"Cookie": {cookies(c)}}))
					}
				}
				for _, call := range sessionCalls {
					s.call(there, call.method, call.path, bodyWith("x", "000000")).Want(401)
				}
				for _, form := range []string{"recovery-codes", "disable-2fa", "revoke", "revoke-others", "password"} {
					a := there.Form("/auth/account/"+form, "handle", "x", "currentPassword", harness.Password, "newPassword", "four candles and a fork handle")
					if a.Status != 401 || setsSession(a) {
						t.Errorf("%s: %d, want 401", a.What, a.Status)
					}
				}
			}
		})
	}
	enrolled.signedIn(s.two).Get("/admin/x").Want(200) // with the same password and the same authenticator
}

func TestT04ASignInEndsInNoIdentityButItsOwn(t *testing.T) {
	s := enter(t)
	alice, bob := newPerson(t, plain), newPerson(t, plain)
	alice.enrolled(s.one)
	bobs := bob.enrolled(s.two)
	temp := alice.pending(s.one)
	c := alice.browser(s.two)
	for _, body := range []harness.Fields{
		{"tempToken": temp, "totpCode": bob.app.At(harness.Now() + 1)},
		{"tempToken": temp, "totpCode": bob.app.At(harness.Now() + 1), "username": bob.Name, "email": bob.email()},
		{"tempToken": temp, "recoveryCode": bob.app.Recovery[0], "username": bob.Name},
	} {
		c.Post("/auth/2fa/verify", body).Want(401, "INVALID_TOTP_CODE")
	}
	if c.SignedIn() {
		t.Error("another person's code signs in")
	}
	// A name beside the right code changes nothing of who it is.
	c.Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "totpCode": alice.app.Code(), "username": bob.Name, "sub": bob.Name, "groups": []string{"admins"}}).Want(200)
	c.Get("/auth/me").Want(200).Is("username", alice.Name)
	s.wantDenied(c.Get("/admin/x"))

	t.Run("a sign-in in the browser that another is signed in with", func(t *testing.T) {
		s := s.forTest(t)
		s.up.Forget()
		before := sessionOf(bobs)
		shared := bobs.At(s.one)
		shared.T = t
		pending := shared.Login(alice.Name).Want(200).Text("tempToken")
		shared.Get("/secret/x").Want(200)
		wantClean(t, s.up.Only(t), bob) // the password alone has changed nobody
		shared.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": bob.app.Recovery[1]}).Want(401)
		shared.Get("/secret/x").Want(200)
		wantClean(t, s.up.Only(t), bob)
		shared.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": alice.app.RecoveryCode()}).Want(200)
		shared.Get("/secret/x").Want(200)
		wantClean(t, s.up.Only(t), alice)
		s.wantDenied(from(t, s.two, bob.from).With("Cookie", "sallyport="+before).Get("/secret/x"))
	})
	t.Run("a step up of one person's session in another's browser", func(t *testing.T) {
		carol, dan := newPerson(t, plain), newPerson(t, plain)
		dans := dan.enrolled(s.one)
		carols := carol.enrolled(s.one)
		carols.Page("/auth/2fa?rd=/auth/account").Want(200) // asks carol to confirm with a code
		planted := dans.With("Cookie", "sallyport_pending="+cookieOf(carols, "sallyport_pending")+"; sallyport="+sessionOf(dans))
		planted.Http.Jar = nil
		if a := planted.Form("/auth/2fa", "code", carol.app.Code()); setsSession(a) {
			t.Errorf("carol's step up in dan's browser: %d %v", a.Status, a.Header)
		}
		who := from(t, s.two, dan.from).With("Cookie", planted.Header.Get("Cookie"))
		who.Get("/auth/me").Want(200).Is("username", dan.Name)
	})
}

// verify sends a second factor to the second replica.
func (s *site) verify(p *person, temp, kind, code string) harness.Answer {
	p.t.Helper()
	return p.browser(s.two).Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, kind: code})
}

func TestT05ATempTokenIsGoodOnceForAFewTriesAndForAWhile(t *testing.T) {
	s := enter(t)
	verify := s.verify
	t.Run("after its success", func(t *testing.T) {
		p := newPerson(t, plain)
		p.enrolled(s.one)
		temp := p.pending(s.one)
		verify(p, temp, "totpCode", p.app.Code()).Want(200)
		for range 2 {
			verify(p, temp, "recoveryCode", p.app.Recovery[0]).Want(401, "INVALID_TEMP_TOKEN")
		}
		verify(p, p.pending(s.one), "recoveryCode", p.app.Recovery[0]).Want(200)
	})
	t.Run("after the enrolment that it was for", func(t *testing.T) {
		p := newPerson(t, plain)
		temp := p.pending(s.one)
		setting := p.browser(s.one).With("Authorization", "Bearer "+temp)
		app := harness.NewAuthenticator(t, setting.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
		setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)
		again := from(t, s.two, p.from).With("Authorization", "Bearer "+temp)
		again.Post("/auth/2fa/setup", nil).Want(401)
		again.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(401)
	})
	t.Run("after its wrong codes", func(t *testing.T) {
		p := newPerson(t, plain)
		p.enrolled(s.one)
		temp := p.pending(s.one)
		for i := range 5 {
			verify(p, temp, "totpCode", p.app.Wrong(i)).Want(401, "INVALID_TOTP_CODE")
		}
		verify(p, temp, "totpCode", p.app.At(harness.Now()+1)).Want(401, "INVALID_TEMP_TOKEN")
		verify(p, temp, "recoveryCode", p.app.Recovery[0]).Want(401, "INVALID_TEMP_TOKEN")
		verify(p, p.pending(s.two), "totpCode", p.app.Code()).Want(200) // a new one still is good
	})
	t.Run("after its lifetime", func(t *testing.T) {
		settings := s.settings()
		settings.More = "two_factor: { temp_token_lifetime: 2s }"
		short := harness.StartGateway(t, settings)
		p := newPerson(t, plain)
		p.enrolled(s.one)
		temp := p.pending(short)
		harness.Eventually(t, "the temp token ends", func() bool {
			a := p.browser(short).Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "totpCode": "no code at all"})
			return a.JSON["code"] == "INVALID_TEMP_TOKEN"
		})
		verify(p, temp, "recoveryCode", p.app.Recovery[0]).Want(401, "INVALID_TEMP_TOKEN")
	})
}

func TestT05ATempTokenHasOneSpelling(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	p.enrolled(s.one)
	temp := p.pending(s.one)
	for _, spelled := range []string{temp + "=", temp + "\n", " " + temp, temp + "A", temp[:len(temp)-1], strings.ToUpper(temp), "", "null", fmt.Sprintf("%q", temp)} {
		a := s.verify(p, spelled, "recoveryCode", p.app.Recovery[0])
		if a.Status != 400 && a.Status != 401 {
			t.Errorf("as %q: %d: %s", spelled, a.Status, a.Body)
		}
	}
	s.verify(p, temp, "recoveryCode", p.app.Recovery[0]).Want(200)
}
