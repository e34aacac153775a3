package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

const (
	withItsOwnPassword     = "## With Transmission's own password\n"
	oneAccountForEverybody = "## One account for everybody\n"
)

// torrentsPassword is Transmission's own, in all of its page.
const torrentsPassword = "a password of its own"

// torrents is Transmission as one section of its page sets it up, and a gateway in front of it as another one does.
type torrents struct {
	*realApp
	t       *testing.T
	browser *harness.Browser
	process *harness.Process // the one that runs now
	gateway *harness.Gateway
	more    string // what the gateway's file has beside upstreams
	entry   string // of the upstream
	host    string
}

// startTorrents starts both. edit changes the gateway's section.
func startTorrents(t *testing.T, settings, section, host string, edit ...string) *torrents {
	t.Helper()
	s := &torrents{t: t, host: host}
	s.realApp = startApp(t, "transmission.md", settings, "9091", func(a *realApp) *harness.Process {
		s.process = a.transmission()
		return s.process
	})
	_, text, found := strings.Cut(harness.Read(t, "docs/apps/transmission.md"), section)
	if !found {
		t.Fatalf("the page has no section %q", section)
	}
	own := *s.realApp
	own.section = strings.NewReplacer(append(edit, "/etc/sallyport/", s.Dir+"/")...).Replace(text)
	s.more, s.entry, found = strings.Cut(own.block("yaml"), "upstreams:\n")
	if !found {
		t.Fatal("the section's YAML has no upstreams")
	}
	return s
}

// open starts the gateway, with the users of its users file where it has one.
func (s *torrents) open(users ...harness.User) {
	s.t.Helper()
	s.gateway = harness.StartGateway(s.t, harness.Settings{More: s.more, Upstreams: s.entry, Users: users})
	s.browser = harness.StartBrowser(s.t)
}

// window opens a private window that fails the test where an answer would have the browser ask for a password by itself.
func (s *torrents) window() *harness.Tab {
	s.t.Helper()
	p := s.browser.Open(s.t, "http://"+s.host+":"+harness.Port(s.t, s.gateway.Address))
	err := chromedp.Listen(p.Ctx, func(event any) {
		e, ok := event.(*network.EventResponseReceived)
		if !ok {
			return
		}
		for name := range e.Response.Headers {
			if strings.EqualFold(name, "WWW-Authenticate") {
				p.Mu.Lock()
				p.Troubles = append(p.Troubles, "the browser's own question for a password, at "+e.Response.URL)
				p.Mu.Unlock()
			}
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// stop ends Transmission, which then writes its settings.
func (s *torrents) stop() {
	s.t.Helper()
	s.process.Signal(syscall.SIGTERM)
	s.process.Wait()
}

// start starts Transmission again where it was.
func (s *torrents) start() {
	s.t.Helper()
	s.process = s.transmission()
	harness.Eventually(s.t, "Transmission serves again", func() bool { return s.healthy() || s.process.Ended() })
	if !s.process.Listens(s.Address) {
		s.t.Fatalf("Transmission did not start again:\n%s", s.process.Out.String())
	}
}

// changePassword changes it as the page says: in the settings, while the daemon is stopped.
func (s *torrents) changePassword(to string) {
	s.t.Helper()
	s.stop()
	s.section = strings.ReplaceAll(s.section, torrentsPassword, to)
	s.start()
}

// giveAgain fills in the gateway's page that did not take the password before, and has kept the name.
func giveAgain(p *harness.Tab, password string) int {
	p.T.Helper()
	p.Fill("#password", password)
	return p.Follow("main form button[type=submit]")
}

// wantTransfers waits for the app's own list, which comes by its RPC interface.
func wantTransfers(p *harness.Tab) {
	p.T.Helper()
	harness.Eventually(p.T, "the list of transfers has come", func() bool { return strings.Contains(p.Text("#filter-count"), "0 Transfers") })
}

// changeSetting presses the turtle, whose state is the daemon's.
func changeSetting(p *harness.Tab) {
	p.T.Helper()
	before := strings.Contains(p.Attribute("#turtle-button", "class"), "selected")
	p.Click("#turtle-button")
	harness.Eventually(p.T, "the app has changed a setting", func() bool {
		return strings.Contains(p.Attribute("#turtle-button", "class"), "selected") != before
	})
}

func TestTransmissionsPersonSignsInOnceWithItsPasswordAndACode(t *testing.T) {
	s := startTorrents(t, atTheRoot, withItsOwnPassword, "torrents.example.com")
	s.open()
	p := s.window()
	p.Visit("/transmission/web/")
	if hint := p.Text("main"); !strings.Contains(hint, "Use Transmission's own name and password.") {
		t.Errorf("the sign-in page does not say which password:\n%s", hint)
	}
	if status := p.GivePassword("transmission", "no password of its own"); status != 401 {
		t.Errorf("a wrong password: status %d", status)
	}
	giveAgain(p, torrentsPassword)
	phone := p.SetUp()
	if p.Path() != "/transmission/web/" {
		t.Errorf("the sign-in led to %s", p.Path())
	}
	wantTransfers(p)
	changeSetting(p)

	p.SignOut()
	p.Visit("/")
	p.GivePassword("Transmission", torrentsPassword) // however it is spelled, it is one person
	p.GiveCode(phone.Code())
	wantTransfers(p)
	s.holdsNowhere(torrentsPassword)
}

// holdsNowhere fails the test where the password stands in what the gateway keeps or writes.
func (s *torrents) holdsNowhere(password string) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.gateway.Dir, "data", "*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no files of the gateway's: %v", err)
	}
	for _, name := range files {
		if content, err := os.ReadFile(name); err == nil && strings.Contains(string(content), password) {
			s.t.Errorf("%s holds the password", name)
		}
	}
	if strings.Contains(s.gateway.Log(), password) {
		s.t.Errorf("the log holds the password:\n%s", s.gateway.Log())
	}
}

func TestATransmissionThatIsDownIsNoWrongPassword(t *testing.T) {
	s := startTorrents(t, atTheRoot, withItsOwnPassword, "torrents.example.com")
	s.open()
	s.stop()
	p := s.window()
	p.Visit("/")
	if status := p.GivePassword("transmission", torrentsPassword); status != 503 {
		t.Errorf("while it is down: status %d\n%s", status, p.State())
	}
	if words := p.Text("main"); !strings.Contains(words, "The app that knows your password does not answer") {
		t.Errorf("while it is down the page says:\n%s", words)
	}
	s.start()
	giveAgain(p, torrentsPassword)
	p.SetUp()
	wantTransfers(p)
	s.stop()
	if status := p.Visit("/transmission/web/"); status != 502 {
		t.Errorf("the app of somebody who is inside, while it is down: status %d", status)
	}
	s.start()
	p.Visit("/transmission/web/")
	wantTransfers(p)
}

func TestTheGatewayAsksForTransmissionsNewPasswordAndGoesOn(t *testing.T) {
	s := startTorrents(t, atTheRoot, withItsOwnPassword, "torrents.example.com")
	s.open()
	p := s.window()
	p.Visit("/")
	p.GivePassword("transmission", torrentsPassword)
	phone := p.SetUp()
	wantTransfers(p)
	p.Visit("/auth/account") // and away from the app, which asks its daemon every few seconds
	s.changePassword("a new password")

	const script = `fetch("/transmission/rpc", {method: "POST"}).then(r => r.status)`
	for range 2 { // the first is the app's answer, the second the gateway's
		if status := harness.JS[int](p, script); status != 401 {
			t.Errorf("a script is answered with %d", status)
		}
	}
	p.Visit("/transmission/web/")
	p.WantPage("Your password for transmission")
	if status := giveAgain(p, torrentsPassword); status != 401 {
		t.Errorf("the old password: status %d\n%s", status, p.State())
	}
	giveAgain(p, "a new password")
	if p.Path() != "/transmission/web/" {
		t.Errorf("the new password led to %s", p.Path())
	}
	wantTransfers(p)
	changeSetting(p)

	p.SignOut()
	p.Visit("/")
	if status := p.GivePassword("transmission", torrentsPassword); status != 401 {
		t.Errorf("a sign-in with the old password: status %d", status)
	}
	giveAgain(p, "a new password")
	p.GiveCode(phone.Code())
	wantTransfers(p)
}

func TestTwoPeopleShareTransmissionsAccountAndNothingElse(t *testing.T) {
	s := startTorrents(t, underAPath, oneAccountForEverybody, "apps.example.com")
	s.write("transmission-password", torrentsPassword+"\n")
	s.open(harness.User{Name: "alice"}, harness.User{Name: "bob"})
	alice, bob := s.window(), s.window()
	for name, p := range map[string]*harness.Tab{"alice": alice, "bob": bob} {
		p.Visit("/torrents/web/")
		p.GivePassword(name, harness.Password)
		p.SetUp()
		wantTransfers(p)
		changeSetting(p)
	}
	alice.SignOut()
	alice.Visit("/torrents/web/")
	alice.WantPage(harness.LoginPage)
	bob.Visit("/torrents/web/")
	wantTransfers(bob)
	changeSetting(bob)
	s.holdsNowhere(torrentsPassword)
}

func TestTheProbeTellsAWrongConfigurationOfTransmissionFromARightOne(t *testing.T) {
	s := startTorrents(t, atTheRoot, withItsOwnPassword, "torrents.example.com")
	s.wantProbe("", 0, "probed transmission: the app refuses this name and password: GET /transmission/web/ answered 401")
	s.wantProbe(torrentsPassword, 0, "config.yaml: good")
	s.wantProbe("a wrong password", 2, "the app refuses this name and password")

	right := s.more
	for probe, says := range map[string]string{
		"{ probe: /transmission/rpc }":  "GET /transmission/rpc with name and password answered 409, neither",
		"{ probe: /transmission/none }": "GET /transmission/none with name and password answered 409, neither",
		"{ probe: /none }":              "GET /none with name and password answered 301, neither",
		"{}":                            "users.sources[0].sign_in.basic.probe: missing",
	} {
		s.more = strings.Replace(right, "{ probe: /transmission/web/ }", probe, 1)
		s.wantProbe(torrentsPassword, 2, says)
	}
	s.more = right

	s.stop()
	s.wantProbe("", 1, "the app is out of reach")
	s.section = strings.ReplaceAll(s.section, `"rpc-authentication-required": true`, `"rpc-authentication-required": false`)
	s.start()
	s.wantProbe("", 2, "GET /transmission/web/ without a password answered 200 and not 401")
}

// wantProbe runs the page's command, with a password where one is given, and fails the test where it ends with another
// status or does not say so.
func (s *torrents) wantProbe(password string, want int, words string) {
	s.t.Helper()
	dir := s.t.TempDir()
	config := harness.Settings{More: s.more, Upstreams: s.entry}.Configuration(s.t, harness.FreeAddress(s.t))
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	check := exec.CommandContext(s.t.Context(), harness.Binary, "check", "--probe")
	if password != "" {
		check.Args = append(check.Args, "--as", "transmission")
		check.Stdin = strings.NewReader(password + "\n")
	}
	check.Dir = dir
	out, err := check.CombinedOutput()
	if err != nil && check.ProcessState == nil {
		s.t.Fatal(err)
	}
	if code := check.ProcessState.ExitCode(); code != want || !strings.Contains(string(out), words) {
		s.t.Errorf("%s ended with %d and wrote:\n%s\nwant %d and %q", check, code, out, want, words)
	}
	if password != "" && strings.Contains(string(out), password) {
		s.t.Errorf("%s shows the password:\n%s", check, out)
	}
}

func TestAProbeThatNeverSaysYesIsAnErrorOfTheAppAndNotAWrongPassword(t *testing.T) {
	s := startTorrents(t, atTheRoot, withItsOwnPassword, "torrents.example.com", "/transmission/web/", "/transmission/rpc")
	s.open()
	c := s.gateway.Client().With("Host", s.host+":"+harness.Port(t, s.gateway.Address))
	c.Post("/auth/login", harness.Fields{"username": "transmission", "password": "wrong"}).Want(401, "INVALID_CREDENTIALS")
	c.Post("/auth/login", harness.Fields{"username": "transmission", "password": torrentsPassword}).Want(503, "SOURCE_UNAVAILABLE")
	if want := "GET /transmission/rpc with name and password answered 409"; !strings.Contains(s.gateway.Log(), want) {
		t.Errorf("the log does not say %q:\n%s", want, s.gateway.Log())
	}
}
