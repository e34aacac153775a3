package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/audit"
	"sallyport/authflow/cookie"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store/boltstore"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
	"sallyport/authflow/web"
)

// oneUser is a directory of one.
type oneUser struct{ users.User }

func (u oneUser) Find(string) (users.User, bool)         { return u.User, true }
func (u oneUser) BySubject(s string) (users.User, bool)  { return u.User, s == u.Subject }
func (u oneUser) SetPassword(username, phc string) error { return nil }

// hotGateway is a gateway with everything behind it but the network, and the cookie of a session with two factors.
func hotGateway(b *testing.B, upstreams int) (g *Gateway, pages *web.Server, sessionCookie string) {
	b.Helper()
	kv, err := boltstore.Open(b.TempDir()+"/s.db", boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { kv.Close() })
	keys, err := seal.New([]byte(strings.Repeat("k", seal.MinKey)))
	if err != nil {
		b.Fatal(err)
	}
	alice := users.User{Subject: "file:alice", Username: "alice", Email: "alice@example.com", Name: "Alice Liddell", Groups: []string{"admins", "staff"}, Stamp: "1"}
	flow := &authflow.Flow{
		Users: oneUser{alice}, KV: kv, Keys: keys, Now: time.Now, Throttle: &throttle.Throttle{KV: kv}, Trail: &audit.Trail{Log: slog.New(slog.DiscardHandler)},
		Sessions: &session.Keeper{KV: kv, Now: time.Now, Cache: session.NewCache(true, time.Now)},
	}
	codec, jar := cookie.NewCodec(keys.Derive("cookie envelopes")), cookie.NewJar("sallyport", true, "")
	pages, err = web.New(web.Options{
		Flow: flow, Codec: codec, Jar: jar, AuthPath: "/auth", PublicURL: &url.URL{Scheme: "https", Host: "app.example.com"}, Log: slog.New(slog.DiscardHandler),
		ClientAddr: func(*http.Request) netip.Addr { return netip.Addr{} }, Secure: func(*http.Request) bool { return true }, PageLoad: PageLoad,
	})
	if err != nil {
		b.Fatal(err)
	}
	g, err = New(Options{
		Upstreams: manyUpstreams(upstreams), AuthPath: "/auth", CookieNames: jar.Names(), Identify: pages.Identify, OwnBearer: pages.OwnBearer,
		Alive: flow.Alive, Forms: pages, Answers: pages, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	token, now := session.NewToken(), time.Now().Unix()
	if _, err := flow.Sessions.Start(b.Context(), token, session.Session{
		Subject: alice.Subject, Stamp: alice.Stamp, AMR: []string{"pwd", "otp"}, SecondFactorAt: now, EndsAt: now + 40_000, IdleFor: 3600, UserAgent: browser,
	}); err != nil {
		b.Fatal(err)
	}
	envelope, err := codec.Encode(cookie.Session, token[:])
	if err != nil {
		b.Fatal(err)
	}
	return g, pages, jar.Name(cookie.Session) + "=" + envelope
}

// manyUpstreams are apps of twenty rules each, of which the last one's last rule takes the request of hotRequest.
func manyUpstreams(n int) (all []Upstream) {
	for i := range n {
		u := Upstream{
			Name: fmt.Sprint("app", i), Hosts: []string{fmt.Sprintf("app%d.example.com", i)}, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:9"}, Policy: TwoFactor,
			Forwarding: Forwarding{Connect: 5 * time.Second, FirstByte: time.Minute, Idle: 5 * time.Minute, MaxBody: 1 << 30},
		}
		for r := range 19 {
			u.Rules = append(u.Rules, Rule{Paths: []string{fmt.Sprintf("/area%d/*", r), fmt.Sprintf("/page%d", r)}, Methods: []string{"GET", "POST"}, Groups: []string{"admins"}, Policy: TwoFactor})
		}
		u.Rules = append(u.Rules, Rule{Paths: []string{"/wiki/*"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Groups: []string{"staff"}, Policy: TwoFactor})
		all = append(all, u)
	}
	return all
}

const browser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"

// hotRequest is what a browser sends for a page.
func hotRequest(upstreams int, sessionCookie string) *http.Request {
	r := httptest.NewRequest("GET", "/wiki/Some/Page?action=view", nil)
	r.Host, r.RemoteAddr, r.Body = fmt.Sprintf("app%d.example.com", upstreams-1), "10.1.2.3:45678", http.NoBody
	for name, value := range map[string]string{
		"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Encoding": "gzip, deflate, br, zstd", "Accept-Language": "en-GB,en;q=0.5",
		"User-Agent": browser, "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "?1",
		"Upgrade-Insecure-Requests": "1", "Referer": "https://app.example.com/wiki/", "Cookie": "theme=dark; " + sessionCookie + "; lang=en", "Connection": "keep-alive",
	} {
		r.Header[name] = []string{value}
	}
	return r
}

// BenchmarkDecision is route, access decision, cookie check, and what comes off a request's headers. What refuses requests that
// no handler should see, and finds out whose they are, comes before.
func BenchmarkDecision(b *testing.B) {
	for _, upstreams := range []int{10, 1000} {
		b.Run(fmt.Sprint(upstreams, "upstreams"), func(b *testing.B) {
			g, _, sessionCookie := hotGateway(b, upstreams)
			r, w := hotRequest(upstreams, sessionCookie), httptest.NewRecorder()
			line, cookies := r.Header.Get("Cookie"), make([]string, 1)
			host, _ := parseAuthority(r.Host)
			from, err := g.origin(r, host)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				cookies[0] = line
				r.Header["Cookie"] = cookies
				host, _ := parseAuthority(r.Host)
				v, no := g.judge(question{host: host, secure: from.secure, method: r.Method, client: from.client}, rawPath(r.URL))
				if no != nil {
					b.Fatal(no.why)
				}
				id, ok := g.admit(w, r, v, &from, func(*session.Identity) {})
				if !ok || id == nil {
					b.Fatal("not admitted")
				}
				g.cookies.takeOff(r.Header)
				dropForeignHeaders(r.Header, !v.route.byMethod)
			}
		})
	}
}

// canned answers like an upstream, from memory.
type canned struct{}

func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: 1024, Body: io.NopCloser(strings.NewReader(kibibyte)),
		Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"1024"}, "Date": {"Sun, 29 Nov 2026 20:00:00 GMT"}},
	}, nil
}

var kibibyte = strings.Repeat("x", 1024)

// discarding is an answer that nobody reads.
type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) WriteHeader(int)             {}
func (d *discarding) Write(p []byte) (int, error) { return len(p), nil }

func serveInMemory(b *testing.B, h http.Handler, r *http.Request) {
	ctx, cancel := context.WithCancel(b.Context()) // as net/http gives each request one that can end
	defer cancel()
	r = r.WithContext(ctx)
	w := &discarding{http.Header{}}
	cookies := r.Header["Cookie"]
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r.Header["Cookie"] = cookies
		h.ServeHTTP(w, r)
	}
}

// BenchmarkGatewayInMemory is a whole request through the gateway, without the network; beside it what a bare reverse
// proxy costs.
func BenchmarkGatewayInMemory(b *testing.B) {
	b.Run("gateway", func(b *testing.B) {
		g, _, sessionCookie := hotGateway(b, 10)
		for _, s := range g.table {
			for _, rt := range s.routes {
				rt.forward.Transport = appTransport{canned{}, true}
			}
		}
		serveInMemory(b, Front(g, true), hotRequest(10, sessionCookie))
	})
	b.Run("bare", func(b *testing.B) {
		to := &url.URL{Scheme: "http", Host: "127.0.0.1:9"}
		bare := &httputil.ReverseProxy{
			Rewrite:   func(pr *httputil.ProxyRequest) { pr.SetURL(to); pr.SetXForwarded() },
			Transport: canned{}, BufferPool: &bufferPool{},
		}
		serveInMemory(b, bare, hotRequest(10, "sallyport=x"))
	})
}
