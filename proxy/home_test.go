package proxy

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// wiki is a passage to http://127.0.0.1:3000 that the browser knows as https://apps.example.com/wiki.
func wiki(t *testing.T, change func(*Upstream, *passage)) *passage {
	t.Helper()
	p := &passage{host: authority{host: "apps.example.com"}, origin: origin{secure: true, host: authority{host: "apps.example.com"}}}
	u := Upstream{Path: "/wiki", URL: mustURL(t, "http://127.0.0.1:3000"), Policy: Bypass, Forwarding: Forwarding{OwnHost: true, StripPath: true}}
	if change != nil {
		change(&u, p)
	}
	var err error
	if p.verdict.route, err = newRoute(u); err != nil {
		t.Fatal(err)
	}
	return p
}

func keepHost(u *Upstream, _ *passage)   { u.Forwarding.OwnHost = false }
func keepPath(u *Upstream, _ *passage)   { u.Forwarding.StripPath = false }
func plainHTTP(_ *Upstream, p *passage)  { p.origin.secure = false }
func keepBoth(u *Upstream, _ *passage)   { u.Forwarding = Forwarding{} }
func atBase(u *Upstream, _ *passage)     { u.URL.Path = "/base" }
func oddPort(_ *Upstream, p *passage)    { p.origin.host.port, p.host.port = "8443", "8443" }
func atPortless(u *Upstream, _ *passage) { u.URL.Host = "app.internal" }
func atBaseOnly(u *Upstream, p *passage) { atBase(u, p); u.Forwarding.StripPath = false; u.Path = "/" }
func plainKeepBoth(u *Upstream, p *passage) {
	plainHTTP(u, p)
	keepBoth(u, p)
}

func TestAnAddressOfTheAppBecomesOneOfTheBrowser(t *testing.T) {
	cases := []struct {
		name      string
		change    func(*Upstream, *passage)
		app, want string
	}{
		{"its own address", nil, "http://127.0.0.1:3000/page?a=b#c", "https://apps.example.com/wiki/page?a=b#c"},
		{"its own address by https", nil, "https://127.0.0.1:3000/page", "https://apps.example.com/wiki/page"},
		{"its own address without a path", nil, "http://127.0.0.1:3000", "https://apps.example.com/wiki/"},
		{"its own address and a query alone", nil, "http://127.0.0.1:3000?q", "https://apps.example.com/wiki/?q"},
		{"another name of the loopback interface", nil, "http://localhost:3000/page", "https://apps.example.com/wiki/page"},
		{"loopback by IPv6", nil, "HTTP://[::1]:3000/page", "https://apps.example.com/wiki/page"},
		{"without a scheme", nil, "//127.0.0.1:3000/page", "https://apps.example.com/wiki/page"},
		{"a path", nil, "/page?to=/x", "/wiki/page?to=/x"},
		{"the root", nil, "/", "/wiki/"},
		{"a path that has the folder already", nil, "/wiki/page", "/wiki/page"},
		{"the folder itself", nil, "/wiki?a", "/wiki?a"},
		{"a path that begins like the folder", nil, "/wikipedia", "/wiki/wikipedia"},
		{"relative to the page", nil, "../page", "../page"},
		{"a query alone", nil, "?page=2", "?page=2"},
		{"nothing", nil, "", ""},
		{"a path that looks like a host", nil, `/\evil.example`, `/wiki/\evil.example`},

		{"another port", nil, "http://127.0.0.1:3001/page", "http://127.0.0.1:3001/page"},
		{"a foreign host", nil, "https://evil.example/page", "https://evil.example/page"},
		{"a foreign host without a scheme", nil, "//evil.example/page", "//evil.example/page"},
		{"a foreign host behind user information", nil, "http://127.0.0.1:3000@evil.example/", "http://127.0.0.1:3000@evil.example/"},
		{"another scheme", nil, "mailto://127.0.0.1:3000/x", "mailto://127.0.0.1:3000/x"},
		{"no scheme known", nil, "javascript:alert(1)//127.0.0.1:3000/", "javascript:alert(1)//127.0.0.1:3000/"},
		{"the browser's own host, which the app has not heard of", nil, "http://apps.example.com/other", "http://apps.example.com/other"},

		{"the browser's host by the wrong scheme", keepBoth, "http://apps.example.com/wiki/page", "https://apps.example.com/wiki/page"},
		{"the browser's host as it is", keepBoth, "https://apps.example.com/wiki/page", "https://apps.example.com/wiki/page"},
		{"the browser's host, without the folder", keepHost, "https://apps.example.com/page", "https://apps.example.com/wiki/page"},
		{"the app's address, with the browser's host known", keepBoth, "http://127.0.0.1:3000/wiki/page", "https://apps.example.com/wiki/page"},
		{"the app asks for TLS where the gateway sees none", plainKeepBoth, "https://apps.example.com/x", "https://apps.example.com/x"},
		{"the browser's port stays", func(u *Upstream, p *passage) { keepBoth(u, p); oddPort(u, p) }, "http://apps.example.com:8443/x", "https://apps.example.com:8443/x"},
		{"the host that a proxy in front has put in", func(u *Upstream, p *passage) { keepBoth(u, p); p.host.host = "gate.internal" }, "http://gate.internal/x", "https://apps.example.com/x"},
		{"another port of the browser's host is another place", keepBoth, "http://apps.example.com:8080/x", "http://apps.example.com:8080/x"},
		{"plain http stays plain http", func(u *Upstream, p *passage) { plainHTTP(u, p) }, "http://127.0.0.1:3000/x", "http://apps.example.com/wiki/x"},

		{"no folder to add", keepPath, "http://127.0.0.1:3000/page", "https://apps.example.com/page"},
		{"no folder to add to a path", keepPath, "/page", "/page"},
		{"default ports of either scheme", atPortless, "https://app.internal/x", "https://apps.example.com/wiki/x"},
		{"the base path comes off", atBase, "http://127.0.0.1:3000/base/x", "https://apps.example.com/wiki/x"},
		{"the base path comes off a path", atBase, "/base/x", "/wiki/x"},
		{"the base path alone", atBase, "/base", "/wiki/"},
		{"what is not under the base path stays", atBase, "/based/x", "/based/x"},
		{"a path that would become a host's name", atBaseOnly, "/base//evil.example/x", "https://apps.example.com//evil.example/x"},
		{"a path that browsers would take for a host's name", atBaseOnly, `/base/\evil.example/x`, `https://apps.example.com/\evil.example/x`},
	}
	for _, c := range cases {
		if got := wiki(t, c.change).home(c.app); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.app, got, c.want)
		}
	}
}

func TestTheAddressInARefreshHeaderIsBroughtHome(t *testing.T) {
	for app, want := range map[string]string{
		"5; url=http://127.0.0.1:3000/x":    "5; url=https://apps.example.com/wiki/x",
		"0;URL='/x'":                        "0; url='/wiki/x'",
		`0, Url = "http://localhost:3000/"`: `0; url="https://apps.example.com/wiki/"`,
		"5; url=https://evil.example/":      "5; url=https://evil.example/",
		"5":                                 "5",
		"5; http://127.0.0.1:3000/":         "5; http://127.0.0.1:3000/",
		`5; url="`:                          `5; url=""`,
		"5; url=":                           "5; url=",
	} {
		if got := mapRefresh(app, wiki(t, nil).home); got != want {
			t.Errorf("%q became %q, want %q", app, got, want)
		}
	}
}

func TestACookieOfTheAppIsOneThatTheBrowserKeeps(t *testing.T) {
	cases := []struct {
		name      string
		change    func(*Upstream, *passage)
		app, want string
	}{
		{"for every path", nil, "a=b; Path=/", "a=b; Path=/wiki; Secure"},
		{"for one path", nil, "a=b; path=/page/; HttpOnly", "a=b; Path=/wiki/page/; HttpOnly; Secure"},
		{"for a path that has the folder already", nil, "a=b; Path=/wiki/page", "a=b; Path=/wiki/page; Secure"},
		{"without a path", nil, "a=b", "a=b; Secure"},
		{"for a path that is none", nil, "a=b; Path=page", "a=b; Path=page; Secure"},
		{"its value stays byte for byte", nil, `a="x=y, z" ;Path=/`, `a="x=y, z" ; Path=/wiki; Secure`},
		{"for its own host", nil, "a=b; Domain=127.0.0.1; Path=/", "a=b; Path=/wiki; Secure"},
		{"for the loopback interface", nil, "a=b; domain=LOCALHOST", "a=b; Secure"},
		{"for a parent of its own host", func(u *Upstream, _ *passage) { u.URL.Host = "wiki.corp.internal" }, "a=b; Domain=.Corp.internal", "a=b; Secure"},
		{"for a parent of both hosts", func(u *Upstream, _ *passage) { u.URL.Host = "wiki.example.com" }, "a=b; Domain=example.com", "a=b; Domain=example.com; Secure"},
		{"for a foreign host", nil, "a=b; Domain=evil.example", "a=b; Domain=evil.example; Secure"},
		{"for the browser's host", nil, "a=b; Domain=apps.example.com", "a=b; Domain=apps.example.com; Secure"},
		{"Secure already", nil, "a=b; secure; Path=/", "a=b; secure; Path=/wiki"},
		{"Secure, and the browser speaks http", plainHTTP, "a=b; Path=/; Secure; HttpOnly", "a=b; Path=/wiki; HttpOnly"},
		{"SameSite=None, and the browser speaks http", plainHTTP, "a=b; SameSite=None; Secure", "a=b"},
		{"SameSite=Lax, and the browser speaks http", plainHTTP, "a=b; SameSite=Lax; Secure", "a=b; SameSite=Lax"},
		{"the prefix demands Secure", plainHTTP, "__Secure-a=b; Path=/; Secure", "__Secure-a=b; Path=/wiki; Secure"},
		{"the prefix demands the path", nil, "__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"},
		{"the folder of a base path", atBase, "a=b; Path=/base", "a=b; Path=/wiki; Secure"},
		{"another folder than the base path", atBase, "a=b; Path=/other", "a=b; Path=/other; Secure"},
		{"no folder to add", keepPath, "a=b; Path=/", "a=b; Path=/; Secure"},
		{"for the folder as the app's own scripts know it", keepPath, "a=b; Path=/wiki/", "a=b; Path=/wiki/; Secure"},
		{"for the folder that the app has heard of", nil, "a=b; Path=/wiki/", "a=b; Path=/wiki/; Secure"},
		{"nothing differs", plainKeepBoth, "a=b; Path=/; HttpOnly; SameSite=Strict", "a=b; Path=/; HttpOnly; SameSite=Strict"},
	}
	for _, c := range cases {
		if got := wiki(t, c.change).homeCookie(c.app); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.app, got, c.want)
		}
	}
}

// legacy answers as an app does that believes to live at http://127.0.0.1:<port>/.
func legacy(conn net.Conn, _ *bufio.Reader, q received) {
	own := "http://" + conn.LocalAddr().String()
	io.WriteString(conn, strings.Join([]string{
		"HTTP/1.1 302 Found", "Location: " + own + "/home", "Content-Location: " + own + q.path(), "Refresh: 3; url=" + own + "/later",
		"Set-Cookie: id=1; Path=/; Domain=127.0.0.1", "Set-Cookie: sallyport=stolen; Path=/", "Content-Length: 0", "", "",
	}, "\r\n"))
}

func TestAnAppThatKnowsOnlyItsOwnAddressWorksUnderAnother(t *testing.T) {
	j := newJournal(t, legacy)
	o := options([]Upstream{{
		Name: "wiki", Hosts: []string{"app.example.com"}, Path: "/wiki", URL: j.url, Policy: OneFactor, Forwarding: Forwarding{OwnHost: true, StripPath: true},
	}})
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	res, _ := send(t, start(t, o), get("/wiki/a%2Bb?q=/wiki/", aliceOne, "X-Forwarded-Proto: https",
		"Origin: https://app.example.com", "Referer: https://app.example.com/wiki/from?x", "Destination: https://other.example/wiki/to"))
	q := j.only(t)
	if q.line != "GET /a%2Bb?q=/wiki/ HTTP/1.1" {
		t.Errorf("the upstream saw %q", q.line)
	}
	for name, want := range map[string]string{
		"Host": j.url.Host, "Origin": j.url.String(), "Referer": j.url.String() + "/from?x", "Destination": "https://other.example/wiki/to",
		"X-Forwarded-Host": "app.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/wiki", "Remote-User": "alice",
	} {
		if got := q.values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("the upstream saw %s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"Location": "https://app.example.com/wiki/home", "Content-Location": "https://app.example.com/wiki/a%2Bb",
		"Refresh": "3; url=https://app.example.com/wiki/later", "Set-Cookie": "id=1; Path=/wiki; Secure",
	} {
		if got := res.Header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("the browser saw %s: %q, want %q", name, got, want)
		}
	}
}

func TestOnlyTheBrowsersOwnOriginBecomesTheApps(t *testing.T) {
	for origin, want := range map[string]string{
		"http://app.example.com": "", "http://app.example.com:80": "", "HTTP://APP.example.com": "",
		"https://app.example.com": "https://app.example.com", "http://app.example.com:443": "http://app.example.com:443",
		"http://evil.example": "http://evil.example", "http://app.example.com.evil.example": "http://app.example.com.evil.example",
		"http://app.example.com@evil.example": "http://app.example.com@evil.example", "null": "null", "//app.example.com": "//app.example.com",
	} {
		j := newJournal(t, nil)
		send(t, start(t, options(behind(j.url, Forwarding{OwnHost: true}))), request("POST", "/x", "Content-Length: 0", "Origin: "+origin))
		if want == "" {
			want = j.url.String()
		}
		if got := j.only(t).values("Origin"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: the upstream saw %q, want %q", origin, got, want)
		}
	}
}

func TestAWebDAVMoveNamesItsTargetAsTheAppKnowsIt(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options([]Upstream{{Name: "files", Path: "/files", URL: j.url, Policy: Bypass, Forwarding: Forwarding{StripPath: true}}}))
	send(t, addr, request("MOVE", "/files/a", "Destination: http://app.example.com/files/b"))
	if q := j.only(t); !strings.HasPrefix(q.line, "MOVE /a ") || !slices.Equal(q.values("Destination"), []string{"http://app.example.com/b"}) {
		t.Errorf("the upstream saw %q %q", q.line, q.headers)
	}
}

func TestThePathThatIsStrippedIsThePathThatWasJudged(t *testing.T) {
	cases := []struct {
		path, want string // "": refused
	}{
		{"/team%20wiki/", "/"},
		{"/team%20wiki/public/x", "/public/x"},
		{"/team%20w%69ki/public/x", "/public/x"},
		{"/team%20wiki/public/a%2Bb%20c", "/public/a%2Bb%20c"},
		{"/team%20wiki/public/../secret", ""},
		{"/team%20wiki/public/%2e%2e/secret", ""},
		{"/team%20wiki/public//secret", ""},
		{"/team%20wiki//secret", ""},
		{"/team%20wiki/public%2fsecret", ""},
		{"/team%20wiki/public;/secret", ""},
		{"/team%20wiki/secret", ""},
		{"/TEAM%20WIKI/secret", ""},
		{"/team%20wikis/public/x", ""},
	}
	for _, c := range cases {
		j := newJournal(t, nil)
		addr := start(t, options([]Upstream{{
			Name: "wiki", Path: "/team wiki", URL: j.url, Policy: Deny, Forwarding: Forwarding{StripPath: true},
			Rules: []Rule{{Paths: []string{"/team wiki/public/*", "/team wiki/"}, Policy: Bypass}},
		}}))
		res, _ := send(t, addr, get(c.path))
		if c.want == "" {
			j.empty(t)
			continue
		}
		if res.StatusCode != 200 || j.only(t).path() != c.want || !slices.Equal(j.only(t).values("X-Forwarded-Prefix"), []string{"/team%20wiki"}) {
			t.Errorf("%s: got %s, the upstream saw %q; want the path %s", c.path, describe(res), j.all(), c.want)
		}
	}
}

func TestTheFolderOfAStrippedPathGetsItsSlash(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options([]Upstream{{Name: "wiki", Path: "/wiki", URL: j.url, Policy: OneFactor, Forwarding: Forwarding{StripPath: true}}}))
	if res, _ := send(t, addr, get("/wiki?page=1", aliceOne)); res.StatusCode != 302 || res.Header.Get("Location") != "/wiki/?page=1" {
		t.Errorf("got %s to %q, want 302 to /wiki/?page=1", describe(res), res.Header.Get("Location"))
	}
	if res, _ := send(t, addr, get("/wiki")); describe(res) != "401 sign-in" {
		t.Errorf("signed out: got %s", describe(res))
	}
	j.empty(t)
	send(t, addr, request("POST", "/wiki", aliceOne, "Content-Length: 0"))
	if got := j.only(t).path(); got != "/" {
		t.Errorf("a POST to the folder: the upstream saw %s", got)
	}
}

func FuzzAnAddressStaysSomebodyElsesOrBecomesTheBrowsers(f *testing.F) {
	for _, seed := range []string{"http://127.0.0.1:3000/x", "//127.0.0.1:3000", `/\evil.example`, "/base//evil.example", "http://127.0.0.1:3000@evil.example", "https://evil.example/"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, app string, strip bool) {
		p := wiki(t, func(u *Upstream, p *passage) {
			if atBase(u, p); !strip {
				u.Forwarding.StripPath = false
			}
		})
		got := p.home(app)
		if got == app {
			return
		}
		browser := strings.ReplaceAll(got, `\`, "/")
		u, err := url.Parse(browser)
		if strings.HasPrefix(browser, "//") || err == nil && u.Host != "" && u.Host != "apps.example.com" {
			t.Errorf("%q became %q, which names a host that the app has not named", app, got)
		}
	})
}
