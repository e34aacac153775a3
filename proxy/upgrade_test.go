package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

// echo switches protocols as it is asked to, and then sends every byte back.
func echo(conn net.Conn, br *bufio.Reader, q received) {
	if up := q.values("Upgrade"); len(up) == 1 {
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+up[0]+"\r\n\r\n")
		io.Copy(conn, br)
		conn.Close()
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

func webSocket(path string, headers ...string) string {
	return get(path, append([]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, headers...)...)
}

// open sends a request and reads the head of the answer.
func open(t *testing.T, addr, raw string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn := dial(t, addr)
	io.WriteString(conn, raw)
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatalf("no answer to %q: %v", raw, err)
	}
	return conn, br, res
}

func TestAWebSocketPassesWithTheIdentityOfItsSession(t *testing.T) {
	j := newJournal(t, echo)
	addr := start(t, options(fixture(j.url)))
	conn, br, res := open(t, addr, webSocket("/app/ws", aliceOne, "Connection: Remote-User, Remote-Groups", "Remote-User: mallory", "Remote_Groups: admins", "Origin: http://app.example.com"))
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s, want 101", describe(res))
	}
	io.WriteString(conn, "ping")
	back := make([]byte, 4)
	if _, err := io.ReadFull(br, back); err != nil || string(back) != "ping" {
		t.Errorf("echo: got %q, %v", back, err)
	}
	q := j.only(t)
	wantClean(t, q)
	if got := q.values("Sec-WebSocket-Key"); len(got) != 1 || len(q.values("Cookie")) != 0 {
		t.Errorf("the handshake that the upstream saw: %q", q.headers)
	}
}

func TestAnOpenWebSocketIsClosedWhenItsSessionEnds(t *testing.T) {
	j := newJournal(t, echo)
	o := options(fixture(j.url))
	ended := looks(&o)
	_, br, res := open(t, start(t, o), webSocket("/app/ws", aliceOne))
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s, want 101", describe(res))
	}
	ended <- session.ErrNone
	if rest, err := io.ReadAll(br); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v; want the connection closed", rest, err)
	}
}

func TestAWebSocketNeedsASessionAndAPageOfItsOwnOrigin(t *testing.T) {
	cases := []struct {
		name, host string
		headers    []string
		want       int
	}{
		{"no session", "app.example.com", nil, 401},
		{"a dead session", "app.example.com", []string{"Cookie: sallyport=dead"}, 401},
		{"no Origin: no browser", "app.example.com", []string{aliceOne}, 101},
		{"its own origin", "app.example.com", []string{aliceOne, "Origin: http://app.example.com"}, 101},
		{"https before an unnamed proxy", "app.example.com", []string{aliceOne, "Origin: https://APP.example.com"}, 101},
		{"its own port", "app.example.com:8443", []string{aliceOne, "Origin: https://app.example.com:8443"}, 101},
		{"another port", "app.example.com:8443", []string{aliceOne, "Origin: https://app.example.com"}, 403},
		{"another port than the default", "app.example.com", []string{aliceOne, "Origin: http://app.example.com:8080"}, 403},
		{"a foreign host", "app.example.com", []string{aliceOne, "Origin: http://evil.example"}, 403},
		{"a foreign host that ends alike", "app.example.com", []string{aliceOne, "Origin: http://xapp.example.com"}, 403},
		{"an opaque origin", "app.example.com", []string{aliceOne, "Origin: null"}, 403},
		{"an empty origin", "app.example.com", []string{aliceOne, "Origin: "}, 403},
		{"two origins", "app.example.com", []string{aliceOne, "Origin: http://app.example.com", "Origin: http://evil.example"}, 403},
		{"a path behind the origin", "app.example.com", []string{aliceOne, "Origin: http://app.example.com/"}, 403},
		{"an origin and another", "app.example.com", []string{aliceOne, "Origin: http://app.example.com http://evil.example"}, 403},
		{"user information", "app.example.com", []string{aliceOne, "Origin: http://app.example.com@evil.example"}, 403},
		{"another scheme", "app.example.com", []string{aliceOne, "Origin: chrome-extension://app.example.com"}, 403},
		{"a bearer token, which no browser sends by itself", "app.example.com", []string{"Authorization: Bearer alice-1", "Origin: http://evil.example"}, 101},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, echo)
			raw := strings.Replace(webSocket("/app/ws", c.headers...), "Host: app.example.com", "Host: "+c.host, 1)
			_, _, res := open(t, start(t, options(fixture(j.url))), raw)
			if res.StatusCode != c.want {
				t.Errorf("got %s, want %d", describe(res), c.want)
			}
			if c.want != 101 {
				j.empty(t)
			}
		})
	}
}

func TestAPageThatCameByHTTPOpensNoWebSocketOfHTTPS(t *testing.T) {
	for origin, want := range map[string]int{"https://app.example.com": 101, "http://app.example.com": 403, "http://app.example.com:443": 403} {
		j := newJournal(t, echo)
		o := options(fixture(j.url))
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		_, _, res := open(t, start(t, o), webSocket("/app/ws", aliceOne, "X-Forwarded-Proto: https", "Origin: "+origin))
		if res.StatusCode != want {
			t.Errorf("a page of %s: got %s, want %d", origin, describe(res), want)
		}
	}
}

func TestNoProtocolButWebSocketIsSwitchedTo(t *testing.T) {
	for _, headers := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Connection: Upgrade", "Upgrade: websocket, h2c"},
		{"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"},
		{"Connection: Upgrade", "Upgrade: TLS/1.2"},
	} {
		j := newJournal(t, echo)
		_, _, res := open(t, start(t, options(fixture(j.url))), get("/public/x", headers...))
		if res.StatusCode != http.StatusOK {
			t.Errorf("%q: got %s, want 200 without a switch", headers, describe(res))
		}
		q := j.only(t)
		if n := len(q.values("Upgrade")) + len(q.values("Connection")) + len(q.values("HTTP2-Settings")); n != 0 {
			t.Errorf("%q: the upstream saw %q", headers, q.headers)
		}
	}
}

func TestAnUpstreamCannotSwitchProtocolsUnasked(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	})
	if _, _, res := open(t, start(t, options(fixture(j.url))), get("/public/x", "Connection: Upgrade", "Upgrade: h2c")); res.StatusCode != http.StatusBadGateway {
		t.Errorf("got %s, want 502", describe(res))
	}
}
