package e2e

import (
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

func TestARefusedRequestHasItsStatusAndItsCode(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: harness.Proxied(harness.StartUpstream(t)),
		Users:     []harness.User{{Name: "alice"}, {Name: "dora", Disabled: true}},
	})
	c := g.Client()
	good := `{"username":"alice","password":"` + harness.Password + `"}`
	for _, test := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"wrong password", "POST", "/login", "application/json", `{"username":"alice","password":"no"}`, 401, "INVALID_CREDENTIALS"},
		{"unknown user", "POST", "/login", "application/json", `{"username":"nobody","password":"no"}`, 401, "INVALID_CREDENTIALS"},
		{"disabled user", "POST", "/login", "application/json", `{"username":"dora","password":"` + harness.Password + `"}`, 401, "INVALID_CREDENTIALS"},
		{"no password", "POST", "/login", "application/json", `{"username":"alice"}`, 400, "INVALID_REQUEST"},
		{"a password too long to hash", "POST", "/login", "application/json", `{"username":"alice","password":"` + strings.Repeat("x", 2000) + `"}`, 400, "INVALID_REQUEST"},
		{"a key twice", "POST", "/login", "application/json", `{"username":"bob","username":"alice","password":"` + harness.Password + `"}`, 400, "INVALID_REQUEST"},
		{"a key in other letter case", "POST", "/login", "application/json", `{"Username":"alice","password":"` + harness.Password + `"}`, 400, "INVALID_REQUEST"},
		{"a key twice in two letter cases", "POST", "/login", "application/json", `{"Username":"bob",` + good[1:], 400, "INVALID_REQUEST"},
		{"something after the object", "POST", "/login", "application/json", good + good, 400, "INVALID_REQUEST"},
		{"an array", "POST", "/login", "application/json", `[` + good + `]`, 400, "INVALID_REQUEST"},
		{"a number for a text", "POST", "/login", "application/json", `{"username":1,"password":"x"}`, 400, "INVALID_REQUEST"},
		{"broken JSON", "POST", "/login", "application/json", `{"username":`, 400, "INVALID_REQUEST"},
		{"deep JSON", "POST", "/login", "application/json", strings.Repeat("[", 20000), 400, "INVALID_REQUEST"},
		{"more than 64 KiB", "POST", "/login", "application/json", `{"username":"` + strings.Repeat("x", 65<<10) + `"}`, 413, ""},
		{"plain text", "POST", "/2fa/verify", "text/plain", `{}`, 415, ""},
		{"a form where JSON is meant", "POST", "/2fa/verify", "multipart/form-data; boundary=x", `{}`, 415, ""},
		{"another type with JSON's name in it", "POST", "/2fa/verify", "text/plain;x=application/json", `{}`, 415, ""},
		{"unknown temp token", "POST", "/2fa/verify", "application/json", `{"tempToken":"x","totpCode":"123456"}`, 401, "INVALID_TEMP_TOKEN"},
		{"no session", "GET", "/me", "", "", 401, "UNAUTHENTICATED"},
		{"no session to set up", "POST", "/2fa/setup", "application/json", "", 401, ""},
		{"no session to disable", "POST", "/2fa/disable", "application/json", "", 401, "UNAUTHENTICATED"},
		{"no session to list", "GET", "/sessions", "", "", 401, "UNAUTHENTICATED"},
		{"wrong method", "GET", "/2fa/verify", "", "", 405, ""},
		{"wrong method on a reading call", "POST", "/me", "application/json", `{}`, 405, ""},
		{"no such call", "GET", "/nothing", "", "", 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With("Accept", "application/json")
			c.T = t
			if test.contentType != "" {
				c = c.With("Content-Type", test.contentType)
			}
			a := c.Do(test.method, "/auth"+test.path, test.body)
			if a.Status != test.status {
				t.Fatalf("status %d, want %d: %s", a.Status, test.status, a.Body)
			}
			if words, _ := a.JSON["error"].(string); words == "" {
				t.Errorf("no words for a person in %s", a.Body)
			}
			if code, _ := a.JSON["code"].(string); code == "" || (test.code != "" && code != test.code) {
				t.Errorf("code %q, want %q", code, test.code)
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q, want no-store", got)
			}
			if test.status == 405 && a.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

func TestUnknownDisabledAndWrongLookTheSame(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: harness.Proxied(harness.StartUpstream(t)),
		Users:     []harness.User{{Name: "alice"}, {Name: "dora", Disabled: true}},
	})
	bodies, headers := map[string]bool{}, map[string]bool{}
	for _, name := range []string{"alice", "dora", "nobody", "nobody@example.com"} {
		a := g.Client().Post("/auth/login", harness.Fields{"username": name, "password": "not the password"}).Want(401)
		a.Header.Del("Date")
		bodies[a.Body] = true
		var b strings.Builder
		if err := a.Header.Write(&b); err != nil {
			t.Fatal(err)
		}
		headers[b.String()] = true
	}
	if len(bodies) != 1 || len(headers) != 1 {
		t.Errorf("the answers tell users apart: %v %v", bodies, headers)
	}
}

func TestACodeOfTheWrongShapeIsRefused(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t)), More: "two_factor: { max_attempts: 100 }"})
	app := g.Client().Enrol("alice")
	c := g.Client()
	pending := c.Login("alice").Want(200).Text("tempToken")
	code := app.At(harness.Now() + 1)
	for _, shape := range []string{`""`, "null", "0", `"12345"`, `"1234567"`, `"` + code + `\u0000"`, `"１２３４５６"`, "[]", "{}", `["` + code + `"]`} {
		a := c.With("Content-Type", "application/json").Do("POST", "/auth/2fa/verify", `{"tempToken":"`+pending+`","totpCode":`+shape+`}`)
		if a.Status != 400 && a.Status != 401 && a.Status != 429 {
			t.Errorf("totpCode %s: status %d, want 400 or 401: %s", shape, a.Status, a.Body)
		}
	}
	c.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending}).Want(400, "INVALID_REQUEST")
	if c.SignedIn() {
		t.Error("one of them signs in")
	}
}

func TestAnotherSiteChangesNothing(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	c.Login("alice").Want(200)
	calls := []string{"/login", "/2fa/setup", "/2fa/verify-setup", "/2fa/verify", "/2fa/disable", "/2fa/recovery-codes", "/refresh", "/change-password", "/logout"}
	for name, evil := range map[string]*harness.Client{
		"a foreign origin":            c.With("Origin", "https://evil.example"),
		"an opaque origin":            c.With("Origin", "null"),
		"a cross-site fetch":          c.With("Sec-Fetch-Site", "cross-site").With("Origin", "https://evil.example"),
		"a fetch from a sibling host": c.With("Sec-Fetch-Site", "same-site").With("Origin", "https://other.example"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range calls {
				if a := evil.Post("/auth"+call, harness.Fields{"username": "alice", "password": harness.Password}); a.Status != 403 || a.JSON["code"] != "CROSS_ORIGIN" {
					t.Errorf("%s: %d %v, want 403 CROSS_ORIGIN", a.What, a.Status, a.JSON["code"])
				}
			}
			for _, page := range []string{"/login", "/2fa", "/enroll", "/logout"} {
				a := evil.With("Content-Type", "application/x-www-form-urlencoded").Do("POST", "/auth"+page, "username=alice&password=x")
				if a.Status != 403 {
					t.Errorf("%s as a form: status %d, want 403", a.What, a.Status)
				}
			}
		})
	}
	c.Get("/auth/me").Want(200)
}

func TestPagesAndAnswersAreNotKeptFramedOrSniffed(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	for _, a := range []harness.Answer{
		g.Client().Page("/auth/login"), g.Client().Get("/auth/me"), g.Client().Page("/app"), g.Client().Page("/auth/nothing"),
	} {
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control is %q, want no-store", a.What, got)
		}
	}
	page := g.Client().Page("/auth/login").Want(200)
	for header, part := range map[string]string{
		"Content-Security-Policy": "frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "",
	} {
		if got := page.Header.Get(header); got == "" || !strings.Contains(got, part) {
			t.Errorf("%s of the login page is %q, want it to hold %q", header, got, part)
		}
	}
	if csp := page.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") {
		t.Errorf("the policy allows inline scripts or styles: %s", csp)
	}
}

func TestAReturnURLNeverLeavesTheGatewaysHosts(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(up, "one_factor")})
	for rd, want := range map[string]string{
		"/app?a=b":                               "/app?a=b",
		g.URL + "/app":                           g.URL + "/app",
		"https://evil.example/":                  "",
		"//evil.example/":                        "",
		`/\evil.example/`:                        "",
		"javascript:alert(1)":                    "",
		"http://" + g.Address + "@evil.example/": "",
		"http://evil.example\\@" + g.Address:     "",
		"\thttps://evil.example/":                "",
		"/app\r\nX-Injected: yes":                "",
	} {
		a := g.Client().Form("/auth/login", "username", "alice", "password", harness.Password, "rd", rd).Want(303)
		location := a.Header.Get("Location")
		if want != "" && location != want {
			t.Errorf("rd %q leads to %q, want %q", rd, location, want)
		}
		if strings.Contains(location, "evil") || a.Header.Get("X-Injected") != "" {
			t.Errorf("rd %q leads to %q", rd, location)
		}
	}
}
