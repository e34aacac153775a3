package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sharedSecret = "the secret of an app's account"

// sawHeaders is an app that answers with what it was told of who asks.
func sawHeaders(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/broken" {
		panic(http.ErrAbortHandler)
	}
	saw := map[string]string{}
	for name, values := range r.Header {
		if strings.Contains("Authorization X-Api-Key X-Api-Tenant X_api_key Remote-User", name) {
			saw[name] = strings.Join(values, " & ")
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(saw)
}

// secretFile writes a file for a test's configuration, and returns its path.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startWithAccount starts a gateway before sawHeaders that signs people in to it, and lets everybody in to /open.
func startWithAccount(t *testing.T, signInToApp string) *app {
	t.Helper()
	const access = ", access: { policy: one_factor, rules: [{ paths: [/open], policy: bypass }, { policy: one_factor }] }"
	return startAppBefore(t, access+", sign_in_to_app: "+signInToApp, "log: { level: debug }\n", sawHeaders)
}

// saw returns what the app is told of a request that says who asks by itself.
func (a *app) saw(c *http.Client, path string) map[string]any {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), "GET", a.url+path, nil)
	if err != nil {
		a.Fatal(err)
	}
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("root:guessed")))
	r.Header.Set("X-Api-Key", "guessed")
	r.Header["x_api_key"] = []string{"guessed"}
	status, answer := a.do(c, r)
	if status != http.StatusOK {
		a.Fatalf("GET %s: %d %v", path, status, answer)
	}
	return answer
}

func (a *app) signedIn(name string) *http.Client {
	a.Helper()
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login(name, testPassword), "", 200)
	return c
}

func basicOf(name, plain string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+plain))
}

func TestEverybodyWhoIsSignedInHasTheAppsHeadersAndNobodyElse(t *testing.T) {
	a := startWithAccount(t, "{ header: { X-API-Tenant: ours }, header_file: { X-API-Key: "+secretFile(t, sharedSecret+"\n")+" } }")
	for _, name := range []string{"alice", "bob"} {
		saw := a.saw(a.signedIn(name), "/x")
		if saw["X-Api-Key"] != sharedSecret || saw["X-Api-Tenant"] != "ours" || saw["X_api_key"] != nil || saw["Remote-User"] != name {
			t.Errorf("the app was told of %s: %v", name, saw)
		}
	}
	for who, c := range map[string]*http.Client{"nobody": a.browser(), "alice": a.signedIn("alice")} {
		if saw := a.saw(c, "/open"); saw["X-Api-Key"] != "guessed" || saw["X-Api-Tenant"] != nil {
			t.Errorf("on a path that is open to everybody the app was told of %s: %v", who, saw)
		}
	}
	a.keepsToItself(sharedSecret)
}

func TestEverybodyWhoIsSignedInHasTheSharedAccount(t *testing.T) {
	a := startWithAccount(t, "{ basic: { username: shared, password_file: "+secretFile(t, sharedSecret)+" } }")
	for _, name := range []string{"alice", "bob"} {
		if saw := a.saw(a.signedIn(name), "/x"); saw["Authorization"] != basicOf("shared", sharedSecret) {
			t.Errorf("the app was told of %s: %v", name, saw)
		}
	}
	if saw := a.saw(a.browser(), "/open"); saw["Authorization"] != basicOf("root", "guessed") {
		t.Errorf("on a path that is open to everybody the app was told: %v", saw)
	}
	a.keepsToItself(sharedSecret)
}

func TestEachPersonHasTheirOwnAccountOrThatOfTheirGroupOrNone(t *testing.T) {
	const people = "people:\n  ALICE: { username: alice.l, password: " + sharedSecret + " }\n"
	for _, c := range []struct {
		file string
		bob  any
	}{
		{people + "groups:\n  - { group: admins, username: root, password: of the admins }\n  - { group: staff, username: crew, password: of the staff }\n", basicOf("crew", "of the staff")},
		{people, nil},
	} {
		a := startWithAccount(t, "{ basic: { map_file: "+secretFile(t, c.file)+" } }")
		if saw := a.saw(a.signedIn("alice"), "/x"); saw["Authorization"] != basicOf("alice.l", sharedSecret) {
			t.Errorf("the app was told of alice: %v", saw)
		}
		if saw := a.saw(a.signedIn("bob"), "/x"); saw["Authorization"] != c.bob {
			t.Errorf("the app was told of bob: %v, want %v", saw, c.bob)
		}
		if saw := a.saw(a.browser(), "/open"); saw["Authorization"] != basicOf("root", "guessed") {
			t.Errorf("on a path that is open to everybody the app was told: %v", saw)
		}
		a.keepsToItself(sharedSecret)
	}
}

// keepsToItself fails the test where a secret, as it stands or as HTTP Basic writes it, is in what the commands say, the
// log or the gateway's files.
func (a *app) keepsToItself(secret string) {
	a.Helper()
	broken := a.expect(a.signedIn("alice"), "GET", "/broken", "", "", 502)
	said := map[string]string{"the log": a.log.String(), "the answer of a broken app": fmt.Sprint(broken)}
	for _, args := range [][]string{{"check"}, {"explain", "/x"}, {"explain", "/x", "--user", "alice"}, {"explain", "/open"}} {
		var out, errs bytes.Buffer
		code := run(a.Context(), append(args, "--config", a.file("config.yaml")), terminal{strings.NewReader(""), &out, &errs})
		if code != exitDone {
			a.Errorf("%s: %d %s", args, code, errs.String())
		}
		said[strings.Join(args, " ")] = out.String() + errs.String()
	}
	if !strings.Contains(said["explain /x --user alice"], "app        by ") {
		a.Errorf("explain does not say how alice is signed in to the app: %s", said["explain /x --user alice"])
	}
	files, err := filepath.Glob(a.file("data/*"))
	if err != nil || len(files) == 0 {
		a.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		if content, err := os.ReadFile(name); err == nil {
			said[name] = string(content)
		}
	}
	for where, text := range said {
		for _, form := range []string{secret, strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="), basicOf("shared", secret), basicOf("alice.l", secret)} {
			if strings.Contains(text, form) {
				a.Errorf("%s holds the secret: %s", where, text)
			}
		}
	}
}

func TestNoErrorOfAWrongAccountShowsItsSecret(t *testing.T) {
	for what, c := range map[string]struct{ signInToApp, want string }{
		"a header of two lines":     {"{ header_file: { X-API-Key: " + secretFile(t, "one\n"+sharedSecret) + " } }", "sign_in_to_app.header.X-API-Key: needs a value of one line"},
		"a header given twice":      {"{ header: { X-API-Key: " + sharedSecret + " }, header_file: { X-API-Key: " + secretFile(t, sharedSecret) + " } }", "given together with header"},
		"a header of the gateway's": {"{ header: { Remote-User: " + sharedSecret + " } }", "is said by the gateway"},
		"a header that frames":      {"{ header: { Content-Length: " + sharedSecret + " } }", "Content-Length"},
		"a header that is not text": {"{ header: { X-API-Key: [" + sharedSecret + "] } }", "X-API-Key"},
		"a file that is not there":  {"{ header_file: { X-API-Key: /nowhere/key } }", "/nowhere/key"},
		"a password of two lines":   {"{ basic: { username: shared, password_file: " + secretFile(t, "one\n"+sharedSecret) + " } }", "holds a control character or a line break"},
		"a name with a colon":       {"{ basic: { username: \"sha:red\", password: " + sharedSecret + " } }", "no : in a name"},
		"a map without a password":  {"{ basic: { map_file: " + secretFile(t, "people:\n  alice: { username: a, passwort: "+sharedSecret+" }\n") + " } }", "passwort"},
		"a map that is not one":     {"{ basic: { map_file: " + secretFile(t, sharedSecret) + " } }", "map_file"},
		"a map with a line break":   {"{ basic: { map_file: " + secretFile(t, "people:\n  alice: { username: a, password: \""+sharedSecret+"\\n\" }\n") + " } }", "people.alice"},
		"a map of two kinds":        {"{ basic: { username: shared, password: " + sharedSecret + ", map_file: /nowhere/map } }", "want own, or username and password, or map_file"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte("upstreams:\n  - { name: app, url: http://127.0.0.1:1, sign_in_to_app: "+c.signInToApp+" }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "users.yaml"), []byte("users: {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"check", "--config", path}, terminal{strings.NewReader(""), &out, &errs})
		if text := out.String() + errs.String(); code != exitUsage || !strings.Contains(text, c.want) || strings.Contains(text, sharedSecret) {
			t.Errorf("%s: %d %s\nwant %d, %q and no secret", what, code, text, exitUsage, c.want)
		}
	}
}
