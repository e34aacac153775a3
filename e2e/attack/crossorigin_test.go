package attack

import (
	"net/url"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// foreign are the ways in which another site's page sends a request with the person's cookies.
func foreign(own string) map[string]map[string]string {
	return map[string]map[string]string{
		"a foreign origin":                        {"Origin": "https://evil.example"},
		"an opaque origin":                        {"Origin": "null"},
		"the same host, another scheme":           {"Origin": strings.Replace(own, "http://", "ftp://", 1), "Sec-Fetch-Site": "same-site"},
		"the same host, another port":             {"Origin": "http://127.0.0.1:1"},
		"a host that begins with ours":            {"Origin": own + ".evil.example"},
		"a host that ends with ours":              {"Origin": "http://evil." + strings.TrimPrefix(own, "http://")},
		"a cross-site fetch":                      {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
		"a cross-site fetch without an Origin":    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
		"a cross-site fetch that names our own":   {"Origin": own, "Sec-Fetch-Site": "cross-site"},
		"a form of another site":                  {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "Accept": "text/html"},
		"a fetch of a sibling host":               {"Origin": "http://sibling.example", "Sec-Fetch-Site": "same-site"},
		"a sibling host's without an Origin":      {"Sec-Fetch-Site": "same-site"},
		"a site that this browser has no word of": {"Sec-Fetch-Site": "same-planet", "Origin": "https://evil.example"},
		"our own origin inside a list":            {"Origin": own + ", https://evil.example"},
		"our host as user information":            {"Origin": strings.Replace(own, "http://", "http://127.0.0.1@", 1) + ".evil.example"},
	}
}

// changes are the calls that change something, and the forms that do.
var (
	changingCalls = []string{
		"/auth/login", "/auth/logout", "/auth/2fa/setup", "/auth/2fa/verify-setup", "/auth/2fa/verify", "/auth/2fa/disable",
		"/auth/2fa/recovery-codes", "/auth/refresh", "/auth/change-password",
	}
	changingForms = []string{
		"/auth/login", "/auth/logout", "/auth/2fa", "/auth/enroll", "/auth/recovery-codes", "/auth/kept", "/auth/account/recovery-codes",
		"/auth/account/disable-2fa", "/auth/account/revoke", "/auth/account/revoke-others", "/auth/account/password",
	}
)

// victim is somebody signed in in two browsers, with everything that a change would be seen by.
type victim struct {
	*person
	here, there *harness.Client
	temp        string // a sign-in that waits for a code
}

func newVictim(t *testing.T, s *site) *victim {
	v := &victim{person: newPerson(t, plain)}
	v.here = v.enrolled(s.one)
	v.there = v.signedIn(s.two)
	v.temp = v.pending(s.one)
	return v
}

// fields are what every one of the calls would succeed with, as far as one body can hold it.
func (v *victim) fields() harness.Fields {
	return harness.Fields{
		"username": v.Name, "password": harness.Password, "tempToken": v.temp, "recoveryCode": v.app.Recovery[0],
		"currentPassword": harness.Password, "newPassword": "four candles and a fork handle",
	}
}

func (v *victim) form() string {
	return url.Values{
		"username": {v.Name}, "password": {harness.Password}, "code": {v.app.Recovery[0]}, "currentPassword": {harness.Password},
		"newPassword": {"four candles and a fork handle"},
	}.Encode()
}

// unchanged fails the test where something has changed.
func (v *victim) unchanged(t *testing.T) {
	t.Helper()
	for _, c := range []*harness.Client{v.here, v.there} {
		c.Get("/auth/me").Want(200).Is("isTotpEnabled", true)
		c.Get("/auth/2fa").Want(200).Is("recoveryCodesLeft", float64(10))
	}
	if list, _ := v.here.Get("/auth/sessions").Want(200).JSON["sessions"].([]any); len(list) != 2 {
		t.Errorf("%d sessions, want the two", len(list))
	}
}

func TestT16AnotherSitesPageChangesNothing(t *testing.T) {
	s := enter(t)
	v := newVictim(t, s)
	for what, headers := range foreign(s.one.URL) {
		t.Run(what, func(t *testing.T) {
			evil := v.here
			for name, value := range headers {
				evil = evil.With(name, value)
			}
			refused := func(a harness.Answer) {
				if a.Status != 403 || a.Header.Get("Set-Cookie") != "" {
					t.Errorf("%s: %d %q, want 403 and no cookie", a.What, a.Status, a.Header.Get("Set-Cookie"))
				}
			}
			for _, path := range changingCalls {
				refused(evil.Post(path, v.fields()))
				refused(evil.With("X-Auth-Strategy", "bearer").Post(path, v.fields()))
			}
			for _, path := range changingForms {
				refused(evil.With("Content-Type", "application/x-www-form-urlencoded").Do("POST", path, v.form()))
			}
			refused(evil.Do("DELETE", "/auth/sessions/any", ""))
		})
	}
	v.unchanged(t)
}

func TestT16ABodyOfATypeThatNeedsNoPreflightIsNoJSON(t *testing.T) {
	s := enter(t)
	v := newVictim(t, s)
	body := `{"username":"` + v.Name + `","password":"` + harness.Password + `","tempToken":"` + v.temp + `","recoveryCode":"` + v.app.Recovery[0] + `"}`
	for _, kind := range []string{
		"text/plain", "text/plain;x=application/json", "text/plain; charset=application/json", "multipart/form-data; boundary=application/json",
		"multipart/form-data", "application/x-www-form-urlencoded; application/json", "application/jsonp", "application/json, text/plain", "text/json",
		"application/javascript", ";application/json", "*/*", "",
	} {
		for _, path := range changingCalls {
			if path == "/auth/logout" {
				continue // signs out whatever it is sent
			}
			a := v.here.With("Content-Type", kind).Do("POST", path, body)
			asForm := path == "/auth/login" && strings.HasPrefix(kind, "application/x-www-form-urlencoded")
			if a.Status != 415 && !(asForm && a.Status == 400) {
				t.Errorf("%s as %q: %d, want 415: %s", path, kind, a.Status, a.Body)
			}
		}
	}
	v.unchanged(t)
}

func TestT16ByGETNothingChanges(t *testing.T) {
	s := enter(t)
	v := newVictim(t, s)
	query := "?_method=POST&_method=DELETE&method=POST&" + v.form() + "&totpCode=" + v.app.At(harness.Now()) + "&tempToken=" + url.QueryEscape(v.temp)
	for _, path := range append(append([]string{"/auth/sessions/any"}, changingCalls...), changingForms...) {
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			for _, override := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
				a := v.here.With(override, "POST").Do(method, path+query, "")
				if setsSession(a) || a.Status >= 500 {
					t.Errorf("%s: %d %q", a.What, a.Status, a.Header["Set-Cookie"])
				}
				a = v.here.With(override, "DELETE").With("Accept", "text/html").With("Sec-Fetch-Mode", "navigate").Do(method, path+query, "")
				if setsSession(a) || a.Status >= 500 {
					t.Errorf("%s as a page: %d %q", a.What, a.Status, a.Header["Set-Cookie"])
				}
			}
		}
		for _, method := range []string{"PUT", "PATCH", "MKCOL", "POSTX", "LINK"} {
			if a := v.here.Do(method, path+query, ""); a.Status != 405 && a.Status != 400 && a.Status != 501 {
				t.Errorf("%s: %d, want 405", a.What, a.Status)
			}
		}
	}
	v.unchanged(t)
}

func TestT17AnotherSiteSignsNobodyIn(t *testing.T) {
	s := enter(t)
	mallory := newPerson(t, plain)
	mallory.enrolled(s.one)
	for what, headers := range foreign(s.one.URL) {
		t.Run(what, func(t *testing.T) {
			c := from(t, s.one, newHost())
			for name, value := range headers {
				c = c.With(name, value)
			}
			for _, a := range []harness.Answer{
				c.Login(mallory.Name),
				c.With("X-Auth-Strategy", "bearer").Login(mallory.Name),
				c.With("Content-Type", "application/x-www-form-urlencoded").Do("POST", "/auth/login", mallory.loginForm()),
				c.With("Content-Type", "text/plain").Do("POST", "/auth/login", `{"username":"`+mallory.Name+`","password":"`+harness.Password+`"}`),
				c.Post("/auth/2fa/verify", harness.Fields{"tempToken": mallory.pending(s.two), "recoveryCode": mallory.app.Recovery[0]}),
			} {
				if a.Status != 403 || a.Header["Set-Cookie"] != nil || a.JSON["accessToken"] != nil {
					t.Errorf("%s: %d %q, want 403 and no cookie", a.What, a.Status, a.Header["Set-Cookie"])
				}
			}
			if cookies(c) != "" {
				t.Errorf("the browser has %q", cookies(c))
			}
		})
	}
	mallory.browser(s.two).Post("/auth/2fa/verify", harness.Fields{"tempToken": mallory.pending(s.two), "recoveryCode": mallory.app.Recovery[0]}).Want(200)
}

func (p *person) loginForm() string {
	return url.Values{"username": {p.Name}, "password": {harness.Password}, "rd": {"/app/x"}}.Encode()
}
