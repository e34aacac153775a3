package attack

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sallyport/e2e/harness"
)

// How much more memory a gateway, built with the race detector, may have had in use at its peak after an attack by bulk
// than before. These are generous: what they must catch is memory that grows with what is sent.
const (
	bulkBound  = 48 << 20
	floodBound = 128 << 20
)

// bulk is a gateway of a test's own whose memory is watched: those of other tests do not count.
func bulk(t *testing.T, bound int64) *harness.Gateway {
	t.Helper()
	up := startUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: upstreams(up)})
	before := g.Process.PeakMemory()
	t.Cleanup(func() {
		grown := g.Process.PeakMemory() - before
		t.Logf("%d MiB more at the peak than before", grown>>20)
		if grown > bound {
			t.Errorf("%d MiB more at the peak than before, want at most %d", grown>>20, bound>>20)
		}
		if r := speak(t, g.Address, "GET", "/public/x", "Host: x"); r.status != 200 {
			t.Errorf("others get %d, want 200", r.status)
		}
	})
	return g
}

// pour posts a body of the type to a path, and returns the status; 0: the gateway closed the connection over it.
func pour(t *testing.T, g *harness.Gateway, path, kind string, body io.Reader, more ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", g.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := http.Client{Timeout: harness.Patience, Transport: transport}
	answer, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func TestT49ABodyTooLongIsRefusedBeforeItIsRead(t *testing.T) {
	g := bulk(t, bulkBound)
	long := bytes.Repeat([]byte("x"), 10<<20)
	for _, path := range []string{"/auth/login", "/auth/2fa", "/auth/2fa/verify", "/auth/2fa/setup", "/auth/refresh", "/auth/logout", "/auth/change-password", "/auth/enroll", "/auth/account/password"} {
		for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
			for what, body := range map[string]io.Reader{"of a length": bytes.NewReader(long), "in chunks": io.MultiReader(bytes.NewReader(long))} {
				if status := pour(t, g, path, kind, body); status != 0 && status != 413 && status != 415 && !(path == "/auth/logout" && status < 400) {
					t.Errorf("%s, %s, 10 MiB %s: %d, want 413", path, kind, what, status)
				}
			}
		}
	}
}

// gzipBomb is 60 MiB of JSON in less than a body of the gateway's may have: several members of a gzip file are one text
// (RFC 1952 section 2.2).
func gzipBomb(t *testing.T) []byte {
	t.Helper()
	pack := func(text []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	bomb := append(pack([]byte(`{"username":"alice"}`)), bytes.Repeat(pack(bytes.Repeat([]byte(" "), 4<<20)), 15)...)
	if len(bomb) > 64<<10 {
		t.Fatalf("the bomb has %d bytes, which no body may have", len(bomb))
	}
	return bomb
}

func TestT49ABodyThatGrowsIsNotUnpacked(t *testing.T) {
	g := bulk(t, bulkBound)
	bomb := gzipBomb(t)
	for _, coding := range []string{"gzip", "x-gzip", "gzip, gzip", "deflate", "br", "zstd"} {
		for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
			if status := pour(t, g, "/auth/login", kind, bytes.NewReader(bomb), "Content-Encoding", coding); status == 200 || status >= 500 {
				t.Errorf("%s as %s: %d, want a refusal", coding, kind, status)
			}
		}
	}
	if status := pour(t, g, "/public/x", "application/json", bytes.NewReader(bomb), "Content-Encoding", "gzip"); status != 200 {
		t.Errorf("for the app, which may unpack it: %d, want 200", status)
	}
}

func TestT49WhatIsDeepOrManyIsRefused(t *testing.T) {
	g := bulk(t, bulkBound)
	deep := func(open, end string) string { return strings.Repeat(open, 20000) + strings.Repeat(end, 20000) }
	var keys strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&keys, `"k%d":1,`, i)
	}
	for what, body := range map[string]string{
		"arrays in arrays": deep("[", "]"), "arrays without end": strings.Repeat("[", 60000), "an array in a field": `{"username":` + deep("[", "]") + "}",
		"objects in objects": strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000), "an unknown field of them": `{"x":` + strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000) + `,"username":"a","password":"b"}`,
		"a long number": `{"username":` + strings.Repeat("9", 60000) + "}", "a long exponent": `{"username":1e` + strings.Repeat("9", 60000) + "}", "a long name": `{"` + strings.Repeat("u", 60000) + `":1}`, "one key many times": "{" + strings.Repeat(`"username":"a",`, 4000) + `"x":1}`,
		"escapes without end": `{"username":"` + strings.Repeat(`\u0000`, 10000) + `","password":"x"}`, "halves of characters": `{"username":"` + strings.Repeat(`\ud800`, 10000) + `"}`,
	} {
		if status := pour(t, g, "/auth/login", "application/json", strings.NewReader(body)); status != 400 && status != 401 {
			t.Errorf("%s: %d, want 400 or 401", what, status)
		}
	}
	// Keys that mean nothing here are left alone, however many there are.
	if status := pour(t, g, "/auth/login", "application/json", strings.NewReader("{"+keys.String()+`"x":1}`)); status != 400 && status != 401 {
		t.Errorf("6,000 keys: %d, want 400 or 401", status)
	}
	for what, body := range map[string]string{
		"60,000 separators": strings.Repeat("&", 60000), "15,000 fields": strings.Repeat("a=b&", 15000), "a name many times": strings.Repeat("username=a&", 5000), "escapes": strings.Repeat("%25", 20000), "broken escapes": strings.Repeat("%", 60000),
	} {
		if status := pour(t, g, "/auth/login", "application/x-www-form-urlencoded", strings.NewReader(body)); status < 400 || status >= 500 {
			t.Errorf("%s: %d, want 4xx", what, status)
		}
	}
	for what, query := range map[string]string{"rd many times": strings.Repeat("rd=/x&", 8000), "fields": strings.Repeat("a&", 20000), "a long rd": "rd=/" + strings.Repeat("x", 50000)} {
		if r := speak(t, g.Address, "GET", "/auth/login?"+query, "Host: x"); r.status != 200 && !r.denies() {
			t.Errorf("%s: %d", what, r.status)
		}
	}
}

func TestT49HeadersWithoutEndAreRefused(t *testing.T) {
	g := bulk(t, bulkBound)
	host := "Host: " + g.Address
	var cookies, names strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&cookies, "c%d=1; ", i)
		fmt.Fprintf(&names, "X-N%d: 1\r\n", i)
	}
	for what, test := range map[string]struct {
		lines  []string
		status []int
	}{
		"1 MiB in one header":        {[]string{"X-A: " + strings.Repeat("a", 1<<20)}, []int{431, 0}},
		"1 MiB in 16 headers":        {[]string{strings.TrimSuffix(strings.Repeat("X-A: "+strings.Repeat("a", 1<<16)+"\r\n", 16), "\r\n")}, []int{431, 0}},
		"1 MiB in many headers":      {[]string{strings.TrimSuffix(strings.Repeat("X-A: b\r\n", 1<<17), "\r\n")}, []int{431, 0}},
		"1 MiB in a name":            {[]string{strings.Repeat("a", 1<<20) + ": b"}, []int{431, 400, 0}},
		"1 MiB in a folded line":     {[]string{"X-A: b" + strings.Repeat("\r\n c", 1<<18)}, []int{431, 0}},
		"5,000 cookies":              {[]string{"Cookie: " + cookies.String()}, []int{401}},
		"5,000 cookies of ours":      {[]string{"Cookie: " + strings.Repeat("sallyport=x; ", 5000-500)}, []int{401}},
		"2,500 headers with cookies": {[]string{strings.TrimSuffix(strings.Repeat("Cookie: sallyport=x\r\n", 2500), "\r\n")}, []int{401}},
		"5,000 names":                {[]string{strings.TrimSuffix(names.String(), "\r\n")}, []int{401, 431}},
		"5,000 forwarding proxies":   {[]string{"X-Forwarded-For: " + strings.Repeat("1.2.3.4, ", 5000)}, []int{401}},
		"a long bearer token":        {[]string{"Authorization: Bearer " + strings.Repeat("a", 60000)}, []int{401}},
		"many accepted types":        {[]string{"Accept: " + strings.Repeat("text/html;q=0.1,", 4000)}, []int{401, 302}},
		"a nested Accept":            {[]string{"Accept: " + strings.Repeat(`"\\`, 20000)}, []int{401}},
	} {
		w := dial(t, g.Address)
		w.write("GET /secret/x HTTP/1.1\r\n" + strings.Join(append(test.lines, host, "Connection: close"), "\r\n") + "\r\n\r\n")
		r, _ := w.read("GET")
		ok := false
		for _, status := range test.status {
			ok = ok || r.status == status
		}
		if !ok {
			t.Errorf("%s: %d, want one of %v", what, r.status, test.status)
		}
	}
	w := dial(t, g.Address)
	w.write("GET /public/" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\n" + host + "\r\n\r\n")
	if r, _ := w.read("GET"); r.status != 431 && r.status != 414 && r.status != 0 {
		t.Errorf("a target of 1 MiB: %d", r.status)
	}
}

// floods are what an HTTP/2 client can keep a server busy with. Each writes until the gateway has had enough, or a few
// thousand frames are sent: how much a server takes without complaint is its own affair, as long as nobody else suffers.
var floods = map[string]func(f *frames, i int) error{
	"rapid reset": func(f *frames, i int) error {
		f.headers(uint32(2*i+1), true, request("GET", "/public/x", "x")...)
		return f.framer.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	},
	"resets by way of errors": func(f *frames, i int) error { // MadeYouReset, CVE-2025-8671: the server is led to reset
		f.headers(uint32(2*i+1), true, request("GET", "/public/x", "x")...)
		return f.framer.WriteWindowUpdate(uint32(2*i+1), 0)
	},
	"more streams than allowed": func(f *frames, i int) error {
		f.headers(uint32(2*i+1), false, request("POST", "/auth/login", "x", field{"content-type", "application/json"})...)
		return nil
	},
	"CONTINUATION": func(f *frames, i int) error {
		if i == 0 {
			return f.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.encode(request("GET", "/public/x", "x"))})
		}
		return f.framer.WriteContinuation(1, false, f.encode([]field{{fmt.Sprintf("x-n%d", i), strings.Repeat("a", 1000)}}))
	},
	"empty CONTINUATION": func(f *frames, i int) error {
		if i == 0 {
			return f.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.encode(request("GET", "/public/x", "x"))})
		}
		return f.framer.WriteContinuation(1, false, nil)
	},
	"a table full of one long field": func(f *frames, i int) error { // the HPACK bomb, CVE-2016-6581
		if i >= 20 { // each of them is 4 MB
			return io.EOF
		}
		fields := request("GET", "/public/x", "x")
		for range 1000 {
			fields = append(fields, field{"x-bomb", bombFiller})
		}
		f.headers(uint32(2*i+1), true, fields...)
		return nil
	},
	"pings": func(f *frames, i int) error { return f.framer.WritePing(false, [8]byte{byte(i)}) },
	"settings": func(f *frames, i int) error {
		return f.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i)})
	},
	"settings with a huge table": func(f *frames, i int) error {
		return f.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1<<32 - 1}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	},
	"empty data": func(f *frames, i int) error {
		if i == 0 {
			f.headers(1, false, request("POST", "/public/x", "x")...)
		}
		return f.framer.WriteData(1, false, nil)
	},
	"padding": func(f *frames, i int) error {
		if i == 0 {
			f.headers(1, false, request("POST", "/public/x", "x")...)
		}
		return f.framer.WriteDataPadded(1, false, nil, make([]byte, 255))
	},
	"priorities": func(f *frames, i int) error {
		return f.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2*i + 3)})
	},
	"windows":             func(f *frames, i int) error { return f.framer.WriteWindowUpdate(0, 1<<30) },
	"frames nobody knows": func(f *frames, i int) error { return f.framer.WriteRawFrame(0x42, 0, uint32(i), make([]byte, 1000)) },
	"answers nobody reads": func(f *frames, i int) error {
		f.headers(uint32(2*i+1), true, request("GET", "/auth/login", "x")...)
		return nil
	},
}

const floodFrames = 3000

var bombFiller = strings.Repeat("a", 3900)

func TestT50AFloodOfFramesHoldsNobodyUp(t *testing.T) {
	g := bulk(t, floodBound)
	for what, flood := range floods {
		t.Run(what, func(t *testing.T) {
			f := dialFrames(t, g.Address)
			if what == "answers nobody reads" { // and the window is closed
				if err := f.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
					t.Fatal(err)
				}
			} else {
				go io.Copy(io.Discard, f.conn) // ends with the connection, which ends with the test
			}
			sent := 0
			for ; sent < floodFrames; sent++ {
				f.conn.SetWriteDeadline(time.Now().Add(harness.Patience / 10)) // a gateway that reads no more has had enough too
				if flood(f, sent) != nil {
					break
				}
			}
			t.Logf("sent %d times", sent)
			begun := time.Now()
			if r := speak(t, g.Address, "GET", "/public/x", "Host: x"); r.status != 200 {
				t.Errorf("somebody else gets %d, want 200", r.status)
			}
			t.Logf("somebody else is served within %s", time.Since(begun).Round(time.Millisecond))
		})
	}
}

func TestT50AConnectionThatSaysNothingUsefulIsEnded(t *testing.T) {
	g := bulk(t, bulkBound)
	for what, raw := range map[string]string{
		"half a preface":           http2.ClientPreface[:20] + "nonsense\r\n\r\n",
		"a preface, and no frames": http2.ClientPreface + strings.Repeat("\xff", 100),
		"TLS":                      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 300) + "\r\n\r\n",
		"zeros":                    strings.Repeat("\x00", 5000) + "\r\n\r\n",
		"line ends":                strings.Repeat("\r\n", 100000),
		"another protocol":         "*1\r\n$4\r\nPING\r\n\r\n\r\n",
		"mail":                     "EHLO evil.example\r\nMAIL FROM:<a@b>\r\n\r\n",
	} {
		w := dial(t, g.Address)
		w.write(raw)
		if replies := w.rest("GET"); len(replies) > 1 || len(replies) == 1 && replies[0].status != 400 && replies[0].status != 505 {
			t.Errorf("%s: %v, want 400 and the end of the connection", what, replies)
		}
	}
}
