package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheProbeTellsWhetherSignInsWillBeUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		form, as, typed string
		down            bool
		code            int
		saw             string
	}{
		"right":                             {form: "page: /login", saw: "probed app: the app refuses this name and password: POST /login answered 200 with a login form"},
		"right, and somebody's password":    {form: "page: /login", as: "carol", typed: "carols own", saw: `probed app: the app takes the name and password of "carol"`},
		"a slip in somebody's password":     {form: "page: /login", as: "carol", typed: "carols one", code: exitUsage, saw: `upstream app: the app refuses this name and password: POST /login answered 200 with a login form and no new cookie (asked about "carol" and`},
		"success that no success is":        {form: "page: /login, success: { status: [204] }", as: "carol", typed: "carols own", code: exitUsage, saw: "answered 302 to / and a new cookie, which fits neither success nor failure"},
		"success that every answer is":      {form: "page: /login, success: { status: [200, 302] }, failure: { status: [500] }", code: exitUsage, saw: "it was asked about a name and a password that nobody has, and took them"},
		"failure that no failure is":        {form: "page: /login, failure: { status: [401] }", code: exitUsage, saw: "which fits neither success nor failure"},
		"a page without a form":             {form: "page: /api", code: exitUsage, saw: "config.yaml:3: upstream app: the app's answer is neither yes nor no: GET /api answered 401 with something other than HTML; set page to the login page"},
		"a field that the form has not got": {form: "page: /login, password_field: pw", code: exitUsage, saw: `has no form with a field "pw"`},
		"an app that is down":               {form: "page: /login", down: true, code: exitFailed, saw: "upstream app: the app is out of reach: GET /login: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			app := httptest.NewServer(newFormApp())
			defer app.Close()
			if c.down {
				app.Close()
			}
			args := []string{"--probe"}
			if c.as != "" {
				args = append(args, "--as", c.as)
			}
			code, text := check(t, "users: { sources: [{ app: app, sign_in: { form: { "+c.form+" } } }] }\nupstreams:\n  - { name: app, url: "+app.URL+" }\n", c.typed, args...)
			if code != c.code || !strings.Contains(text, c.saw) {
				t.Errorf("exit status %d, want %d and %q:\n%s", code, c.code, c.saw, text)
			}
			if c.typed != "" && strings.Contains(text, c.typed) {
				t.Errorf("the password is in what it says:\n%s", text)
			}
		})
	}
}

// check runs sallyport check on a configuration, with somebody who types, and returns the exit status and what it says.
func check(t *testing.T, configuration, typed string, args ...string) (int, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := run(t.Context(), append([]string{"check", "--config", path}, args...), terminal{strings.NewReader(typed + "\n"), &out, &out})
	return code, out.String()
}

func TestSomebodysPasswordIsReadForAProbeAlone(t *testing.T) {
	if code, text := check(t, "upstreams: []\n", "a password", "--as", "carol"); code != exitUsage || !strings.Contains(text, "needs --probe") {
		t.Errorf("exit status %d: %s", code, text)
	}
}
