package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// tour takes a browser through every page of the gateway, in each state that looks different, and calls
// inspect at each.
func tour(t *testing.T, inspect func(p *tab, state string)) {
	up, store := startUpstream(t), startRedis(t)
	g := startGateway(t, settings{
		Redis: store,
		Users: []user{{Name: "alice", Groups: "admins, staff"}, {Name: "bob"}},
		More:  "two_factor: { fresh_for: 5s }",
		Upstreams: fmt.Sprintf(`
  - { path: /app, url: %[1]q }
  - { path: /easy, url: %[1]q, access: { policy: one_factor } }
  - { path: /denied, url: %[1]q, access: { policy: deny } }
  - { path: /gone, url: "http://%[2]s", access: { policy: bypass } }
  - { path: /stuck, url: "http://%[3]s", access: { policy: bypass } }`, up.URL, freeAddress(t), stuckAddress(t)),
	})
	b := startBrowser(t)
	app := tourOfSigningIn(b.open(t, g.URL), inspect)
	tourOfBeingSignedIn(b.open(t, g.URL), app, inspect)
	tourWithOneFactor(b.open(t, g.URL), inspect)
	tourOfErrors(b.open(t, g.URL), store, inspect)
}

func tourOfSigningIn(p *tab, inspect func(*tab, string)) *authenticator {
	p.t.Helper()
	p.visit("/app/")
	inspect(p, "login")
	p.givePassword("alice", "wrong")
	inspect(p, "login refused")
	p.do("emptying the field", emptied("#username"))
	p.givePassword("alice", password)
	app := p.scan()
	inspect(p, "enrolment")
	p.fill("#code", app.wrong(1))
	p.follow("main form button[type=submit]")
	inspect(p, "enrolment refused")
	p.fill("#code", app.code())
	p.follow("main form button[type=submit]")
	p.wantPage(codesPage)
	inspect(p, "recovery codes")
	app.recovery = strings.Fields(p.text("#codes"))
	p.visit("/auth/logout")
	inspect(p, "sign out")
	p.follow("main form button[type=submit]")
	inspect(p, "signed out")
	return app
}

func tourOfBeingSignedIn(p *tab, app *authenticator, inspect func(*tab, string)) {
	p.t.Helper()
	p.visit("/auth/login")
	p.givePassword("alice", password)
	p.wantPage(challengePage)
	inspect(p, "code")
	p.giveCode(app.wrong(1))
	inspect(p, "code refused")
	p.giveRecoveryCode("aaaa-bbbb-cccc-dddd")
	inspect(p, "recovery code refused")
	p.fill("#recovery-code", app.recoveryCode())
	p.follow("details form button[type=submit]")
	p.visit("/auth/account")
	p.wantPage(accountPage)
	inspect(p, "account")
	time.Sleep(5 * time.Second) // fresh_for: the authenticator can then be changed after one more code only
	p.visit("/auth/account")
	inspect(p, "account a while later")
	p.visit("/auth/2fa?rd=/auth/account")
	inspect(p, "code once more")
	p.visit("/auth/account")
	p.click("section[aria-labelledby=password-heading] summary")
	p.fill("#current-password", "wrong")
	p.fill("#new-password", "another password")
	p.follow("section[aria-labelledby=password-heading] button[type=submit]")
	inspect(p, "password change refused")
	p.visit("/denied/")
	inspect(p, "error 403")
}

func tourWithOneFactor(p *tab, inspect func(*tab, string)) {
	p.t.Helper()
	p.visit("/easy/")
	p.givePassword("bob", password)
	p.visit("/auth/account")
	inspect(p, "account with one factor")
	for range 2 {
		p.visit("/easy/")
		const form = `document.body.innerHTML = '<form method="post" action="/easy/save?of=the+page"><button id="send">Save</button></form>'; 0`
		value(p, "putting a form there", chromedp.Evaluate[int](form))
		p.endSession()
		p.follow("#send")
		p.givePassword("bob", password)
	}
	inspect(p, "kept forms")
	p.follow("main .primary")
	p.visit("/auth/kept")
	p.follow(".kept form:last-of-type button")
	inspect(p, "no kept form")
}

func tourOfErrors(p *tab, store *redis, inspect func(*tab, string)) {
	p.t.Helper()
	for path, status := range map[string]int{"/nowhere": 404, "/gone/": 502, "/stuck/": 504} {
		if got := p.visit(path); got != status {
			p.t.Errorf("GET %s: status %d, want %d\n%s", path, got, status, p.state())
		}
		inspect(p, fmt.Sprintf("error %d", status))
	}
	store.stop()
	p.visit("/auth/login")
	if got := p.givePassword("alice", password); got != 503 {
		p.t.Errorf("signing in without Redis: status %d, want 503\n%s", got, p.state())
	}
	inspect(p, "error 503")
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
	tour(t, func(p *tab, state string) {
		seen = append(seen, state)
		for _, theme := range []string{"light", "dark"} {
			p.theme(theme)
			p.do("widening the window", chromedp.EmulateViewport(1280, 900))
			for _, violation := range p.violations(string(axe)) {
				t.Errorf("%s, %s: %s", state, theme, violation)
			}
			p.photograph(state, theme)
		}
		// WCAG 2.2, 1.4.10 Reflow: 320 CSS pixels without scrolling sideways.
		p.do("narrowing the window", chromedp.EmulateViewport(320, 640))
		const tooWide = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
		if by := value(p, "measuring", chromedp.Evaluate[int](tooWide)); by > 0 {
			t.Errorf("%s: %d pixels too wide for a window of 320", state, by)
		}
		p.do("widening the window", chromedp.EmulateViewport(1280, 900))
	})
	t.Logf("seen: %s", strings.Join(seen, ", "))
}

// violations runs axe-core, all of its rules, in the page.
func (p *tab) violations(axe string) []string {
	p.t.Helper()
	value(p, "loading axe-core", chromedp.Evaluate[int](axe+"; 0"))
	const run = `axe.run(document).then(r => r.violations.map(v =>
		v.id + ": " + v.help + ": " + v.nodes.map(n => n.target.join(" ")).join(", ")))`
	return value(p, "running axe-core", chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
}

// photograph leaves pictures of the page in the folder that -screenshots names, if any.
func (p *tab) photograph(state, theme string) {
	p.t.Helper()
	if *screenshots == "" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for _, size := range []struct{ width, height int64 }{{1280, 900}, {390, 844}} {
		p.do("sizing the window", chromedp.EmulateViewport(size.width, size.height))
		png := value(p, "taking a picture", chromedp.FullScreenshot(100))
		name := fmt.Sprintf("%s-%s-%dx%d.png", strings.ReplaceAll(state, " ", "-"), theme, size.width, size.height)
		if err := os.WriteFile(filepath.Join(*screenshots, name), png, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}
