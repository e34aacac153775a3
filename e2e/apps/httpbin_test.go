package apps

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/mccutchen/go-httpbin/v2/httpbin"

	"sallyport/e2e/harness"
)

// request is one that httpbin is asked twice: directly, and through the gateway by somebody who is signed in.
type request struct {
	method, target string
	headers        string // "Name: value" lines
	body           string
	chunked        bool // sent without its length
}

const (
	formBody      = "colour=gr%C3%BCn&colour=blue&empty="
	multipartBody = "--b\r\nContent-Disposition: form-data; name=\"colour\"\r\n\r\ngreen\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nwhat it holds\r\n--b--\r\n"
)

// requests are what people's apps and their pages do with HTTP, by the parts of httpbin that answer to it.
var requests = map[string][]request{
	"methods": {
		{method: "GET", target: "/anything/a%20b/c%2Fd;e?q=1&q=2&%zz;x=y"}, {method: "HEAD", target: "/get"}, {method: "OPTIONS", target: "/anything"},
		{method: "DELETE", target: "/anything"}, {method: "PROPFIND", target: "/anything"}, {method: "GET", target: "/post"}, {method: "HEAD", target: "/range/100"},
	},
	"bodies": {
		{method: "POST", target: "/anything", headers: "Content-Type: application/x-www-form-urlencoded", body: formBody},
		{method: "POST", target: "/anything", headers: "Content-Type: multipart/form-data; boundary=b", body: multipartBody},
		{method: "PUT", target: "/anything", headers: "Content-Type: application/json", body: `{"a":[1,2,{"b":"ü"}]}`},
		{method: "PATCH", target: "/anything", headers: "Content-Type: application/json", body: `{"a":`},
		{method: "POST", target: "/anything", headers: "Content-Type: application/octet-stream", body: "\x00\xff\r\n\x00"},
		{method: "POST", target: "/anything", headers: "Content-Type: text/plain", body: strings.Repeat("in chunks ", 20000), chunked: true},
		{method: "GET", target: "/anything", headers: "Content-Type: text/plain", body: "a GET with a body"},
		{method: "DELETE", target: "/anything", headers: "Content-Type: text/plain", body: "a DELETE with a body", chunked: true},
		{method: "POST", target: "/anything"},
		{method: "PUT", target: "/upload", headers: "Expect: 100-continue", body: strings.Repeat("z", 1<<19)},
	},
	"streams": {
		{target: "/stream/50"}, {target: "/stream-bytes/100000?seed=7&chunk_size=313"}, {target: "/bytes/100000?seed=7"}, {target: "/bytes/0"},
		{target: "/drip?duration=300ms&delay=0s&numbytes=20"}, {target: "/drip?duration=0s&delay=0s&numbytes=3&code=503"},
		{target: "/sse?count=5&duration=100ms&delay=0s"}, {target: "/jsonl?count=5"}, {target: "/delay/100ms"},
	},
	"ranges": {
		{target: "/range/1000"}, {target: "/range/1000", headers: "Range: bytes=10-19"}, {target: "/range/1000", headers: "Range: bytes=-5"},
		{target: "/range/1000", headers: "Range: bytes=990-"}, {target: "/range/1000", headers: "Range: bytes=0-1,500-509"},
		{target: "/range/1000", headers: "Range: bytes=1000-"}, {target: "/range/1000", headers: "Range: nonsense"},
		{method: "HEAD", target: "/range/1000", headers: "Range: bytes=10-19"},
		{target: "/etag/abc", headers: "Range: bytes=0-9\nIf-Range: \"abc\""}, {target: "/etag/abc", headers: "Range: bytes=0-9\nIf-Range: \"older\""},
	},
	"caches": {
		{target: "/etag/abc", headers: `If-None-Match: "abc"`}, {target: "/etag/abc", headers: `If-None-Match: W/"abc", "x"`},
		{target: "/etag/abc", headers: `If-Match: "x"`}, {target: "/cache", headers: "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"}, {target: "/cache/60"},
	},
	"trailers": {
		{target: "/trailers?X-Checksum=abc&X-Count=2"}, {method: "POST", target: "/trailers?X-Checksum=abc", headers: "TE: trailers", body: "a", chunked: true},
		{target: "/trailers"},
	},
	"encodings": {
		{target: "/gzip", headers: "Accept-Encoding: gzip"}, {target: "/gzip"}, {target: "/deflate", headers: "Accept-Encoding: deflate, br"},
		{target: "/brotli", headers: "Accept-Encoding: br"}, {target: "/get", headers: "Accept-Encoding: identity;q=0.5, *;q=0"}, {target: "/encoding/utf8"},
	},
	"redirects": {
		{target: "/redirect/3"}, {target: "/relative-redirect/2"}, {target: "/absolute-redirect/2"}, {target: "/redirect-to?url=/get&status_code=307"},
		{target: "/redirect-to?url=https%3A%2F%2Felsewhere.example%2Fa%3Fb%23c"}, {method: "POST", target: "/redirect-to?url=/post&status_code=308", body: "a"},
	},
	"cookies": {
		{target: "/cookies"}, {target: "/cookies", headers: `Cookie: flavour=oat; quoted="a b"; odd=a=b`}, {target: "/cookies/set?flavour=oat"},
		{target: "/cookies/set?flavour=oat&attr[Path]=/cookies&attr[SameSite]=lax&attr[Secure]=true"}, {target: "/cookies/delete?flavour"},
	},
	"sign-in of the app's own": {
		{target: "/basic-auth/kim/secret"}, {target: "/basic-auth/kim/secret", headers: "Authorization: Basic a2ltOnNlY3JldA=="},
		{target: "/hidden-basic-auth/kim/secret"}, {target: "/bearer"}, {target: "/bearer", headers: "Authorization: Bearer of-the-app"},
		{target: "/digest-auth/auth/kim/secret"}, {target: "/digest-auth/auth/kim/secret", headers: digest("kim", "secret", "/digest-auth/auth/kim/secret")},
	},
	"types": {
		{target: "/image/png"}, {target: "/image", headers: "Accept: image/webp"}, {target: "/html"}, {target: "/xml"}, {target: "/json"}, {target: "/robots.txt"},
		{target: "/base64/c2FsbHlwb3J0"}, {target: "/forms/post"}, {target: "/links/3/1"},
		{target: "/response-headers?Server=old&X-Twice=1&X-Twice=2&Content-Disposition=attachment%3B+filename%3D%22a.txt%22&Link=%3C/next%3E%3B+rel%3Dnext"},
	},
	"failures of the app's own": {{target: "/unstable?failure_rate=1"}, {target: "/unstable?failure_rate=0"}, {target: "/nothing-here"}, {target: "/deny"}},
}

// statuses are those that an app may end a request with.
var statuses = []int{
	200, 201, 202, 203, 204, 205, 206, 208, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410,
	411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 599,
}

// The two answers are compared in status, headers, framing, body and trailers. What the gateway is meant to change is in
// bin.identity and in said.meant and nowhere else; what differs from one request to the next is in moving.
func TestAnAppIsAnsweredForAsItAnswers(t *testing.T) {
	b := startBin(t, "  - { url: %s }")
	all := maps.Clone(requests)
	for _, status := range statuses {
		all["statuses"] = append(all["statuses"], request{target: fmt.Sprintf("/status/%d", status)})
	}
	for kind, asked := range all {
		t.Run(kind, func(t *testing.T) {
			for _, r := range asked {
				want, got := b.ask(t, b.app, r), b.ask(t, b.gateway.URL, r)
				want.meant()
				b.takeIdentityOff(t, r, &got, &want)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s %s\n%s\nthrough the gateway: %s\ndirectly: %s", r.method, r.target, r.headers, got, want)
				}
			}
		})
	}
}

// bin is httpbin behind a gateway that alice is signed in to.
type bin struct {
	app     string // where it is
	gateway *harness.Gateway
	client  *harness.Client
	// identity is the whole of what the app is told more than by the client itself.
	identity map[string]string
}

// startBin starts a gateway with an entry in which %s is the app's address.
func startBin(t *testing.T, entry string) *bin {
	t.Helper()
	app := httptest.NewServer(httpbin.New())
	t.Cleanup(app.Close)
	g := harness.StartGateway(t, harness.Settings{Upstreams: fmt.Sprintf(entry, app.URL)})
	b := &bin{app: app.URL, gateway: g, client: g.Client()}
	b.client.Enrol("alice")
	b.identity = map[string]string{
		"Remote-User": "alice", "Remote-Email": "alice@example.com", "Remote-Name": "Alice Example", "Remote-Groups": "admins,staff", "X-Forwarded-User": "alice",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": g.Address, "X-Forwarded-Port": harness.Port(t, g.Address), "X-Forwarded-Proto": "http",
	}
	return b
}

// said is an answer, all of it.
type said struct {
	status          int
	header, trailer http.Header
	framing         string
	body            string
}

func (s said) String() string {
	return fmt.Sprintf("%d, %s\n%v\n%.600q\n%v", s.status, s.framing, s.header, s.body, s.trailer)
}

// moving is what is another with each request: the time, and what is drawn by lot.
var moving = regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \w{3}|"timestamp":\d+|total_duration;dur=[\d.]+|(nonce|opaque)=\w+`)

// ask sends a request under the gateway's name, so that the app sees the same one on both ways.
func (b *bin) ask(t *testing.T, base string, r request) said {
	t.Helper()
	var body io.Reader
	switch {
	case r.chunked:
		body = io.MultiReader(strings.NewReader(r.body)) // whose length is not known
	case r.body != "":
		body = strings.NewReader(r.body)
	}
	out, err := http.NewRequestWithContext(t.Context(), r.method, base+r.target, body)
	if err != nil {
		t.Fatal(err)
	}
	out.Host = b.gateway.Address
	for line := range strings.Lines(r.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		out.Header.Add(name, value)
	}
	if base == b.gateway.URL {
		for _, cookie := range b.client.Http.Jar.Cookies(out.URL) {
			out.AddCookie(cookie)
		}
	}
	client := &http.Transport{DisableCompression: true, ExpectContinueTimeout: harness.Patience}
	defer client.CloseIdleConnections()
	res, err := client.RoundTrip(out)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	defer res.Body.Close()
	plain, err := decoded(res)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	got := said{
		status: res.StatusCode, header: res.Header, trailer: res.Trailer, body: plain,
		framing: fmt.Sprintf("length %d %v, closed %v", res.ContentLength, res.TransferEncoding, res.Close),
	}
	got.still()
	return got
}

// decoded reads a body that came as its Content-Encoding says.
func decoded(res *http.Response) (string, error) {
	body := io.Reader(res.Body)
	var err error
	switch res.Header.Get("Content-Encoding") {
	case "gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	}
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(body)
	return string(raw), err
}

// still takes out what moves.
func (s *said) still() {
	if _, parameters, err := mime.ParseMediaType(s.header.Get("Content-Type")); err == nil && parameters["boundary"] != "" {
		s.header.Set("Content-Type", strings.ReplaceAll(s.header.Get("Content-Type"), parameters["boundary"], "…"))
		s.body = strings.ReplaceAll(s.body, parameters["boundary"], "…")
	}
	s.body = moving.ReplaceAllString(s.body, "…")
	for _, h := range []http.Header{s.header, s.trailer} {
		for _, values := range h {
			for i := range values {
				values[i] = moving.ReplaceAllString(values[i], "…")
			}
		}
	}
}

// meant makes the changes to an answer that the gateway is meant to make.
func (s *said) meant() {
	s.header.Del("Proxy-Authenticate") // no proxy that the browser knows of has asked (RFC 9110 section 11.7.1)
	for i, cookie := range s.header["Set-Cookie"] {
		s.header["Set-Cookie"][i] = strings.ReplaceAll(cookie, "; Secure", "") // the browser is here by http
	}
}

// takeIdentityOff takes out of an answer through the gateway what it told the app, where the app repeats what it was
// told. The two bodies are not of one length then.
func (b *bin) takeIdentityOff(t *testing.T, r request, through, direct *said) {
	t.Helper()
	if strings.HasPrefix(r.target, "/etag/") { // a part of the same
		for _, s := range []*said{through, direct} {
			if part, _, found := strings.Cut(s.header.Get("Content-Range"), "/"); found {
				s.header.Set("Content-Range", part)
			}
		}
	}
	if !strings.Contains(through.body, `"Remote-User"`) {
		return
	}
	through.body, direct.body = b.withoutIdentity(t, r, through.body, true), b.withoutIdentity(t, r, direct.body, false)
	for _, s := range []*said{through, direct} {
		s.framing = ""
		s.header.Del("Content-Length")
	}
}

// withoutIdentity writes every JSON object of a body anew, without the headers in which the gateway speaks. Where it
// spoke, each of them must be there.
func (b *bin) withoutIdentity(t *testing.T, r request, body string, spoke bool) string {
	t.Helper()
	var out strings.Builder
	for in := json.NewDecoder(strings.NewReader(body)); in.More(); {
		var object struct {
			Headers map[string][]string `json:"headers"`
		}
		var whole map[string]any
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			t.Fatalf("%s %s: %v in %.600q", r.method, r.target, err, body)
		}
		for _, into := range []any{&object, &whole} {
			if err := json.Unmarshal(raw, into); err != nil {
				t.Fatalf("%s %s: %v in %.600q", r.method, r.target, err, body)
			}
		}
		for name, want := range b.identity {
			if got := object.Headers[name]; spoke && !slices.Equal(got, []string{want}) {
				t.Errorf("%s %s: the app saw %s %q, want %q", r.method, r.target, name, got, want)
			}
			delete(object.Headers, name)
		}
		whole["headers"] = object.Headers
		next, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(next, '\n'))
	}
	return out.String()
}

// digest answers a challenge of a nonce that this server does not look at (RFC 2617 section 3.2.2).
func digest(user, password, target string) string {
	hash := func(parts ...string) string { return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":")))) }
	const nonce, count, own = "0123456789abcdef", "00000001", "fedcba"
	response := hash(hash(user, "go-httpbin", password), nonce, count, own, "auth", hash("GET", target))
	return fmt.Sprintf("Authorization: Digest username=%q, realm=\"go-httpbin\", nonce=%q, uri=%q, qop=auth, nc=%s, cnonce=%q, response=%q", user, nonce, target, count, own, response)
}

func TestAnAppThatBelievesItLivesAtTheRootRedirectsToWhereItDoes(t *testing.T) {
	b := startBin(t, "  - { path: /tools/bin, url: %s, strip_path: true, preserve_host: false }")
	b.client.Http.CheckRedirect = nil // follow them
	for from, to := range map[string]string{
		"/redirect/3":          "/get",
		"/absolute-redirect/3": "/get",
		"/redirect-to?url=" + url.QueryEscape(b.app+"/headers?a=b#c"):     "/headers?a=b#c",
		"/redirect-to?status_code=308&url=" + url.QueryEscape("/cookies"): "/cookies",
		"/cookies/set?flavour=oat":                                        "/cookies",
	} {
		res, err := b.client.Http.Get(b.gateway.URL + "/tools/bin" + from)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got, want := res.Request.URL.String(), b.gateway.URL+"/tools/bin"+to; res.StatusCode != 200 || got != want {
			t.Errorf("%s leads to %s with %d, want %s", from, got, res.StatusCode, want)
		}
	}
	if a := b.client.Get("/tools/bin/cookies").Want(200); !strings.Contains(a.Body, `"flavour": "oat"`) {
		t.Errorf("the cookie that the app has set does not come back to it: %s", a.Body)
	}
}

func TestAnAppsWebSocketSpeaksToTheBrowserAsItDoesDirectly(t *testing.T) {
	b := startBin(t, "  - { url: %s }")
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for way, base := range map[string]string{"directly": b.app, "through the gateway": b.gateway.URL} {
		socket, _, err := websocket.Dial(ctx, strings.Replace(base, "http", "ws", 1)+"/websocket/echo",
			&websocket.DialOptions{HTTPClient: &http.Client{Jar: b.client.Http.Jar}})
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		defer socket.CloseNow()
		socket.SetReadLimit(1 << 20)
		for kind, message := range map[websocket.MessageType]string{websocket.MessageText: strings.Repeat("ü", 20000), websocket.MessageBinary: "\x00\xff\x00"} {
			if err := socket.Write(ctx, kind, []byte(message)); err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			if k, got, err := socket.Read(ctx); err != nil || k != kind || string(got) != message {
				t.Fatalf("%s: %d bytes of kind %v come back as %d of kind %v, %v", way, len(message), kind, len(got), k, err)
			}
		}
		if err := socket.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Errorf("%s: the app does not answer the close: %v", way, err)
		}
	}
}
