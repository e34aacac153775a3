package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

// demo is `sallyport demo` and what it printed.
type demo struct {
	*harness.Gateway
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
	g := &harness.Gateway{T: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	g.URL = "http://" + g.Address
	g.Process = harness.Start(t, g.Dir, harness.Binary, "demo", "--listen", g.Address)
	harness.Eventually(t, "the demo serves and has said so", func() bool {
		return g.Healthy() && strings.Contains(g.Log(), "Ctrl-C") || g.Process.Ended()
	})
	t.Cleanup(g.Stop)
	if g.Process.Ended() {
		t.Fatalf("the demo ended at once:\n%s", g.Log())
	}
	g.URL = printed(g, "open")
	if harness.Port(t, harness.HostOf(t, g.URL)) != harness.Port(t, g.Address) {
		t.Errorf("the demo prints %s and listens at %s", g.URL, g.Address)
	}
	return demo{Gateway: g, User: printed(g, "user name"), Password: printed(g, "password")}
}

// printed returns the last word of the line that begins with the label.
func printed(g *harness.Gateway, label string) string {
	g.T.Helper()
	for line := range strings.Lines(g.Log()) {
		if words := strings.Fields(line); strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), label+" ") {
			return words[len(words)-1]
		}
	}
	g.T.Fatalf("the demo prints no %s:\n%s", label, g.Log())
	return ""
}

func TestThePersonOfTheDemoSignsInWithAPasswordAndAPhone(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "with JavaScript", false: "without JavaScript"}[scripts]
		t.Run(name, func(t *testing.T) {
			d := startDemo(t)
			p := b.Open(t, d.URL)
			if !scripts {
				p.WithoutScripts()
			}
			p.Visit("/")
			p.GivePassword(d.User, d.Password)
			app := p.SetUp()
			wantApp(p, d.User)

			p.SignOut()
			p.Visit("/")
			p.GivePassword(d.User, d.Password)
			p.GiveCode(app.Code())
			wantApp(p, d.User)

			p.SignOut()
			p.Visit("/")
			p.GivePassword(d.User, d.Password)
			p.GiveRecoveryCode(app.RecoveryCode())
			wantApp(p, d.User)
		})
	}
}

// wantApp fails the test where the tab does not show the sample app, with the user that the gateway names.
func wantApp(p *harness.Tab, user string) {
	p.T.Helper()
	if strings.HasPrefix(p.Path(), "/auth") {
		p.T.Fatalf("the tab is still at the gateway's own pages\n%s", p.State())
	}
	p.Visit("/headers")
	if text := p.Text("body"); !strings.Contains(text, "Remote-User") || !strings.Contains(text, user) {
		p.T.Errorf("the app does not show Remote-User: %s\n%s", user, text)
	}
}

func TestTheFragmentOfTheAddressIsKeptOverASignIn(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(harness.StartUpstream(t))})
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/page?x=1#row-3")
	p.GivePassword("alice", harness.Password)
	p.SetUp()
	if address := harness.Value(p, "reading the address", chromedp.Location()); address != g.URL+"/page?x=1#row-3" {
		t.Errorf("the sign-in ended at %s", address)
	}
}

func TestASignInNeedsNoMouse(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: harness.Proxied(up)})
	p := harness.StartBrowser(t).Open(t, g.URL)

	p.Visit("/")
	p.WantPage(harness.LoginPage)
	p.TabTo("username")
	p.Keys("alice")
	p.TabTo("password")
	p.Keys(harness.Password)
	p.Enter()
	app := p.Scan()
	p.TabTo("code")
	p.Keys(app.Code())
	p.Enter()
	p.WantPage(harness.CodesPage)
	p.TabTo("")
	p.Enter()
	if got := up.Requests(); len(got) == 0 || got[len(got)-1].Header.Get("Remote-User") != "alice" {
		t.Errorf("the upstream saw %v, want a request of alice's", got)
	}
}
