package apps

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

// newJupyterPassword takes the place of jupyterPassword in some tests.
const newJupyterPassword = "another password of its own"

// goodbyeFiles are asked for by the page with which Jupyter says goodbye, when nobody is signed in any more.
var goodbyeFiles = []string{"custom/custom.css", "static/auth/", "static/components/requirejs/require.js"}

// jupyterPlaces are where the page has Jupyter, with what people type there.
var jupyterPlaces = []struct{ heading, host, base, cookie string }{
	{atTheRoot, "notebook.example.com", "/", "username-notebook-example-com-"}, // and the port
	{underAPath, "apps.example.com", "/jupyter/", "jupyter"},
}

// ownJupyter is a Jupyter with whose password people sign in at the gateway.
type ownJupyter struct {
	*realApp
	process *harness.Process
	gateway *harness.Gateway
	origin  string
	base    string
}

// startOwnJupyter starts Jupyter, and a gateway as the page says of Jupyter's own password. edit gives old and new texts of
// the gateway's configuration.
func startOwnJupyter(t *testing.T, heading, host, base string, edit ...string) *ownJupyter {
	t.Helper()
	j := &ownJupyter{base: base}
	j.realApp = startApp(t, "jupyter.md", heading, "8888", func(a *realApp) *harness.Process {
		j.process = a.jupyter()
		return j.process
	})
	_, page, found := strings.Cut(harness.Read(t, "docs/apps/jupyter.md"), "## With Jupyter's own password\n")
	_, section, under := strings.Cut(page, "\n#"+heading)
	if !found || !under {
		t.Fatalf("the page has no #%s with Jupyter's own password", heading)
	}
	j.section = strings.NewReplacer(edit...).Replace(section)
	more, upstreams, found := strings.Cut(j.block("yaml"), "upstreams:\n")
	if !found {
		t.Fatal("the section's YAML has no upstreams")
	}
	j.gateway = harness.StartGateway(t, harness.Settings{More: more, Upstreams: upstreams})
	j.origin = "http://" + host + ":" + harness.Port(t, j.gateway.Address)
	return j
}

// open gives somebody a browser window of their own at Jupyter.
func (j *ownJupyter) open(b *harness.Browser) *harness.Tab {
	j.t.Helper()
	p := b.Open(j.t, j.origin)
	// Debian 12's errors of its own, as in TestJupyterWorksBehindTheGateway.
	p.Forgive("terminal/js/main.min.js", "widgets/notebook/js/extension.js")
	p.Visit(j.base)
	return p
}

// enrol signs Jupyter's person in, with its password and a new authenticator.
func (j *ownJupyter) enrol(b *harness.Browser) (*harness.Tab, *harness.Authenticator) {
	j.t.Helper()
	p := j.open(b)
	p.GivePassword("jupyter", jupyterPassword)
	phone := p.SetUp()
	j.wantFiles(p)
	return p, phone
}

// wantFiles fails the test where the tab does not show Jupyter's list of files.
func (j *ownJupyter) wantFiles(p *harness.Tab) {
	j.t.Helper()
	if want := j.base + "tree"; !strings.HasPrefix(p.Path(), want) {
		j.t.Fatalf("the tab is at %s, want %s…\n%s", p.Path(), want, p.State())
	}
	harness.Eventually(j.t, "the list of files has come", func() bool { return strings.Contains(p.Text("#notebook_list"), "sum.ipynb") })
}

// newFile has Jupyter make a file as its list does for a click, and is the status of the answer.
const newFile = `fetch(document.body.dataset.baseUrl + "api/contents", {method: "POST", body: '{"type": "file"}',
	headers: {"X-XSRFToken": document.cookie.match(/_xsrf=([^;]*)/)[1]}}).then(r => r.status)`

// wantShell fails the test where a terminal's WebSocket does not work.
func (j *ownJupyter) wantShell(p *harness.Tab) {
	j.t.Helper()
	p.Visit(j.base + "terminals/new/shell")
	if screen := harness.JS[string](p, typedSum); !strings.Contains(screen, "42") {
		j.t.Errorf("the terminal shows %q", screen)
	}
}

// stop ends Jupyter; restart has it answer again, at the same address.
func (j *ownJupyter) stop() {
	j.process.Signal(syscall.SIGTERM)
	j.process.Wait()
}

func (j *ownJupyter) restart() {
	j.t.Helper()
	j.stop()
	j.process = j.runJupyter()
	harness.Eventually(j.t, "Jupyter serves again", j.healthy)
}

// loseSecret takes away the key with which Jupyter signs its cookies, so that it knows nobody after the next start.
func (j *ownJupyter) loseSecret() {
	j.t.Helper()
	if err := os.Remove(filepath.Join(j.Dir, ".local/share/jupyter/runtime/notebook_cookie_secret")); err != nil {
		j.t.Fatal(err)
	}
}

// loseJupytersCookie has the browser forget by what Jupyter knows it.
func (j *ownJupyter) loseJupytersCookie(p *harness.Tab, prefix string) {
	j.t.Helper()
	kept := cookies(p, j.base)
	for _, name := range kept {
		if strings.HasPrefix(name, prefix) {
			if _, err := chromedp.Call(p.Ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: p.URL + j.base}); err != nil {
				j.t.Fatal(err)
			}
			return
		}
	}
	j.t.Fatalf("the browser keeps %q, and nothing for Jupyter to know it by", kept)
}

// again fills in a page that asks for the password of a name that it shows.
func again(p *harness.Tab, password string) int {
	p.T.Helper()
	p.Do("emptying the field", harness.Emptied("#password"))
	p.Fill("#password", password)
	return p.Follow("main form button[type=submit]")
}

func TestJupytersPersonSignsInOnceWithItsPasswordAndACode(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range jupyterPlaces {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			j := startOwnJupyter(t, c.heading, c.host, c.base)
			p := j.open(b)
			if hint := p.Text("#password-hint"); hint != "Your name is jupyter, and the password is Jupyter's." {
				t.Errorf("the login page says %q of the password", hint)
			}
			if status := p.GivePassword("jupyter", "a wrong one"); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: status %d, want 401\n%s", status, p.State())
			}
			again(p, jupyterPassword)
			phone := p.SetUp()
			j.wantFiles(p)
			j.wantShell(p)
			p.Visit(c.base + "notebooks/sum.ipynb")
			runCell(p)

			p.Forgive(goodbyeFiles...)
			p.Visit(c.base + "logout")
			p.Visit(c.base)
			p.GivePassword("jupyter", jupyterPassword)
			p.GiveRecoveryCode(phone.RecoveryCode())
			j.wantFiles(p)

			p.SignOut()
			if kept := cookies(p, c.base); hasPrefix(kept, c.cookie) || hasPrefix(kept, "_xsrf") {
				t.Errorf("the gateway's sign-out leaves the cookies %q", kept)
			}
			p.Visit(c.base)
			p.WantPage(harness.LoginPage)
		})
	}
}

func TestWhoSharesJupytersPasswordHasACodeOfTheirOwn(t *testing.T) {
	j := startOwnJupyter(t, jupyterPlaces[0].heading, jupyterPlaces[0].host, jupyterPlaces[0].base, "usernames: jupyter", "usernames: alice|bob")
	give := func(name string) harness.Answer {
		return j.gateway.Client().Post("/auth/login", harness.Fields{"username": name, "password": jupyterPassword})
	}
	setting := j.gateway.Bearer(give("alice").Want(403, "2FA_SETUP_REQUIRED").Text("tempToken"))
	phone := harness.NewAuthenticator(t, setting.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
	setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": phone.Code()}).Want(200)
	give("alice").Want(200).Is("requiresTwoFactor", true)
	give("bob").Want(403, "2FA_SETUP_REQUIRED")
	give("jupyter").Want(401, "INVALID_CREDENTIALS") // which Jupyter itself would take, as any name
}

func TestWhileJupyterIsStoppedItsPersonIsToldSo(t *testing.T) {
	j := startOwnJupyter(t, jupyterPlaces[0].heading, jupyterPlaces[0].host, jupyterPlaces[0].base)
	p := j.open(harness.StartBrowser(t))
	j.stop()
	if status := p.GivePassword("jupyter", jupyterPassword); status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	if text := p.Text("main"); !strings.Contains(text, "The app that knows your password does not answer at the moment.") {
		t.Errorf("the page says:\n%s", text)
	}
	j.restart()
	again(p, jupyterPassword)
	p.SetUp()
	j.wantFiles(p)
}

func TestWhomJupyterHasForgottenGoesOnWhereTheyWere(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range jupyterPlaces {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			j := startOwnJupyter(t, c.heading, c.host, c.base)
			p, _ := j.enrol(b)

			p.Visit(c.base + "notebooks/sum.ipynb")
			runCell(p)
			j.loseJupytersCookie(p, c.cookie)
			if !harness.JS[bool](p, `Jupyter.notebook.save_notebook().then(() => !Jupyter.notebook.dirty)`) {
				t.Error("a notebook that was open is not saved")
			}

			p.Visit(c.base + "tree") // a notebook says in a dialog that its kernel has died
			j.loseSecret()
			j.restart()
			p.Visit(c.base + "tree")
			j.wantFiles(p)

			p.Visit(c.base + "terminals/new/shell")
			j.loseJupytersCookie(p, c.cookie)
			if screen := harness.JS[string](p, typedSum); !strings.Contains(screen, "42") {
				t.Errorf("the terminal shows %q", screen)
			}
		})
	}
}

func TestAClickAfterJupyterHasForgottenThePersonWorksTheSecondTime(t *testing.T) {
	c := jupyterPlaces[0]
	j := startOwnJupyter(t, c.heading, c.host, c.base)
	p, _ := j.enrol(harness.StartBrowser(t))
	j.loseJupytersCookie(p, c.cookie)
	for _, want := range []int{403, 201} { // the first has the token of before, as the page says
		if status := harness.JS[int](p, newFile); status != want {
			t.Errorf("a new file: status %d, want %d", status, want)
		}
	}
}

func TestAPasswordThatWasChangedInJupyterIsAskedForAndTheWorkGoesOn(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range jupyterPlaces {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			j := startOwnJupyter(t, c.heading, c.host, c.base)
			p, _ := j.enrol(b)
			j.setPassword(newJupyterPassword)
			j.restart()

			where := c.base + "notebooks/sum.ipynb"
			p.Visit(where)
			p.WantPage("Your password for jupyter")
			again(p, jupyterPassword)
			p.WantPage("Your password for jupyter")
			if text := p.Text("main"); !strings.Contains(text, "jupyter does not take that password either.") {
				t.Errorf("after the old password:\n%s", text)
			}
			again(p, newJupyterPassword)
			if got := p.Path(); got != where {
				t.Fatalf("it led to %s, want %s\n%s", got, where, p.State())
			}
			runCell(p)
			j.loseJupytersCookie(p, c.cookie)
			p.Visit(c.base + "tree")
			j.wantFiles(p)
		})
	}
}

func TestTheProbeTellsAWrongConfigurationForJupyterFromARightOne(t *testing.T) {
	for _, c := range jupyterPlaces {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			j := startOwnJupyter(t, c.heading, c.host, c.base)
			page := "page: " + c.base + "login"
			j.wantProbe(page, page, 0, "probed jupyter: the app refuses this name and password: POST "+c.base+"login answered 401 and no new cookie")
			for _, wrong := range []struct{ keys, saw string }{
				{page + ", success: { status: [401] }", "answered 401 and no new cookie, which fits both success and failure"},
				{page + ", failure: { status: [200] }", "answered 401 and no new cookie, which fits neither success nor failure"},
				{"page: " + c.base + "api/status", "answered 403 with something other than HTML"},
				{"page: " + c.base + "nowhere", "answered 404 and no login page"},
			} {
				j.wantProbe(page, wrong.keys, 2, wrong.saw)
			}
			j.wantProbe(", no_username: true", "", 2, "has no field for a user name before the password of its login form; set username_field to the field's name, or no_username")
			j.stop()
			j.wantProbe(page, page, 1, "the app is out of reach: GET "+c.base+"login: connection refused")
		})
	}
}

// wantProbe checks the gateway's configuration with one text of the sign-in changed, against the running Jupyter.
func (j *ownJupyter) wantProbe(right, tried string, code int, saw string) {
	j.t.Helper()
	content, err := os.ReadFile(filepath.Join(j.gateway.Dir, "config.yaml"))
	if err != nil {
		j.t.Fatal(err)
	}
	if strings.Count(string(content), right) != 1 {
		j.t.Fatalf("the configuration has not one %q:\n%s", right, content)
	}
	j.gateway.Write("probed.yaml", strings.Replace(string(content), right, tried, 1))
	p := harness.Start(j.t, j.gateway.Dir, harness.Binary, "check", "--config", "probed.yaml", "--probe")
	if got := p.Wait(); got != code || !strings.Contains(p.Out.String(), saw) {
		j.t.Errorf("%q: exit status %d, want %d and %q:\n%s", tried, got, code, saw, p.Out.String())
	}
}
