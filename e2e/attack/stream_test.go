package attack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// upgrade is the head of a WebSocket's opening (RFC 6455 section 4.1), with further lines.
func upgrade(g *harness.Gateway, path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + g.Address + "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

const asUpgrade = "Connection: Upgrade"

// hello is a text frame of a client's, and echoed what comes back (RFC 6455 section 5.2).
const (
	hello  = "\x81\x82\x00\x00\x00\x00hi"
	echoed = "\x81\x02hi"
)

// wantEcho fails the test where a WebSocket does not send back what it gets.
func (w *wire) wantEcho() {
	w.t.Helper()
	w.write(hello)
	got := make([]byte, len(echoed))
	if _, err := io.ReadFull(w.in, got); err != nil || string(got) != echoed {
		w.t.Fatalf("the WebSocket sends back %q, %v", got, err)
	}
}

// opened opens a stream of the upstream's by a person's session and reads its beginning.
func opened(t *testing.T, g *harness.Gateway, path, credential string) *wire {
	t.Helper()
	w := dial(t, g.Address)
	if strings.HasSuffix(path, "socket") {
		w.write(upgrade(g, path, asUpgrade, credential))
	} else {
		w.write("GET " + path + " HTTP/1.1\r\nHost: " + g.Address + "\r\n" + credential + "\r\n\r\n")
	}
	head, err := readHead(w.in)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101") && !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Fatalf("%s: %q, %v", path, head, err)
	}
	if strings.HasSuffix(path, "socket") {
		w.wantEcho()
	}
	return w
}

// wantCut waits for the end of a stream, at both its ends, and logs how long that took.
func wantCut(t *testing.T, s *site, what string, since time.Time, streams ...*wire) {
	t.Helper()
	for _, w := range streams {
		if _, err := io.Copy(io.Discard, w.in); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("%s: the stream is still open after %s", what, time.Since(since))
		}
	}
	t.Logf("%s: cut %s later", what, time.Since(since).Round(time.Millisecond))
	harness.Eventually(t, "the upstream's end is cut too", func() bool { return s.up.Streams() == 0 })
}

func TestT21AWebSocketReachesTheAppClean(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.enrolled(s.one))
	spoofed := []string{cookie, "Origin: " + s.one.URL, "Remote-User: mallory", "remote_groups: admins", "X-Forwarded-User: mallory"}
	for what, lines := range map[string][]string{
		"a WebSocket":                   {asUpgrade},
		"naming identity headers":       {"Connection: Upgrade, Remote-User, Remote-Groups, X-Forwarded-User"},
		"naming them first":             {"Connection: remote-user, X-FORWARDED-USER, upgrade"},
		"naming them in another line":   {asUpgrade, "Connection: Remote-User", "Connection: Cookie, Host"},
		"naming the folded names":       {"Connection: Upgrade, Remote_User, remote.user"},
		"with a Keep-Alive of theirs":   {"Connection: keep-alive, Upgrade", "Keep-Alive: Remote-User"},
		"with an older name's Proxy-Co": {"Connection: Upgrade", "Proxy-Connection: Remote-User"},
	} {
		t.Run(what, func(t *testing.T) {
			for path, who := range map[string]*person{"/app/socket": p, "/secret/socket": p, "/stripped/app/socket": p, "/public/socket": nil} {
				s.up.Forget()
				w := dial(t, s.one.Address)
				w.write(upgrade(s.one, path, append(lines, spoofed...)...))
				head, err := readHead(w.in)
				if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
					t.Fatalf("%s: %q, %v", path, head, err)
				}
				w.wantEcho()
				wantClean(t, s.up.Only(t), who)
				w.conn.Close()
			}
		})
	}
}

func TestT21WhoMayNotOpenAWebSocket(t *testing.T) {
	s := enter(t)
	p, gone, one := newPerson(t, plain), newPerson(t, plain), newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.enrolled(s.one))
	dead := gone.enrolled(s.one)
	deadCookie := "Cookie: " + cookies(dead)
	dead.Post("/auth/logout", nil).Want(200)
	own := "Origin: " + s.one.URL
	for what, test := range map[string]struct {
		path, cookie, origin string
		want                 int
	}{
		"nobody":                     {"/app/socket", "X-A: b", own, 401},
		"who has signed out":         {"/app/socket", deadCookie, own, 401},
		"a sign-in that waits":       {"/app/socket", "Cookie: sallyport=" + p.pending(s.two), own, 401},
		"one factor where two must":  {"/secret/socket", "Cookie: " + cookies(one.oneFactor(s.two)), own, 401},
		"the wrong group":            {"/admin/socket", cookie, own, 403},
		"where nobody may":           {"/else/socket", cookie, own, 403},
		"a foreign page":             {"/app/socket", cookie, "Origin: https://evil.example", 403},
		"a page of no origin":        {"/app/socket", cookie, "Origin: null", 403},
		"a page at another port":     {"/app/socket", cookie, "Origin: http://127.0.0.1:1", 403},
		"a host that begins like it": {"/app/socket", cookie, own + ".evil.example", 403},
		"two origins":                {"/app/socket", cookie, own + "\r\nOrigin: https://evil.example", 403},
		"an origin with a path":      {"/app/socket", cookie, own + "/x", 403},
		"an empty origin":            {"/app/socket", cookie, "Origin:", 403},
		"a host and its look-alike":  {"/app/socket", cookie, "Origin: http://" + s.one.Address + "@evil.example", 403},
	} {
		for _, g := range s.both() {
			if g == s.two && strings.Contains(test.origin, s.one.Address) {
				continue
			}
			s.up.Forget()
			w := dial(t, g.Address)
			w.write(upgrade(g, test.path, "Connection: Upgrade", test.cookie, test.origin))
			head, err := readHead(w.in)
			if err != nil || !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", test.want)) {
				t.Errorf("%s: %.80q, %v, want %d", what, head, err, test.want)
			}
			if seen := s.up.Requests(); len(seen) != 0 {
				t.Errorf("%s: the upstream saw %+v", what, seen)
			}
		}
	}
	// The same with everything as it must be: the app's own page, and a program that is no browser.
	for _, origin := range []string{own, "X-No: origin"} {
		opened(t, s.one, "/app/socket", cookie+"\r\n"+origin).conn.Close()
	}
}

func TestT21WhatIsOpenIsCutWithItsSession(t *testing.T) {
	s := enter(t)
	for what, path := range map[string]string{"a WebSocket": "/secret/socket", "an event stream": "/secret/events", "a download": "/secret/download"} {
		t.Run(what, func(t *testing.T) {
			p, bystander := newPerson(t, plain), newPerson(t, plain)
			c := p.enrolled(s.one)
			other := bystander.enrolled(s.two)
			credential := "Cookie: sallyport=" + sessionOf(c)
			here, there := opened(t, s.one, path, credential), opened(t, s.two, path, credential)
			left := opened(t, s.one, "/secret/socket", "Cookie: sallyport="+sessionOf(other))
			began := time.Now()
			c.Post("/auth/logout", nil).Want(200)
			for _, w := range []*wire{here, there} {
				if _, err := io.Copy(io.Discard, w.in); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Fatalf("still open after %s", time.Since(began))
				}
			}
			t.Logf("cut at both replicas %s after the sign-out", time.Since(began).Round(time.Millisecond))
			left.wantEcho() // nobody else's
			left.conn.Close()
			harness.Eventually(t, "the upstream's ends are cut too", func() bool { return s.up.Streams() == 0 })
		})
	}
	t.Run("of a bearer client", func(t *testing.T) {
		p := newPerson(t, plain)
		p.enrolled(s.one)
		tokens := p.browser(s.one).With("X-Auth-Strategy", "bearer").Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
		bearer := "Authorization: Bearer " + tokens.Text("accessToken")
		w := opened(t, s.two, "/secret/socket", bearer)
		began := time.Now()
		from(t, s.one, p.from).With("Authorization", strings.TrimPrefix(bearer, "Authorization: ")).Post("/auth/logout", nil).Want(200)
		wantCut(t, s, "after the sign-out", began, w)
	})
	t.Run("from another session of the person's", func(t *testing.T) {
		p := newPerson(t, plain)
		c := p.enrolled(s.one)
		w := opened(t, s.one, "/secret/socket", "Cookie: sallyport="+sessionOf(c))
		elsewhere := p.signedIn(s.two)
		began := time.Now()
		elsewhere.Form("/auth/account/revoke-others").Want(303)
		wantCut(t, s, "after the revocation", began, w)
	})
}

func TestT21NoProtocolButWebSocketIsSwitchedTo(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.enrolled(s.one))
	get := "GET /app/x HTTP/1.1\r\nHost: " + s.one.Address + "\r\n" + cookie + "\r\n"
	for what, raw := range map[string]string{
		"h2c":                       get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"h2c alone":                 get + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"h2c without Connection":    get + "Upgrade: h2c\r\n\r\n",
		"h2c in capitals":           get + "Connection: upgrade, http2-settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"h2c beside WebSocket":      get + "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"WebSocket and h2c in turn": get + "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"TLS":                       get + "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n",
		"one that nobody knows":     get + "Connection: Upgrade\r\nUpgrade: sallyport/1\r\n\r\n",
		"connect-udp":               get + "Connection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n\r\n",
		"the preface of HTTP/2":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			s.up.Forget()
			// An app that would switch to whatever it is asked, and then serve what follows.
			s.up.Answer("/app/x", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			w := dial(t, s.one.Address)
			w.write(raw + "GET /secret/hidden HTTP/1.1\r\nHost: x\r\nRemote-User: mallory\r\nConnection: close\r\n\r\n" + last)
			w.everything()
			for _, r := range s.up.Requests() {
				if r.values("Upgrade") != nil || r.values("HTTP2-Settings") != nil || strings.Contains(r.target(), "hidden") {
					t.Errorf("the app sees %q", r.Head)
				}
				wantClean(t, r, p)
			}
		})
	}
}

// A proxy that takes a refused opening for a switch would pass everything that follows as it comes.
func TestT21ARefusedWebSocketIsNoTunnel(t *testing.T) {
	s := enter(t)
	const hidden = "GET /secret/hidden HTTP/1.1\r\nHost: x\r\nRemote-User: mallory\r\nConnection: close\r\n\r\n"
	for what, answer := range map[string]string{
		"another version": "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
		"plain 200":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"an error":        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"200 that says so": "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 0\r\n\r\n",
		"101 to something else": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"101 to nothing":        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		for _, version := range []string{"Sec-WebSocket-Version: 1337", "X-A: b"} {
			s.up.Forget()
			s.up.Answer("/public/socket", answer)
			w := dial(t, s.one.Address)
			w.write(upgrade(s.one, "/public/socket", asUpgrade, version) + hidden)
			if w.everything(); len(s.up.Requests()) == 0 {
				t.Errorf("%s, %s: the opening itself does not reach the app", what, version)
			}
			for _, r := range s.up.Requests() {
				if strings.Contains(r.Head, "hidden") {
					t.Errorf("%s, %s: the app sees %q", what, version, r.Head)
				}
			}
		}
	}
}

// everything returns the bytes of all answers until the gateway closes the connection.
func (w *wire) everything() string {
	w.t.Helper()
	raw, err := io.ReadAll(io.LimitReader(w.in, 1<<20))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("the connection is still open after %s", harness.Patience)
	}
	return string(raw)
}
