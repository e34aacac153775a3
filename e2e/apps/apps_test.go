package apps

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"sallyport/e2e/harness"
)

// realApp is an app of Debian's that is set up as a section of its page in docs/apps says.
type realApp struct {
	t       *testing.T
	section string // its text
	port    string // that of the page, on 127.0.0.1
	Address string // where it is here
	Dir     string // where it may write
	flaw    string // a script of the package that has an error of its own; empty: none

	phone *harness.Authenticator // alice's, once she has signed in
}

// The sections of every page.
const (
	atTheRoot  = "## At the root of a host\n"
	underAPath = "## Under a path\n"
)

// startApp starts an app by what a section of its page says, and waits until it answers.
func startApp(t *testing.T, page, heading, port string, run func(a *realApp) *harness.Process) *realApp {
	t.Helper()
	_, section, found := strings.Cut(harness.Read(t, "docs/apps/"+page), heading)
	if !found {
		t.Fatalf("%s has no section %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for range 5 {
		a := &realApp{t: t, section: section, port: port, Address: harness.FreeAddress(t), Dir: t.TempDir()}
		p := run(a)
		t.Cleanup(func() {
			p.Signal(syscall.SIGTERM)
			p.Wait()
			if t.Failed() {
				t.Logf("the app wrote:\n%s", p.Out.String())
			}
		})
		harness.Eventually(t, "the app serves", func() bool { return a.healthy() || p.Ended() })
		switch {
		case p.Listens(a.Address):
			return a
		case p.Ended() && !p.Taken():
			t.Fatal("the app ended at once")
		}
	}
	t.Fatal("the app found no free port in five tries")
	return nil
}

// healthy says whether the app answers, with whatever status but one of trouble.
func (a *realApp) healthy() bool {
	r, err := http.DefaultTransport.RoundTrip(a.request("/"))
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode < 500
}

// request asks the app itself, past the gateway.
func (a *realApp) request(path string) *http.Request {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), "GET", "http://"+a.Address+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// block returns the section's block in a language, with the app's port of this test.
func (a *realApp) block(language string) string {
	a.t.Helper()
	return strings.ReplaceAll(harness.FirstBlock(a.t, a.section, language), a.port, harness.Port(a.t, a.Address))
}

// arguments returns what the section has in ARGS="…".
func (a *realApp) arguments() []string {
	a.t.Helper()
	_, rest, found := strings.Cut(a.block("sh"), `ARGS="`)
	words, _, closed := strings.Cut(rest, `"`)
	if !found || !closed {
		a.t.Fatal("no ARGS in the section's block of shell")
	}
	return strings.Fields(words)
}

// startGateway starts the gateway that the section configures.
func (a *realApp) startGateway() *harness.Gateway {
	a.t.Helper()
	_, upstreams, found := strings.Cut(a.block("yaml"), "upstreams:\n")
	if !found {
		a.t.Fatal("the section's YAML has no upstreams")
	}
	return harness.StartGateway(a.t, harness.Settings{Upstreams: upstreams})
}

// signIn starts the gateway, and has alice come to a path of the app's by way of its pages, with a password and an
// authenticator.
func (a *realApp) signIn(b *harness.Browser, host, path string) *harness.Tab {
	a.t.Helper()
	p := b.Open(a.t, fmt.Sprintf("http://%s:%s", host, harness.Port(a.t, a.startGateway().Address)))
	p.Forgive(a.flaw)
	p.Visit(path)
	p.GivePassword("alice", harness.Password)
	a.phone = p.SetUp()
	return p
}

// write puts a file into the app's folder.
func (a *realApp) write(name, content string) {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func TestPrometheusWorksBehindTheGateway(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range []struct{ heading, host, path string }{
		{atTheRoot, "prometheus.example.com", "/"},
		{underAPath, "apps.example.com", "/prometheus/"},
	} {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			p := startApp(t, "prometheus.md", c.heading, "9090", (*realApp).prometheus).signIn(b, c.host, c.path)
			if got, want := p.Path(), c.path+"classic/graph"; got != want {
				t.Errorf("its redirect led to %s, want %s", got, want)
			}
			p.Fill("#expr0", "vector(6 * 7)")
			p.Click(".execute_btn")
			harness.Eventually(t, "the query is answered in the page", func() bool {
				return strings.Contains(harness.JS[string](p, `document.querySelector(".console_table tbody")?.textContent ?? ""`), "42")
			})
			if status := p.Visit(c.path + "classic/status"); status != 200 {
				t.Errorf("its page of the status has status %d", status)
			}
		})
	}
}

// prometheus scrapes nothing. Debian 12's has a Popper in its pages that is a module and not loaded as one.
func (a *realApp) prometheus() *harness.Process {
	a.flaw = "popper.min.js"
	a.write("prometheus.yml", "global: {}\n")
	return harness.Start(a.t, a.Dir, "prometheus", append(a.arguments(), "--config.file=prometheus.yml", "--storage.tsdb.path=data")...)
}

func TestTransmissionWorksBehindTheGateway(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range []struct{ heading, host, path, home string }{
		{atTheRoot, "torrents.example.com", "/", "/transmission/web/"},
		{underAPath, "apps.example.com", "/torrents/web/", "/torrents/web/"},
	} {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			a := startApp(t, "transmission.md", c.heading, "9091", (*realApp).transmission)
			p := a.signIn(b, c.host, "/auth/account")
			// What a person types when the browser asks.
			p.Leave("opening the app with its password", chromedp.Navigate(strings.Replace(p.URL, "//", "//transmission:a%20password%20of%20its%20own@", 1)+c.path))
			if p.Path() != c.home {
				t.Errorf("it led to %s, want %s", p.Path(), c.home)
			}
			harness.Eventually(t, "the list has come, after the 409", func() bool { return strings.Contains(p.Text("#filter-count"), "0 Transfers") })
			p.Click("#turtle-button")
			harness.Eventually(t, "the app has changed a setting", func() bool { return strings.Contains(p.Attribute("#turtle-button", "class"), "selected") })
			p.Click("#toolbar-open") // the folder in its dialog has come with the settings
			p.Fill("#torrent_upload_url", "magnet:?xt=urn:btih:"+strings.Repeat("1", 40)+"&dn=sallyport")
			p.Click("#upload_confirm_button")
			harness.Eventually(t, "what was added is in the list", func() bool {
				return strings.Contains(harness.JS[string](p, `document.querySelector("#torrent_list").textContent`), "sallyport")
			})
		})
	}
}

// transmission looks for nobody to share with.
func (a *realApp) transmission() *harness.Process {
	a.write("settings.json", a.block("json"))
	return harness.Start(a.t, a.Dir, "transmission-daemon", "-f", "--log-error", "-g", a.Dir, "-w", a.Dir,
		"--no-dht", "--no-lpd", "--no-utp", "--no-portmap", "-i", "127.0.0.1", "-P", harness.Port(a.t, harness.FreeAddress(a.t)))
}
