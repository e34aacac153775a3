package apps

import (
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"sallyport/e2e/harness"
)

const jupyterPassword = "a password of its own"

func TestJupyterWorksBehindTheGateway(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range jupyterPlaces {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			a := startApp(t, "jupyter.md", c.heading, "8888", (*realApp).jupyter)
			p := a.signIn(b, c.host, c.base)
			// What Debian 12's has wrong by itself: a terminal's page with an xterm.js that no browser can load, and an
			// extension that is another package's.
			p.Forgive("terminal/js/main.min.js", "widgets/notebook/js/extension.js")
			logIn(p, c.base)
			harness.Eventually(t, "the list of files has come", func() bool { return strings.Contains(p.Text("#notebook_list"), "sum.ipynb") })
			p.Visit(c.base + "terminals/new/shell")
			if screen := harness.JS[string](p, typedSum); !strings.Contains(screen, "42") {
				t.Errorf("the terminal shows %q", screen)
			}
			p.Visit(c.base + "notebooks/sum.ipynb")
			if !harness.JS[bool](p, `document.querySelector('head > script[src*="/auth/static/guard"]') !== null`) {
				t.Error("the notebook's page is without the session guard")
			}
			runCell(p)

			p.Forgive("custom/custom.css") // asked for by the page that says goodbye, when nobody is signed in any more
			p.Visit(c.base + "logout")
			// Its pages are empty until a script of theirs shows them.
			harness.Eventually(t, "its own sign-out says so", func() bool { return strings.Contains(p.Text("#site"), "Successfully logged out") })
			p.Visit(c.base)
			if !strings.HasPrefix(p.Path(), "/auth/login?") {
				t.Fatalf("after its own sign-out the way in leads to %s", p.Path())
			}
			p.GivePassword("alice", harness.Password)
			p.GiveCode(a.phone.Code())
			logIn(p, c.base)
			if kept := cookies(p, c.base); !hasPrefix(kept, c.cookie) || !hasPrefix(kept, "_xsrf") {
				t.Fatalf("its cookies are %q", kept)
			}
			p.SignOut()
			if kept := cookies(p, c.base); hasPrefix(kept, c.cookie) || hasPrefix(kept, "_xsrf") {
				t.Errorf("the gateway's sign-out leaves the cookies %q", kept)
			}
		})
	}
}

// logIn gives Jupyter its password, where it asks for it.
func logIn(p *harness.Tab, base string) {
	p.T.Helper()
	if want := base + "login?"; !strings.HasPrefix(p.Path(), want) {
		p.T.Fatalf("the tab is at %s, want %s…", p.Path(), want)
	}
	p.Fill("#password_input", jupyterPassword)
	p.Follow("#login_submit")
	if want := base + "tree"; !strings.HasPrefix(p.Path(), want) {
		p.T.Fatalf("its password leads to %s, want %s", p.Path(), want)
	}
}

// typedSum opens the WebSocket of a terminal as the page would, types a sum, and is what the shell writes.
const typedSum = `new Promise((done, failed) => {
	const socket = new WebSocket(location.href.replace("http", "ws").replace("/terminals/", "/terminals/websocket/"));
	let screen = "";
	socket.onmessage = ({data}) => {
		const [kind, text] = JSON.parse(data);
		if (kind === "setup") socket.send(JSON.stringify(["stdin", "echo $((6*7))\r"]));
		if (kind === "stdout") screen += text;
		if (screen.includes("42")) done(screen);
	};
	socket.onclose = () => failed("the WebSocket was closed; until then: " + screen);
})`

// runCell runs the notebook's only cell, by way of the kernel's WebSocket, and saves what came out.
func runCell(p *harness.Tab) {
	p.T.Helper()
	harness.Eventually(p.T, "the kernel is ready", func() bool {
		return harness.JS[bool](p, `!!window.Jupyter?.notebook?.kernel?.info_reply?.status`)
	})
	p.Click(`button[data-jupyter-action="jupyter-notebook:run-cell-and-select-next"]`)
	// It runs until the kernel has said so, after the output; saved before, the notebook would differ again.
	harness.Eventually(p.T, "the cell has been run", func() bool {
		return strings.Contains(harness.JS[string](p, `document.querySelector(".code_cell:not(.running) .output_area")?.textContent ?? ""`), "42")
	})
	if !harness.JS[bool](p, `Jupyter.notebook.save_notebook().then(() => !Jupyter.notebook.dirty)`) {
		p.T.Error("the notebook is not saved")
	}
}

// cookies names what the browser keeps for a folder.
func cookies(p *harness.Tab, folder string) []string {
	p.T.Helper()
	kept, err := chromedp.Call(p.Ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{p.URL + folder}})
	if err != nil {
		p.T.Fatal(err)
	}
	var names []string
	for _, c := range kept.Cookies {
		names = append(names, c.Name)
	}
	return names
}

func hasPrefix(names []string, prefix string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

func TestJupytersTerminalIsForItsOwnPagesAlone(t *testing.T) {
	a := startApp(t, "jupyter.md", atTheRoot, "8888", (*realApp).jupyter)
	g := a.startGateway()
	host := "notebook.example.com:" + harness.Port(t, g.Address)
	c := g.Client().With("Host", host)
	phone := c.Enrol("alice")
	pending := g.AsApp().Login("alice").Want(200).Text("tempToken")
	token := g.AsApp().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": phone.Code()}).Want(200).Text("accessToken")
	xsrf := c.Get("/login").Want(200).Cookie("_xsrf").Value
	own := c.Form("/login", "password", jupyterPassword, "_xsrf", xsrf).Want(302).
		Cookie("username-" + strings.NewReplacer(".", "-", ":", "-").Replace(host))
	c.Get("/terminals/new/shell").Want(302)

	// An access token is nothing that a browser adds by itself, so with one the gateway lets every page ask.
	program := &http.Client{}
	byToken := http.Header{"Authorization": {"Bearer " + token}, "Cookie": {own.Name + "=" + own.Value}}
	for _, c := range []struct {
		name, origin string
		client       *http.Client
		header       http.Header
		status       int
		says         string
	}{
		{"its own page", "http://" + host, c.Http, http.Header{}, 101, ""},
		{"another page: the gateway", "http://evil.example", c.Http, http.Header{}, 403, `"code":"FORBIDDEN"`},
		{"its own page, by a token", "http://" + host, program, byToken, 101, ""},
		{"another page, by a token: Jupyter", "http://evil.example", program, byToken, 403, "Cross origin websockets not allowed"},
	} {
		header := c.header.Clone()
		header.Set("Origin", c.origin)
		status, words := dial(t, g, &websocket.DialOptions{Host: host, HTTPClient: c.client, HTTPHeader: header})
		if status != c.status || !strings.Contains(words, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, status, words, c.status, c.says)
		}
	}
}

// dial opens the WebSocket of the terminal, and returns the status and the words of a refusal.
func dial(t *testing.T, g *harness.Gateway, options *websocket.DialOptions) (int, string) {
	t.Helper()
	socket, response, err := websocket.Dial(t.Context(), "ws://"+g.Address+"/terminals/websocket/shell", options)
	if err == nil {
		socket.CloseNow()
		return response.StatusCode, ""
	}
	if response == nil {
		t.Fatal(err)
	}
	words, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(words)
}

// jupyter is set up as the section says, with jupyterPassword and one notebook, and started.
func (a *realApp) jupyter() *harness.Process {
	a.write(".jupyter/jupyter_notebook_config.py", a.block("python"))
	a.write("notebooks/sum.ipynb", `{"nbformat": 4, "nbformat_minor": 2, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
		"cells": [{"cell_type": "code", "source": ["sum(range(1, 10)) - 3"], "metadata": {}, "outputs": [], "execution_count": null}]}`)
	a.setPassword(jupyterPassword)
	return a.runJupyter()
}

// setPassword gives Jupyter a password in the way of its page. It counts from the next start.
func (a *realApp) setPassword(password string) {
	a.t.Helper()
	words := strings.Fields(harness.FirstBlock(a.t, harness.Read(a.t, "docs/apps/jupyter.md"), "sh"))
	set := exec.Command("env", append(a.jupyterEnvironment(), words...)...)
	set.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal it reads what it asks for from the pipe
	set.Stdin = strings.NewReader(strings.Repeat(password+"\n", 2))
	if out, err := set.CombinedOutput(); err != nil {
		a.t.Fatalf("%s: %v: %s", set, err, out)
	}
}

// runJupyter starts what is set up.
func (a *realApp) runJupyter() *harness.Process {
	return harness.Start(a.t, a.Dir, "env", append(a.jupyterEnvironment(), "jupyter-notebook", "--allow-root", "--notebook-dir=notebooks")...)
}

// jupyterEnvironment are the arguments for env by which Jupyter is at home in the app's folder, and has nothing of the
// environment of whoever runs the tests.
func (a *realApp) jupyterEnvironment() []string {
	return []string{"-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + a.Dir}
}
