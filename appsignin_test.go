package main

import (
	"bytes"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"crypto/rand"
)

// formApp is an app with a form to sign in with, a token in it against forged requests, and sessions of its own.
type formApp struct {
	mu        sync.Mutex
	passwords map[string]string
	sessions  map[string]string // cookie: name
	tokens    map[string]bool
	posts     []string // the names that were tried
	down      bool
	downAfter int // so many posts; 0: never
}

func newFormApp() *formApp {
	return &formApp{passwords: map[string]string{"carol": "carols own", "dave": "daves own", "alice": "alice at the app"}, sessions: map[string]string{}, tokens: map[string]bool{}}
}

func (f *formApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	who := ""
	if c, err := r.Cookie("appsession"); err == nil {
		who = f.sessions[c.Value]
	}
	switch {
	case f.down || f.downAfter > 0 && len(f.posts) >= f.downAfter:
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == "/login" && r.Method == http.MethodPost:
		f.signIn(w, r)
	case r.URL.Path == "/login":
		token := rand.Text()
		f.tokens[token] = true
		f.form(w, http.StatusOK, token)
	case r.URL.Path == "/api":
		if who == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "api of %s", who)
	case who == "":
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.Path), http.StatusFound)
	default:
		body := r.FormValue("note")
		fmt.Fprintf(w, "inside as %s (%s) at %s %s", who, r.Header.Get("Remote-User"), r.URL.Path, body)
	}
}

func (f *formApp) form(w http.ResponseWriter, status int, token string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<form action="/search"><input name="q"></form><form method="post" action="login">
		<input type="hidden" name="token" value="%s"><input name="user"><input type="password" name="pass"><button>Go</button></form>`, html.EscapeString(token))
}

func (f *formApp) signIn(w http.ResponseWriter, r *http.Request) {
	name, token := r.PostFormValue("user"), r.PostFormValue("token")
	f.posts = append(f.posts, name)
	if right, known := f.passwords[name]; !known || right != r.PostFormValue("pass") || !f.tokens[token] {
		f.form(w, http.StatusOK, token)
		return
	}
	id := rand.Text()
	f.sessions[id] = name
	http.SetCookie(w, &http.Cookie{Name: "appsession", Value: id, Path: "/", HttpOnly: true})
	http.Redirect(w, r, "/", http.StatusFound)
}

// forget ends every session of the app's.
func (f *formApp) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.sessions)
}

func (f *formApp) setPassword(name, plain string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passwords[name] = plain
}

func (f *formApp) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// breakDownAfter has the app break down after so many more attempts to sign in; fewer than none: not at all.
func (f *formApp) breakDownAfter(attempts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.downAfter = 0; attempts >= 0 {
		f.downAfter = len(f.posts) + attempts
	}
}

// tried returns how often a name's password was tried at the app.
func (f *formApp) tried(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, post := range f.posts {
		if post == name {
			n++
		}
	}
	return n
}

const askTheApp = "users: { sources: [{ file: users.yaml }, { app: app, sign_in: { form: { page: /login } }, groups: [app-users] }] }\n"

// startBeforeForm starts a gateway in front of the app, whose people it asks the app about.
func startBeforeForm(t *testing.T, when, policy string) (*app, *formApp) {
	t.Helper()
	f := newFormApp()
	return startAppBefore(t, ", access: { policy: "+policy+" }, sign_in_to_app: { form: {}, when: ["+when+"] }, login_hint: Use your app password.", askTheApp, f.ServeHTTP), f
}

func TestThePeopleOfAnAppSignInOnceWithItsPasswordAndACode(t *testing.T) {
	a, _ := startBeforeForm(t, "sign_in", "two_factor")
	c := a.browser()
	temp := a.expect(c, "POST", "/auth/login", login("Carol", "carols own"), "", 403)["tempToken"].(string)
	secret := a.expect(c, "POST", "/auth/2fa/setup", "", temp, 200)["secret"].(string)
	a.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, a.code(secret, 0)), temp, 200)
	if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "inside as carol (carol) at /x " {
		t.Errorf("the app says %v", text)
	}
	me := a.expect(c, "GET", "/auth/me", "", "", 200)
	if me["sub"] != "app:app:carol" || me["username"] != "carol" || fmt.Sprint(me["groups"]) != "[app-users]" {
		t.Errorf("me is %v", me)
	}

	again := a.browser()
	temp = a.expect(again, "POST", "/auth/login", login("carol", "carols own"), "", 200)["tempToken"].(string)
	a.expect(again, "GET", "/x", "", "", 401)
	a.expect(again, "POST", "/auth/2fa/verify", fmt.Sprintf(`{"tempToken":%q,"totpCode":%q}`, temp, a.code(secret, 1)), "", 200)
	if text := a.expect(again, "GET", "/", "", "", 200)["text"]; text != "inside as carol (carol) at / " {
		t.Errorf("the app says %v", text)
	}
}

func TestAWrongPasswordAnAppThatIsDownAndOneTheGatewayKnowsAreToldApart(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in", "one_factor")
	c := a.browser()
	for _, body := range []string{login("carol", "wrong"), login("nobody", "carols own"), login("alice", "alice at the app"), login("x!", "carols own")} {
		if code := a.expect(c, "POST", "/auth/login", body, "", 401)["code"]; code != "INVALID_CREDENTIALS" {
			t.Errorf("%s: %v", body, code)
		}
	}
	if n := f.tried("alice"); n != 0 {
		t.Errorf("the app was asked %d times about a user of the users file", n)
	}
	a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)

	f.setDown(true)
	if code := a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 503)["code"]; code != "SOURCE_UNAVAILABLE" {
		t.Errorf("an app that is down: %v", code)
	}
	a.expect(c, "POST", "/auth/login", login("bob", testPassword), "", 200)
	f.setDown(false)
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
}

func TestTheGatewayCannotBeUsedToGuessTheAppsPasswords(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in", "one_factor")
	c := a.browser()
	refused := 0
	for i := range 15 {
		status, _ := a.call(c, "POST", "/auth/login", login("carol", fmt.Sprint("guess ", i)), "")
		if status == 429 {
			refused++
		}
	}
	if n := f.tried("carol"); n != 10 || refused != 5 {
		t.Errorf("the app was asked %d times, and %d guesses were refused, want 10 and 5", n, refused)
	}
}

func TestAPersonWhoseSessionAtTheAppHasEndedIsSignedInAgainAndNoticesNothing(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in, expired", "one_factor")
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	a.expect(c, "GET", "/x", "", "", 200)
	f.forget()
	if text := a.expect(c, "GET", "/api", "", "", 200)["text"]; text != "api of carol" {
		t.Errorf("after a 401: %v", text)
	}
	if text := a.expect(c, "GET", "/api", "", "", 200)["text"]; text != "api of carol" || f.tried("carol") != 3 {
		t.Errorf("%v, after %d sign-ins, want the cookies of the third to be kept", text, f.tried("carol"))
	}
	f.forget()
	resp := a.send(c, "POST", "/note", "application/x-www-form-urlencoded", "note=kept+text")
	if resp != "inside as carol (carol) at /note kept text" {
		t.Errorf("a form of somebody whom the app had forgotten: %s", resp)
	}
}

// send posts a body as a page does, and returns the text of the answer.
func (a *app) send(c *http.Client, method, path, contentType, body string) string {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	_, answer := a.do(c, r)
	text, _ := answer["text"].(string)
	return text
}

func TestAPasswordThatWasChangedInTheAppIsAskedForAndTheWorkGoesOn(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in, expired", "one_factor")
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	f.setPassword("carol", "carols new one")
	f.forget()
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/x?y=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	ask := resp.Header.Get("Location")
	if resp.StatusCode != 302 || ask != "/auth/app-password?app=app&rd=%2Fx%3Fy%3D1" {
		t.Fatalf("%d to %s", resp.StatusCode, ask)
	}
	if page := a.page(c, ask); !strings.Contains(page, "Use your app password.") || !strings.Contains(page, `value="carol"`) {
		t.Errorf("the page does not say which password, or whose: %s", page)
	}
	// Nobody signs in again with a password that was refused once.
	before := f.tried("carol")
	a.expect(c, "GET", "/api", "", "", 401)
	if f.tried("carol") != before {
		t.Error("the old password was tried again")
	}
	if page := a.send(c, "POST", "/auth/app-password", "application/x-www-form-urlencoded", "app=app&password=wrong&rd=/x"); !strings.Contains(page, "does not take that password either") {
		t.Errorf("a wrong password again: %s", page)
	}
	a.send(c, "POST", "/auth/app-password", "application/x-www-form-urlencoded", "app=app&password=carols+new+one&rd=/x")
	a.expect(c, "GET", "/api", "", "", 200)
	f.forget()
	a.expect(c, "GET", "/api", "", "", 200)
}

func (a *app) page(c *http.Client, path string) string {
	a.Helper()
	return a.send(c, "GET", path, "text/plain", "")
}

func TestTwoPeopleAreNeverInEachOthersSessionAtTheApp(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in, expired", "one_factor")
	var all sync.WaitGroup
	for name, plain := range map[string]string{"carol": "carols own", "dave": "daves own"} {
		c := a.browser()
		a.expect(c, "POST", "/auth/login", login(name, plain), "", 200)
		all.Go(func() {
			for range 20 {
				f.forget()
				if status, answer := a.call(c, "GET", "/api", "", ""); status == 200 && answer["text"] != "api of "+name {
					t.Errorf("%s: %v", name, answer)
				}
			}
		})
	}
	all.Wait()
}

func TestNoAppIsSentThePasswordOfAnotherSourcesPerson(t *testing.T) {
	first, second := newFormApp(), newFormApp()
	behind := httptest.NewServer(second)
	t.Cleanup(behind.Close)
	entry := func(page string) string {
		return ", access: { policy: one_factor }, sign_in_to_app: { form: { page: " + page + " }, when: [sign_in, expired] }"
	}
	a := startAppBefore(t, entry("/login")+" }\n  - { name: second, path: /second, strip_path: true, url: "+behind.URL+entry("/second/login"), askTheApp, first.ServeHTTP)
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	a.expect(c, "GET", "/api", "", "", 200)
	a.expect(c, "GET", "/second/api", "", "", 401)
	if n := second.tried("carol"); n != 0 {
		t.Errorf("the second app was sent a password of the first one's %d times", n)
	}
}

func TestAnAppThatForgetsEverybodyAtOnceIsNotSignedInToWithoutEnd(t *testing.T) {
	a, f := startBeforeForm(t, "expired", "one_factor")
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
	before := f.tried("carol")
	for range 10 {
		f.forget()
		a.call(c, "GET", "/api", "", "")
	}
	if n := f.tried("carol") - before; n != 3 {
		t.Errorf("carol was signed in %d times within a minute, want 3", n)
	}
}

func TestNobodyIsInTheAppAsWhoeverHadTheBrowserBefore(t *testing.T) {
	f := newFormApp()
	for when, entry := range map[string]string{"at the start": "[sign_in, expired]", "later alone": "[expired]"} {
		a := startAppBefore(t, ", access: { policy: one_factor }, sign_out: { path: /logout, cookies: [\"app*\"] }, sign_in_to_app: { form: {}, when: "+entry+" }", askTheApp, f.ServeHTTP)
		c := a.browser()
		a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 200)
		if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "inside as carol (carol) at /x " {
			t.Errorf("%s: the app says %v", when, text)
		}
		f.breakDownAfter(1) // it was asked about the password
		a.expect(c, "POST", "/auth/login", login("dave", "daves own"), "", 200)
		f.breakDownAfter(-1)
		if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "inside as dave (dave) at /x " {
			t.Errorf("%s: the app says %v", when, text)
		}
		// A user of the users file, whom the app does not know.
		a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)
		if status, answer := a.call(c, "GET", "/x", "", ""); status != 302 {
			t.Errorf("%s: the app takes alice for somebody: %v", when, answer)
		}
	}
}

func TestTheLoginPageSaysWhichPassword(t *testing.T) {
	a, _ := startBeforeForm(t, "sign_in", "one_factor")
	if page := a.page(a.browser(), "/auth/login?rd=/x"); !strings.Contains(page, "Use your app password.") {
		t.Errorf("the page says nothing of it: %s", page)
	}
}

func TestNeitherTheStoreNorTheLogHoldsAnAppsPassword(t *testing.T) {
	a, f := startBeforeForm(t, "sign_in, expired", "two_factor")
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("carol", "carols own"), "", 403)
	f.setPassword("dave", "another one")
	a.expect(c, "POST", "/auth/login", login("dave", "daves own"), "", 401)
	files, err := filepath.Glob(a.file("data/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err == nil && (bytes.Contains(content, []byte("carols own")) || bytes.Contains(content, []byte("daves own"))) {
			t.Errorf("%s holds a password", name)
		}
	}
	if log := a.log.String(); strings.Contains(log, "carols own") || strings.Contains(log, "daves own") {
		t.Errorf("the log holds a password: %s", log)
	}
}
