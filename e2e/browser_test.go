package e2e

import (
	"context"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one Chromium with a profile of its own.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// tab is a page in a private window: its cookies are nobody else's.
type tab struct {
	t   *testing.T
	ctx context.Context
	URL string // where the gateway is

	mu       sync.Mutex
	forgiven string   // the name of an app's script that has an error of its own; empty: none
	troubles []string // script errors, broken security policies, requests to other hosts
}

func startBrowser(t *testing.T) *browser {
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
	return &browser{t: t, ctx: ctx}
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

// open opens a private window for the gateway at an origin.
func (b *browser) open(t *testing.T, origin string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx, URL: origin}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, trouble := range p.troubles {
			t.Errorf("the browser says: %s", trouble)
		}
	})
	return p
}

// withoutScripts switches JavaScript off in the window.
func (p *tab) withoutScripts() *tab {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return p
}

// theme chooses what prefers-color-scheme says: light or dark.
func (p *tab) theme(name string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// listen notes what must never happen on a page of the gateway's.
func (p *tab) listen(event any) {
	trouble := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		if !p.forgives(e.ExceptionDetails.URL) {
			trouble = "script error: " + e.ExceptionDetails.Text + " in " + e.ExceptionDetails.URL
		}
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "Content Security Policy") || strings.Contains(e.Entry.Text, "Refused to") {
			trouble = e.Entry.Text
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || (u.Scheme != "data" && u.Scheme != "blob" && "http://"+u.Host != p.URL) {
			trouble = "a request to " + e.Request.URL
		}
	}
	if trouble != "" {
		p.mu.Lock()
		p.troubles = append(p.troubles, trouble)
		p.mu.Unlock()
	}
}

// forgive lets the errors of an app's script pass.
func (p *tab) forgive(script string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgiven = script
}

func (p *tab) forgives(script string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forgiven != "" && strings.Contains(script, "/"+p.forgiven+"?")
}

// patient returns the tab's context with a bound on the next steps.
func (p *tab) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

// do runs a step in the page.
func (p *tab) do(what string, step chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	value(p, what, step)
}

// leave runs a step that leads to another page, and returns the status that it came with.
func (p *tab) leave(what string, step chromedp.Action[chromedp.Void]) int {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	response, err := chromedp.RunResponse(ctx, settled(step))
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.state())
	}
	return int(response.Status)
}

// visit opens a path of the gateway's.
func (p *tab) visit(path string) int {
	p.t.Helper()
	return p.leave("opening "+path, chromedp.Navigate(p.URL+path))
}

// fill types into a field.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.do("typing into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// click clicks on what stays on the page; follow on what leads to another.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.do("clicking on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (p *tab) follow(selector string) int {
	p.t.Helper()
	return p.leave("following "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// text returns the visible text of an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return value(p, "reading "+selector, chromedp.Text(chromedp.CSS(selector)))
}

// path returns where the tab is: the path and query of its address.
func (p *tab) path() string {
	p.t.Helper()
	return strings.TrimPrefix(value(p, "reading the address", chromedp.Location()), p.URL)
}

// value runs one step and returns its result.
func value[T any](p *tab, what string, step chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	v, err := chromedp.Run(ctx, settled(step))
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.state())
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

// state describes the page for a failure.
func (p *tab) state() string {
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

// wantPage fails the test where the page's heading is another.
func (p *tab) wantPage(heading string) {
	p.t.Helper()
	if got := p.text("h1"); got != heading {
		p.t.Fatalf("the page is %q, want %q\n%s", got, heading, p.state())
	}
}

// attribute returns an attribute of an element.
func (p *tab) attribute(selector, name string) string {
	p.t.Helper()
	return value(p, "reading "+name+" of "+selector, chromedp.AttributeValue(chromedp.CSS(selector), name)).Value
}

// emptied is the step that takes what is in a field out.
func emptied(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Clear(chromedp.CSS(selector))
}
