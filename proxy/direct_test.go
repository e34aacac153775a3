package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

var someClient = netip.MustParseAddr("127.0.0.1")

// direct is the way to the upstream "app" at http://app.example.com.
func direct(t *testing.T, o Options) *DirectTransport {
	t.Helper()
	tr, err := newGateway(t, o).Transport("app", mustURL(t, "http://app.example.com"), someClient)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func ask(t *testing.T, method, to, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// roundTrip gives an answer and its body.
func roundTrip(t *testing.T, tr http.RoundTripper, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", r.URL, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res, string(body)
}

func TestARequestOfTheGatewaysOwnIsOnTheWireAsAProxiedOne(t *testing.T) {
	for name, change := range map[string]func(*Upstream){
		"as it is":     func(*Upstream) {},
		"own host":     func(u *Upstream) { u.Forwarding.OwnHost = true },
		"without path": func(u *Upstream) { u.Path, u.Forwarding.StripPath = "/wiki", true },
		"at a base":    func(u *Upstream) { u.URL = u.URL.JoinPath("/base") },
		"other headers": func(u *Upstream) {
			u.Forwarding.RequestHeaders = HeaderChange{Remove: []string{"Cookie"}, Set: map[string]string{"X-Key": "k"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t, nil)
			upstreams := behind(j.url, Forwarding{})
			change(&upstreams[0])
			headers := []string{"User-Agent: browser", "Cookie: a=1; sallyport=alice-1; b=2", "Origin: http://app.example.com", "Referer: http://app.example.com/wiki/page",
				"Content-Type: application/x-www-form-urlencoded", "Remote-User: mallory", "X_Forwarded_User: mallory", "X-Forwarded-For: 192.0.2.9", "X-Other: y"}
			send(t, start(t, options(upstreams)), request("POST", "/wiki/log%69n?q=%2F", append(headers, "Content-Length: 3")...)+"u=a")
			res, body := roundTrip(t, direct(t, options(upstreams)), ask(t, "POST", "http://app.example.com/wiki/log%69n?q=%2F", "u=a", headers...))
			all := j.all()
			if len(all) != 2 || res.StatusCode != 200 || body != "ok" {
				t.Fatalf("the app saw %d requests, and the answer was %d %q; want 2 and 200 ok", len(all), res.StatusCode, body)
			}
			for i := range all {
				all[i].headers = slices.DeleteFunc(all[i].headers, func(line string) bool { return line == "Accept-Encoding: " })
				slices.Sort(all[i].headers)
			}
			wantPath := strings.Replace(all[0].line, "log%69n", "login", 1) // a canonical path is always forwarded as such
			if all[1].line != wantPath || all[1].body != all[0].body || !slices.Equal(all[0].headers, all[1].headers) {
				t.Errorf("by the gateway itself:\n%s\n%q %q\nproxied:\n%s\n%q %q", all[1].line, all[1].headers, all[1].body, all[0].line, all[0].headers, all[0].body)
			}
		})
	}
}

func TestWhatTheGatewayAsksForItselfIsNobodysRequest(t *testing.T) {
	j := newJournal(t, fixed("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\nSet-Cookie: sallyport=planted\r\n\r\n<html><head></head>"))
	o := options([]Upstream{{Name: "app", URL: j.url, Policy: Deny, SessionGuard: true, SignOutPath: "/bye", SignIn: &fakeSignIn{
		headers: []string{"Authorization"},
		credentials: func(*session.Identity) (http.Header, bool, error) {
			t.Error("credentials were asked for")
			return nil, false, nil
		},
		signedOut: func(*http.Request, *http.Response) bool { t.Error("the answer was judged"); return true },
	}}})
	o.Guard.Script = "/auth/static/guard.js"
	o.SignOut = func(*http.Request) ([]string, error) { t.Error("a session was ended"); return nil, nil }
	o.Identify = func(*http.Request) (*session.Identity, error) { t.Error("a session was looked up"); return nil, nil }
	o.Alive = func(context.Context, string) (*session.Identity, error) {
		t.Error("a session was watched")
		return nil, session.ErrNone
	}
	res, body := roundTrip(t, direct(t, o), ask(t, "GET", "http://app.example.com/bye", "", "Cookie: sallyport=alice-2", "Authorization: Basic YTpi", "Accept: text/html"))
	if body != "<html><head></head>" || len(res.Header["Set-Cookie"]) != 0 {
		t.Errorf("the answer: %q, Set-Cookie %q; want the app's own, and no cookie of the gateway's", body, res.Header["Set-Cookie"])
	}
	q := j.only(t)
	wantNobody(t, q)
	if got := q.values("Authorization"); !slices.Equal(got, []string{"Basic YTpi"}) || len(q.values("Cookie")) != 0 {
		t.Errorf("the app saw Authorization %q and Cookie %q", got, q.values("Cookie"))
	}
}

func TestARequestOfTheGatewaysOwnGoesNowhereElse(t *testing.T) {
	j := newJournal(t, nil)
	u := behind(j.url, Forwarding{})
	u[0].Path = "/wiki"
	tr := direct(t, options(u))
	good := "http://app.example.com/wiki/login"
	change := func(f func(*http.Request)) *http.Request {
		r := ask(t, "GET", good, "")
		f(r)
		return r
	}
	for name, r := range map[string]*http.Request{
		"another host":          ask(t, "GET", "http://evil.example/wiki/login", ""),
		"the app's own address": ask(t, "GET", j.url.String()+"/wiki/login", ""),
		"another port":          ask(t, "GET", "http://app.example.com:8080/wiki/login", ""),
		"another scheme":        ask(t, "GET", "https://app.example.com/wiki/login", ""),
		"no host":               ask(t, "GET", "/wiki/login", ""),
		"user information":      ask(t, "GET", "http://u:p@app.example.com/wiki/login", ""),
		"another app's path":    ask(t, "GET", "http://app.example.com/wikipedia", ""),
		"no path":               ask(t, "GET", "http://app.example.com", ""),
		"dots":                  ask(t, "GET", "http://app.example.com/wiki/../admin", ""),
		"encoded dots":          ask(t, "GET", "http://app.example.com/wiki/%2e%2e/admin", ""),
		"an encoded slash":      ask(t, "GET", "http://app.example.com/wiki%2flogin", ""),
		"a double slash":        ask(t, "GET", "http://app.example.com/wiki//evil.example", ""),
		"a backslash":           ask(t, "GET", `http://app.example.com/wiki\login`, ""),
		"double encoding":       ask(t, "GET", "http://app.example.com/wiki/%252e", ""),
		"opaque":                change(func(r *http.Request) { r.URL.Opaque = "//evil.example/wiki/login" }),
		"a query with a space":  change(func(r *http.Request) { r.URL.RawQuery = "a b" }),
		"a query with a line":   change(func(r *http.Request) { r.URL.RawQuery = "a\r\nRemote-User: root" }),
		"a tunnel":              change(func(r *http.Request) { r.Method = "CONNECT" }),
		"another protocol":      change(func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }),
	} {
		closed := &closing{Reader: strings.NewReader("")}
		r.Body = closed
		if res, err := tr.RoundTrip(r); err == nil {
			res.Body.Close()
			t.Errorf("%s: %s was answered with %d", name, r.URL, res.StatusCode)
		}
		if !closed.closed {
			t.Errorf("%s: the body was not closed", name)
		}
	}
	j.empty(t)
	r := change(func(r *http.Request) { r.Host = "evil.example" })
	roundTrip(t, tr, r)
	if got := j.only(t).values("Host"); !slices.Equal(got, []string{"app.example.com"}) {
		t.Errorf("the app saw Host %q", got)
	}
	o := options(behind(j.url, Forwarding{}))
	if _, err := direct(t, o).RoundTrip(ask(t, "GET", "http://app.example.com/Auth/x", "")); err == nil {
		t.Error("a path of the gateway's own pages was asked for")
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestAWayToAnUpstreamIsGivenOnlyWhereABrowserCouldTakeIt(t *testing.T) {
	j := newJournal(t, nil)
	g := newGateway(t, options([]Upstream{{Name: "app", URL: j.url, Hosts: []string{"app.example.com"}, Policy: Bypass}, {Name: "asked", Hosts: []string{"a.example.com"}, Policy: Bypass}}))
	for name, c := range map[string]struct {
		upstream, public string
		client           netip.Addr
	}{
		"no such upstream": {"wiki", "http://app.example.com", someClient},
		"no url":           {"asked", "http://a.example.com", someClient},
		"no scheme":        {"app", "app.example.com", someClient},
		"another scheme":   {"app", "ftp://app.example.com", someClient},
		"no host":          {"app", "http://", someClient},
		"no client":        {"app", "http://app.example.com", netip.Addr{}},
	} {
		if _, err := g.Transport(c.upstream, mustURL(t, c.public), c.client); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	tr, err := g.Transport("app", mustURL(t, "https://app.example.com:8443/x"), netip.MustParseAddr("::ffff:192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, tr, ask(t, "GET", "https://app.example.com:8443/", ""))
	wantForwarded(t, j.only(t), "192.0.2.1", "https", "app.example.com:8443", "8443")
	if got := j.only(t).values("User-Agent"); len(got) != 0 {
		t.Errorf("nobody set a User-Agent, and the app saw %q", got)
	}
}

func TestAnAnswerToTheGatewayIsBroughtHome(t *testing.T) {
	j := newJournal(t, nil)
	j.answer = fixed("HTTP/1.1 302 Found\r\nLocation: http://" + j.url.Host + "/start\r\nSet-Cookie: s=1; Path=/\r\nX-Inner: y\r\nContent-Length: 0\r\n\r\n")
	u := behind(j.url, Forwarding{OwnHost: true, StripPath: true, ResponseHeaders: HeaderChange{Remove: []string{"X-Inner"}}})
	u[0].Path = "/wiki"
	tr := direct(t, options(u))
	res, _ := roundTrip(t, tr, ask(t, "GET", "http://app.example.com/wiki/login", ""))
	if got := res.Header.Get("Location"); got != "http://app.example.com/wiki/start" {
		t.Errorf("Location: %q", got)
	}
	if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"s=1; Path=/wiki"}) || res.Header.Get("X-Inner") != "" {
		t.Errorf("Set-Cookie %q, X-Inner %q", got, res.Header.Get("X-Inner"))
	}
	for app, want := range map[string]string{"http://" + j.url.Host + "/do": "http://app.example.com/wiki/do", "/do?x": "/wiki/do?x", "do": "do", "https://evil.example/do": "https://evil.example/do"} {
		if got := tr.Home(app); got != want {
			t.Errorf("%q is %q at home, want %q", app, got, want)
		}
	}
	// The folder itself is redirected to its slash, as browsers are, and the app is not asked.
	res, _ = roundTrip(t, tr, ask(t, "GET", "http://app.example.com/wiki?a", ""))
	if res.StatusCode != 302 || res.Header.Get("Location") != "/wiki/?a" || len(j.all()) != 1 {
		t.Errorf("the folder: %d, Location %q, %d requests", res.StatusCode, res.Header.Get("Location"), len(j.all()))
	}
}

func TestAClientOfTheGatewaysOwnKeepsTheCookiesOfTheApp(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, q received) {
		head := "HTTP/1.1 302 Found\r\nLocation: /inside\r\nSet-Cookie: s=1; Path=/inside; HttpOnly\r\n"
		if q.path() == "/inside" {
			head = "HTTP/1.1 200 OK\r\n"
		}
		io.WriteString(conn, head+"Content-Length: 0\r\n\r\n")
	})
	u := behind(j.url, Forwarding{StripPath: true})
	u[0].Path = "/wiki"
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: direct(t, options(u)), Jar: jar}
	res, err := client.Do(ask(t, "POST", "http://app.example.com/wiki/login", "p=x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	all := j.all()
	if res.StatusCode != 200 || len(all) != 2 || !slices.Equal(all[1].values("Cookie"), []string{"s=1"}) {
		t.Errorf("got %d after %q", res.StatusCode, all)
	}
	if res, err := client.Do(ask(t, "GET", "http://app.example.com/inside", "")); err == nil {
		res.Body.Close()
		t.Error("a path outside the upstream's was asked for")
	}
}

func TestAnAnswerToTheGatewayIsBounded(t *testing.T) {
	for _, length := range []int{maxDirectAnswer, maxDirectAnswer + 1} {
		for framing, answer := range map[string]string{
			"known length": "Content-Length: " + strconv.Itoa(length) + "\r\n\r\n" + strings.Repeat("x", length),
			"to the end":   "\r\n" + strings.Repeat("x", length),
		} {
			j := newJournal(t, fixed("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"+answer))
			res, err := direct(t, options(behind(j.url, Forwarding{}))).RoundTrip(ask(t, "GET", "http://app.example.com/", ""))
			var long *http.MaxBytesError
			if errors.As(err, &long) != (length > maxDirectAnswer) || long == nil && err != nil {
				t.Errorf("%d bytes, %s: %v", length, framing, err)
			}
			if err == nil {
				if n, _ := io.Copy(io.Discard, res.Body); n != int64(length) {
					t.Errorf("%d bytes, %s: got %d", length, framing, n)
				}
				res.Body.Close()
			}
		}
	}
}

func TestTheContextEndsWhatTheGatewayAsksFor(t *testing.T) {
	for name, head := range map[string]string{"before the answer": "", "within it": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"} {
		began := make(chan struct{}, 1)
		j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
			io.WriteString(conn, head)
			began <- struct{}{}
			io.Copy(io.Discard, conn) // until the gateway hangs up
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }() // began is always sent: the app is asked
		res, err := direct(t, options(behind(j.url, Forwarding{}))).RoundTrip(ask(t, "GET", "http://app.example.com/", "").WithContext(ctx))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's end", name, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
}

func TestTheGatewaysOwnRequestsTakeTheConnectionsOfTheUpstream(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto+" "+r.Host) })
	ours := newAuthority(t)
	secured := httptest.NewUnstartedServer(handler)
	secured.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secured.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "app.internal")}}
	secured.StartTLS()
	t.Cleanup(secured.Close)
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "app.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	socket.Start()
	t.Cleanup(socket.Close)
	clear := httptest.NewUnstartedServer(handler)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	for name, c := range map[string]struct {
		to   *url.URL
		tls  *tls.Config
		want string
	}{
		"TLS":         {mustURL(t, secured.URL), &tls.Config{RootCAs: ours.pool(), ServerName: "app.internal"}, "HTTP/1.1 app.example.com"},
		"another CA":  {mustURL(t, secured.URL), &tls.Config{RootCAs: newAuthority(t).pool(), ServerName: "app.internal"}, ""},
		"Unix socket": {mustURL(t, "unix:"+listener.Addr().String()), nil, "HTTP/1.1 app.example.com"},
		"h2c":         {mustURL(t, strings.Replace(clear.URL, "http:", "h2c:", 1)), nil, "HTTP/2.0 app.example.com"},
	} {
		res, err := direct(t, options(behind(c.to, Forwarding{TLS: c.tls}))).RoundTrip(ask(t, "GET", "http://app.example.com/", ""))
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if body, _ := io.ReadAll(res.Body); string(body) != c.want {
			t.Errorf("%s: the app saw %q, want %q", name, body, c.want)
		}
		res.Body.Close()
	}
}
