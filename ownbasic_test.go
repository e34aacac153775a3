package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// basicApp is an app that asks for name and password by HTTP Basic, and has an area that nobody may enter.
type basicApp struct {
	mu        sync.Mutex
	passwords map[string]string
	down      bool
	asked     int // how often the probe's page was
}

func (b *basicApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Path == "/whoami" {
		b.asked++
	}
	name, plain, _ := r.BasicAuth()
	right, known := b.passwords[name]
	switch {
	case b.down:
		w.WriteHeader(http.StatusInternalServerError)
	case !known || plain != right || strings.HasPrefix(r.URL.Path, "/area"):
		w.Header().Set("WWW-Authenticate", `Basic realm="app"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "the app asks")
	default:
		fmt.Fprintf(w, "inside as %s", name)
	}
}

// set changes the app while it runs.
func (b *basicApp) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func startBeforeBasic(t *testing.T) (*app, *basicApp) {
	t.Helper()
	b := &basicApp{passwords: map[string]string{"carol": "carols own", "dave": "dave's: ü", "alice": testPassword}}
	const sources = "users: { sources: [{ file: users.yaml }, { app: app, sign_in: { basic: { probe: /whoami } } }] }\n"
	return startAppBefore(t, ", access: { policy: one_factor }, sign_in_to_app: { basic: own }", sources, b.ServeHTTP), b
}

func TestEachRequestOfAPersonCarriesTheirOwnNameAndPassword(t *testing.T) {
	a, _ := startBeforeBasic(t)
	for name, plain := range map[string]string{"carol": "carols own", "dave": "dave's: ü"} {
		c := a.browser()
		a.expect(c, "POST", "/auth/login", login(name, plain), "", 200)
		for range 2 {
			if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "inside as "+name {
				t.Errorf("the app says %v to %s", text, name)
			}
		}
	}
}

func TestAPasswordOfTheUsersFileIsNotSentToAnAppThatHasPeopleOfItsOwn(t *testing.T) {
	a, _ := startBeforeBasic(t)
	c := a.signedIn("alice") // whose name and password happen to be the app's too
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("carol", "carols own")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || resp.Header["Www-Authenticate"] != nil {
		t.Errorf("%d %v, want 401 without the browser's own window", resp.StatusCode, resp.Header)
	}
}

func TestAnAnswerOf401ThatIsNotAboutThePasswordDoesNotLoseIt(t *testing.T) {
	a, b := startBeforeBasic(t)
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	before := b.asked
	for range 10 {
		if text := a.expect(c, "GET", "/area", "", "", 401)["text"]; text != "the app asks" {
			t.Errorf("the app's answer did not pass: %v", text)
		}
		a.expect(c, "GET", "/x", "", "", 200)
	}
	if n := b.asked - before; n == 0 || n > 2*3 { // twice each: without the password, and with it
		t.Errorf("the app was asked %d times whether the password is right, want 6 at most", n)
	}
	b.set(func() { b.down = true })
	a.expect(c, "GET", "/x", "", "", 500)
	b.set(func() { b.down = false })
	a.expect(c, "GET", "/x", "", "", 200)
}

func TestAnAppThatIsDownWhileItsNewPasswordIsTypedIsNoWrongPassword(t *testing.T) {
	a, b := startBeforeBasic(t)
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	b.set(func() { b.passwords["carol"] = "carols new one" })
	a.expect(c, "GET", "/x", "", "", 401)
	if code := a.expect(c, "GET", "/x", "", "", 401)["code"]; code != "APP_PASSWORD_NEEDED" {
		t.Errorf("the next request is answered with %v", code)
	}
	const form = "app=app&rd=/x&password="
	b.set(func() { b.down = true })
	if page := a.send(c, "POST", "/auth/app-password", "application/x-www-form-urlencoded", form+"carols+new+one"); !strings.Contains(page, "does not answer at the moment") {
		t.Errorf("while the app is down: %s", page)
	}
	b.set(func() { b.down = false })
	for _, wrong := range []string{"carols+own", "carols%09new"} {
		if page := a.send(c, "POST", "/auth/app-password", "application/x-www-form-urlencoded", form+wrong); !strings.Contains(page, "does not take that password either") {
			t.Errorf("%s: %s", wrong, page)
		}
	}
	a.send(c, "POST", "/auth/app-password", "application/x-www-form-urlencoded", form+"carols+new+one")
	a.expect(c, "GET", "/x", "", "", 200)
}
