package attack

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/e2e/harness"
)

// hidden is a request that a client hides in what the gateway should take for the body of another one, or for nothing.
// It would be answered with 200, and reach the upstream, where somebody took it for a request.
const hidden = "GET /public/hidden HTTP/1.1\r\nHost: hidden\r\nX-Hidden: yes\r\n\r\n"

// wantNotServed fails the test where the hidden request reached the upstream as one, or was answered.
func (s *site) wantNotServed(t *testing.T, what string, replies []reply) {
	t.Helper()
	for _, r := range s.up.Requests() {
		// A body that broke off is no body: the connection ends with it.
		if strings.Contains(r.Head, "hidden") || r.Trouble != "" && r.Trouble != io.ErrUnexpectedEOF.Error() {
			t.Errorf("%s: the upstream saw %q (%s)", what, r.Head, r.Trouble)
		}
	}
	if len(replies) > 1 {
		t.Errorf("%s: %d answers, want one and the end of the connection: %v", what, len(replies), replies)
	}
}

// refusable is what a client writes, and the statuses with which it may be refused.
type refusable struct {
	raw    string
	status []int
}

// refusables are requests that no app should see, each with a hidden one behind it, for a gateway at an address in front
// of an app at another.
func refusables(address, app string) []refusable {
	host := "Host: " + address + "\r\n"
	return []refusable{
		{"CONNECT " + address + " HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT " + app + " HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT " + address + " HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello" + hidden, []int{400, 405}},
		{"CONNECT " + address + " HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 405}},
		{"CONNECT /auth/../secret HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT /auth/healthz HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT //x/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT http://" + address + "/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"CONNECT * HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"connect " + address + " HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"TRACE /public/x HTTP/1.1\r\n" + host + "Cookie: sallyport=secret\r\n\r\n" + hidden, []int{400, 405}},
		{"TRACK /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"TRACE /auth/healthz HTTP/1.1\r\n" + host + "Max-Forwards: 0\r\n\r\n" + hidden, []int{400, 405}},
		{"trace /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400, 405}},
		{"get /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"Get /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GETx /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"G3T /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"_GET /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GE(T /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET\x00 /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET\t/public/x\tHTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET  /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{" GET /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET /public/x  HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET /public/x\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x HTTP/0.9\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x HTTP/1.2x\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x HTTP/1.10\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x HTTP/2.0\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x HTTP/3.0\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"GET /public/x http/1.1\r\n" + host + "\r\n" + hidden, []int{400, 505}},
		{"PRI * HTTP/2.0\r\n" + host + "\r\n" + hidden, []int{400, 405, 505}},
		{strings.Repeat("G", 33) + " /public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"OPTIONS * HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET * HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET http:/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET http:public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET ftp://" + address + "/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET file:///public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET http://user@" + address + "/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET http:///public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
		{"GET ?/public/x HTTP/1.1\r\n" + host + "\r\n" + hidden, []int{400}},
	}
}

func TestT28WhatIsNoRequestForAnAppEndsTheConnection(t *testing.T) {
	s := enter(t)
	for _, test := range refusables(s.one.Address, harness.HostOf(t, s.up.URL)) {
		s.up.Forget()
		replies := exchange(t, s.one.Address, test.raw)
		if len(replies) != 1 || !slices.Contains(test.status, replies[0].status) {
			t.Errorf("%.60q: %v, want one answer of %v and the end of the connection", test.raw, replies, test.status)
		}
		s.wantUntouched()
	}
}

// framings are messages whose length can be read in two ways. What follows is hidden in one of them.
func framings(host string) map[string]string {
	post := "POST /public/x HTTP/1.1\r\nHost: " + host + "\r\n"
	whole := fmt.Sprintf("Content-Length: %d\r\n\r\n0\r\n\r\n", 5+len(hidden)) // the body, if the length counts
	all := lengths(post, whole)
	maps.Copy(all, codings(post, whole))
	maps.Copy(all, chunkings(post))
	return all
}

// lengths are odd about Content-Length and the ends of lines.
func lengths(post, whole string) map[string]string {
	return map[string]string{
		"a length and chunked":              post + strings.Replace(whole, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
		"a length of nothing and chunked":   post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":                       post + "Content-Length: 0\r\n" + whole,
		"two lengths, the other way round":  post + strings.Replace(whole, "\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1),
		"two lengths in one line":           post + "Content-Length: 0, 5\r\n\r\n",
		"a length and a disguised coding":   post + "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		"a length with a sign":              post + "Content-Length: +5\r\n\r\n0\r\n\r\n",
		"a length below zero":               post + "Content-Length: -5\r\n\r\n",
		"a length in hexadecimal":           post + "Content-Length: 0x5\r\n\r\n0\r\n\r\n",
		"a length with a space in it":       post + "Content-Length: 0 5\r\n\r\n",
		"a length with a comma at its end":  post + "Content-Length: 5,\r\n\r\n0\r\n\r\n",
		"a length that overflows":           post + "Content-Length: 18446744073709551621\r\n\r\n0\r\n\r\n",
		"an empty length":                   post + "Content-Length:\r\n\r\n",
		"a length in words":                 post + "Content-Length: five\r\n\r\n",
		"a length in a fraction":            post + "Content-Length: 5.0\r\n\r\n0\r\n\r\n",
		"a length in full-width digits":     post + "Content-Length: \uff15\r\n\r\n0\r\n\r\n",
		"a space before a length's colon":   post + "Content-Length : 0\r\n\r\n",
		"a length named in Connection":      post + "Connection: Content-Length\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden,
		"bare line ends in the head":        strings.ReplaceAll(post, "\r\n", "\n") + "Content-Length: 0\n\n",
		"a bare line end at the head's end": post + "Content-Length: 0\r\n\n",
		"bare CRs in the head":              strings.ReplaceAll(post, "\r\n", "\r") + "Content-Length: 0\r\r",
	}
}

// codings are odd about Transfer-Encoding.
func codings(post, whole string) map[string]string {
	get := strings.Replace(post, "POST", "GET", 1)
	return map[string]string{
		"chunked and a length":                   post + "Transfer-Encoding: chunked\r\n" + whole,
		"chunked on a GET, and a length":         get + "Transfer-Encoding: chunked\r\n" + whole,
		"a coding nobody knows":                  post + "Transfer-Encoding: xchunked\r\n" + whole,
		"chunked in capitals and a length":       post + "Transfer-Encoding: CHUNKED\r\n" + whole,
		"identity":                               post + "Transfer-Encoding: identity\r\n" + whole,
		"chunked twice":                          post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + whole,
		"chunked twice in a line":                post + "Transfer-Encoding: chunked, chunked\r\n" + whole,
		"gzip, then chunked":                     post + "Transfer-Encoding: gzip, chunked\r\n" + whole,
		"chunked, then identity":                 post + "Transfer-Encoding: chunked, identity\r\n" + whole,
		"chunked, then nonsense":                 post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n" + whole,
		"a quoted coding":                        post + "Transfer-Encoding: \"chunked\"\r\n" + whole,
		"a coding with a parameter":              post + "Transfer-Encoding: chunked;a=b\r\n" + whole,
		"a coding after a vertical tab":          post + "Transfer-Encoding: \x0bchunked\r\n" + whole,
		"a coding after NUL":                     post + "Transfer-Encoding: \x00chunked\r\n" + whole,
		"a space before the coding's colon":      post + "Transfer-Encoding : chunked\r\n" + whole,
		"a coding on a folded line":              post + "Transfer-Encoding:\r\n chunked\r\n" + whole,
		"a coding hidden behind a bare line end": post + "X-A: b\nTransfer-Encoding: chunked\r\n" + whole,
		"a coding hidden behind a bare CR":       post + "X-A: b\rTransfer-Encoding: chunked\r\n" + whole,
		"an empty coding":                        post + "Transfer-Encoding:\r\n" + whole,
		"chunked of HTTP/1.0":                    strings.Replace(post, "1.1", "1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n" + whole,
		"chunked named in Connection":            post + "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("%x", hidden),
		"a space before a chunk's size":          chunked(post, " 0\r\n\r\n"),
		"a line end before the request":          "\r\n" + post + "Transfer-Encoding: chunked\r\n" + whole,
		"a multipart type and chunked":           post + "Content-Type: multipart/byteranges; boundary=x\r\nTransfer-Encoding: chunked\r\n" + whole,
	}
}

// chunkings are odd about the chunks themselves.
func chunkings(post string) map[string]string {
	return map[string]string{
		"a chunk's size in words":               chunked(post, "zz\r\n0\r\n\r\n"),
		"a chunk's size with a sign":            chunked(post, "+0\r\n\r\n"),
		"a chunk's size below zero":             chunked(post, "-1\r\n\r\n"),
		"a chunk's size of 0x0":                 chunked(post, "0x0\r\n\r\n"),
		"a chunk's size that overflows":         chunked(post, "10000000000000000\r\n\r\n"),
		"a chunk's size of seventeen digits":    chunked(post, "00000000000000000\r\n\r\n"),
		"no chunk's size":                       chunked(post, "\r\n\r\n"),
		"a chunk's size and a bare line end":    chunked(post, "0\n\r\n"),
		"a chunk's size and a bare CR":          chunked(post, "0\r\r\n\r\n"),
		"a chunk's extension with a line end":   chunked(post, "1;a=\nb\r\nx\r\n0\r\n\r\n"),
		"a chunk's extension with a bare CR":    chunked(post, "1;a=\rb\r\nx\r\n0\r\n\r\n"),
		"a chunk's quoted extension":            chunked(post, "1;a=\"\r\nx\r\n0\r\n\r\n"),
		"a chunk longer than it says":           chunked(post, "1\r\nxy\r\n0\r\n\r\n"),
		"a chunk with a bare line end":          chunked(post, "1\r\nx\n0\r\n\r\n"),
		"a chunk with two bytes for a line end": chunked(post, "1\r\nxXX0\r\n\r\n"),
		"the last chunk twice":                  chunked(post, "0\r\n\r\n0\r\n\r\n"),
		"a trailer that frames":                 chunked(post, "0\r\nContent-Length: 100\r\nTransfer-Encoding: x\r\n\r\n"),
		"a trailer that is none":                chunked(post, "0\r\nGET /public/hidden HTTP/1.1\r\nHost: hidden\r\n\r\n"),
		"a trailer with a bare line end":        chunked(post, "0\r\nX-A: b\n\r\n"),
	}
}

func chunked(post, body string) string { return post + "Transfer-Encoding: chunked\r\n\r\n" + body }

// chunk is one chunk, its size written in a format, and the last one.
func chunk(format, body string) string {
	return fmt.Sprintf(format, len(body)) + "\r\n" + body + "\r\n0\r\n\r\n"
}

// readable are those of them that have one reading here, and so one at the upstream too: what follows is a request like any
// other, and may be served.
var readable = []string{
	"a length named in Connection",      // which takes nothing from the framing
	"a length and a disguised coding",   // the disguise is not passed on
	"bare line ends in the head",        // RFC 9112 section 2.2 lets a server take them for line ends
	"a bare line end at the head's end", // the same
}

func TestT38T51NoRequestHidesInAnother(t *testing.T) {
	s := enter(t)
	for what, raw := range framings(s.one.Address) {
		t.Run(what, func(t *testing.T) {
			s.up.Forget()
			if slices.Contains(readable, what) {
				replies := exchange(t, s.one.Address, raw)
				s.wantNotServed(t, what, replies[:min(1, len(replies))])
				return
			}
			w := dial(t, s.one.Address)
			w.write(raw + hidden + last)
			s.wantNotServed(t, what, w.rest("POST"))
		})
	}
}

// TestT38T51ABodyThatNobodyReadsIsStillABody has the gateway answer before it has read a body: what comes later is the
// body's, whether or not the client was to wait with it.
func TestT38T51ABodyThatNobodyReadsIsStillABody(t *testing.T) {
	s := enter(t)
	long := strings.Repeat(hidden, 1+(512<<10)/len(hidden)) // more than a server reads for politeness
	for _, target := range []string{"/secret/x", "/elsewhere", "/auth/login", "/auth/nothing", "/auth/healthz", "/public/../x"} {
		for _, body := range []string{hidden, long} {
			for _, more := range []string{"", "Expect: 100-continue\r\n", "Expect: 100-Continue\r\nExpect: 100-continue\r\n", "Expect: something else\r\n"} {
				s.up.Forget()
				w := dial(t, s.one.Address)
				w.write(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s%s", target, more, len(body), body, last))
				for i, r := range w.rest("POST") {
					if i == 0 && !r.denies() || i > 0 && r.status == 200 && r.body != "ok\n" { // which is what last is answered with
						t.Errorf("POST %s with %q: answer %d is %d: %s", target, more, i+1, r.status, r.body)
					}
				}
				s.wantUntouched()
			}
		}
	}
}

// TestT51AnAppThatRefusesABodyHoldsNobodyUp has an app refuse bodies before they are sent, a hundred times: no answer
// or connection is then mixed up with another's (CVE-2024-24791).
func TestT51AnAppThatRefusesABodyHoldsNobodyUp(t *testing.T) {
	app := startRefusing(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: "  - { url: " + app + ", access: { policy: bypass } }"})
	for range 100 {
		w := dial(t, g.Address)
		w.write("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if r, _ := w.read("POST"); r.status != 413 {
			t.Fatalf("%d to a body that is to wait, want the app's 413", r.status)
		}
		w.conn.Close()
		if r := speak(t, g.Address, "GET", "/x", "Host: x"); r.status != 200 || r.body != "ok" {
			t.Fatalf("then %d %q, want 200", r.status, r.body)
		}
	}
}

// startRefusing starts an app that answers 413 to whatever announces a body, without reading it, and 200 to the rest.
func startRefusing(t *testing.T) string {
	t.Helper()
	return "http://" + startSpeaking(t, refuseBodies)
}

// startSpeaking starts an app that is what serve does with each connection, and returns its address.
func startSpeaking(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			serving.Go(func() { serve(c) })
		}
	})
	return l.Addr().String()
}

func refuseBodies(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		head, err := readHead(in)
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		switch {
		case strings.Contains(head, "Content-Length: 5"):
			answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
		case !strings.HasPrefix(head, "GET "):
			answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" // a body, taken for a request
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}
