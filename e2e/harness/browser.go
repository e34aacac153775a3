package harness

import (
	"context"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is one Chromium with a profile of its own.
type Browser struct {
	t   *testing.T
	ctx context.Context
}

// Tab is a page in a private window: its cookies are nobody else's.
type Tab struct {
	T   *testing.T
	Ctx context.Context
	URL string // where the gateway is

	Mu       sync.Mutex
	forgiven []string // the ends of paths of an app's files that have errors of their own
	Troubles []string // script errors, broken security policies, requests to other hosts, dialogs
}

func StartBrowser(t *testing.T) *Browser {
	t.Helper()
	// The allocator makes the profile, and ends what still writes into it before it takes it away.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example.com 127.0.0.1"), // the hosts of the papers
		chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return &Browser{t: t, ctx: ctx}
}

// chromium returns the path of the browser; Debian and Ubuntu name it differently.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("chromium is missing: run `make setup`")
	return ""
}

// Open opens a private window for the gateway at an origin.
func (b *Browser) Open(t *testing.T, origin string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &Tab{T: t, Ctx: ctx, URL: origin}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Mu.Lock()
		defer p.Mu.Unlock()
		for _, trouble := range p.Troubles {
			t.Errorf("the browser says: %s", trouble)
		}
	})
	return p
}

// WithoutScripts switches JavaScript off in the window.
func (p *Tab) WithoutScripts() *Tab {
	p.T.Helper()
	_, err := chromedp.Call(p.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		p.T.Fatal(err)
	}
	return p
}

// Theme chooses what prefers-color-scheme says: light or dark.
func (p *Tab) Theme(name string) {
	p.T.Helper()
	_, err := chromedp.Call(p.Ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

// listen notes what must never happen on a page of the gateway's.
func (p *Tab) listen(event any) {
	trouble := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		trouble = "script error: " + e.ExceptionDetails.Text + " in " + e.ExceptionDetails.URL
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "Content Security Policy") || strings.Contains(e.Entry.Text, "Refused to") {
			trouble = e.Entry.Text
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || (u.Scheme != "data" && u.Scheme != "blob" && "http://"+u.Host != p.URL) {
			trouble = "a request to " + e.Request.URL
		}
	case *page.EventJavascriptDialogOpening: // until somebody answers it, the tab does nothing at all
		trouble = "a dialog: " + e.Message
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if trouble != "" && !p.forgives(trouble) {
		p.Troubles = append(p.Troubles, trouble)
	}
}

// Forgive lets troubles pass that name one of the files, which are known to be the app's own: "js/main.min.js".
func (p *Tab) Forgive(files ...string) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.forgiven = append(p.forgiven, files...)
}

func (p *Tab) forgives(trouble string) bool {
	return slices.ContainsFunc(p.forgiven, func(file string) bool { return file != "" && strings.Contains(trouble, "/"+file) })
}

// patient returns the tab's context with a bound on the next steps.
func (p *Tab) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.Ctx, Patience)
}

// Do runs a step in the page.
func (p *Tab) Do(what string, step chromedp.Action[chromedp.Void]) {
	p.T.Helper()
	Value(p, what, step)
}

// Leave runs a step that leads to another page, and returns the status that it came with.
func (p *Tab) Leave(what string, step chromedp.Action[chromedp.Void]) int {
	p.T.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	response, err := chromedp.RunResponse(ctx, settled(step))
	if err != nil {
		p.T.Fatalf("%s: %v\n%s", what, err, p.State())
	}
	return int(response.Status)
}

// Visit opens a path of the gateway's.
func (p *Tab) Visit(path string) int {
	p.T.Helper()
	return p.Leave("opening "+path, chromedp.Navigate(p.URL+path))
}

// Fill types into a field.
func (p *Tab) Fill(selector, text string) {
	p.T.Helper()
	p.Do("typing into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks on what stays on the page; follow on what leads to another.
func (p *Tab) Click(selector string) {
	p.T.Helper()
	p.Do("clicking on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (p *Tab) Follow(selector string) int {
	p.T.Helper()
	return p.Leave("following "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Text returns the visible text of an element.
func (p *Tab) Text(selector string) string {
	p.T.Helper()
	return Value(p, "reading "+selector, chromedp.Text(chromedp.CSS(selector)))
}

// Path returns where the tab is: the path and query of its address.
func (p *Tab) Path() string {
	p.T.Helper()
	return strings.TrimPrefix(Value(p, "reading the address", chromedp.Location()), p.URL)
}

// Value runs one step and returns its result.
func Value[T any](p *Tab, what string, step chromedp.Action[T]) T {
	p.T.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	v, err := chromedp.Run(ctx, settled(step))
	if err != nil {
		p.T.Fatalf("%s: %v\n%s", what, err, p.State())
	}
	return v
}

// settled runs a step again where its element was found in the page before the one that has just come. It has
// done nothing then: the element is asked for before anything is pressed or read.
func settled[T any](step chromedp.Action[T]) chromedp.Action[T] {
	return func(ctx context.Context, target *chromedp.Target) (T, error) {
		for {
			v, err := step(ctx, target)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "No node with given id") {
				return v, err
			}
		}
	}
}

// State describes the page for a failure.
func (p *Tab) State() string {
	ctx, cancel := p.patient()
	defer cancel()
	where, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return "(the tab does not answer)"
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return "at " + where
	}
	return "at " + where + ":\n" + text
}

// WantPage fails the test where the page's heading is another.
func (p *Tab) WantPage(heading string) {
	p.T.Helper()
	if got := p.Text("h1"); got != heading {
		p.T.Fatalf("the page is %q, want %q\n%s", got, heading, p.State())
	}
}

// Attribute returns an attribute of an element.
func (p *Tab) Attribute(selector, name string) string {
	p.T.Helper()
	return Value(p, "reading "+name+" of "+selector, chromedp.AttributeValue(chromedp.CSS(selector), name)).Value
}

// Emptied is the step that takes what is in a field out.
func Emptied(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Clear(chromedp.CSS(selector))
}

// JS runs an expression in the page.
func JS[T any](p *Tab, expression string) T {
	p.T.Helper()
	return Value(p, "running "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}
