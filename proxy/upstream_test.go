package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/session"
)

// fixed gives every request the same bytes and hangs up.
func fixed(answer string) func(net.Conn, *bufio.Reader, received) {
	return func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, answer)
		conn.Close()
	}
}

// lines is a log that tests can read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// find gives the first entry with the key.
func (l *lines) find(t *testing.T, key string) map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		entry := map[string]any{}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry[key] != nil {
			return entry
		}
	}
	t.Fatalf("no log line has %s:\n%s", key, l.buf.String())
	return nil
}

func TestABodyThatIsMalformedIsTheClientsFault(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) { io.Copy(io.Discard, conn) })
	addr := start(t, options(fixture(j.url)))
	for _, body := range []string{"zz\r\n", "-1\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffffff\r\n"} {
		if res, _ := send(t, addr, request("POST", "/app/x", aliceOne, "Transfer-Encoding: chunked")+body); describe(res) != "400 refused" {
			t.Errorf("%q: got %s", body, describe(res))
		}
	}
}

func TestAFailingUpstreamIsA502Or504ThatShowsNothingOfIt(t *testing.T) {
	cases := []struct {
		name   string
		answer func(net.Conn, *bufio.Reader, received) // nil: nobody listens
		want   int
	}{
		{"nobody listens", nil, 502},
		{"it hangs up", fixed(""), 502},
		{"it speaks something else", fixed("SSH-2.0-OpenSSH_9.9\r\n"), 502},
		{"it breaks off in its headers", fixed("HTTP/1.1 200 OK\r\nX-A: "), 502},
		{"it sends 10 MiB of headers", fixed("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1<<10-7)+"\r\n", 10<<10) + "\r\n"), 502},
		{"it takes too long", func(conn net.Conn, _ *bufio.Reader, _ received) { io.Copy(io.Discard, conn) }, 504},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, c.answer)
			to := *j.url
			if c.answer == nil {
				closed := httptest.NewServer(nil)
				to.Host = closed.Listener.Addr().String()
				closed.Close()
			}
			log := &lines{}
			o := options(whole(&to, OneFactor))
			o.Log = slog.New(slog.NewJSONHandler(log, nil))
			if c.want == http.StatusGatewayTimeout {
				o.Upstreams[0].Forwarding.FirstByte = 50 * time.Millisecond
			}
			res, body := send(t, start(t, o), get("/x", aliceOne, "Connection: close"))
			if res.StatusCode != c.want {
				t.Errorf("got %s, want %d", describe(res), c.want)
			}
			var head bytes.Buffer
			res.Header.Write(&head)
			if shown := head.String() + body; strings.Contains(shown, to.Host) || strings.Contains(shown, "alice-1") {
				t.Errorf("the client saw %q", shown)
			}
			entry := log.find(t, "cause")
			if id := res.Header.Get("Request-Id"); len(id) != 10 || entry["request_id"] != id || entry["upstream"] != "app" {
				t.Errorf("the answer has the request id %q, the log says %v", id, entry)
			}
			if cause, _ := entry["cause"].(string); strings.Contains(cause, "alice-1") {
				t.Errorf("the log holds a cookie: %s", cause)
			}
		})
	}
}

func TestAnAnswerThatBreaksOffBreaksOffForTheClientToo(t *testing.T) {
	for name, answer := range map[string]string{
		"with a length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"in chunks":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		j := newJournal(t, fixed(answer))
		conn := dial(t, start(t, options(whole(j.url, Bypass))))
		io.WriteString(conn, get("/x"))
		br := bufio.NewReader(conn)
		if res, err := http.ReadResponse(br, nil); err == nil {
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("%s: the client takes %q for the whole answer", name, body)
			}
		}
		if rest, _ := io.ReadAll(br); len(rest) != 0 {
			t.Errorf("%s: something followed: %q", name, rest)
		}
	}
}

func TestAClientThatGoesAwayTakesItsRequestAlong(t *testing.T) {
	began, gone := make(chan struct{}), make(chan struct{})
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		close(began)
		io.Copy(io.Discard, conn) // until the gateway hangs up
		close(gone)
	})
	conn := dial(t, start(t, options(whole(j.url, Bypass))))
	io.WriteString(conn, get("/x"))
	<-began
	conn.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the upstream still works for a client that has gone")
	}
}

func TestAClientThatHasGoneIsNoWarningInTheLog(t *testing.T) {
	for _, c := range []struct {
		name, cookie, level, words string
		goes                       bool
	}{
		{"while the upstream works", "alice-1", "DEBUG", "the client has gone", true},
		{"while the store is asked", "store-gone", "DEBUG", "who asks could not be found out", true},
		{"not at all, and the store fails", "store-gone", "WARN", "who asks could not be found out", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, goAway := context.WithCancel(t.Context())
			defer goAway()
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				goAway()
				io.Copy(io.Discard, conn)
			})
			log := &lines{}
			o := options(whole(j.url, OneFactor))
			o.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			o.Identify = func(r *http.Request) (*session.Identity, error) {
				if c.cookie == "store-gone" && c.goes {
					goAway()
				}
				return identify(r)
			}
			r := httptest.NewRequest("GET", "http://app.example.com/x", nil).WithContext(ctx)
			r.AddCookie(&http.Cookie{Name: "sallyport", Value: c.cookie})
			func() {
				defer func() {
					if aborted := recover(); aborted != nil && aborted != http.ErrAbortHandler {
						panic(aborted)
					}
				}()
				newGateway(t, o).ServeHTTP(httptest.NewRecorder(), r)
			}()
			if entry := log.find(t, "cause"); entry["level"] != c.level || entry["msg"] != c.words || entry["upstream"] != "app" {
				t.Errorf("the log says %v, want %s at level %s", entry, c.words, c.level)
			}
			if written := log.buf.String(); strings.Count(written, "\n") != 1 {
				t.Errorf("the log says more than one thing:\n%s", written)
			}
		})
	}
}

func TestEventsArriveWhileTheAnswerIsUnderWay(t *testing.T) {
	next := make(chan struct{})
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for range next {
			io.WriteString(conn, "data: tick\n\n")
		}
		conn.Close()
	})
	_, _, res := open(t, start(t, options(whole(j.url, OneFactor))), get("/events", aliceOne))
	events := bufio.NewReader(res.Body)
	for range 3 {
		next <- struct{}{} // only now is the event there to be read
		if line, err := events.ReadString('\n'); line != "data: tick\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		events.ReadString('\n')
	}
	close(next)
}

func TestBodiesPassBothWaysAsTheyAre(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, strings.Repeat("page ", 50_000))
	z.Close()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.Copy(w, r.Body)
	}))
	t.Cleanup(backend.Close)
	to, _ := url.Parse(backend.URL)
	addr := start(t, options(whole(to, Bypass)))
	for _, length := range []bool{true, false} {
		body := io.Reader(bytes.NewReader(packed.Bytes()))
		if !length {
			body = io.MultiReader(body) // sent in chunks
		}
		r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/x", body)
		r.Header.Set("Accept-Encoding", "gzip")
		r.Header.Set("Expect", "100-continue")
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(back, packed.Bytes()) {
			t.Errorf("%d bytes came back of %d, %v", len(back), packed.Len(), err)
		}
	}
}

func TestNothingIsAddedToAnAnswer(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nX-Powered-By: cobol\r\nRemote-User: of the upstream\r\nContent-Length: 13\r\n\r\n<html></html>")
	})
	res, _ := send(t, start(t, options(whole(j.url, OneFactor))), get("/x", aliceOne))
	var names []string
	for name := range res.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"Content-Length", "Date", "Remote-User", "X-Powered-By"}; !slices.Equal(names, want) {
		t.Errorf("the client saw %q, want %q", names, want)
	}
}

func TestTheBasePathOfAnUpstreamComesFirst(t *testing.T) {
	for base, want := range map[string]string{"": "/a%2Bb/?q", "/": "/a%2Bb/?q", "/base": "/base/a%2Bb/?q", "/base/": "/base/a%2Bb/?q", "/b%20c": "/b%20c/a%2Bb/?q"} {
		j := newJournal(t, nil)
		to, err := url.Parse(j.url.String() + base)
		if err != nil {
			t.Fatal(err)
		}
		send(t, start(t, options(whole(to, Bypass))), get("/a%2Bb/?q"))
		if got := j.only(t).line; got != "GET "+want+" HTTP/1.1" {
			t.Errorf("base %q: the upstream saw %q, want %s", base, got, want)
		}
	}
}

func TestRequestsThatAreHardToFrameAreRefusedOrFramedAlike(t *testing.T) {
	hidden := "GET /secret/hidden HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
	for _, raw := range []string{
		request("POST", "/public/x", "Content-Length: 4", "Transfer-Encoding: chunked", "Connection: close") + "0\r\n\r\n" + hidden,
		request("POST", "/public/x", "Content-Length: 4", "Content-Length: 60", "Connection: close") + "abcd" + hidden,
		request("POST", "/public/x", "Transfer-Encoding: xchunked", "Connection: close") + hidden,
		request("POST", "/public/x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Connection: close") + "0\r\n\r\n" + hidden,
		request("POST", "/public/x", "Transfer-Encoding: chunked", "Connection: close") + "4;a\nabcd\r\n0\r\n\r\n" + hidden,
		request("POST", "/public/x", "Content_Length: 60", "Content-Length: 0", "Connection: close") + hidden,
	} {
		j := newJournal(t, nil)
		conn := dial(t, start(t, options(fixture(j.url))))
		io.WriteString(conn, raw)
		io.ReadAll(conn)
		for _, q := range j.all() {
			if strings.Contains(q.line, "/secret/") {
				t.Errorf("%q: the upstream saw the hidden request", raw)
			}
		}
	}
}

func TestAGatewayServesManyClientsEachAsThemselves(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Remote-User")+" "+r.Header.Get("X-Mark"))
	}))
	t.Cleanup(backend.Close)
	to, _ := url.Parse(backend.URL)
	addr := start(t, options(whole(to, OneFactor)))
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(ctx context.Context, token, mark string) string {
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/", nil)
		r.Header.Set("Cookie", "sallyport="+token)
		r.Header.Set("X-Mark", mark)
		res, err := client.Do(r)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	var all sync.WaitGroup
	for i := range 20 {
		token, user := "alice-1", "alice"
		if i%2 == 1 {
			token, user = "root-2", "root"
		}
		all.Go(func() {
			for range 25 {
				if got, want := ask(t.Context(), token, string(rune('a'+i))), user+" "+string(rune('a'+i)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	all.Wait()
}
