package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

// tour takes a browser through every page of the gateway, in each state that looks different, and calls
// inspect at each.
func tour(t *testing.T, inspect func(p *harness.Tab, state string)) {
	up, store := harness.StartUpstream(t), harness.StartRedis(t)
	g := harness.StartGateway(t, harness.Settings{
		Redis: store,
		Users: []harness.User{{Name: "alice", Groups: "admins, staff"}, {Name: "bob"}},
		More:  "two_factor: { fresh_for: 5s }",
		Upstreams: fmt.Sprintf(`
  - { path: /app, url: %[1]q }
  - { path: /easy, url: %[1]q, access: { policy: one_factor } }
  - { path: /denied, url: %[1]q, access: { policy: deny } }
  - { name: wiki, path: /wiki, url: %[4]q, sign_in_to_app: { form: { page: /wiki/login }, when: [expired] }, login_hint: Use your wiki password. }
  - { path: /gone, url: "http://%[2]s", access: { policy: bypass } }
  - { path: /stuck, url: "http://%[3]s", access: { policy: bypass } }`, up.URL, harness.FreeAddress(t), stuckAddress(t), strictApp(t)),
	})
	b := harness.StartBrowser(t)
	app := tourOfSigningIn(b.Open(t, g.URL), inspect)
	tourOfBeingSignedIn(b.Open(t, g.URL), app, inspect)
	tourWithOneFactor(b.Open(t, g.URL), inspect)
	tourOfErrors(b.Open(t, g.URL), store, inspect)
}

func tourOfSigningIn(p *harness.Tab, inspect func(*harness.Tab, string)) *harness.Authenticator {
	p.T.Helper()
	p.Visit("/wiki/")
	inspect(p, "login with a hint")
	p.Visit("/app/")
	inspect(p, "login")
	p.GivePassword("alice", "wrong")
	inspect(p, "login refused")
	p.Do("emptying the field", harness.Emptied("#username"))
	p.GivePassword("alice", harness.Password)
	app := p.Scan()
	inspect(p, "enrolment")
	p.Fill("#code", app.Wrong(1))
	p.Follow("main form button[type=submit]")
	inspect(p, "enrolment refused")
	p.Fill("#code", app.Code())
	p.Follow("main form button[type=submit]")
	p.WantPage(harness.CodesPage)
	inspect(p, "recovery codes")
	app.Recovery = strings.Fields(p.Text("#codes"))
	p.Visit("/auth/logout")
	inspect(p, "sign out")
	p.Follow("main form button[type=submit]")
	inspect(p, "signed out")
	return app
}

func tourOfBeingSignedIn(p *harness.Tab, app *harness.Authenticator, inspect func(*harness.Tab, string)) {
	p.T.Helper()
	p.Visit("/auth/login")
	p.GivePassword("alice", harness.Password)
	p.WantPage(harness.ChallengePage)
	inspect(p, "code")
	p.GiveCode(app.Wrong(1))
	inspect(p, "code refused")
	p.GiveRecoveryCode("aaaa-bbbb-cccc-dddd")
	inspect(p, "recovery code refused")
	p.Fill("#recovery-code", app.RecoveryCode())
	p.Follow("details form button[type=submit]")
	p.Visit("/auth/account")
	p.WantPage(harness.AccountPage)
	inspect(p, "account")
	p.Visit("/auth/signed-in")
	inspect(p, "signed in over a page")
	time.Sleep(5 * time.Second) // fresh_for: the authenticator can then be changed after one more code only
	p.Visit("/auth/account")
	inspect(p, "account a while later")
	p.Visit("/auth/2fa?rd=/auth/account")
	inspect(p, "code once more")
	p.Visit("/auth/account")
	p.Click("section[aria-labelledby=password-heading] summary")
	p.Fill("#current-password", "wrong")
	p.Fill("#new-password", "another password")
	p.Follow("section[aria-labelledby=password-heading] button[type=submit]")
	inspect(p, "password change refused")
	p.Visit("/auth/app-password?app=wiki&rd=/wiki/")
	inspect(p, "app password")
	p.Fill("#password", "wrong")
	p.Follow("main form button[type=submit]")
	inspect(p, "app password refused")
	p.Visit("/denied/")
	inspect(p, "error 403")
}

func tourWithOneFactor(p *harness.Tab, inspect func(*harness.Tab, string)) {
	p.T.Helper()
	p.Visit("/easy/")
	p.GivePassword("bob", harness.Password)
	p.Visit("/auth/account")
	inspect(p, "account with one factor")
	for range 2 {
		p.Visit("/easy/")
		const form = `document.body.innerHTML = '<form method="post" action="/easy/save?of=the+page"><button id="send">Save</button></form>'; 0`
		harness.Value(p, "putting a form there", chromedp.Evaluate[int](form))
		p.EndSession()
		p.Follow("#send")
		p.GivePassword("bob", harness.Password)
	}
	inspect(p, "kept forms")
	p.Follow("main .primary")
	p.Visit("/auth/kept")
	p.Follow(".kept form:last-of-type button")
	inspect(p, "no kept form")
}

func tourOfErrors(p *harness.Tab, store *harness.Redis, inspect func(*harness.Tab, string)) {
	p.T.Helper()
	for path, status := range map[string]int{"/nowhere": 404, "/gone/": 502, "/stuck/": 504} {
		if got := p.Visit(path); got != status {
			p.T.Errorf("GET %s: status %d, want %d\n%s", path, got, status, p.State())
		}
		inspect(p, fmt.Sprintf("error %d", status))
	}
	store.Stop()
	p.Visit("/auth/login")
	if got := p.GivePassword("alice", harness.Password); got != 503 {
		p.T.Errorf("signing in without Redis: status %d, want 503\n%s", got, p.State())
	}
	inspect(p, "error 503")
}

// strictApp starts an app with a form to sign in with that takes no password, and returns its URL.
func strictApp(t *testing.T) string {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<form method="post"><input name="user"><input name="pass" type="password"></form>`)
	}))
	t.Cleanup(app.Close)
	return app.URL
}

// stuckAddress returns an address at which no connection is ever made: what listens there accepts none and
// its queue is full, so that the kernel drops what comes.
func stuckAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatalf("ten connections to %s do not fill its queue", address)
	return ""
}

func TestEveryPageIsAccessibleAndFitsAPhoneInLightAndDark(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is missing: run `make setup`: %v", err)
	}
	var seen []string
	tour(t, func(p *harness.Tab, state string) {
		seen = append(seen, state)
		for _, theme := range []string{"light", "dark"} {
			p.Theme(theme)
			p.Do("widening the window", chromedp.EmulateViewport(1280, 900))
			for _, violation := range violations(p, string(axe)) {
				t.Errorf("%s, %s: %s", state, theme, violation)
			}
			photograph(p, state, theme)
		}
		// WCAG 2.2, 1.4.10 Reflow: 320 CSS pixels without scrolling sideways.
		p.Do("narrowing the window", chromedp.EmulateViewport(320, 640))
		const tooWide = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
		if by := harness.Value(p, "measuring", chromedp.Evaluate[int](tooWide)); by > 0 {
			t.Errorf("%s: %d pixels too wide for a window of 320", state, by)
		}
		p.Do("widening the window", chromedp.EmulateViewport(1280, 900))
	})
	t.Logf("seen: %s", strings.Join(seen, ", "))
}

// violations runs axe-core, all of its rules, in the page.
func violations(p *harness.Tab, axe string) []string {
	p.T.Helper()
	harness.Value(p, "loading axe-core", chromedp.Evaluate[int](axe+"; 0"))
	const run = `axe.run(document).then(r => r.violations.map(v =>
		v.id + ": " + v.help + ": " + v.nodes.map(n => n.target.join(" ")).join(", ")))`
	return harness.Value(p, "running axe-core", chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
}

// photograph leaves pictures of the page in the folder that -screenshots names, if any.
func photograph(p *harness.Tab, state, theme string) {
	p.T.Helper()
	if *screenshots == "" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		p.T.Fatal(err)
	}
	for _, size := range []struct{ width, height int64 }{{1280, 900}, {390, 844}} {
		p.Do("sizing the window", chromedp.EmulateViewport(size.width, size.height))
		png := harness.Value(p, "taking a picture", chromedp.FullScreenshot(100))
		name := fmt.Sprintf("%s-%s-%dx%d.png", strings.ReplaceAll(state, " ", "-"), theme, size.width, size.height)
		if err := os.WriteFile(filepath.Join(*screenshots, name), png, 0o644); err != nil {
			p.T.Fatal(err)
		}
	}
}
