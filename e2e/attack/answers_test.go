package attack

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"sallyport/e2e/harness"
)

// astray are spellings of an address elsewhere. HOST is the gateway's own host and port.
var astray = []string{
	"https://evil.example/", "http://evil.example", "HTTP://EVIL.example/", "//evil.example/", "///evil.example/", "////evil.example/", `\\evil.example/`, `/\evil.example/`, `\/evil.example/`, `/\/evil.example`, `//\evil.example`,
	"/\t/evil.example/", "\t//evil.example/", "/\n/evil.example/", "/\r/evil.example", "\x00//evil.example/", " //evil.example/", "\u00a0//evil.example", "\x0b//evil.example", "\u2028//evil.example", "//\u200bevil.example", "\ufeff//evil.example",
	"http:evil.example", "http:/evil.example", "http:///evil.example", `http:\\evil.example`, `http:\evil.example`, "http:\t//evil.example", "ht\ntp://evil.example", "https:evil.example", "http://\tevil.example",
	"http://HOST@evil.example/", "http://HOST:x@evil.example/", "http://HOST%40evil.example/", `http://evil.example\@HOST/`, "http://evil.example#@HOST/", "http://evil.example?@HOST/", "http://evil.example/@HOST", "http://HOST#@evil.example/", `http://HOST\@evil.example/`,
	"http://HOST.evil.example/", "http://evil.example:HOST/", "http://evilHOST/", "http://HOSTevil.example/", "http://HOST,evil.example/", "http://HOST evil.example/", "http://HOST%20.evil.example/", "http://HOST%00.evil.example/", "http://HOST\x00.evil.example/", "http://HOST;evil.example/",
	"http://evil%2eexample/", "http://evil\u3002example/", "http://\uff45vil.example/", "http://[evil.example]/", "http://[::ffff:c000:0201]/", "http://2130706433/", "http://0x7f000001/", "http://127.1/", "http://0/", "http://localhost./", "http://127.0.0.1.:80/", "http://127.0.0.1:1/",
	"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "\x01javascript:alert(1)", "javascript://HOST/%0aalert(1)", "javascript:/*//HOST/*/alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:http://HOST/x", "about:blank",
	"view-source:http://HOST/", "ftp://HOST/", "ws://HOST/", "intent://HOST/", "mailto:a@b", "HOST/", "evil.example", "?rd=//evil.example", "#//evil.example", "", ".", "./", "../", "..//evil.example", "./\\evil.example",
	"/..//evil.example", "/.//evil.example", "/x/..//evil.example", "/./\\evil.example", "/%2e//evil.example", "/%09/evil.example", "/%5cevil.example", "/%2f/evil.example", "/%2fevil.example", "/;//evil.example", "/x//evil.example", "/.evil.example", "/@evil.example", "/:evil.example",
	"/x\r\nLocation: //evil.example", "/x%0d%0aLocation:%20//evil.example", "/x\nSet-Cookie: sallyport=x", "/\u2028/evil.example", "/\u00ad/evil.example", "/\u2060/evil.example", "/" + strings.Repeat("/", 3000) + "evil.example",
	"/auth/logout", "/auth/login?rd=//evil.example", "/auth/login?rd=https://evil.example/", "/auth/kept?rd=//evil.example", "/auth/2fa?rd=//evil.example",
}

var scheme = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*:`)

// landing is the host and port where a browser goes for a Location, seen from the gateway's own origin, by the URL
// standard of WHATWG (section 4.4) as far as that goes by host: space and controls around it off, tabs and line ends out,
// backslashes as slashes, any number of slashes before a host. ok is false for what is not a page at all.
func landing(location, own string) (host string, ok bool) {
	s := strings.TrimFunc(location, func(c rune) bool { return c <= ' ' })
	s = strings.ReplaceAll(strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(s), `\`, "/")
	if named := scheme.FindString(s); named != "" {
		lower := strings.ToLower(named)
		if lower != "http:" && lower != "https:" {
			return "", false
		}
		s = s[len(named):]
		if lower == "http:" && !strings.HasPrefix(s, "/") {
			return own, true // relative to a page of the same scheme
		}
		s = "//" + strings.TrimLeft(s, "/")
	}
	if !strings.HasPrefix(s, "//") {
		return own, true
	}
	s = strings.TrimLeft(s, "/")
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s = s[:i]
	}
	s = s[strings.LastIndex(s, "@")+1:]
	plain, err := url.PathUnescape(s)
	return strings.ToLower(plain), err == nil
}

// wantHome fails the test where an answer leads a browser to another host than the gateway's.
func wantHome(t *testing.T, what string, h http.Header, own string) {
	t.Helper()
	for _, name := range []string{"Location", "Refresh", "Content-Location", "Link"} {
		for _, value := range h[name] {
			if host, ok := landing(value, own); !ok || host != own || name == "Refresh" {
				t.Errorf("%s: %s leads to %q, on %q", what, name, value, host)
			}
		}
	}
	if len(h["Location"]) > 1 {
		t.Errorf("%s: the Locations %q", what, h["Location"])
	}
}

func TestTheBrowserOfTheseTestsLandsWhereBrowsersDo(t *testing.T) {
	for location, want := range map[string]string{
		"/x": "own:1", "x": "own:1", "//evil.example/": "evil.example", `/\evil.example`: "evil.example", "\t/\n/evil.example": "evil.example", "https:evil.example": "evil.example", "http:x": "own:1",
		"http:/evil.example": "evil.example", "http://own:1@evil.example/": "evil.example", `http://own:1\@evil.example`: "own:1", "HTTPS://Evil%2eExample?x": "evil.example", "/%2fevil.example": "own:1", "/x//evil.example": "own:1",
	} {
		if host, ok := landing(location, "own:1"); host != want || !ok {
			t.Errorf("%q leads to %q, want %q", location, host, want)
		}
	}
	if host, ok := landing("java\tscript:alert(1)", "own:1"); ok {
		t.Errorf("a script leads to %q", host)
	}
}

func TestT40T41NoSpellingOfAnAddressLeadsAway(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	g := s.one
	signedIn, stranger := p.signedIn(g), p.browser(g)
	if to := signedIn.Page("/auth/login?rd=%2Fapp%2Fx").Want(302 + 1).Header.Get("Location"); to != "/app/x" {
		t.Fatalf("where a person may go they are sent to %q, want /app/x", to)
	}
	for _, spelling := range astray {
		spelling = strings.ReplaceAll(spelling, "HOST", g.Address)
		rd := url.QueryEscape(spelling)
		for _, query := range []string{"?rd=" + rd, "?rd=" + url.QueryEscape(rd), "?rd=/app/x&rd=" + rd, "?rd=" + rd + "&rd=/app/x", "?RD=" + rd, "?next=" + rd + "&redirect_uri=" + rd} {
			for _, c := range []*harness.Client{signedIn, stranger} {
				wantAtHome(t, c.Page("/auth/login"+query), g.Address)
			}
		}
		for _, page := range []string{"/auth/2fa", "/auth/logout", "/auth/signed-in", "/auth/kept", "/auth/"} {
			wantAtHome(t, signedIn.Page(page+"?rd="+rd), g.Address)
		}
		for _, page := range []string{"/auth/2fa", "/auth/enroll", "/auth/account"} {
			wantAtHome(t, stranger.Page(page+"?rd="+rd), g.Address)
		}
	}
}

// wantAtHome fails the test where an answer, or a link or form of its page, leads to another host.
func wantAtHome(t *testing.T, a harness.Answer, own string) {
	t.Helper()
	wantHome(t, a.What, a.Header, own)
	wantLinksHome(t, a, own)
	if a.Status >= 500 {
		t.Errorf("%s: %d", a.What, a.Status)
	}
}

// wantLinksHome fails the test where a link or form of a page leads to another host, or a field would be sent on that
// does.
func wantLinksHome(t *testing.T, a harness.Answer, own string) {
	t.Helper()
	for n := range elements(t, a.Body) {
		for _, at := range n.Attr {
			if !slices.Contains([]string{"href", "action", "src", "formaction", "content", "value"}, at.Key) || at.Key == "content" && n.Data != "meta" || strings.HasPrefix(at.Val, "data:image/png;base64,") || strings.HasPrefix(at.Val, "otpauth:") {
				continue
			}
			if at.Key == "value" && !slices.ContainsFunc(n.Attr, func(other html.Attribute) bool { return other.Key == "name" && other.Val == "rd" }) {
				continue
			}
			if host, ok := landing(at.Val, own); !ok || host != own {
				t.Errorf("%s: <%s %s=%q> leads to %q", a.What, n.Data, at.Key, at.Val, host)
			}
		}
	}
}

func TestT40T41WhatIsKeptOverTheStepsLeadsNowhereElse(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	g := s.one
	p.enrolled(g)
	for i, spelling := range astray {
		spelling = strings.ReplaceAll(spelling, "HOST", g.Address)
		c := p.browser(g)
		a := c.Form("/auth/login", "username", p.Name, "password", harness.Password, "rd", spelling)
		wantHome(t, a.What+" with "+spelling, a.Header, g.Address)
		challenge := c.Page("/auth/2fa")
		wantLinksHome(t, challenge, g.Address)
		if i%(len(astray)/8) == 0 { // as many as there are recovery codes
			a = c.Form("/auth/2fa", "code", p.app.RecoveryCode(), "rd", spelling).Want(303)
			wantHome(t, a.What+" with "+spelling, a.Header, g.Address)
		}
		a = c.Form("/auth/logout", "rd", spelling)
		wantHome(t, a.What+" with "+spelling, a.Header, g.Address)
	}
}

func TestT40T41ASpoofedHostLeadsNowhereElse(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	g := s.one
	c := p.signedIn(g)
	for _, lie := range routing {
		for _, value := range []string{"evil.example", "https://evil.example", "for=1.2.3.4;host=evil.example;proto=https", "https"} {
			for _, path := range []string{"/app/x", "/secret/x", "/auth/login?rd=https://evil.example/", "/auth/login?rd=http://evil.example/x", "/auth/account", "/auth/2fa", "/stripped"} {
				for _, who := range []*harness.Client{c, p.browser(g)} {
					a := who.With(lie, value).Page(path)
					wantHome(t, a.What+" with "+lie+": "+value, a.Header, g.Address)
					if strings.Contains(a.Body+a.Header.Get("Set-Cookie"), "evil.example") {
						t.Errorf("%s with %s: %s: the answer names the other host: %s", a.What, lie, value, a.Body)
					}
				}
			}
		}
	}
}

// elements walks the elements of a page as a browser reads it.
func elements(t *testing.T, page string) func(yield func(*html.Node) bool) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(*html.Node) bool) {
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && !yield(n) {
				return
			}
		}
	}
}
