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

	"sallyport/e2e/harness"
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
func startGuarded(t *testing.T, n *notes, policy, more string) *harness.Gateway {
	t.Helper()
	return harness.StartGateway(t, harness.Settings{
		Users: []harness.User{{Name: "alice"}, {Name: "bob"}}, More: more,
		Upstreams: fmt.Sprintf("  - { path: /notes, url: %q, access: { policy: %s }, session_guard: true }", n.URL, policy),
	})
}

// shown is what the guard shows: the text of its dialog or banner, with that of the sign-in page in it.
const shown = `[...document.querySelectorAll("sallyport-guard")].map((host) => host.shadowRoot.textContent + " " +
	(host.shadowRoot.querySelector("iframe")?.contentDocument?.querySelector("h1")?.textContent ?? "")).join(" ")`

// sees waits until the guard shows the words.
func sees(p *harness.Tab, words string) {
	p.T.Helper()
	harness.Eventually(p.T, "the guard shows "+words, func() bool { return strings.Contains(harness.JS[string](p, shown), words) })
}

func seesNothing(p *harness.Tab) {
	p.T.Helper()
	harness.Eventually(p.T, "the guard shows nothing", func() bool { return harness.JS[string](p, shown) == "" })
}

// press clicks on a button of the guard's, with the mouse.
func press(p *harness.Tab, words string) {
	p.T.Helper()
	at := harness.JS[[]float64](p, fmt.Sprintf(`(() => {
		const buttons = [...document.querySelectorAll("sallyport-guard")].flatMap((h) => [...h.shadowRoot.querySelectorAll("button")]);
		const box = buttons.find((b) => b.textContent === %q).getBoundingClientRect();
		return [box.x + box.width / 2, box.y + box.height / 2];
	})()`, words))
	p.Do("pressing "+words, chromedp.MouseClickXY(at[0], at[1]))
}

// signInAbove fills in the login page in the guard's frame, which has the focus.
func signInAbove(p *harness.Tab, name string) {
	p.T.Helper()
	focusAbove(p, "username")
	p.Keys(name + kb.Tab + harness.Password + kb.Enter)
}

// focusAbove waits until a field of the page in the guard's frame has the focus.
func focusAbove(p *harness.Tab, id string) {
	p.T.Helper()
	const focused = `document.activeElement?.shadowRoot?.activeElement?.contentDocument?.activeElement?.id ?? ""`
	harness.Eventually(p.T, id+" has the focus", func() bool { return harness.JS[string](p, focused) == id })
}

// work types into the field and leaves a mark that a reload would wipe out.
func work(p *harness.Tab, text string) {
	p.T.Helper()
	p.Fill("#text", text)
	harness.JS[bool](p, `window.mark = true`)
}

// undisturbed fails the test where the page was reloaded or the text is another.
func undisturbed(p *harness.Tab, text string) {
	p.T.Helper()
	if got := harness.JS[string](p, `String(window.mark) + " " + document.getElementById("text").value`); got != "true "+text {
		p.T.Errorf("the page has %q, want the mark and %q", got, text)
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
func revokeOthers(g *harness.Gateway, name string, app *harness.Authenticator) {
	g.T.Helper()
	c := g.Client()
	if app == nil {
		c.Login(name).Want(200)
	} else {
		c.SignIn(name, app)
	}
	c.Form("/auth/account/revoke-others").Want(303)
	c.Post("/auth/logout", nil).Want(200)
}

func TestALostSessionIsRegainedOverThePageAndNothingIsLost(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "two_factor", "")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	app := p.SetUp()
	work(p, "half a sentence")
	revokeOthers(g, "alice", app)

	harness.JS[int](p, begin)
	sees(p, "Please sign in to go on")
	focusAbove(p, "username")
	inspectGuard(p, "sign-in over the page")
	if got := n.all(); len(got) != 0 {
		t.Errorf("without a session the app got %q", got)
	}
	signInAbove(p, "alice")
	sees(p, harness.ChallengePage)
	focusAbove(p, "code")
	p.Keys(app.Code() + kb.Enter)
	seesNothing(p)
	want := `fetch: 200 "alice saves by fetch!"
form: 200 "alice saves by form"
request: 200 "alice saves by request"
state: 200
xhr: 200 "alice saves by xhr?"`
	harness.Eventually(t, "every request has its answer", func() bool { return harness.JS[string](p, collected) == want })
	if got, want := n.all(), []string{"alice saves by fetch!", "alice saves by form", "alice saves by request", "alice saves by xhr?"}; !slices.Equal(got, want) {
		t.Errorf("the app got %q, want %q", got, want)
	}
	undisturbed(p, "half a sentence")
	if got := harness.JS[string](p, `document.activeElement.id`); got != "text" {
		t.Errorf("the focus is on %q, want it back in the field", got)
	}
}

func TestTypingForLongerThanTheIdleTimeoutKeepsTheSessionAndIdlingDoesNot(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "session: { idle_timeout: 5s }")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	work(p, "")
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		p.Keys("a")
	}
	if got := harness.JS[int](p, `fetch("save").then((res) => res.status)`); got != 200 {
		t.Errorf("after twelve seconds of typing the answer is %d, want 200", got)
	}
	time.Sleep(7 * time.Second)
	p.Keys("b")
	sees(p, "You are signed out.")
	harness.JS[int](p, begin)
	sees(p, "Please sign in to go on")
	signInAbove(p, "alice")
	seesNothing(p)
}

func TestWhoDoesNotWantToSignInGetsTheRefusalAndAReminder(t *testing.T) {
	n := startNotes(t, "default-src 'self'")
	g := startGuarded(t, n, "one_factor", "")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	work(p, "kept")
	revokeOthers(g, "alice", nil)
	harness.JS[int](p, begin)
	sees(p, harness.LoginPage)
	press(p, "Not now")
	refused := func() bool {
		got := harness.JS[string](p, collected)
		return strings.Count(got, `401 {"error"`) == 4 && strings.Count(got, "UNAUTHENTICATED") == 4 && strings.Contains(got, "state: 401\n")
	}
	harness.Eventually(t, "every request is answered with 401", refused)
	sees(p, "You are signed out.")
	inspectGuard(p, "signed out")
	harness.JS[int](p, begin) // nobody is asked a second time
	harness.Eventually(t, "every request is answered with 401", refused)
	press(p, "Sign in")
	signInAbove(p, "alice")
	seesNothing(p)
	undisturbed(p, "kept")
	if got := harness.JS[int](p, `fetch("save").then((res) => res.status)`); got != 200 {
		t.Errorf("signed in again, the answer is %d, want 200", got)
	}
}

func TestOnePersonsRequestIsNeverRepeatedAsAnothers(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	work(p, "alice's own")
	revokeOthers(g, "alice", nil)
	harness.JS[int](p, begin)
	signInAbove(p, "bob")
	sees(p, "Somebody else is signed in")
	inspectGuard(p, "somebody else")
	press(p, "Keep the page")
	seesNothing(p)
	harness.Eventually(t, "every request is answered with 401", func() bool { return strings.Count(harness.JS[string](p, collected), `401 {"error"`) == 4 })
	undisturbed(p, "alice's own")
	if got := n.all(); len(got) != 0 {
		t.Errorf("the app got %q, want nothing", got)
	}
}

func TestSeveralFramesShareOneSignInOverTheWholePage(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "one_factor", "")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/outer")
	p.GivePassword("alice", harness.Password)
	harness.Eventually(t, "the frame is there", func() bool {
		return harness.JS[string](p, `document.getElementById("inner")?.contentDocument?.getElementById("text") ? "yes" : ""`) == "yes"
	})
	revokeOthers(g, "alice", nil)
	harness.JS[int](p, `window.answers = {};
		document.getElementById("inner").contentWindow.fetch("save").then((res) => { answers.inner = res.status; });
		fetch("save").then((res) => { answers.outer = res.status; }); 0`)
	focusAbove(p, "username")
	if got := harness.JS[int](p, `document.querySelectorAll("sallyport-guard").length +
		document.getElementById("inner").contentDocument.querySelectorAll("sallyport-guard").length`); got != 1 {
		t.Errorf("%d sign-ins are shown, want one", got)
	}
	signInAbove(p, "alice")
	seesNothing(p)
	harness.Eventually(t, "both requests have their answer", func() bool { return harness.JS[string](p, collected) == "inner: 200\nouter: 200" })
}

func TestWhereTheAppAllowsNoFramesTheSignInOpensInAWindow(t *testing.T) {
	n := startNotes(t, "frame-src 'none'")
	g := startGuarded(t, n, "one_factor", "")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	work(p, "still there")
	revokeOthers(g, "alice", nil)
	harness.JS[int](p, begin)
	sees(p, "Sign in in a window")
	opened := chromedp.WaitNewTarget(p.Ctx, func(i *target.Info) bool { return strings.Contains(i.URL, "/auth/login") })
	press(p, "Sign in in a window")
	ctx, cancel := chromedp.NewContext(p.Ctx, chromedp.WithTargetID(<-opened))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // else the first step's own bound would end the tab
		t.Fatal(err)
	}
	window := &harness.Tab{T: t, Ctx: ctx, URL: g.URL}
	window.GivePassword("alice", harness.Password)
	seesNothing(p)
	harness.Eventually(t, "every request has its answer", func() bool { return strings.Count(harness.JS[string](p, collected), "200 ") == 4 })
	undisturbed(p, "still there")
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Troubles = slices.DeleteFunc(p.Troubles, func(s string) bool { return strings.Contains(s, "frame-src") }) // that was tried
}

func TestBeforeItsEndASessionCanBeBegunAnew(t *testing.T) {
	n := startNotes(t, "default-src 'none'; script-src 'self'; connect-src 'self'; frame-src 'self'")
	g := startGuarded(t, n, "one_factor", "session: { lifetime: 3m }")
	p := harness.StartBrowser(t).Open(t, g.URL)
	p.Visit("/notes/")
	p.GivePassword("alice", harness.Password)
	sees(p, "You will be signed out at")
	work(p, "in time")
	inspectGuard(p, "soon signed out")
	press(p, "Sign in")
	focusAbove(p, "password")
	press(p, "Not now") // and is still signed in
	seesNothing(p)
	p.Visit("/notes/")
	sees(p, "You will be signed out at")
	work(p, "in time")
	const ends = `fetch("/auth/me").then((res) => res.json()).then((me) => me.expiresAt)`
	before := harness.JS[string](p, ends)
	time.Sleep(time.Second) // an end is given in seconds
	press(p, "Sign in")
	focusAbove(p, "password")
	p.Keys(harness.Password + kb.Enter) // the name is filled in
	seesNothing(p)
	if after := harness.JS[string](p, ends); after <= before {
		t.Errorf("the session ends at %s, before at %s", after, before)
	}
	undisturbed(p, "in time")
}

func TestAPageWhosePolicyForbidsTheScriptStaysByteForByte(t *testing.T) {
	n := startNotes(t, "script-src 'nonce-abc'")
	g := startGuarded(t, n, "one_factor", "")
	c := g.Client()
	c.Login("alice").Want(200)
	if got := c.Page("/notes/").Want(200).Body; got != notesPage {
		t.Errorf("got %q", got)
	}
}

func TestOnlyASignInOverAPageMayBeFramedAndOnlyByItsOwnOrigin(t *testing.T) {
	n := startNotes(t, "")
	g := startGuarded(t, n, "two_factor", "")
	const laid = "/auth/signed-in?rd=%2Fnotes%2F"
	framed := func(a harness.Answer) {
		t.Helper()
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "frame-ancestors 'self'") || a.Header.Get("X-Frame-Options") != "SAMEORIGIN" {
			t.Errorf("%s: %q, %q", a.What, policy, a.Header.Get("X-Frame-Options"))
		}
	}
	unframed := func(a harness.Answer) {
		t.Helper()
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "frame-ancestors 'none'") || a.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %q, %q", a.What, policy, a.Header.Get("X-Frame-Options"))
		}
	}
	login := "/auth/login?rd=" + strings.NewReplacer("?", "%3F", "=", "%3D", "%", "%25").Replace(laid)
	c := g.Client()
	for _, path := range []string{"/auth/login", "/auth/login?rd=/notes/", "/auth/login?rd=/auth/signed-inx", "/auth/login?rd=https://evil.example/auth/signed-in", "/auth/logout", "/auth/nowhere"} {
		unframed(c.Page(path))
	}
	framed(c.Page(login).Want(200))
	framed(c.Form("/auth/login", "username", "alice", "password", "wrong", "rd", laid).Want(401))
	if to := c.Page("/auth/signed-in").Want(302).Header.Get("Location"); to != "/auth/login?rd=%2Fauth%2Fsigned-in" {
		t.Errorf("somebody who is not signed in is sent to %q", to)
	}
	app := c.Enrol("bob")
	unframed(c.Page("/auth/account").Want(200))
	framed(c.Page("/auth/signed-in").Want(200))
	d := g.Client()
	d.Form("/auth/login", "username", "bob", "password", harness.Password, "rd", laid).Want(303)
	framed(d.Page("/auth/2fa").Want(200))
	framed(d.Form("/auth/2fa", "code", app.Wrong(1)).Want(401))
	if to := d.Form("/auth/2fa", "code", app.Code()).Want(303).Header.Get("Location"); to != laid {
		t.Errorf("the code leads to %q, want %q", to, laid)
	}
	e := g.Client() // alice has no authenticator yet, and needs one
	e.Form("/auth/login", "username", "alice", "password", harness.Password, "rd", laid).Want(303)
	framed(e.Page("/auth/enroll").Want(200))
}

// inspectGuard runs axe-core on what the guard shows, in light and dark, wide and narrow, and takes its picture.
func inspectGuard(p *harness.Tab, state string) {
	p.T.Helper()
	axe, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		p.T.Fatalf("axe-core is missing: run `make setup`: %v", err)
	}
	for _, theme := range []string{"light", "dark"} {
		p.Theme(theme)
		p.Do("widening the window", chromedp.EmulateViewport(1280, 900))
		for _, violation := range violations(p, string(axe)) {
			if strings.Contains(violation, "sallyport-guard") {
				p.T.Errorf("%s, %s: %s", state, theme, violation)
			}
		}
		photograph(p, "guard "+state, theme)
		p.Do("narrowing the window", chromedp.EmulateViewport(320, 640))
		const tooWide = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
		if by := harness.JS[int](p, tooWide); by > 0 {
			p.T.Errorf("%s: %d pixels too wide for a window of 320", state, by)
		}
	}
	p.Theme("light")
	p.Do("widening the window", chromedp.EmulateViewport(1280, 900))
}
