package proxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHeadersAreRemovedAndSetAsTheUpstreamNeeds(t *testing.T) {
	j := newJournal(t, fixed("HTTP/1.1 200 OK\r\nServer: cobol\r\nX-Frame-Options: DENY\r\nContent-Length: 2\r\n\r\nok"))
	o := options(whole(j.url, OneFactor))
	o.Upstreams[0].Forwarding = Forwarding{
		RequestHeaders:  HeaderChange{Remove: []string{"x-debug"}, Set: map[string]string{"authorization": "Basic YTpi", "X-Tag": "gate"}},
		ResponseHeaders: HeaderChange{Remove: []string{"Server"}, Set: map[string]string{"X-Frame-Options": "SAMEORIGIN"}},
	}
	res, _ := send(t, start(t, o), get("/x", "Authorization: Bearer alice-1", "X-Debug: 1", "X-Tag: mine", "X-Other: stays"))
	q := j.only(t)
	for name, want := range map[string][]string{"Authorization": {"Basic YTpi"}, "X-Debug": nil, "X-Tag": {"gate"}, "X-Other": {"stays"}} {
		if got := q.values(name); !slices.Equal(got, want) {
			t.Errorf("the upstream saw %s: %q, want %q", name, got, want)
		}
	}
	if res.Header.Get("Server") != "" || !slices.Equal(res.Header.Values("X-Frame-Options"), []string{"SAMEORIGIN"}) {
		t.Errorf("the client saw %v", res.Header)
	}
}

func TestNoSettingSpeaksForTheGateway(t *testing.T) {
	j := newJournal(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	o := options(whole(j.url, OneFactor))
	said := map[string]string{"Remote-User": "root", "Remote_Groups": "admins", "X-Forwarded-For": "10.0.0.1", "X-Real-Ip": "10.0.0.1"}
	o.Upstreams[0].Forwarding = Forwarding{
		RequestHeaders:  HeaderChange{Remove: []string{"Remote-Email"}, Set: said},
		ResponseHeaders: HeaderChange{Set: map[string]string{"Set-Cookie": "sallyport=stolen"}},
	}
	res, _ := send(t, start(t, o), get("/x", aliceOne))
	q := j.only(t)
	wantClean(t, q)
	if got := q.values("X-Forwarded-For"); !slices.Equal(got, []string{"127.0.0.1"}) || len(q.values("X-Real-Ip")) > 0 || len(res.Header["Set-Cookie"]) > 0 {
		t.Errorf("the upstream saw %q, the client %v", q.headers, res.Header)
	}
}

func TestABodyBeyondTheLimitIsA413(t *testing.T) {
	cases := []struct {
		name, raw string
		want      int
	}{
		{"as long as allowed", request("POST", "/x", "Content-Length: 10") + "0123456789", 200},
		{"too long by its own word", request("POST", "/x", "Content-Length: 11", "Expect: 100-continue"), 413},
		{"in chunks, as long as allowed", request("POST", "/x", "Transfer-Encoding: chunked") + "a\r\n0123456789\r\n0\r\n\r\n", 200},
		{"in chunks, too long", request("POST", "/x", "Transfer-Encoding: chunked") + "a\r\n0123456789\r\n1\r\n0\r\n0\r\n\r\n", 413},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, nil)
			o := options(whole(j.url, Bypass))
			o.Upstreams[0].Forwarding.MaxBody = 10
			res, _ := send(t, start(t, o), c.raw)
			if res.StatusCode != c.want {
				t.Errorf("got %s, want %d", describe(res), c.want)
			}
			if c.want == 413 {
				j.empty(t) // the journal holds whole requests alone
			}
		})
	}
}

func TestOnlyThoseWhoMayPassLearnOfTheLimit(t *testing.T) {
	j := newJournal(t, nil)
	o := options(whole(j.url, OneFactor))
	o.Upstreams[0].Forwarding.MaxBody = 10
	if res, _ := send(t, start(t, o), request("POST", "/x", "Content-Length: 11")+"0123456789a"); describe(res) != "401 sign-in" {
		t.Errorf("got %s", describe(res))
	}
	j.empty(t)
}

// quiet is so short that a test need not wait, and long enough for whatever must not be cut off to go on.
const quiet = 100 * time.Millisecond

func TestSilenceBeforeTheAnswerIsA504(t *testing.T) {
	stuck := func(conn net.Conn, _ *bufio.Reader, _ received) { io.Copy(io.Discard, conn) }
	for name, raw := range map[string]string{
		"the upstream says nothing":                 get("/x"),
		"the client does not go on with its upload": request("POST", "/x", "Content-Length: 100") + "begun",
	} {
		t.Run(name, func(t *testing.T) {
			log := &lines{}
			o := options(behind(newJournal(t, stuck).url, Forwarding{Idle: quiet}))
			o.Log = slog.New(slog.NewJSONHandler(log, nil))
			res, _ := send(t, start(t, o), raw)
			if entry := log.find(t, "cause"); res.StatusCode != 504 || !strings.Contains(entry["cause"].(string), "timeouts.idle") {
				t.Errorf("got %s, the log says %v", describe(res), entry)
			}
		})
	}
}

func TestSilenceInAnAnswerEndsIt(t *testing.T) {
	stuck := func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
		io.Copy(io.Discard, conn)
	}
	_, _, res := open(t, start(t, options(behind(newJournal(t, stuck).url, Forwarding{Idle: quiet, FlushInterval: -1}))), get("/x"))
	if body, err := io.ReadAll(res.Body); string(body) != "begun" || err == nil {
		t.Errorf("got %q, %v; want it broken off", body, err)
	}
}

func TestSilenceOverAWebSocketEndsIt(t *testing.T) {
	conn, br, res := open(t, start(t, options(behind(newJournal(t, echo).url, Forwarding{Idle: quiet}))), webSocket("/ws"))
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s", describe(res))
	}
	io.WriteString(conn, "ping")
	if all, err := io.ReadAll(br); string(all) != "ping" || err != nil {
		t.Errorf("got %q, %v; want the echo, and then the end", all, err)
	}
}

func TestAClientThatStopsReadingHoldsNobodyUp(t *testing.T) {
	upstreamEnded, gatewayEnded := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(upstreamEnded)
		down := zeros(1 << 40)
		io.Copy(w, &down)
	}))
	t.Cleanup(backend.Close)
	g := newGateway(t, options(behind(mustURL(t, backend.URL), Forwarding{Idle: quiet})))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gatewayEnded)
		g.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	conn := dial(t, front.Listener.Addr().String())
	io.WriteString(conn, get("/x"))
	for name, ended := range map[string]chan struct{}{"upstream": upstreamEnded, "gateway": gatewayEnded} {
		select {
		case <-ended:
		case <-time.After(patience):
			conn.Close() // so that the servers can end
			t.Errorf("the %s still sends to a client that does not read", name)
		}
	}
}

func TestAnAnswerThatGoesOnIsNotSilence(t *testing.T) {
	const beats = 30
	pulse := func(conn net.Conn, _ *bufio.Reader, _ received) {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", beats)
		for range beats {
			time.Sleep(20 * time.Millisecond)
			io.WriteString(conn, ".")
		}
	}
	// The whole takes longer than the limit; the limit is many times a beat, so that a busy machine keeps it.
	o := options(behind(newJournal(t, pulse).url, Forwarding{Idle: 500 * time.Millisecond, FlushInterval: -1}))
	if _, body := send(t, start(t, o), get("/x")); len(body) != beats {
		t.Errorf("got %d bytes, want %d", len(body), beats)
	}
}

func TestAnAnswerOfKnownLengthIsFlushedAsTheUpstreamNeeds(t *testing.T) {
	next := make(chan struct{})
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
		<-next
		io.WriteString(conn, "later")
	})
	goOn := sync.OnceFunc(func() { close(next) })
	t.Cleanup(goOn)
	_, _, res := open(t, start(t, options(behind(j.url, Forwarding{FlushInterval: -1}))), get("/x"))
	first := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
		t.Errorf("before the rest is there: %q, %v", first, err)
	}
	goOn()
	if rest, err := io.ReadAll(res.Body); string(rest) != "later" || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestUpstreamsThatSpeakAlikeShareTheirConnections(t *testing.T) {
	to := mustURL(t, "http://127.0.0.1:3000")
	g := newGateway(t, options([]Upstream{
		{Name: "a", Path: "/a", URL: to, Policy: Bypass, Forwarding: Forwarding{Connect: time.Second}},
		{Name: "b", Path: "/b", URL: to, Policy: Bypass, Forwarding: Forwarding{Connect: time.Second, StripPath: true}},
		{Name: "c", Path: "/c", URL: to, Policy: Bypass, Forwarding: Forwarding{Connect: 2 * time.Second}},
		{Name: "d", Path: "/d", Hosts: []string{"d.example"}, Policy: Bypass},
	}))
	if len(g.transports) != 2 {
		t.Errorf("%d transports, want 2", len(g.transports))
	}
}
