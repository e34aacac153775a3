package attack

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// markups are texts that become an element or an attribute called b7x, or a script, where they are written into a page as
// they are.
var markups = []string{
	`<b7x>`, `"><b7x>`, `'><b7x>`, `" b7x=1 `, `' b7x=1 `, `" b7x="`, ` b7x=1`, "`b7x=1", `</title><b7x>`, `</script><b7x>`, `</style><b7x>`, `</textarea><b7x>`, `--><b7x>`, `<!--><b7x>`, `]]><b7x>`,
	`<b7x/onload=alert(1)>`, `<svg/onload=b7x>`, `<img src=x onerror=b7x>`, `&lt;b7x&gt;`, `&#60;b7x&#62;`, `%3Cb7x%3E`, `%253Cb7x%253E`, `\u003cb7x\u003e`, `\x3cb7x\x3e`, "<b7x\x00>", "\x00<b7x>", "<\x0bb7x>", `+ADw-b7x+AD4-`, "\xc0\xbcb7x\xc0\xbe", "\uff1cb7x\uff1e",
	`javascript:b7x`, `data:text/html,<b7x>`, `{{.}}<b7x>`, `{{"<b7x>"}}`, "\r\n\r\n<b7x>", "\r\nX-B7x: 1", "%0d%0aX-B7x: 1", "\u2028<b7x>", "\xe5\x98\x8a\xe5\x98\x8dX-B7x: 1",
}

// wantEscaped fails the test where markup of a client's has become part of a page, a script of a link, or a header.
func wantEscaped(t *testing.T, a harness.Answer) {
	t.Helper()
	if a.Status >= 500 {
		t.Errorf("%s: %d", a.What, a.Status)
	}
	for name := range a.Header {
		if strings.EqualFold(name, "X-B7x") {
			t.Errorf("%s: a header of the client's own is among the answer's", a.What)
		}
	}
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	switch kind {
	case "application/json", "text/plain", "":
		if a.Body != "" && a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a body of type %q that a browser may take for a page", a.What, kind)
		}
		return
	case "text/html":
	default:
		t.Errorf("%s: a body of type %q", a.What, kind)
	}
	for n := range elements(t, a.Body) {
		if strings.HasPrefix(n.Data, "b7x") {
			t.Errorf("%s: <%s> has become an element", a.What, n.Data)
		}
		for _, at := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(at.Val))
			if at.Key == "b7x" || strings.HasPrefix(at.Key, "on") || at.Key == "style" || strings.HasPrefix(value, "javascript:") && at.Key != "value" || strings.HasPrefix(value, "data:text") && at.Key != "value" {
				t.Errorf("%s: <%s> has %s=%q", a.What, n.Data, at.Key, at.Val)
			}
		}
	}
}

func TestT42MarkupStaysText(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	g := s.one
	signedIn := p.enrolled(g)
	for _, markup := range markups {
		nobody := from(t, g, newHost()) // wrong names from one address are throttled
		q, header := url.QueryEscape(markup), regexp.MustCompile("[\x00-\x1f]").ReplaceAllString(markup, "")
		for _, target := range []string{
			"/auth/login?rd=" + q, "/auth/login?rd=/" + q, "/auth/login?rd=/app/x?" + q, "/auth/login?" + q + "=" + q, "/auth/login?signed-out=" + q, "/auth/2fa?rd=/app/" + q, "/auth/enroll?rd=/app/" + q,
			"/auth/logout?rd=" + q, "/auth/" + escaped(markup), "/auth/static/" + escaped(markup), "/auth/sessions/" + escaped(markup), "/app/" + escaped(markup), "/app/x?" + q, "/elsewhere/" + escaped(markup), "/auth/signed-in?rd=" + q,
			"/auth/app-password?app=" + q + "&rd=" + q, "/auth/kept?" + q,
		} {
			wantEscaped(t, nobody.With("Referer", "http://"+g.Address+"/"+header).With("User-Agent", header).Page(target))
		}
		for _, target := range []string{"/auth/" + escaped(markup), "/app/x?" + q, "/elsewhere/" + escaped(markup)} {
			wantEscaped(t, nobody.Get(target))
		}
		wantEscaped(t, signedIn.With("User-Agent", header).Page("/auth/enroll?rd=/app/"+q))
		wantEscaped(t, signedIn.With("Referer", header).Page("/elsewhere/"+escaped(markup)))
		wantEscaped(t, nobody.Form("/auth/login", "username", markup, "password", markup, "rd", markup, "remember", markup))
		wantEscaped(t, nobody.Form("/auth/2fa", "code", markup, "rd", markup))
		wantEscaped(t, nobody.With("Content-Type", header).Do("POST", "/auth/login", markup))
		wantEscaped(t, signedIn.Form("/auth/account/revoke", "handle", markup))
	}
}

func TestT42MarkupInWhatPeopleAreCalledStaysText(t *testing.T) {
	up := startUpstream(t)
	const name = `Bob "b7x='1' <b7x> & 'b7x'`
	g := harness.StartGateway(t, harness.Settings{Upstreams: upstreams(up), More: "two_factor: { issuer: '<b7x> \" b7x=1' }"})
	g.Write("users.yaml", "users:\n  bob:\n    displayname: '"+strings.ReplaceAll(name, "'", "''")+"'\n    email: '\"<b7x>\"@example.com'\n    groups: ['<b7x>', '\" b7x=\"']\n    password: "+harness.PasswordHash()+"\n")
	c := g.Client().With("User-Agent", `Mozilla/5.0 (<b7x>; " b7x=1) <b7x>/1.0`)
	harness.Eventually(t, "the new users file is in force", func() bool {
		return c.Form("/auth/login", "username", "bob", "password", harness.Password, "rd", "/app/x").Status == 303
	})
	for _, page := range []string{"/auth/account", "/auth/enroll", "/auth/login?again=1", "/auth/logout", "/elsewhere"} {
		a := c.Page(page)
		if wantEscaped(t, a); page == "/auth/account" && !strings.Contains(a.Body, "&lt;b7x&gt;") {
			t.Errorf("the account page does not name the person, so this shows nothing: %s", a.Body)
		}
	}
}

// wanted are the headers of every answer of the gateway's own, with what they must say.
var wanted = map[string]string{
	"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
}

// wantGuarded fails the test where an answer of the gateway's own lacks what keeps browsers from misusing it.
func wantGuarded(t *testing.T, what string, status int, h http.Header, https bool) {
	t.Helper()
	for name, value := range wanted {
		if got := h.Values(name); len(got) != 1 || !strings.Contains(got[0], value) {
			t.Errorf("%s (%d): %s is %q, want %q", what, status, name, got, value)
		}
	}
	if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "frame-ancestors 'none'") || strings.Contains(got, "unsafe") || strings.Contains(got, "*") {
		t.Errorf("%s (%d): Content-Security-Policy is %q", what, status, got)
	}
	if got := h.Get("Strict-Transport-Security"); (got != "") != https {
		t.Errorf("%s (%d): Strict-Transport-Security is %q", what, status, got)
	}
	for _, name := range []string{"Server", "X-Powered-By", "Via"} {
		if got := h.Get(name); got != "" {
			t.Errorf("%s (%d): %s tells %q", what, status, name, got)
		}
	}
}

func TestT43EveryAnswerOfTheGatewaysOwnIsGuarded(t *testing.T) {
	up := startUpstream(t)
	for publicURL, https := range map[string]bool{"": false, "https://apps.example": true} {
		g := harness.StartGateway(t, harness.Settings{Upstreams: upstreams(up) + "\n  - { name: gone, path: /gone, url: \"http://" + harness.FreeAddress(t) + "\", access: { policy: bypass } }", PublicURL: publicURL, Trusted: frontProxy + "/32"})
		c := g.Client()
		if !https { // over http a client would not send Secure cookies back
			c.Enrol("alice")
		}
		for _, who := range []*harness.Client{c, g.Client()} {
			for _, path := range []string{
				"/auth/login", "/auth/login?rd=/app/x", "/auth/2fa", "/auth/enroll", "/auth/account", "/auth/logout", "/auth", "/auth/", "/auth/me", "/auth/sessions", "/auth/healthz", "/auth/nothing", "/auth/static/nothing.css", "/auth/kept", "/auth/signed-in",
				"/secret/../x", "/elsewhere", "/gone/x", "/public//x", "/auth/authz/forward-auth", "/auth/authz/nothing",
			} {
				for _, a := range []harness.Answer{who.Page(path), who.Get(path), who.Do("HEAD", path, ""), who.Do("DELETE", path, ""), who.With("Origin", "https://evil.example").With("Sec-Fetch-Site", "cross-site").Form(path, "a", "b")} {
					if a.Status != 405 || strings.HasPrefix(path, "/auth") {
						wantGuarded(t, a.What, a.Status, a.Header, https)
					}
				}
			}
		}
		for _, path := range []string{"/app/x", "/secret/x", "/admin/x"} {
			for _, a := range []harness.Answer{g.Client().Page(path), g.Client().Get(path), g.Client().Do("OPTIONS", path, "")} {
				wantGuarded(t, a.What, a.Status, a.Header, https)
			}
		}
		for _, raw := range []string{"TRACE /x", "CONNECT /x", "get /x", "GET ftp://x/", "GET /public/x#y"} {
			method, target, _ := strings.Cut(raw, " ")
			r := speak(t, g.Address, method, target, "Host: "+g.Address)
			wantGuarded(t, raw, r.status, r.header, https)
		}
		for endpoint := range endpoints {
			for _, target := range []string{"/app/x", "/elsewhere", "/a/../x"} {
				a := ask(t, g, endpoint, "GET", target, nil)
				wantGuarded(t, endpoint+" about "+target, a.Status, a.Header, https)
			}
		}
	}
}

// faults are what an app may do instead of answering. DROP breaks the connection off.
var faults = map[string]string{
	"closes at once": "", "says nothing that is HTTP": "stack trace at 10.1.2.3:5432\n\n", "stops in the status line": "HTTP/1.1 20", "stops in the head": "HTTP/1.1 200 OK\r\nContent-Ty", "has two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"has a header that is none": "HTTP/1.1 200 OK\r\nno header at all\r\n\r\n", "has a status that is none": "HTTP/1.1 what? no\r\n\r\n", "has a version that is none": "HTTP/x.y 200 OK\r\n\r\n", "switches protocols unasked": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	"has headers without end": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 2000),
}

func TestT60AFaultOfTheAppsTellsNothing(t *testing.T) {
	down := harness.FreeAddress(t)
	entries := "  - { name: down, path: /down, url: \"http://" + down + "\", access: { policy: bypass } }\n" +
		"  - { name: nowhere, path: /nowhere, url: \"http://no-such-host.invalid:81\", access: { policy: bypass } }\n" +
		"  - { name: slow, path: /slow, url: \"http://" + startFaulty(t, "DROP") + "\", timeouts: { first_byte: 200ms }, access: { policy: bypass } }\n"
	addresses, paths := []string{down, "no-such-host"}, []string{"/down/x", "/nowhere/x", "/slow/x"}
	for what, raw := range faults {
		name := "/" + strings.ReplaceAll(what, " ", "-")
		address := startFaulty(t, raw)
		addresses, paths = append(addresses, address), append(paths, name+"/x")
		entries += "  - { name: \"" + name[1:] + "\", path: " + name + ", url: \"http://" + address + "\", access: { policy: bypass } }\n"
	}
	g := harness.StartGateway(t, harness.Settings{Upstreams: entries})
	telling := append(addresses, "of-a-person", "127.0.0.1:", "goroutine", ".go:", "dial", "tcp", "lookup", "EOF", "refused by", "panic", "runtime", "10.1.2.3", "malformed", "net/http", "X-Filler")
	for _, path := range paths {
		for _, accept := range []string{"text/html", "*/*"} {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				a := g.Client().With("Accept", accept).With("Cookie", "sallyport=of-a-person; app=of-a-person").With("Authorization", "Bearer of-a-person").Do(method, path+"?token=of-a-person", "")
				if a.Status != 502 && a.Status != 504 {
					t.Errorf("%s: %d, want 502 or 504", a.What, a.Status)
				}
				text := a.Body
				for _, values := range a.Header {
					text += "\n" + strings.Join(values, "\n")
				}
				for _, secret := range telling {
					// The page links to itself, so that a person can try again: what it was asked for is theirs.
					if strings.Contains(strings.ReplaceAll(text, path+"?token=of-a-person", ""), secret) {
						t.Errorf("%s tells %q: %s", a.What, secret, text)
					}
				}
			}
		}
	}
}

// startFaulty starts an app that answers every request with these bytes and closes the connection; DROP: with nothing,
// until it is closed.
func startFaulty(t *testing.T, raw string) string {
	t.Helper()
	return startSpeaking(t, func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		if _, err := readHead(in); err != nil {
			return
		}
		if raw == "DROP" {
			io.Copy(io.Discard, in) // until the other end gives up
			return
		}
		io.WriteString(c, raw)
	})
}
