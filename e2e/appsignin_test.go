package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// appSecret is the password that people give at the gateway for an app.
const appSecret = "the secret of nobody else"

// loginFields are what a form to sign in with has.
const loginFields = `<input name="u"><input type="password" name="p"><button>Go</button></form>`

// page answers with a page.
func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, text) // an error is the gateway's, that need not hear all of it
	}
}

// endless answers with a page that goes on until the gateway has had enough, at a pace.
func endless(piece string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
			if pause > 0 {
				http.NewResponseController(w).Flush() // an error is the gateway's again
				time.Sleep(pause)
			}
		}
	}
}

// onPost answers what the form sends, and shows the form before that.
func onPost(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			answer(w, r)
			return
		}
		page(`<form method="post">`+loginFields)(w, r)
	}
}

func redirect(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	}
}

// manyCookies sets a number of cookies before it answers.
func manyCookies(n int, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := range n {
			http.SetCookie(w, &http.Cookie{Name: fmt.Sprintf("c%d", i), Value: "x"})
		}
		then(w, r)
	}
}

// hostileApp is a login page that is none to be used, and what the gateway's log says of it.
type hostileApp struct {
	answer http.HandlerFunc
	says   string
}

// hostileApps are by the names of their only person. other is where none of them may have a password sent to.
func hostileApps(other string) map[string]hostileApp {
	const megabytes = 50 << 20
	filler := strings.Repeat("<p>filler</p>\n", 4<<10)
	return map[string]hostileApp{
		"huge": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(megabytes))
			w.Header().Set("Content-Type", "text/html")
			body := zeros(megabytes)
			io.Copy(w, &body) // an error is the gateway's
		}, "GET /huge/login answered with more than 2048 KiB, too long for a page to sign in on"},
		"nested":     {page(strings.Repeat("<form><div><table>", 50<<10) + loginFields), "GET /nested/login"},
		"rushing":    {endless(filler, 0), "answered with more than 2048 KiB"},
		"trickling":  {endless("<p>", 50*time.Millisecond), "the app is out of reach: GET /trickling/login: no whole answer in time"},
		"circling":   {redirect(302, "/circling/login"), "is the end of more than 10 redirects"},
		"leading":    {redirect(302, other+"/login"), "GET /leading/login answered 302, which leads out of the app"},
		"baking":     {manyCookies(500, page(`<form method="post">`+loginFields)), "GET /baking/login set more than 50 cookies"},
		"rebaking":   {onPost(manyCookies(500, redirect(302, "/rebaking/"))), "POST /rebaking/login set more than 50 cookies"},
		"elsewhere":  {page(`<form method="post" action="` + other + `/steal">` + loginFields), "has a login form that is sent elsewhere than to the app; the password was not sent"},
		"slashes":    {page(`<form method="post" action="//` + strings.TrimPrefix(other, "http://") + `/steal">` + loginFields), "is sent elsewhere than to the app"},
		"based":      {page(`<base href="` + other + `/"><form method="post" action="steal">` + loginFields), "is sent elsewhere than to the app"},
		"pressing":   {page(`<form method="post"><input name="u"><input type="password" name="p"><button formaction="` + other + `/steal">Go</button></form>`), "is sent elsewhere than to the app"},
		"forwarding": {onPost(redirect(307, other+"/steal")), "POST /forwarding/login answered 307 to somewhere out of the app"},
		"open":       {page(`<form action="/open/login">` + loginFields), "has a login form whose method is not post"},
		"binary":     {page("\x00\xff<form <<input type=password\x00 name=\xfe>\x1b"), "GET /binary/login"},
		"packed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			page("\x1f\x8b\x08\x00 no more of it")(w, r)
		}, "answered with a compressed page, which was not asked for"},
		"agreeing": {onPost(manyCookies(1, page("Welcome, whoever you are."))), "it was asked about a name and a password that nobody has, and took them"},
		"broken":   {onPost(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), "POST /broken/login answered 500"},
	}
}

// askAll configures an upstream and a source of one person for each app, at an address each.
func askAll(addresses map[string]string) harness.Settings {
	var sources, upstreams strings.Builder
	for name, address := range addresses {
		fmt.Fprintf(&sources, "    - { app: %[1]s, usernames: %[1]s, sign_in: { form: { page: /%[1]s/login } } }\n", name)
		fmt.Fprintf(&upstreams, "  - { name: %[1]s, path: /%[1]s, url: %[2]q, sign_in_to_app: { form: {} } }\n", name, address)
	}
	return harness.Settings{More: "users:\n  sources:\n" + sources.String(), Upstreams: upstreams.String()}
}

// wantAway gives an app's password to the gateway, as a program and on the page, and fails the test where the answer
// is another than 503 in words, or shows where the app is.
func wantAway(t *testing.T, g *harness.Gateway, name string) {
	t.Helper()
	program := g.Client().Post("/auth/login", harness.Fields{"username": name, "password": appSecret}).Want(503, "SOURCE_UNAVAILABLE")
	shown := g.Client().Form("/auth/login", "username", name, "password", appSecret).Want(503)
	if !strings.Contains(shown.Body, "The app that knows your password does not answer at the moment.") {
		t.Errorf("%s: the page does not say it in words: %s", name, shown.Body)
	}
	for _, a := range []harness.Answer{program, shown} {
		if text := fmt.Sprint(a.Header) + a.Body; strings.Contains(text, appSecret) || strings.Contains(text, "127.0.0.1:") || strings.Contains(text, "/steal") {
			t.Errorf("%s: the answer shows what is nobody's business: %s", name, text)
		}
	}
}

func TestNoLoginPageOfAnAppsBringsTheGatewayDownOrThePasswordToAnother(t *testing.T) {
	const allowed = 96 << 20 // with the race detector; a page of 50 MiB that is held whole takes several times that
	other := harness.StartUpstream(t)
	apps, addresses := hostileApps(other.URL), map[string]string{"garbage": "http://" + answering(t, "this is not HTTP\r\n\r\n")}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if strings.Contains(r.RequestURI, "secret") {
			t.Errorf("the password is in an address: %s", r.RequestURI)
		}
		apps[name].answer(w, r)
	}))
	t.Cleanup(up.Close)
	for name := range apps {
		addresses[name] = up.URL
	}
	apps["garbage"] = hostileApp{says: "GET /garbage/login: the connection broke, or the answer is not HTTP"}
	g := harness.StartGateway(t, askAll(addresses))
	before := g.Process.PeakMemory()
	for name, app := range apps {
		wantAway(t, g, name)
		line := regexp.MustCompile(`.* level=WARN .*source=` + name + ` .*`).FindString(g.Log())
		if !strings.Contains(line, app.says) {
			t.Errorf("%s: the log says %q, want %q", name, line, app.says)
		}
		if grown := g.Process.PeakMemory() - before; grown > allowed {
			t.Fatalf("%s: the gateway has taken %d bytes more, want at most %d", name, grown, allowed)
		}
	}
	other.Untouched()
	if log := g.Log(); strings.Contains(log, appSecret) || strings.Contains(log, up.URL) || strings.Contains(log, "/steal") {
		t.Errorf("the log holds a password or the address of an app:\n%s", log)
	}
	g.Client().Get("/auth/healthz").Want(200)
}

func TestANameThatCannotBeSeenWholeIsNoNameAtAll(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{
		More:      "users: { sources: [{ file: users.yaml }, { app: app, usernames: .*, sign_in: { form: { page: /login } } }] }",
		Upstreams: "  - { name: app, url: \"" + up.URL + "\" }",
	})
	for _, name := range []string{
		"al\nice", "al\rice", "alice\n", "\r\nalice", "alice\r\nX-Admin: yes", "al\x00ice", "alice\x00", "\u202ealice", "al\u2066ice\u2069",
		"ali\u200fce", "alice\u2028", "al\u0085ice",
	} {
		a := g.Client().Post("/auth/login", harness.Fields{"username": name, "password": appSecret})
		if a.Status != 400 || a.JSON["code"] != "INVALID_REQUEST" {
			t.Errorf("%q: %d %s, want 400 and INVALID_REQUEST", name, a.Status, a.Body)
		}
		if shown := g.Client().Form("/auth/login", "username", name, "password", appSecret); shown.Status != 400 || !strings.Contains(shown.Body, "<h1>") {
			t.Errorf("%q: the page has status %d, want 400", name, shown.Status)
		}
	}
	up.Untouched()
}
