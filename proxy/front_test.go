package proxy

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatNoHandlerShouldSeeIsRefusedAndTheConnectionClosed(t *testing.T) {
	hidden := "GET /public/hidden HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
	cases := []struct {
		name, raw string
		want      int
	}{
		{"CONNECT with a request in its body", "CONNECT app.example.com:443 HTTP/1.1\r\nHost: app.example.com:443\r\nContent-Length: 50\r\n\r\n" + hidden, 405},
		{"CONNECT without a length", "CONNECT app.example.com:443 HTTP/1.1\r\nHost: app.example.com:443\r\n\r\n" + hidden, 405},
		{"CONNECT with a path", "CONNECT /auth/../secret HTTP/1.1\r\nHost: app.example.com\r\n\r\n" + hidden, 405},
		{"TRACE", request("TRACE", "/public/x") + hidden, 405},
		{"TRACK", request("TRACK", "/public/x") + hidden, 405},
		{"a lower-case method", request("get", "/public/x") + hidden, 400},
		{"a mixed-case method", request("Connect", "/public/x") + hidden, 400},
		{"a method of odd characters", request("GE~T", "/public/x") + hidden, 400},
		{"an endless method", request(strings.Repeat("A", 33), "/public/x") + hidden, 400},
		{"no host", "GET /public/x HTTP/1.1\r\n\r\n" + hidden, 400},
		{"an empty host", "GET /public/x HTTP/1.1\r\nHost:\r\n\r\n" + hidden, 400},
		{"no host in HTTP/1.0", "GET /public/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + hidden, 400},
		{"two hosts", request("GET", "/public/x", "Host: b.example.com") + hidden, 400},
		{"a host that is none", "GET /public/x HTTP/1.1\r\nHost: app:80abc\r\n\r\n" + hidden, 400},
		{"user information in the host", "GET /public/x HTTP/1.1\r\nHost: a@app.example.com\r\n\r\n" + hidden, 400},
		{"user information in the target", request("GET", "http://a:b@app.example.com/public/x") + hidden, 400},
		{"a target without a path", request("GET", "mailto:app") + hidden, 400},
		{"another scheme", request("GET", "ftp://app.example.com/public/x") + hidden, 400},
		{"an absolute target without a host", request("GET", "http:///public/x") + hidden, 400},
		{"an asterisk", request("GET", "*") + hidden, 400},
		{"a fragment", request("GET", "/public/x#/secret") + hidden, 400},
		{"two kinds of credentials", request("GET", "/public/x", "Authorization: Basic YTpi", "Authorization: Bearer alice-1") + hidden, 400},
		{"a control character in the target", request("GET", "/public/\x01") + hidden, 400},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, nil)
			conn := dial(t, start(t, options(fixture(j.url))))
			io.WriteString(conn, c.raw)
			br := bufio.NewReader(conn)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode != c.want {
				t.Errorf("got %s, want %d", describe(res), c.want)
			}
			if allow := res.Header.Get("Allow"); (res.StatusCode == 405) != (allow != "") {
				t.Errorf("%d with Allow %q", res.StatusCode, allow)
			}
			if rest, _ := io.ReadAll(br); len(rest) != 0 {
				t.Errorf("what followed was answered: %q", rest)
			}
			j.empty(t)
		})
	}
}

func TestAfterALengthThatOthersMayReadOtherwiseTheConnectionEnds(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	for _, raw := range []string{
		request("POST", "/public/x", "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		strings.Replace(request("POST", "/public/x", "Connection: keep-alive", "Content-Length: 5", "Transfer-Encoding: chunked"), "1.1", "1.0", 1) + "0\r\n\r\n",
	} {
		conn := dial(t, addr)
		io.WriteString(conn, raw+request("GET", "/public/hidden"))
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		if rest, _ := io.ReadAll(br); len(rest) != 0 {
			t.Errorf("%.30q: what followed was answered: %q", raw, rest)
		}
	}
	for _, r := range j.all() {
		if r.path() != "/public/x" {
			t.Errorf("the upstream saw %s", r.path())
		}
	}
}

func TestAnEarlyRefusalIsPlainTextThatNobodyKeepsAndThatRunsNothing(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	for raw, want := range map[string]string{
		request("TRACE", "/public/x", "X-Probe: mallory"):                                                "This method is not served here.\n",
		request("get", "/public/x"):                                                                      "The method is not one that is served here.\n",
		"GET /public/x HTTP/1.0\r\n\r\n":                                                                 "The Host header is missing or malformed.\n",
		request("GET", "/public/<script>alert(1)</script>#"):                                             "The address is malformed.\n",
		request("GET", "/public/x", "Authorization: Basic YTpi", "Authorization: Bearer what-is-secret"): "There is more than one Authorization header.\n",
	} {
		res, body := send(t, addr, raw)
		if body != want || !res.Close {
			t.Errorf("%.40q: got %q, connection closed %v; want %q on a connection that ends", raw, body, res.Close, want)
		}
		for header, want := range map[string]string{
			"Content-Type":            "text/plain; charset=utf-8",
			"X-Content-Type-Options":  "nosniff",
			"Cache-Control":           "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Referrer-Policy":         "same-origin",
			"Set-Cookie":              "",

			"Cross-Origin-Opener-Policy": "same-origin",
			"Strict-Transport-Security":  "",
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%.40q: %s is %q, want %q", raw, header, got, want)
			}
		}
	}
	j.empty(t)
}

func TestMethodsOfOtherStandardsPass(t *testing.T) {
	for _, method := range []string{"PROPFIND", "M-SEARCH", "VERSION-CONTROL", "PATCH", "QUERY"} {
		j := newJournal(t, nil)
		send(t, start(t, options(fixture(j.url))), request(method, "/public/x", "Content-Length: 0"))
		if got := j.only(t).line; got != method+" /public/x HTTP/1.1" {
			t.Errorf("the upstream saw %q", got)
		}
	}
}

func TestOneAuthorityServesPolicyAndUpstream(t *testing.T) {
	cases := []struct{ name, raw, forwarded string }{ // the wiki is open, everything else closed; "" is not forwarded
		{"its own name", "GET / HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n", "wiki.example.com"},
		{"another letter case and a final dot", "GET / HTTP/1.1\r\nHost: WIKI.Example.com.\r\n\r\n", "wiki.example.com"},
		{"with a port", "GET / HTTP/1.1\r\nHost: wiki.example.com:8080\r\n\r\n", "wiki.example.com:8080"},
		{"a target in absolute form, whose host counts (RFC 9112 section 3.2.2)", "GET http://wiki.example.com/ HTTP/1.1\r\nHost: app.example.com\r\n\r\n", "wiki.example.com"},
		{"absolute form without a path", "GET http://wiki.example.com HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n", "wiki.example.com"},
		{"absolute form for a closed host", "GET http://app.example.com/ HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n", ""},
		{"a closed host", "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n", ""},
		{"a host that only ends alike", "GET / HTTP/1.1\r\nHost: x.wiki.example.com\r\n\r\n", ""},
		{"two final dots", "GET / HTTP/1.1\r\nHost: wiki.example.com..\r\n\r\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, nil)
			addr := start(t, options([]Upstream{
				{Name: "wiki", Hosts: []string{"wiki.example.com"}, URL: j.url, Policy: Bypass},
				{Name: "rest", URL: j.url, Policy: Deny},
			}))
			res, _ := send(t, addr, c.raw)
			if c.forwarded == "" {
				j.empty(t)
				if res.StatusCode != 400 && res.StatusCode != 403 {
					t.Errorf("got %s", describe(res))
				}
				return
			}
			q := j.only(t)
			if got := q.values("Host"); len(got) != 1 || got[0] != c.forwarded {
				t.Errorf("the upstream saw Host %q, want %q", got, c.forwarded)
			}
			if got := q.path(); got != "/" {
				t.Errorf("the upstream saw the target %q, want /", got)
			}
		})
	}
}

func TestTheGatewayItselfRefusesWhatItCannotRead(t *testing.T) {
	j := newJournal(t, nil)
	g := newGateway(t, options(whole(j.url, Bypass)))
	host := httptest.NewRequest("GET", "/x", nil)
	host.Host = "app:80abc"
	target := httptest.NewRequest("GET", "/x", nil)
	target.URL.Path = "*"
	for _, r := range []*http.Request{host, target} {
		w := httptest.NewRecorder()
		if g.ServeHTTP(w, r); w.Code != http.StatusBadRequest {
			t.Errorf("%s %s: got %d, want 400", r.Host, r.URL.Path, w.Code)
		}
	}
	j.empty(t)
}
