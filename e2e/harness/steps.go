package harness

import (
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The headings of the pages.
const (
	LoginPage     = "Sign in"
	ChallengePage = "Enter your code"
	EnrollPage    = "Set up an authenticator app"
	CodesPage     = "Save your recovery codes"
	AccountPage   = "Your account"
	logoutPage    = "Sign out?"
)

// GivePassword fills in the login page that the tab shows.
func (p *Tab) GivePassword(name, password string) int {
	p.T.Helper()
	p.WantPage(LoginPage)
	p.Fill("#username", name)
	p.Fill("#password", password)
	return p.Follow("main form button[type=submit]")
}

// GiveCode fills in the code page that the tab shows.
func (p *Tab) GiveCode(code string) int {
	p.T.Helper()
	p.WantPage(ChallengePage)
	p.Fill("#code", code)
	return p.Follow("main form button[type=submit]")
}

// GiveRecoveryCode fills in the other form of the code page.
func (p *Tab) GiveRecoveryCode(code string) int {
	p.T.Helper()
	p.WantPage(ChallengePage)
	p.Click("details summary")
	p.Fill("#recovery-code", code)
	return p.Follow("details form button[type=submit]")
}

// Scan reads the QR code off the page as a phone would, from what can be seen.
func (p *Tab) Scan() *Authenticator {
	p.T.Helper()
	p.WantPage(EnrollPage)
	seen := Value(p, "taking a picture of the QR code", chromedp.Screenshot(chromedp.CSS("img.qr")))
	app := NewAuthenticator(p.T, ReadQR(p.T, seen))
	if typed := strings.ReplaceAll(p.Text("#secret"), " ", ""); typed != app.Key.Secret() {
		p.T.Errorf("the key to type in is %q, that of the QR code %q", typed, app.Key.Secret())
	}
	return app
}

// SetUp scans the QR code, types the first code and writes the recovery codes down. The tab is then where
// the person was going.
func (p *Tab) SetUp() *Authenticator {
	p.T.Helper()
	app := p.Scan()
	p.Fill("#code", app.Code())
	if status := p.Follow("main form button[type=submit]"); status != 200 {
		p.T.Fatalf("after the first code: status %d\n%s", status, p.State())
	}
	p.WantPage(CodesPage)
	app.Recovery = strings.Fields(p.Text("#codes"))
	if len(app.Recovery) != 10 {
		p.T.Fatalf("%d recovery codes on the page, want 10: %q", len(app.Recovery), app.Recovery)
	}
	p.Follow("main .primary")
	return app
}

// SignOut leaves by the sign-out page.
func (p *Tab) SignOut() {
	p.T.Helper()
	p.Visit("/auth/logout")
	p.WantPage(logoutPage)
	p.Follow("main form button[type=submit]")
}

// Keys presses keys, whatever has the focus; enter presses Enter and waits for the next page.
func (p *Tab) Keys(keys string) {
	p.T.Helper()
	p.Do("typing", chromedp.KeyEvent(keys))
}

func (p *Tab) Enter() int {
	p.T.Helper()
	return p.Leave("pressing Enter", chromedp.KeyEvent(kb.Enter))
}

// TabTo presses Tab until the element of that id has the focus; no id: the main button of the page.
func (p *Tab) TabTo(id string) {
	p.T.Helper()
	const focused = `document.activeElement.id || (document.activeElement.matches("main .primary") ? "" : "?")`
	for range 30 {
		if Value(p, "asking what has the focus", chromedp.Evaluate[string](focused)) == id {
			return
		}
		p.Keys(kb.Tab)
	}
	p.T.Fatalf("thirty presses of Tab do not reach #%s\n%s", id, p.State())
}

// EndSession signs out behind the page's back.
func (p *Tab) EndSession() {
	p.T.Helper()
	const signOut = `fetch("/auth/logout", {method: "POST"}).then(r => r.status)`
	if status := Value(p, "ending the session", chromedp.Evaluate[int](signOut, chromedp.EvalAwaitPromise)); status != 200 {
		p.T.Fatalf("ending the session: status %d", status)
	}
}
