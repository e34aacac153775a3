package attack

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// bearing returns a client that sends a session's cookie and keeps none.
func bearing(t *testing.T, g *harness.Gateway, session string) *harness.Client {
	c := from(t, g, newHost()).With("Cookie", "sallyport="+session)
	c.Http.Jar = nil
	return c
}

// wantDead fails the test where a session opens anything at either replica. It waits as long as it takes, and logs it.
func (s *site) wantDead(session string) {
	s.t.Helper()
	began := time.Now()
	for _, g := range s.both() {
		c := bearing(s.t, g, session)
		harness.Eventually(s.t, "the session is dead", func() bool { return c.Get("/auth/me").Status == 401 })
		s.up.Forget()
		for _, path := range []string{"/app/x", "/secret/x", "/admin/x"} {
			s.wantDenied(c.Get(path))
			for endpoint := range endpoints {
				s.wantDenied(ask(s.t, g, endpoint, "GET", path, http.Header{"Cookie": {"sallyport=" + session}}))
			}
		}
		for _, call := range sessionCalls {
			s.call(c, call.method, call.path, bodyWith("x", "000000")).Want(401)
		}
	}
	s.t.Logf("dead at both replicas, and asked everywhere, within %s", time.Since(began).Round(time.Millisecond))
}

func (s *site) wantAlive(session string) {
	s.t.Helper()
	for _, g := range s.both() {
		bearing(s.t, g, session).Get("/auth/me").Want(200)
	}
}

func TestT18EveryRiseOfAssuranceBringsANewSession(t *testing.T) {
	s := enter(t)
	for what, rise := range map[string]func(*testing.T, *site){
		"over a cookie that was planted":                     overAPlantedCookie,
		"from the password to the second factor":             fromPasswordToSecondFactor,
		"from one factor by an enrolment":                    fromOneFactorByEnrolment,
		"from a second factor of a while ago to a fresh one": fromAnOldSecondFactorToAFreshOne,
		"with each use of a refresh token":                   withEachRefreshToken,
	} {
		t.Run(what, func(t *testing.T) { rise(t, s.forTest(t)) })
	}
}

func overAPlantedCookie(t *testing.T, s *site) {
	mallory := newPerson(t, plain)
	malloryOwn := sessionOf(mallory.oneFactor(s.one))
	for what, planted := range map[string]string{"junk": "planted", "of another's live session": malloryOwn} {
		p := newPerson(t, plain)
		c := p.browser(s.one)
		plant(c, "sallyport", planted)
		plant(c, "sallyport_device", planted)
		c.Form("/auth/login", "username", p.Name, "password", harness.Password, "rd", "/app/x").Want(303)
		if sessionOf(c) == planted {
			t.Errorf("%s: the session keeps the planted id", what)
		}
		c.Get("/auth/me").Want(200).Is("username", p.Name)
		s.wantDead(planted)
	}
}

func fromPasswordToSecondFactor(t *testing.T, s *site) {
	p := newPerson(t, plain)
	p.enrolled(s.one)
	c := p.browser(s.one)
	c.Form("/auth/login", "username", p.Name, "password", harness.Password).Want(303)
	pending := cookieOf(c, "sallyport_pending")
	s.wantDead(pending)
	c.Form("/auth/2fa", "code", p.app.Code()).Want(303)
	if full := sessionOf(c); full == pending {
		t.Error("the session has the id of the sign-in that waited")
	}
	if strings.Contains(cookies(c), "sallyport_pending=") {
		t.Error("the pending sign-in stays in the browser")
	}
	p.browser(s.two).Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": p.app.Recovery[0]}).Want(401, "INVALID_TEMP_TOKEN")
	c.At(s.two).Get("/secret/x").Want(200)
}

func fromOneFactorByEnrolment(t *testing.T, s *site) {
	p := newPerson(t, plain)
	c := p.oneFactor(s.one)
	before := sessionOf(c)
	app := setUp(t, c)
	c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)
	if sessionOf(c) == before {
		t.Error("the session keeps its id over the enrolment")
	}
	s.wantDead(before)
	s.up.Forget()
	c.Get("/secret/x").Want(200)
}

func fromAnOldSecondFactorToAFreshOne(t *testing.T, s *site) {
	p := newPerson(t, plain)
	c := p.enrolled(s.one)
	before := sessionOf(c)
	c.Page("/auth/2fa?rd=/auth/account").Want(200)
	c.Form("/auth/2fa", "code", p.app.Code()).Want(303)
	if sessionOf(c) == before {
		t.Error("the session keeps its id over the step up")
	}
	s.wantDead(before)
	c.Get("/auth/me").Want(200)
}

func withEachRefreshToken(t *testing.T, s *site) {
	p := newPerson(t, plain)
	p.enrolled(s.one)
	first := p.browser(s.one).With("X-Auth-Strategy", "bearer").Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
	app := p.browser(s.two).With("X-Auth-Strategy", "bearer")
	second := app.Post("/auth/refresh", harness.Fields{"refreshToken": first.Text("refreshToken")}).Want(200)
	app.Post("/auth/refresh", harness.Fields{"refreshToken": first.Text("accessToken")}).Want(401)
	app.Post("/auth/refresh", harness.Fields{"refreshToken": first.Text("refreshToken")}).Want(401) // stolen: nobody keeps it
	app.Post("/auth/refresh", harness.Fields{"refreshToken": second.Text("refreshToken")}).Want(401)
	for _, tokens := range []harness.Answer{first, second} {
		s.wantDenied(from(t, s.one, p.from).With("Authorization", "Bearer "+tokens.Text("accessToken")).Get("/app/x"))
	}
}

// plant puts a cookie into the client's browser, as a neighbouring host or a line in the middle can.
func plant(c *harness.Client, name, value string) {
	c.T.Helper()
	u, err := url.Parse(c.Base)
	if err != nil {
		c.T.Fatal(err)
	}
	if c.Http.Jar == nil {
		if c.Http.Jar, err = cookiejar.New(nil); err != nil {
			c.T.Fatal(err)
		}
	}
	c.Http.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

func TestT19ASignOutIsInForceEverywhere(t *testing.T) {
	s := enter(t)
	for what, leave := range map[string]func(*testing.T, *harness.Client){
		"by a program":     func(_ *testing.T, c *harness.Client) { c.Post("/auth/logout", nil).Want(200) },
		"by the page":      func(_ *testing.T, c *harness.Client) { c.Form("/auth/logout").Want(303) },
		"at the other one": func(_ *testing.T, c *harness.Client) { c.At(s.two).Post("/auth/logout", nil).Want(200) },
		"with a planted twin": func(_ *testing.T, c *harness.Client) {
			bearing(c.T.(*testing.T), s.one, "planted; sallyport="+sessionOf(c)).Post("/auth/logout", nil).Want(200)
		},
		"on the list of sessions": func(t *testing.T, c *harness.Client) {
			list, _ := c.Get("/auth/sessions").Want(200).JSON["sessions"].([]any)
			if len(list) != 1 {
				t.Fatalf("%d sessions, want one", len(list))
			}
			c.Do("DELETE", fmt.Sprint("/auth/sessions/", list[0].(harness.Fields)["sessionHandle"]), "").Want(200)
		},
		"by a new sign-in in its browser": func(_ *testing.T, c *harness.Client) {
			other := newPerson(c.T.(*testing.T), plain)
			c.Form("/auth/login", "username", other.Name, "password", harness.Password, "rd", "/app/x").Want(303)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := s.forTest(t)
			p := newPerson(t, plain)
			c := p.enrolled(s.one)
			session := sessionOf(c)
			s.wantAlive(session)
			leave(t, c)
			s.wantDead(session)
		})
	}
	t.Run("of a bearer client", func(t *testing.T) {
		s := s.forTest(t)
		p := newPerson(t, plain)
		p.enrolled(s.one)
		tokens := p.browser(s.one).With("X-Auth-Strategy", "bearer").Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
		header := http.Header{"Authorization": {"Bearer " + tokens.Text("accessToken")}}
		s.up.Forget()
		app := from(t, s.two, p.from).With("Authorization", header.Get("Authorization"))
		app.Get("/secret/x").Want(200)
		wantClean(t, s.up.Only(t), p)
		app.At(s.one).Post("/auth/logout", nil).Want(200)
		s.wantDenied(app.Get("/secret/x"))
		for endpoint := range endpoints {
			s.wantDenied(ask(t, s.two, endpoint, "GET", "/secret/x", header))
		}
		app.Post("/auth/refresh", harness.Fields{"refreshToken": tokens.Text("refreshToken")}).Want(401)
	})
}

// pair starts two more replicas on the site's Redis, with one users file for both, in which the person is alone. One
// factor is enough on them. The path is that of the file.
func (s *site) pair(p *person) (*site, string) {
	s.t.Helper()
	settings := harness.Settings{
		Redis: s.redis, Users: []harness.User{p.User}, Trusted: frontProxy + "/32",
		Upstreams: "  - { url: \"" + s.up.URL + "\", access: { policy: one_factor, rules: [{ paths: [\"/admin/*\"], groups: [admins], policy: one_factor }] } }",
	}
	next := *s
	next.one = harness.StartGateway(s.t, settings)
	path := filepath.Join(next.one.Dir, "users.yaml")
	settings.More = "users: { file: " + path + " }"
	next.two = harness.StartGateway(s.t, settings)
	return &next, path
}

func TestT20WhatEndsAPersonsOtherSessions(t *testing.T) {
	s := enter(t)
	const next = "four candles and a fork handle"
	for what, change := range map[string]func(*site, *person, *harness.Client) *harness.Client{
		"a change of the password": func(s *site, p *person, c *harness.Client) *harness.Client {
			c.Post("/auth/change-password", harness.Fields{"currentPassword": harness.Password, "newPassword": next}).Want(200)
			return c
		},
		"a change of the password on the page": func(s *site, p *person, c *harness.Client) *harness.Client {
			c.Form("/auth/account/password", "currentPassword", harness.Password, "newPassword", next).Want(303)
			return c
		},
		"an enrolment": func(s *site, p *person, c *harness.Client) *harness.Client {
			app := setUp(s.t, c)
			c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)
			return c
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPerson(t, plain)
			s, _ := s.forTest(t).pair(p)
			here, there, app := p.browser(s.one), p.browser(s.two), p.browser(s.two).With("X-Auth-Strategy", "bearer")
			here.Login(p.Name).Want(200)
			there.Login(p.Name).Want(200)
			tokens := app.Login(p.Name).Want(200)
			s.afterChange(change(s, p, here), there, tokens)
		})
	}
	for what, change := range map[string]func(*site, *person, *harness.Client) *harness.Client{
		"turning the authenticator off": func(s *site, p *person, c *harness.Client) *harness.Client {
			c.Post("/auth/2fa/disable", nil).Want(200)
			return c
		},
		"another authenticator": func(s *site, p *person, c *harness.Client) *harness.Client {
			app := setUp(s.t, c)
			c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)
			return c
		},
		"a sign-in by recovery code": func(s *site, p *person, c *harness.Client) *harness.Client {
			next := p.browser(s.two)
			temp := next.Login(p.Name).Want(200).Text("tempToken")
			next.Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "recoveryCode": p.app.Recovery[0]}).Want(200)
			c.Get("/auth/me").Want(401)
			return next
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPerson(t, plain)
			s, _ := s.forTest(t).pair(p)
			here := p.enrolledHere(s.one)
			there := p.signedIn(s.two)
			app := p.browser(s.two).With("X-Auth-Strategy", "bearer")
			tokens := app.Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
			s.afterChange(change(s, p, here), there, tokens)
		})
	}
}

// forTest is the site with its failures told to another test.
func (s *site) forTest(t *testing.T) *site {
	next := *s
	next.t, next.one, next.two = t, as(t, s.one), as(t, s.two)
	return &next
}

// afterChange fails the test where the session that made a change has ended, or another one has not.
func (s *site) afterChange(here, other *harness.Client, tokens harness.Answer) {
	s.t.Helper()
	s.wantDead(sessionOf(other))
	s.wantDenied(from(s.t, s.one, newHost()).With("Authorization", "Bearer "+tokens.Text("accessToken")).Get("/app/x"))
	from(s.t, s.two, newHost()).Post("/auth/refresh", harness.Fields{"refreshToken": tokens.Text("refreshToken")}).Want(401)
	for _, g := range s.both() { // the other replica reads the users file once more first
		harness.Eventually(s.t, "the session that made the change lives", func() bool { return here.At(g).SignedIn() })
	}
}

// spoilt are Cookie lines made of a good session's value, and of another person's, that open nothing.
func spoilt(good, others string) map[string][]string {
	lines := map[string][]string{
		"empty": {"sallyport="}, "no value": {"sallyport"}, "quoted": {`sallyport="` + good + `"`}, "8 KiB": {"sallyport=" + strings.Repeat("A", 8<<10)},
		"8 KiB in front": {"sallyport=" + strings.Repeat("A", 8<<10) + good}, "8 KiB behind": {"sallyport=" + good + strings.Repeat("A", 8<<10)},
		"doubled, good first": {"sallyport=" + good + "; sallyport=x"}, "doubled, good last": {"sallyport=x; sallyport=" + good},
		"doubled, the same": {"sallyport=" + good + "; sallyport=" + good}, "in two lines": {"sallyport=" + good, "sallyport=x"},
		"two people's": {"sallyport=" + good + "; sallyport=" + others}, "two people's, the other way": {"sallyport=" + others + "; sallyport=" + good},
		"doubled, one empty": {"sallyport=; sallyport=" + good}, "doubled, one quoted": {`sallyport="` + good + `"; sallyport=` + good},
		"under another name": {"sallyport_pending=" + good + "; sallyport_device=" + good + "; sallyport_kept=" + good}, "with a prefix of https": {"__Host-sallyport=" + good},
		"in another letter case": {"Sallyport=" + good}, "in capitals": {"sallyport=" + strings.ToUpper(good)}, "behind a comma": {"a=b, sallyport=" + good},
		"as another's value": {"a=sallyport=" + good}, "as two cookies in one": {"sallyport=" + good + "," + others}, "with a path": {"$Version=1; sallyport=" + good + "x; $Path=/"},
		"percent-encoded": {"sallyport=%41" + good[1:]}, "in standard base64": {"sallyport=" + strings.NewReplacer("-", "+", "_", "/").Replace(good) + "="},
		"one of an https gateway's": {"__Secure-sallyport=" + good},
	}
	for _, c := range []string{"\x00", "\x01", "\t", "\x1f", "\x7f", "\x80", "\xff", "\x0b", ",", "\\", "\u200b"} {
		lines[fmt.Sprintf("%q in the middle", c)] = []string{"sallyport=" + good[:20] + c + good[20:]}
		lines[fmt.Sprintf("%q at the end", c)] = []string{"sallyport=" + good + c}
		lines[fmt.Sprintf("%q in the name", c)] = []string{"sally" + c + "port=" + good}
	}
	delete(lines, `"\t" at the end`) // RFC 9110 section 5.5: no part of the header's value
	for i := 0; i < len(good); i += 7 {
		lines[fmt.Sprintf("cut at %d", i)] = []string{"sallyport=" + good[:i]}
		lines[fmt.Sprintf("a character less at %d", i)] = []string{"sallyport=" + good[:i] + good[i+1:]}
		lines[fmt.Sprintf("a character more at %d", i)] = []string{"sallyport=" + good[:i] + "A" + good[i:]}
		flipped := byte('A')
		if good[i] == flipped {
			flipped = 'B'
		}
		lines[fmt.Sprintf("flipped at %d", i)] = []string{"sallyport=" + good[:i] + string(flipped) + good[i+1:]}
	}
	// The last character of base64 holds bits that mean nothing: each is another spelling of the same bytes.
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=" {
		if trimmed := strings.TrimRight(good, "="); !strings.HasSuffix(trimmed, string(c)) {
			lines[fmt.Sprintf("ends with %c", c)] = []string{"sallyport=" + trimmed[:len(trimmed)-1] + string(c) + good[len(trimmed):]}
		}
	}
	return lines
}

func TestT37ASpoiltSessionCookieOpensNothing(t *testing.T) {
	s := enter(t)
	p, other := newPerson(t, plain), newPerson(t, plain)
	good := sessionOf(p.enrolled(s.one))
	others := sessionOf(other.enrolled(s.one))
	for what, cookie := range spoilt(good, others) {
		header := []string{"Host: " + s.one.Address}
		for _, l := range cookie {
			header = append(header, "Cookie: "+l)
		}
		for _, path := range []string{"/app/x", "/secret/x"} {
			r := speak(t, s.one.Address, "GET", path, header...)
			if !r.denies() {
				t.Errorf("%s: %s: %d: %.200s", what, path, r.status, r.body)
			}
			if seen := s.up.Requests(); len(seen) != 0 {
				t.Errorf("%s: %s: the upstream saw %+v", what, path, seen)
				s.up.Forget()
			}
		}
		if r := speak(t, s.two.Address, "GET", "/auth/me", append(header, "Accept: application/json")...); r.status != 401 && r.status != 400 {
			t.Errorf("%s: /auth/me: %d: %.200s", what, r.status, r.body)
		}
	}
	if r := speak(t, s.one.Address, "GET", "/secret/x", "Host: "+s.one.Address, "Cookie: a=b; sallyport="+good+"; c=d"); r.status != 200 {
		t.Errorf("the session itself opens nothing: %d", r.status)
	}
	wantClean(t, s.up.Only(t), p)
}

func TestT44TheFlagsOfTheGatewaysCookies(t *testing.T) {
	s := enter(t)
	settings := s.settings()
	settings.PublicURL = "https://gate.example.test"
	secure := harness.StartGateway(t, settings)
	settings.PublicURL, settings.More = "https://gate.example.test", "session: { cookie_domain: example.test }"
	wide := harness.StartGateway(t, settings)
	for what, test := range map[string]struct {
		g              *harness.Gateway
		prefix, domain string
		secure         bool
	}{
		"http":               {s.one, "", "", false},
		"https":              {secure, "__Host-", "", true},
		"https for a domain": {wide, "", "example.test", true},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPerson(t, plain)
			c := from(t, as(t, test.g), p.from)
			if test.secure {
				c = c.With("Host", "gate.example.test")
			}
			seen := map[string]bool{}
			for _, a := range []harness.Answer{
				c.Form("/auth/login", "username", p.Name, "password", harness.Password),
				c.Form("/auth/login", "username", p.Name, "password", harness.Password, "rd", "/app/x", "remember", "1"),
				c.Form("/auth/logout"),
			} {
				for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
					seen[cookie.Name] = true
					if !strings.HasPrefix(cookie.Name, test.prefix+"sallyport") || cookie.Secure != test.secure || !cookie.HttpOnly || cookie.Path != "/" ||
						cookie.SameSite != http.SameSiteLaxMode || cookie.Domain != test.domain && cookie.MaxAge >= 0 {
						t.Errorf("%s sets %v", a.What, cookie)
					}
				}
			}
			for _, name := range []string{"sallyport", "sallyport_pending", "sallyport_device"} {
				if !seen[test.prefix+name] {
					t.Errorf("no cookie %s%s was set: %v", test.prefix, name, seen)
				}
			}
			if len(seen) != 3 {
				t.Errorf("cookies %v, want three", seen)
			}
		})
	}
}

func TestT44AnAppSetsNoCookieOfTheGateways(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	signedIn := p.enrolled(s.one)
	for _, name := range []string{"sallyport", "sallyport_pending", "sallyport_device", "sallyport_kept"} {
		for what, line := range map[string]string{
			"plainly": name + "=evil; Path=/", "for https": "__Host-" + name + "=evil; Path=/; Secure", "in capitals": strings.ToUpper(name) + "=evil",
			"without a name of its own": "=" + name + "=evil", "with two equals signs": "==" + name + "=evil", "with a space in front": "  " + name + "=evil",
			"with a space behind": name + " =evil", "with a tab": name + "\t=evil", "in quotes": `"` + name + `"=evil`, "for a domain": name + "=evil; Domain=127.0.0.1",
			"for a folder": name + "=evil; Path=/auth", "to end it": name + "=; Max-Age=0; Path=/", "without a value": name, "without a name, to end it": "=" + name + "; Max-Age=0",
			"in mixed case for https": "__host-" + name + "=evil; Path=/; Secure",
		} {
			for how, answer := range map[string]string{
				"an answer":            "HTTP/1.1 200 OK\r\nSet-Cookie: " + line + "\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\nok",
				"another case":         "HTTP/1.1 200 OK\r\nsEt-cOOkie: " + line + "\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\nok",
				"a redirect":           "HTTP/1.1 302 Found\r\nLocation: /app/y\r\nSet-Cookie: theirs=1\r\nSet-Cookie: " + line + "\r\nContent-Length: 0\r\n\r\n",
				"an error":             "HTTP/1.1 500 Oh\r\nSet-Cookie: " + line + "\r\nSet-Cookie: theirs=1\r\nContent-Length: 0\r\n\r\n",
				"a hint and an answer": "HTTP/1.1 103 Early Hints\r\nSet-Cookie: " + line + "\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\nok",
				"a trailer": "HTTP/1.1 200 OK\r\nSet-Cookie: theirs=1\r\nTrailer: Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n" +
					"2\r\nok\r\n0\r\nSet-Cookie: " + line + "\r\n\r\n",
			} {
				s.up.Answer("/app/x", answer)
				w := dial(t, s.one.Address)
				w.write("GET /app/x HTTP/1.1\r\nHost: " + s.one.Address + "\r\nCookie: " + cookies(signedIn) + "\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
				if raw := strings.ToLower(w.everything()); strings.Contains(raw, strings.ToLower(name)) || !strings.Contains(raw, "theirs=1") {
					t.Errorf("%s, %s, by %s: the browser gets %.600q", name, what, how, raw)
				}
			}
		}
	}
	s.up.Forget()
	// And none of the gateway's is the app's to see, under whatever name it travelled.
	cookie := cookies(signedIn) + "; __Host-sallyport=" + sessionOf(signedIn) + "; theirs=1; sallyport_pending=x; sallyport_kept=y; sallyporter=ours"
	bearing(t, s.one, sessionOf(signedIn)).With("Cookie", cookie).Get("/app/x").Want(200)
	seen := s.up.Only(t)
	if got := seen.values("Cookie"); len(got) != 1 || got[0] != "theirs=1; sallyporter=ours" {
		t.Errorf("the app sees the cookies %q", got)
	}
}
