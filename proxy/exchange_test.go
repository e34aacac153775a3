package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// way is one of the two ways to a plain upstream: the standard library's, and ours, which is to be like it.
type way struct {
	name string
	connections
}

func bothWays(t testing.TB, w wire) []way {
	ways := []way{{"http.Transport", w.transport()}, {"exchange", w.connections()}}
	for _, way := range ways {
		t.Cleanup(way.CloseIdleConnections)
	}
	return ways
}

// serveBy serves a gateway of one upstream that is reached by a way.
func (w way) serveBy(t testing.TB, j *journal) string {
	g := newGateway(t, options(behind(j.url, Forwarding{})))
	for _, s := range g.table {
		for _, rt := range s.routes {
			rt.forward = newForward(w, 0, &g.buffers, slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
		}
	}
	return serve(t, g)
}

// seen is all that a client sees of the answer to a request of HTTP/1.1, but for what differs each time.
func seen(t testing.TB, addr, raw string) string {
	t.Helper()
	conn := dial(t, addr)
	io.WriteString(conn, raw)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("no end of the answer to %q: %v", raw, err)
	}
	if strings.HasSuffix(string(all), "\r\nTransfer-Encoding: chunked\r\n\r\n") {
		return "" // broken off before a byte of the body: whether the head was sent by then is a matter of luck
	}
	return strings.Join(slices.DeleteFunc(strings.SplitAfter(string(all), "\r\n"), func(line string) bool {
		return strings.HasPrefix(line, "Date: ") || strings.HasPrefix(line, "Request-Id: ")
	}), "")
}

// oddly is an upstream that gives the first request of all an odd answer, and every other one of its own.
type oddly struct {
	*journal
	wrote chan struct{} // closed when the odd answer has been written

	mu          sync.Mutex
	connections map[net.Conn]bool
}

const ownAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"

func answeringOddly(t testing.TB, odd string, hangUp bool) *oddly {
	o := &oddly{wrote: make(chan struct{}), connections: map[net.Conn]bool{}}
	o.journal = newJournal(t, func(conn net.Conn, _ *bufio.Reader, q received) {
		o.mu.Lock()
		o.connections[conn] = true
		o.mu.Unlock()
		if q.path() != "/first" {
			io.WriteString(conn, ownAnswer)
			return
		}
		io.WriteString(conn, odd)
		if hangUp {
			conn.Close()
		}
		close(o.wrote)
	})
	return o
}

func (o *oddly) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.connections)
}

const (
	endsIt    = iota // the connection is not used again
	usedAgain        // for the second request
	surplus          // as endsIt; by the standard library it depends on who is quicker
)

// answers are what upstreams say to a request, and what becomes of the connection.
var answers = []struct {
	name, method, text string
	hangUp             bool
	then               int
}{
	{"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"no length for OPTIONS", "OPTIONS", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAllow: GET\r\n\r\n", false, usedAgain},
	{"the length for HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, usedAgain},
	{"chunks for HEAD", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, usedAgain},
	{"no length for HEAD", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", false, usedAgain},
	{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, usedAgain},
	{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: \"a\"\r\n\r\n", false, usedAgain},
	{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nfirst\r\n0\r\n\r\n", false, usedAgain},
	{"a trailer that was announced", "GET", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: 7\r\n\r\n", false, usedAgain},
	{"a trailer that was not", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: 7\r\n\r\n", false, usedAgain},
	{"a trailer that frames", "GET", "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, endsIt},
	{"a trailer that is too long", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: " + strings.Repeat("7", 5000) + "\r\n\r\n", false, endsIt},
	{"all until it hangs up", "GET", "HTTP/1.1 200 OK\r\n\r\nfirst", true, endsIt},
	{"the last answer", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst", false, endsIt},
	{"the last answer, in capitals among others", "GET", "HTTP/1.1 200 OK\r\nConnection: X-A, CLOSE\r\nX-A: b\r\nContent-Length: 5\r\n\r\nfirst", false, endsIt},
	{"the last answer, without a body", "GET", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", false, endsIt},
	{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst", false, endsIt},
	{"HTTP/1.0 that stays", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"HTTP/1.0 in chunks", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", true, endsIt},
	{"Pragma", "GET", "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n", false, usedAgain},
	{"a page that is packed", "GET", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"a body of many buffers", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10_000), false, usedAgain},

	{"103 before", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"100 with a length before", "GET", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"103 two hundred times, longer than a head", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 8000)+"\r\n\r\n", 200) + "HTTP/1.1 204 No Content\r\n\r\n", false, usedAgain},
	{"103 and no more", "GET", "HTTP/1.1 103 Early Hints\r\n\r\n", true, endsIt},
	{"101 for nobody", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, endsIt},
	{"101 to nothing", "GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false, endsIt},
	{"099", "GET", "HTTP/1.1 099 What\r\nContent-Length: 5\r\n\r\nfirst", false, endsIt},
	{"999", "GET", "HTTP/1.1 999 What\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},

	{"more than the length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + stolen, false, surplus},
	{"more than the chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n" + stolen, false, surplus},
	{"more than the trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: 7\r\n\r\n" + stolen, false, surplus},
	{"more than a buffer and its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + strings.Repeat("0123456789", 1000) + stolen, false, surplus},
	{"a body for HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 69\r\n\r\n" + stolen, false, surplus},
	{"a body for 204", "GET", "HTTP/1.1 204 No Content\r\n\r\n" + stolen, false, surplus},
	{"a body for 304", "GET", "HTTP/1.1 304 Not Modified\r\n\r\n" + stolen, false, surplus},
	{"no body and more", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + stolen, false, surplus},
	{"a line's end more", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst\r\n", false, surplus},
	{"408 behind it", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 408 Request Timeout\r\n\r\n", false, surplus},

	{"a length and chunks", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", false, usedAgain},
	{"one length twice", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nfirst", false, usedAgain},
	{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfirst", false, endsIt},
	{"two lengths in one line", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nfirst", false, endsIt},
	{"a negative length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nfirst", false, endsIt},
	{"a length with a sign", "GET", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nfirst", false, endsIt},
	{"an empty length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nfirst", false, endsIt},
	{"a length beyond all numbers", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nfirst", false, endsIt},
	{"a bad length for HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", false, endsIt},
	{"a coding that is not known", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", false, endsIt},
	{"two codings", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", false, endsIt},
	{"a chunk of no length", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nfirst\r\n0\r\n\r\n", false, endsIt},
	{"a chunk that is too long", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfirst\r\n0\r\n\r\n", false, endsIt},

	{"nothing", "GET", "", true, endsIt},
	{"half a head", "GET", "HTTP/1.1 200 OK\r\nX-A: ", true, endsIt},
	{"half a body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi", true, endsIt},
	{"half a chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfi", true, endsIt},
	{"chunks without the last", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", true, endsIt},
	{"half a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum", true, endsIt},
	{"something else", "GET", "SSH-2.0-OpenSSH_9.9\r\n", true, endsIt},
	{"no version", "GET", "200 OK\r\n\r\n", false, endsIt},
	{"an odd version", "GET", "HTTP/1.10 200 OK\r\n\r\n", false, endsIt},
	{"a status of two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", false, endsIt},
	{"a status of four digits", "GET", "HTTP/1.1 2000 OK\r\n\r\n", false, endsIt},
	{"a negative status", "GET", "HTTP/1.1 -20 OK\r\n\r\n", false, endsIt},
	{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, usedAgain},
	{"a header without a colon", "GET", "HTTP/1.1 200 OK\r\nX-A\r\n\r\n", false, endsIt},
	{"a header that begins with a space", "GET", "HTTP/1.1 200 OK\r\n X-A: b\r\n\r\n", false, endsIt},
	{"a space before the colon", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nfirst", true, endsIt},
	{"a folded header", "GET", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", false, usedAgain},
	{"NUL in a header", "GET", "HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n", false, endsIt},
	{"lines that end with LF alone", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nfirst", false, usedAgain},
	{"a head of 2 MiB", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1017)+"\r\n", 2048) + "\r\n", true, endsIt},
	{"a line of 2 MiB", "GET", "HTTP/1.1 200 " + strings.Repeat("a", 2<<20), true, endsIt},
}

// stolen is an answer that nobody may get.
const stolen = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: of=another\r\n\r\nstolen"

func TestAnswersOfEveryKindAreSeenAsByTheStandardLibraryAndNoneByTheNextRequest(t *testing.T) {
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) {
			var first [2]string
			for i, way := range bothWays(t, wire{}) {
				upstream := answeringOddly(t, c.text, c.hangUp)
				addr := way.serveBy(t, upstream.journal)
				first[i] = seen(t, addr, request(c.method, "/first", "Connection: close"))
				<-upstream.wrote
				if way.name == "http.Transport" && c.then == surplus {
					continue
				}
				if second := seen(t, addr, get("/second", "Connection: close")); !strings.HasPrefix(second, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(second, "\r\n\r\nsecond") {
					t.Errorf("%s: the next request got %q", way.name, second)
				}
				want := 2
				if c.then == usedAgain {
					want = 1
				}
				if got := upstream.count(); got != want {
					t.Errorf("%s: %d connections, want %d", way.name, got, want)
				}
			}
			if first[0] != first[1] {
				t.Errorf("the client sees\n%.500q\nand by http.Transport\n%.500q", first[1], first[0])
			}
			if strings.Contains(first[1], "stolen") {
				t.Errorf("the client sees what is behind the answer: %q", first[1])
			}
		})
	}
}

func TestAHeadIsBoundedWithAllThatComesBeforeItWhereNobodyIsTold(t *testing.T) {
	hints := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 8000)+"\r\n\r\n", 200)
	for _, way := range bothWays(t, wire{}) {
		upstream := answeringOddly(t, hints+ownAnswer, true)
		res, err := way.RoundTrip(toFirst(t, upstream.url.String()))
		if err == nil {
			res.Body.Close()
			t.Errorf("%s: got %s", way.name, describe(res))
		}
	}
}

func toFirst(t testing.TB, base string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/first", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheUpstreamSeesTheSameRequestAsByTheStandardLibrary(t *testing.T) {
	cases := []struct {
		name   string
		change func(*http.Request)
	}{
		{"nothing set", func(*http.Request) {}},
		{"HEAD", func(r *http.Request) { r.Method = "HEAD" }},
		{"OPTIONS", func(r *http.Request) { r.Method = "OPTIONS" }},
		{"a body that is none", func(r *http.Request) { r.Body = http.NoBody }},
		{"no User-Agent", func(r *http.Request) { r.Header["User-Agent"] = []string{""} }},
		{"a User-Agent of no values", func(r *http.Request) { r.Header["User-Agent"] = nil }},
		{"two User-Agents", func(r *http.Request) { r.Header["User-Agent"] = []string{"a", "b"} }},
		{"several values", func(r *http.Request) { r.Header["X-A"] = []string{"b", "", " c\t", "d, e", "ü"} }},
		{"a name as it is", func(r *http.Request) { r.Header["x_a"] = []string{"b"} }},
		{"headers that frame", func(r *http.Request) {
			r.Header["Content-Length"], r.Header["Transfer-Encoding"], r.Header["Trailer"], r.Header["Host"] = []string{"5"}, []string{"chunked"}, []string{"X"}, []string{"b"}
		}},
		{"another host", func(r *http.Request) { r.Host = "app.example.com:8080" }},
		{"a host that is none", func(r *http.Request) { r.Host = "a b\r\nX: y" }},
		{"a host with a zone", func(r *http.Request) { r.Host = "[fe80::1%25en0]:80" }},
		{"a host of other letters", func(r *http.Request) { r.Host = "bücher.example" }},
		{"no path", func(r *http.Request) { r.URL.Path = "" }},
		{"an escaped path", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b c", "/a%2Fb%20c" }},
		{"a path that is escaped wrong", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a b\r\n", "/a b\r\n" }},
		{"a query as it is", func(r *http.Request) { r.URL.RawQuery = "a;b=%zz&<ü>" }},
		{"a query of nothing", func(r *http.Request) { r.URL.ForceQuery = true }},
		{"a head of many buffers", func(r *http.Request) { r.Header["X-A"] = []string{strings.Repeat("a", 50_000)} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got [2]received
			for i, way := range bothWays(t, wire{}) {
				j := newJournal(t, nil)
				r := toFirst(t, j.url.String())
				if c.change(r); r.Host == j.url.Host {
					r.Host = "upstream" // the port differs
				}
				res, err := way.RoundTrip(r)
				if err != nil {
					t.Fatalf("%s: %v", way.name, err)
				}
				res.Body.Close()
				if got[i] = j.only(t); len(got[i].headers) == 0 || !strings.HasPrefix(got[i].headers[0], "Host: ") {
					t.Errorf("%s: Host does not come first: %q", way.name, got[i])
				}
			}
			if fmt.Sprint(got[0]) != fmt.Sprint(got[1]) {
				t.Errorf("the upstream sees\n%q\nand by http.Transport\n%q", got[1], got[0])
			}
		})
	}
}

func TestARequestThatCouldBeReadAsTwoIsNotSent(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"a name of two lines":     func(r *http.Request) { r.Header["X-A: b\r\nX-B"] = []string{"c"} },
		"a name with a space":     func(r *http.Request) { r.Header["X-A "] = []string{"c"} },
		"a name with a colon":     func(r *http.Request) { r.Header["X-A:"] = []string{"c"} },
		"no name":                 func(r *http.Request) { r.Header[""] = []string{"c"} },
		"a name of other letters": func(r *http.Request) { r.Header["X-Ü"] = []string{"c"} },
		"a value of two lines":    func(r *http.Request) { r.Header["X-A"] = []string{"b", "secret\r\nX-B: c"} },
		"a value with CR":         func(r *http.Request) { r.Header["X-A"] = []string{"secret\rX-B: c"} },
		"a value with LF":         func(r *http.Request) { r.Header["User-Agent"] = []string{"secret\nX-B: c"} },
		"a value with NUL":        func(r *http.Request) { r.Header["X-A"] = []string{"secret\x00"} },
		"a value with DEL":        func(r *http.Request) { r.Header["X-A"] = []string{"secret\x7f"} },
		"a query of two lines":    func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"a query with NUL":        func(r *http.Request) { r.URL.RawQuery = "a\x00" },
		"a query with a space":    func(r *http.Request) { r.URL.RawQuery = "a b" },
		"a URL without a host":    func(r *http.Request) { r.URL.Host = "" },
		"a method of two":         func(r *http.Request) { r.Method = "GET /x HTTP/1.1\r\nX:" },
		"a host that is no name":  func(r *http.Request) { r.Host = "xn--\u00fc" },
	} {
		for _, way := range bothWays(t, wire{}) {
			if way.name == "http.Transport" && name == "a query with a space" {
				continue // it sends that
			}
			j := newJournal(t, nil)
			r := toFirst(t, j.url.String())
			change(r)
			if res, err := way.RoundTrip(r); err == nil {
				res.Body.Close()
				t.Errorf("%s: %s was sent", way.name, name)
			} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %s: the error says %q", way.name, name, err)
			}
			j.empty(t)
		}
	}
}

func TestOnlyRequestsThatCanBeSentAgainWithoutHarmAreTaken(t *testing.T) {
	body := func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("body")), 4 }
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	cases := []struct {
		method string
		change func(*http.Request)
		taken  bool
	}{
		{"GET", func(*http.Request) {}, true},
		{"HEAD", func(*http.Request) {}, true},
		{"OPTIONS", func(*http.Request) {}, true},
		{"GET", func(r *http.Request) { r.Body = http.NoBody }, true},
		{"GET", set("Te", "trailers"), true},
		{"POST", func(*http.Request) {}, false},
		{"PUT", func(*http.Request) {}, false},
		{"DELETE", func(*http.Request) {}, false},
		{"PROPFIND", func(*http.Request) {}, false},
		{"", func(*http.Request) {}, false},
		{"GET", body, false},
		{"GET", func(r *http.Request) { body(r); r.ContentLength = -1 }, false},
		{"GET", func(r *http.Request) { r.Trailer = http.Header{"X-Sum": nil} }, false},
		{"GET", func(r *http.Request) { r.Close = true }, false},
		{"GET", set("Upgrade", "websocket"), false},
		{"GET", set("Connection", "close"), false},
		{"GET", set("Expect", "100-continue"), false},
	}
	for i, c := range cases {
		j := newJournal(t, nil)
		x := newExchange(wire{}.transport())
		t.Cleanup(x.CloseIdleConnections)
		taken := false
		dial := x.dial
		x.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			taken = true
			return dial(ctx, network, address)
		}
		r := toFirst(t, j.url.String())
		r.Method = c.method
		c.change(r)
		res, err := x.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if taken != c.taken {
			t.Errorf("case %d, %s: taken %v, want %v", i, c.method, taken, c.taken)
		}
	}
}

func TestASwitchOfProtocolsThatNobodyAskedForIsAnError(t *testing.T) {
	upstream := answeringOddly(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", false)
	x := newExchange(wire{}.transport())
	if res, err := x.RoundTrip(toFirst(t, upstream.url.String())); !errors.Is(err, errSwitched) || idle(x) != 0 {
		t.Errorf("got %v, %v, and %d connections are kept", res, err, idle(x))
	}
}
