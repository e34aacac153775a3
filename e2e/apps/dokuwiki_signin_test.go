package apps

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

// changedPassword is carroll's in the wiki after a change.
const changedPassword = "another one, since yesterday"

// ownPasswords says of each section of the page where its wiki is.
var ownPasswords = []struct{ heading, host, path string }{
	{atTheRoot, "wiki.example.com", "/"},
	{underAPath, "localhost", "/wiki/"},
}

// ownWiki is a wiki whose people sign in at the gateway with its passwords.
type ownWiki struct {
	*realApp
	process *harness.Process
	gateway *harness.Gateway
	origin  string
	path    string
}

// startOwnWiki starts a wiki and a gateway as the page says of the wiki's own passwords.
func startOwnWiki(t *testing.T, heading, host, path string) *ownWiki {
	t.Helper()
	o := &ownWiki{path: path}
	o.realApp = startApp(t, "dokuwiki.md", heading, wikiPort, func(a *realApp) *harness.Process {
		o.process = a.dokuwiki()
		return o.process
	})
	o.gateway = harness.StartGateway(t, o.settings(heading))
	o.origin = fmt.Sprintf("http://%s:%s", host, harness.Port(t, o.gateway.Address))
	return o
}

// settings are what the page has under a heading of its section on the wiki's own passwords.
func (o *ownWiki) settings(heading string) harness.Settings {
	o.t.Helper()
	_, page, found := strings.Cut(harness.Read(o.t, "docs/apps/dokuwiki.md"), "## With DokuWiki's own passwords\n")
	_, section, under := strings.Cut(page, "\n#"+heading)
	if !found || !under {
		o.t.Fatalf("the page has no #%s with DokuWiki's own passwords", heading)
	}
	here := harness.Port(o.t, o.Address)
	text := strings.ReplaceAll(harness.FirstYAML(o.t, section), cookieName(wikiPort), cookieName(here))
	more, upstreams, found := strings.Cut(strings.ReplaceAll(text, wikiPort, here), "upstreams:\n")
	if !found {
		o.t.Fatal("the section's YAML has no upstreams")
	}
	return harness.Settings{More: more, Upstreams: upstreams}
}

// open gives somebody a browser window of their own at the wiki.
func (o *ownWiki) open(b *harness.Browser) *wiki {
	o.t.Helper()
	w := &wiki{Tab: b.Open(o.t, o.origin), t: o.t, app: o.realApp, path: o.path}
	w.Visit(o.path)
	return w
}

// enrol signs somebody in with the wiki's password and a new authenticator.
func (o *ownWiki) enrol(b *harness.Browser, name string) (*wiki, *harness.Authenticator) {
	o.t.Helper()
	w := o.open(b)
	w.GivePassword(name, wikiPassword)
	return w, w.SetUp()
}

// wantMember fails the test where the wiki's page is not this person's.
func (w *wiki) wantMember(full string) {
	w.t.Helper()
	if text := w.Text("#dokuwiki__usertools"); !strings.Contains(text, full) {
		w.t.Fatalf("the wiki does not know %s\n%s", full, w.State())
	}
}

// cookies returns the names of the cookies that keep the person signed in to the wiki.
func (w *wiki) cookies() (names []string) {
	w.t.Helper()
	got := harness.Value(w.Tab, "reading the cookies", func(ctx context.Context, _ *chromedp.Target) (network.GetCookiesResult, error) {
		return chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{w.URL + w.path}})
	})
	for _, c := range got.Cookies {
		if strings.HasPrefix(c.Name, "DW") {
			names = append(names, c.Name)
		}
	}
	return names
}

// loseTheWikisCookie has the browser forget by what the wiki knows it.
func (w *wiki) loseTheWikisCookie() {
	w.t.Helper()
	names := w.cookies()
	if len(names) != 1 {
		w.t.Fatalf("signed in to the wiki by %q, want one cookie", names)
	}
	w.Do("losing the wiki's cookie", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: names[0], URL: w.URL + w.path})
		return chromedp.Void{}, err
	})
}

// dropSessions takes the files away in which PHP keeps its sessions, as its clean-up does.
func (o *ownWiki) dropSessions() {
	o.t.Helper()
	files, err := filepath.Glob(filepath.Join(o.Dir, "data/sessions/sess_*"))
	if err != nil || len(files) == 0 {
		o.t.Fatalf("the wiki's sessions: %q, %v", files, err)
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			o.t.Fatal(err)
		}
	}
}

// stop ends the wiki; resume has it answer again, at the same address.
func (o *ownWiki) stop() {
	o.process.Signal(syscall.SIGTERM)
	o.process.Wait()
}

func (o *ownWiki) resume() {
	o.t.Helper()
	o.process = o.runDokuWiki()
	harness.Eventually(o.t, "the wiki serves again", o.healthy)
}

func TestThePeopleOfDokuWikiSignInOnceWithItsPasswordAndACode(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range ownPasswords {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			o := startOwnWiki(t, c.heading, c.host, c.path)
			w := o.open(b)
			if hint := w.Text("#password-hint"); hint != "Use your wiki password." {
				t.Errorf("the login page says %q of the password", hint)
			}
			for _, name := range []string{"carroll", "carroll."} { // the wiki takes both for carroll
				password := map[string]string{"carroll": "a wrong one", "carroll.": wikiPassword}[name]
				if status := w.GivePassword(name, password); status != http.StatusUnauthorized {
					t.Errorf("%s, %s: status %d, want 401\n%s", name, password, status, w.State())
				}
				w.Do("emptying the field", harness.Emptied("#username"))
			}
			w.GivePassword("carroll", wikiPassword)
			phone := w.SetUp()
			w.wantMember("Lewis Carroll")
			w.edit("Written with //one// password. ")
			w.save()
			w.wantText("Written with one password.")
			w.leaveBothWays(phone)
			o.wantNoPassword(wikiPassword)
		})
	}
}

// leaveBothWays signs out of the wiki, and then of the gateway: each ends both.
func (w *wiki) leaveBothWays(phone *harness.Authenticator) {
	w.t.Helper()
	for _, way := range []struct {
		name  string
		leave func()
	}{
		{"by the wiki", func() { w.Follow("#dokuwiki__usertools .logout a") }},
		{"by the gateway", w.SignOut},
	} {
		w.leaveBy(way.name, way.leave)
		w.GivePassword("carroll", wikiPassword)
		w.GiveRecoveryCode(phone.RecoveryCode())
		w.wantMember("Lewis Carroll")
	}
}

func (w *wiki) leaveBy(way string, leave func()) {
	w.t.Helper()
	leave()
	if names := w.cookies(); len(names) > 0 {
		w.t.Errorf("signed out %s, the browser keeps %q of the wiki", way, names)
	}
	w.Visit(w.path)
	w.WantPage(harness.LoginPage)
}

func TestWhomDokuWikiHasForgottenGoesOnWhereTheyWere(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range ownPasswords {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			o := startOwnWiki(t, c.heading, c.host, c.path)
			w, _ := o.enrol(b, "carroll")

			w.edit("Typed while PHP cleaned up. ")
			o.dropSessions()
			w.save()
			w.wantText("Typed while PHP cleaned up.")

			w.loseTheWikisCookie()
			w.Visit(c.path + "doku.php?id=start")
			w.wantMember("Lewis Carroll")

			w.edit("Typed while the wiki forgot. ")
			w.loseTheWikisCookie()
			w.save() // the token of the page was the old session's
			w.wantText("Security Token did not match")
			w.save()
			w.wantText("Typed while the wiki forgot.")
		})
	}
}

func TestAPasswordThatWasChangedInDokuWikiIsAskedForAndTheWorkGoesOn(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range ownPasswords {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			o := startOwnWiki(t, c.heading, c.host, c.path)
			w, _ := o.enrol(b, "carroll")
			o.wikiPeople(changedPassword)
			o.dropSessions()

			where := c.path + "doku.php?id=start&do=recent"
			w.Visit(where)
			w.WantPage("Your password for wiki")
			w.Fill("#password", wikiPassword)
			w.Follow("main form button[type=submit]")
			w.WantPage("Your password for wiki")
			if text := w.Text("main"); !strings.Contains(text, "wiki does not take that password either.") {
				t.Errorf("after the old password:\n%s", text)
			}
			w.Fill("#password", changedPassword)
			w.Follow("main form button[type=submit]")
			w.wantMember("Lewis Carroll")
			if got := w.Path(); got != where {
				t.Errorf("it led to %s, want %s", got, where)
			}
			w.loseTheWikisCookie()
			w.Visit(c.path)
			w.wantMember("Lewis Carroll")
			o.wantNoPassword(wikiPassword, changedPassword)
		})
	}
}

func TestWhileDokuWikiIsDownItsPeopleAreToldSo(t *testing.T) {
	o := startOwnWiki(t, ownPasswords[0].heading, ownPasswords[0].host, ownPasswords[0].path)
	w := o.open(harness.StartBrowser(t))
	o.stop()
	if status := w.GivePassword("carroll", wikiPassword); status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	if text := w.Text("main"); !strings.Contains(text, "The app that knows your password does not answer at the moment.") {
		t.Errorf("the page says:\n%s", text)
	}
	o.resume()
	w.Do("emptying the field", harness.Emptied("#username"))
	w.GivePassword("carroll", wikiPassword)
	w.SetUp()
	w.wantMember("Lewis Carroll")
}

func TestTwoPeopleOfDokuWikiAreNeverInEachOthersSession(t *testing.T) {
	o := startOwnWiki(t, ownPasswords[1].heading, ownPasswords[1].host, ownPasswords[1].path)
	people := []string{"Lewis Carroll", "Charles Dodgson"}
	var windows []*wiki
	var phones []*harness.Authenticator
	for _, name := range []string{"carroll", "dodgson"} {
		w, phone := o.enrol(harness.StartBrowser(t), name)
		windows, phones = append(windows, w), append(phones, phone)
	}
	for range 2 {
		for _, w := range windows {
			w.loseTheWikisCookie()
		}
		for _, w := range windows {
			const ask = `window.seen = Promise.all([1, 2, 3].map(() => fetch("doku.php?id=start").then(r => r.text()))); 0`
			harness.JS[int](w.Tab, ask)
		}
		for i, w := range windows {
			for _, page := range harness.JS[[]string](w.Tab, `window.seen`) {
				if !strings.Contains(page, "<bdi>"+people[i]) || strings.Contains(page, people[1-i]) {
					t.Errorf("a page of %s:\n%s", people[i], page)
				}
			}
			w.Visit(o.path)
			w.wantMember(people[i])
		}
	}

	// In the window of the first, whose session at the gateway has ended.
	w := windows[0]
	w.loseTheGatewaysCookie()
	w.Visit(o.path)
	w.GivePassword("dodgson", wikiPassword)
	w.GiveRecoveryCode(phones[1].RecoveryCode())
	w.wantMember(people[1])
}

// wantNoPassword fails the test where one of these can be read in the gateway's folder or log.
func (o *ownWiki) wantNoPassword(passwords ...string) {
	o.t.Helper()
	texts := map[string]string{"the log": o.gateway.Log()}
	for _, name := range []string{"sallyport.db", "secret.key"} {
		content, err := os.ReadFile(filepath.Join(o.gateway.Dir, "data", name))
		if err != nil {
			o.t.Fatal(err)
		}
		texts[name] = string(content)
	}
	for where, text := range texts {
		if slices.ContainsFunc(passwords, func(p string) bool { return strings.Contains(text, p) }) {
			o.t.Errorf("%s holds a password", where)
		}
	}
}

func TestTheProbeTellsAWrongConfigurationForDokuWikiFromARightOne(t *testing.T) {
	for _, c := range ownPasswords {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			o := startOwnWiki(t, c.heading, c.host, c.path)
			page := fmt.Sprintf("page: %q", c.path+"doku.php?do=login")
			const success = `success: { status: [302], cookie: "DW*" }`
			right := "{ form: { " + page + ", " + success + " } }"
			o.wantProbe(right, right, 0, "probed wiki: the app refuses this name and password: POST "+c.path+"doku.php answered 403 and no new cookie\n"+
				`probed wiki: the app takes the name and password of "carroll"`)
			for _, wrong := range []struct{ keys, saw string }{
				{page, "answered 302 to " + c.path + "doku.php and a new cookie, which fits neither success nor failure"},
				{page + `, success: { status: [302], cookie: "Doku_*" }`, "answered 302 to " + c.path + "doku.php and a new cookie, which fits neither success nor failure"},
				{page + `, success: { status: [403] }`, "answered 403 and no new cookie, which fits both success and failure"},
				{page + ", " + success + `, failure: { status: [401] }`, "answered 403 and no new cookie, which fits neither success nor failure"},
				{page + ", " + success + `, password_field: pw`, `has no form with a field "pw" that can be filled in`},
				{page + ", " + success + `, username_field: login`, "has no form with one password field"},
				{fmt.Sprintf("page: %q", c.path+"lib/exe/css.php"), "answered 200 with something other than HTML"},
			} {
				o.wantProbe(right, "{ form: { "+wrong.keys+" } }", 2, wrong.saw)
			}
			o.stop()
			o.wantProbe(right, right, 1, "the app is out of reach: GET "+c.path+"doku.php: connection refused")
		})
	}
}

// wantProbe checks the gateway's configuration with another way to sign in, against the running wiki.
func (o *ownWiki) wantProbe(right, tried string, code int, saw string) {
	o.t.Helper()
	content, err := os.ReadFile(filepath.Join(o.gateway.Dir, "config.yaml"))
	if err != nil {
		o.t.Fatal(err)
	}
	if !strings.Contains(string(content), right) {
		o.t.Fatalf("the configuration does not sign in by %s:\n%s", right, content)
	}
	o.gateway.Write("probed.yaml", strings.ReplaceAll(string(content), right, tried))
	check := exec.CommandContext(o.t.Context(), harness.Binary, "check", "--config", "probed.yaml", "--probe", "--as", "carroll")
	check.Dir, check.Stdin = o.gateway.Dir, strings.NewReader(wikiPassword+"\n")
	out, err := check.CombinedOutput()
	if got := check.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), saw) || strings.Contains(string(out), wikiPassword) {
		o.t.Errorf("%s: %v, want exit status %d and %q, without the password:\n%s", tried, err, code, saw, out)
	}
}
