package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const notesPage = `<!doctype html>
<html lang="en"><head><title>Notes</title><meta name="viewport" content="width=device-width"></head>
<body><main><h1>Notes</h1><p><label for="text">Your notes</label></p><textarea id="text" rows="12" cols="30"></textarea></main></body></html>`

// outerPage shows the notes in a frame, as apps did that were written for framesets.
const outerPage = `<!doctype html><html lang="en"><head><title>Outer</title></head><body><iframe id="inner" title="Notes" src="./"></iframe></body></html>`

// notes is an app that was written for a LAN: a page with a field, another with that page in a frame, and /save in the
// background, which it journals with the user's name.
type notes struct {
	URL string

	mu    sync.Mutex
	saved []string
}

func startNotes(t *testing.T, policy string) *notes {
	t.Helper()
	n := &notes{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		if page, found := map[string]string{"/notes/": notesPage, "/notes/outer": outerPage}[r.URL.Path]; found {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, page)
			return
		}
		line := r.Header.Get("Remote-User") + " saves " + bodyOf(r)
		n.mu.Lock()
		n.saved = append(n.saved, line)
		n.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", line)
	}))
	t.Cleanup(server.Close)
	n.URL = server.URL
	return n
}

// bodyOf gives the field "note" of a form, or else the body, with what the app's own header says.
func bodyOf(r *http.Request) string {
	if note := r.FormValue("note"); note != "" {
		return note + r.Header.Get("X-Mark")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return string(body) + r.Header.Get("X-Mark")
}

// all returns what was saved so far, in alphabetical order.
func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(slices.Values(n.saved))
}

// startGuarded starts a gateway before the app, with the guard on.
func startGuarded(t *testing.T, n *notes, policy, more string) *gateway {
	t.Helper()
	return startGateway(t, settings{
		Users: []user{{Name: "alice"}, {Name: "bob"}}, More: more,
		Upstreams: fmt.Sprintf("  - { path: /notes, url: %q, access: { policy: %s }, session_guard: true }", n.URL, policy),
	})
}

// js runs an expression in the page.
func js[T any](p *tab, expression string) T {
	p.t.Helper()
	return value(p, "running "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// shown is what the guard shows: the text of its dialog or banner, with that of the sign-in page in it.
const shown = `[...document.querySelectorAll("sallyport-guard")].map((host) => host.shadowRoot.textContent + " " +
	(host.shadowRoot.querySelector("iframe")?.contentDocument?.querySelector("h1")?.textContent ?? "")).join(" ")`

// sees waits until the guard shows the words.
func (p *tab) sees(words string) {
	p.t.Helper()
	eventually(p.t, "the guard shows "+words, func() bool { return strings.Contains(js[string](p, shown), words) })
}

func (p *tab) seesNothing() {
	p.t.Helper()
	eventually(p.t, "the guard shows nothing", func() bool { return js[string](p, shown) == "" })
}

// press clicks on a button of the guard's, with the mouse.
func (p *tab) press(words string) {
	p.t.Helper()
	at := js[[]float64](p, fmt.Sprintf(`(() => {
		const buttons = [...document.querySelectorAll("sallyport-guard")].flatMap((h) => [...h.shadowRoot.querySelectorAll("button")]);
		const box = buttons.find((b) => b.textContent === %q).getBoundingClientRect();
		return [box.x + box.width / 2, box.y + box.height / 2];
	})()`, words))
	p.do("pressing "+words, chromedp.MouseClickXY(at[0], at[1]))
}

// signInAbove fills in the login page in the guard's frame, which has the focus.
func (p *tab) signInAbove(name string) {
	p.t.Helper()
	p.focusAbove("username")
	p.keys(name + kb.Tab + password + kb.Enter)
}

// focusAbove waits until a field of the page in the guard's frame has the focus.
func (p *tab) focusAbove(id string) {
	p.t.Helper()
	const focused = `document.activeElement?.shadowRoot?.activeElement?.contentDocument?.activeElement?.id ?? ""`
	eventually(p.t, id+" has the focus", func() bool { return js[string](p, focused) == id })
}

// work types into the field and leaves a mark that a reload would wipe out.
func (p *tab) work(text string) {
	p.t.Helper()
	p.fill("#text", text)
	js[bool](p, `window.mark = true`)
}

// undisturbed fails the test where the page was reloaded or the text is another.
func (p *tab) undisturbed(text string) {
	p.t.Helper()
	if got := js[string](p, `String(window.mark) + " " + document.getElementById("text").value`); got != "true "+text {
		p.t.Errorf("the page has %q, want the mark and %q", got, text)
	}
}

// begin sends the app's requests, each in another way, and collects the answers.
const begin = `{ window.answers = {};
	const note = new FormData();
	note.set("note", "by form");
	const keep = (name) => async (res) => { answers[name] = res.status + " " + await res.text(); };
	fetch("save", { method: "POST", body: "by fetch", headers: { "X-Mark": "!" } }).then(keep("fetch"));
	fetch(new Request("save", { method: "POST", body: "by request" })).then(keep("request"));
	fetch("save", { method: "POST", body: note }).then(keep("form"));
	note.set("note", "changed meanwhile");
	const x = new XMLHttpRequest();
	x.onload = () => { answers.xhr = x.status + " " + JSON.stringify(x.response); };
	x.onreadystatechange = () => { if (x.readyState === 4) answers.state = (answers.state ?? "") + x.status; };
	x.open("POST", "save");
	x.responseType = "json";
	x.setRequestHeader("X-Mark", "?");
	x.send(new URLSearchParams({ note: "by xhr" })); }
	0`

const collected = `Object.keys(answers).sort().map((key) => key + ": " + answers[key]).join("\n")`

// revokeOthers ends all of a person's sessions but one of a program's.
func (g *gateway) revokeOthers(name string, app *authenticator) {
	g.t.Helper()
	c := g.client()
	if app == nil {
		c.login(name).want(200)
	} else {
		c.signIn(name, app)
	}
	c.form("/auth/account/revoke-others").want(303)
	c.post("/auth/logout", nil).want(200)
}

func TestALostSessionIsRegainedOverThePageAndNothingIsLost(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "two_factor", "")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	app := p.setUp()
	p.work("half a sentence")
	g.revokeOthers("alice", app)

	js[int](p, begin)
	p.sees("Please sign in to go on")
	p.focusAbove("username")
	p.inspectGuard("sign-in over the page")
	if got := n.all(); len(got) != 0 {
		t.Errorf("without a session the app got %q", got)
	}
	p.signInAbove("alice")
	p.sees(challengePage)
	p.focusAbove("code")
	p.keys(app.code() + kb.Enter)
	p.seesNothing()
	want := `fetch: 200 "alice saves by fetch!"
form: 200 "alice saves by form"
request: 200 "alice saves by request"
state: 200
xhr: 200 "alice saves by xhr?"`
	eventually(t, "every request has its answer", func() bool { return js[string](p, collected) == want })
	if got, want := n.all(), []string{"alice saves by fetch!", "alice saves by form", "alice saves by request", "alice saves by xhr?"}; !slices.Equal(got, want) {
		t.Errorf("the app got %q, want %q", got, want)
	}
	p.undisturbed("half a sentence")
	if got := js[string](p, `document.activeElement.id`); got != "text" {
		t.Errorf("the focus is on %q, want it back in the field", got)
	}
}

func TestTypingForLongerThanTheIdleTimeoutKeepsTheSessionAndIdlingDoesNot(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "session: { idle_timeout: 5s }")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	p.work("")
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		p.keys("a")
	}
	if got := js[int](p, `fetch("save").then((res) => res.status)`); got != 200 {
		t.Errorf("after twelve seconds of typing the answer is %d, want 200", got)
	}
	time.Sleep(7 * time.Second)
	p.keys("b")
	p.sees("You are signed out.")
	js[int](p, begin)
	p.sees("Please sign in to go on")
	p.signInAbove("alice")
	p.seesNothing()
}

func TestWhoDoesNotWantToSignInGetsTheRefusalAndAReminder(t *testing.T) {
	n := startNotes(t, "default-src 'self'")
	g := startGuarded(t, n, "one_factor", "")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	p.work("kept")
	g.revokeOthers("alice", nil)
	js[int](p, begin)
	p.sees(loginPage)
	p.press("Not now")
	refused := func() bool {
		got := js[string](p, collected)
		return strings.Count(got, `401 {"error"`) == 4 && strings.Count(got, "UNAUTHENTICATED") == 4 && strings.Contains(got, "state: 401\n")
	}
	eventually(t, "every request is answered with 401", refused)
	p.sees("You are signed out.")
	p.inspectGuard("signed out")
	js[int](p, begin) // nobody is asked a second time
	eventually(t, "every request is answered with 401", refused)
	p.press("Sign in")
	p.signInAbove("alice")
	p.seesNothing()
	p.undisturbed("kept")
	if got := js[int](p, `fetch("save").then((res) => res.status)`); got != 200 {
		t.Errorf("signed in again, the answer is %d, want 200", got)
	}
}

func TestOnePersonsRequestIsNeverRepeatedAsAnothers(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	p.work("alice's own")
	g.revokeOthers("alice", nil)
	js[int](p, begin)
	p.signInAbove("bob")
	p.sees("Somebody else is signed in")
	p.inspectGuard("somebody else")
	p.press("Keep the page")
	p.seesNothing()
	eventually(t, "every request is answered with 401", func() bool { return strings.Count(js[string](p, collected), `401 {"error"`) == 4 })
	p.undisturbed("alice's own")
	if got := n.all(); len(got) != 0 {
		t.Errorf("the app got %q, want nothing", got)
	}
}

func TestSeveralFramesShareOneSignInOverTheWholePage(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/outer")
	p.givePassword("alice", password)
	eventually(t, "the frame is there", func() bool {
		return js[string](p, `document.getElementById("inner")?.contentDocument?.getElementById("text") ? "yes" : ""`) == "yes"
	})
	g.revokeOthers("alice", nil)
	js[int](p, `window.answers = {};
		document.getElementById("inner").contentWindow.fetch("save").then((res) => { answers.inner = res.status; });
		fetch("save").then((res) => { answers.outer = res.status; }); 0`)
	p.focusAbove("username")
	if got := js[int](p, `document.querySelectorAll("sallyport-guard").length +
		document.getElementById("inner").contentDocument.querySelectorAll("sallyport-guard").length`); got != 1 {
		t.Errorf("%d sign-ins are shown, want one", got)
	}
	p.signInAbove("alice")
	p.seesNothing()
	eventually(t, "both requests have their answer", func() bool { return js[string](p, collected) == "inner: 200\nouter: 200" })
}

func TestWhereTheAppAllowsNoFramesTheSignInOpensInAWindow(t *testing.T) {
	n := startNotes(t, "frame-src 'none'")
	g := startGuarded(t, n, "one_factor", "")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	p.work("still there")
	g.revokeOthers("alice", nil)
	js[int](p, begin)
	p.sees("Sign in in a window")
	opened := chromedp.WaitNewTarget(p.ctx, func(i *target.Info) bool { return strings.Contains(i.URL, "/auth/login") })
	p.press("Sign in in a window")
	ctx, cancel := chromedp.NewContext(p.ctx, chromedp.WithTargetID(<-opened))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // else the first step's own bound would end the tab
		t.Fatal(err)
	}
	window := &tab{t: t, ctx: ctx, URL: g.URL}
	window.givePassword("alice", password)
	p.seesNothing()
	eventually(t, "every request has its answer", func() bool { return strings.Count(js[string](p, collected), "200 ") == 4 })
	p.undisturbed("still there")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubles = slices.DeleteFunc(p.troubles, func(s string) bool { return strings.Contains(s, "frame-src") }) // that was tried
}

func TestBeforeItsEndASessionCanBeBegunAnew(t *testing.T) {
	n := startNotes(t, "default-src 'none'; script-src 'self'; connect-src 'self'; frame-src 'self'")
	g := startGuarded(t, n, "one_factor", "session: { lifetime: 3m }")
	p := startBrowser(t).open(t, g.URL)
	p.visit("/notes/")
	p.givePassword("alice", password)
	p.sees("You will be signed out at")
	p.work("in time")
	p.inspectGuard("soon signed out")
	p.press("Sign in")
	p.focusAbove("password")
	p.press("Not now") // and is still signed in
	p.seesNothing()
	p.visit("/notes/")
	p.sees("You will be signed out at")
	p.work("in time")
	const ends = `fetch("/auth/me").then((res) => res.json()).then((me) => me.expiresAt)`
	before := js[string](p, ends)
	time.Sleep(time.Second) // an end is given in seconds
	p.press("Sign in")
	p.focusAbove("password")
	p.keys(password + kb.Enter) // the name is filled in
	p.seesNothing()
	if after := js[string](p, ends); after <= before {
		t.Errorf("the session ends at %s, before at %s", after, before)
	}
	p.undisturbed("in time")
}

func TestAPageWhosePolicyForbidsTheScriptStaysByteForByte(t *testing.T) {
	n := startNotes(t, "script-src 'nonce-abc'")
	g := startGuarded(t, n, "one_factor", "")
	c := g.client()
	c.login("alice").want(200)
	if got := c.page("/notes/").want(200).Body; got != notesPage {
		t.Errorf("got %q", got)
	}
}

func TestOnlyASignInOverAPageMayBeFramedAndOnlyByItsOwnOrigin(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "two_factor", "")
	const laid = "/auth/signed-in?rd=%2Fnotes%2F"
	framed := func(a answer) {
		t.Helper()
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "frame-ancestors 'self'") || a.Header.Get("X-Frame-Options") != "SAMEORIGIN" {
			t.Errorf("%s: %q, %q", a.what, policy, a.Header.Get("X-Frame-Options"))
		}
	}
	unframed := func(a answer) {
		t.Helper()
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "frame-ancestors 'none'") || a.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %q, %q", a.what, policy, a.Header.Get("X-Frame-Options"))
		}
	}
	login := "/auth/login?rd=" + strings.NewReplacer("?", "%3F", "=", "%3D", "%", "%25").Replace(laid)
	c := g.client()
	for _, path := range []string{"/auth/login", "/auth/login?rd=/notes/", "/auth/login?rd=/auth/signed-inx", "/auth/login?rd=https://evil.example/auth/signed-in", "/auth/logout", "/auth/nowhere"} {
		unframed(c.page(path))
	}
	framed(c.page(login).want(200))
	framed(c.form("/auth/login", "username", "alice", "password", "wrong", "rd", laid).want(401))
	if to := c.page("/auth/signed-in").want(302).Header.Get("Location"); to != "/auth/login?rd=%2Fauth%2Fsigned-in" {
		t.Errorf("somebody who is not signed in is sent to %q", to)
	}
	app := c.enrol("bob")
	unframed(c.page("/auth/account").want(200))
	framed(c.page("/auth/signed-in").want(200))
	d := g.client()
	d.form("/auth/login", "username", "bob", "password", password, "rd", laid).want(303)
	framed(d.page("/auth/2fa").want(200))
	framed(d.form("/auth/2fa", "code", app.wrong(1)).want(401))
	if to := d.form("/auth/2fa", "code", app.code()).want(303).Header.Get("Location"); to != laid {
		t.Errorf("the code leads to %q, want %q", to, laid)
	}
	e := g.client() // alice has no authenticator yet, and needs one
	e.form("/auth/login", "username", "alice", "password", password, "rd", laid).want(303)
	framed(e.page("/auth/enroll").want(200))
}

// inspectGuard runs axe-core on what the guard shows, in light and dark, wide and narrow, and takes its picture.
func (p *tab) inspectGuard(state string) {
	p.t.Helper()
	axe, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		p.t.Fatalf("axe-core is missing: run `make setup`: %v", err)
	}
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		p.do("widening the window", chromedp.EmulateViewport(1280, 900))
		for _, violation := range p.violations(string(axe)) {
			if strings.Contains(violation, "sallyport-guard") {
				p.t.Errorf("%s, %s: %s", state, theme, violation)
			}
		}
		p.photograph("guard "+state, theme)
		p.do("narrowing the window", chromedp.EmulateViewport(320, 640))
		const tooWide = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
		if by := js[int](p, tooWide); by > 0 {
			p.t.Errorf("%s: %d pixels too wide for a window of 320", state, by)
		}
	}
	p.theme("light")
	p.do("widening the window", chromedp.EmulateViewport(1280, 900))
}
