package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The headings of the pages.
const (
	loginPage     = "Sign in"
	challengePage = "Enter your code"
	enrollPage    = "Set up an authenticator app"
	codesPage     = "Save your recovery codes"
	accountPage   = "Your account"
	logoutPage    = "Sign out?"
)

// givePassword fills in the login page that the tab shows.
func (p *tab) givePassword(name, password string) int {
	p.t.Helper()
	p.wantPage(loginPage)
	p.fill("#username", name)
	p.fill("#password", password)
	return p.follow("main form button[type=submit]")
}

// giveCode fills in the code page that the tab shows.
func (p *tab) giveCode(code string) int {
	p.t.Helper()
	p.wantPage(challengePage)
	p.fill("#code", code)
	return p.follow("main form button[type=submit]")
}

// giveRecoveryCode fills in the other form of the code page.
func (p *tab) giveRecoveryCode(code string) int {
	p.t.Helper()
	p.wantPage(challengePage)
	p.click("details summary")
	p.fill("#recovery-code", code)
	return p.follow("details form button[type=submit]")
}

// scan reads the QR code off the page as a phone would, from what can be seen.
func (p *tab) scan() *authenticator {
	p.t.Helper()
	p.wantPage(enrollPage)
	seen := value(p, "taking a picture of the QR code", chromedp.Screenshot(chromedp.CSS("img.qr")))
	app := newAuthenticator(p.t, readQR(p.t, seen))
	if typed := strings.ReplaceAll(p.text("#secret"), " ", ""); typed != app.key.Secret() {
		p.t.Errorf("the key to type in is %q, that of the QR code %q", typed, app.key.Secret())
	}
	return app
}

// setUp scans the QR code, types the first code and writes the recovery codes down. The tab is then where
// the person was going.
func (p *tab) setUp() *authenticator {
	p.t.Helper()
	app := p.scan()
	p.fill("#code", app.code())
	if status := p.follow("main form button[type=submit]"); status != 200 {
		p.t.Fatalf("after the first code: status %d\n%s", status, p.state())
	}
	p.wantPage(codesPage)
	app.recovery = strings.Fields(p.text("#codes"))
	if len(app.recovery) != 10 {
		p.t.Fatalf("%d recovery codes on the page, want 10: %q", len(app.recovery), app.recovery)
	}
	p.follow("main .primary")
	return app
}

// signOut leaves by the sign-out page.
func (p *tab) signOut() {
	p.t.Helper()
	p.visit("/auth/logout")
	p.wantPage(logoutPage)
	p.follow("main form button[type=submit]")
}

// demo is `sallyport demo` and what it printed.
type demo struct {
	*gateway
	User, Password string
}

func startDemo(t *testing.T) demo {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	t.Cleanup(func() { // after the demo has ended
		if left, err := filepath.Glob(filepath.Join(os.TempDir(), "sallyport-demo-*")); err != nil || len(left) != 0 {
			t.Errorf("the demo leaves %q behind, %v", left, err)
		}
	})
	g := &gateway{t: t, Address: freeAddress(t), Dir: t.TempDir()}
	g.URL = "http://" + g.Address
	g.process = start(t, g.Dir, binary, "demo", "--listen", g.Address)
	eventually(t, "the demo serves and has said so", func() bool {
		return g.healthy() && strings.Contains(g.log(), "Ctrl-C") || g.process.ended()
	})
	t.Cleanup(g.stop)
	if g.process.ended() {
		t.Fatalf("the demo ended at once:\n%s", g.log())
	}
	g.URL = g.printed("open")
	if port(t, hostOf(t, g.URL)) != port(t, g.Address) {
		t.Errorf("the demo prints %s and listens at %s", g.URL, g.Address)
	}
	return demo{gateway: g, User: g.printed("user name"), Password: g.printed("password")}
}

// printed returns the last word of the line that begins with the label.
func (g *gateway) printed(label string) string {
	g.t.Helper()
	for line := range strings.Lines(g.log()) {
		if words := strings.Fields(line); strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), label+" ") {
			return words[len(words)-1]
		}
	}
	g.t.Fatalf("the demo prints no %s:\n%s", label, g.log())
	return ""
}

func TestThePersonOfTheDemoSignsInWithAPasswordAndAPhone(t *testing.T) {
	b := startBrowser(t)
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "with JavaScript", false: "without JavaScript"}[scripts]
		t.Run(name, func(t *testing.T) {
			d := startDemo(t)
			p := b.open(t, d.URL)
			if !scripts {
				p.withoutScripts()
			}
			p.visit("/")
			p.givePassword(d.User, d.Password)
			app := p.setUp()
			p.wantApp(d.User)

			p.signOut()
			p.visit("/")
			p.givePassword(d.User, d.Password)
			p.giveCode(app.code())
			p.wantApp(d.User)

			p.signOut()
			p.visit("/")
			p.givePassword(d.User, d.Password)
			p.giveRecoveryCode(app.recoveryCode())
			p.wantApp(d.User)
		})
	}
}

// wantApp fails the test where the tab does not show the sample app, with the user that the gateway names.
func (p *tab) wantApp(user string) {
	p.t.Helper()
	if strings.HasPrefix(p.path(), "/auth") {
		p.t.Fatalf("the tab is still at the gateway's own pages\n%s", p.state())
	}
	p.visit("/headers")
	if text := p.text("body"); !strings.Contains(text, "Remote-User") || !strings.Contains(text, user) {
		p.t.Errorf("the app does not show Remote-User: %s\n%s", user, text)
	}
}

func TestTheFragmentOfTheAddressIsKeptOverASignIn(t *testing.T) {
	g := startGateway(t, settings{Upstreams: proxied(startUpstream(t))})
	p := startBrowser(t).open(t, g.URL)
	p.visit("/page?x=1#row-3")
	p.givePassword("alice", password)
	p.setUp()
	if address := value(p, "reading the address", chromedp.Location()); address != g.URL+"/page?x=1#row-3" {
		t.Errorf("the sign-in ended at %s", address)
	}
}

func TestASignInNeedsNoMouse(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: proxied(up)})
	p := startBrowser(t).open(t, g.URL)

	p.visit("/")
	p.wantPage(loginPage)
	p.tabTo("username")
	p.keys("alice")
	p.tabTo("password")
	p.keys(password)
	p.enter()
	app := p.scan()
	p.tabTo("code")
	p.keys(app.code())
	p.enter()
	p.wantPage(codesPage)
	p.tabTo("")
	p.enter()
	if got := up.requests(); len(got) == 0 || got[len(got)-1].Header.Get("Remote-User") != "alice" {
		t.Errorf("the upstream saw %v, want a request of alice's", got)
	}
}

// proxied is the configuration of one upstream with nothing but its URL.
func proxied(up *upstream) string { return "  - { url: \"" + up.URL + "\" }" }

// keys presses keys, whatever has the focus; enter presses Enter and waits for the next page.
func (p *tab) keys(keys string) {
	p.t.Helper()
	p.do("typing", chromedp.KeyEvent(keys))
}

func (p *tab) enter() int {
	p.t.Helper()
	return p.leave("pressing Enter", chromedp.KeyEvent(kb.Enter))
}

// tabTo presses Tab until the element of that id has the focus; no id: the main button of the page.
func (p *tab) tabTo(id string) {
	p.t.Helper()
	const focused = `document.activeElement.id || (document.activeElement.matches("main .primary") ? "" : "?")`
	for range 30 {
		if value(p, "asking what has the focus", chromedp.Evaluate[string](focused)) == id {
			return
		}
		p.keys(kb.Tab)
	}
	p.t.Fatalf("thirty presses of Tab do not reach #%s\n%s", id, p.state())
}
