package attack

import (
	"slices"
	"strings"
	"testing"
)

// notAsTrailers are headers that mean something only before a body (RFC 9110 section 6.5.1). A server that merges
// trailers into the headers would believe them.
var notAsTrailers = []string{
	"Cookie", "Authorization", "Proxy-Authorization", "Content-Length", "Content-Type", "Transfer-Encoding", "Host", "Connection", "Upgrade", "Expect", "Range", "TE", "Trailer",
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X_Forwarded_For", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Origin", "Referer",
	"Content_Length", "Transfer_Encoding", "Set-Cookie", "If-Match", "Sec-Fetch-Site", "User-Agent", "Access-Control-Request-Method",
}

func TestT26NoTrailerTakesThePlaceOfAHeader(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	session := cookies(p.signedIn(s.one))
	for _, batch := range [][]string{
		disguises("Remote-User"), disguises("Remote-Email"), disguises("Remote-Name"), disguises("Remote-Groups"), disguises("X-Forwarded-User"), notAsTrailers,
	} {
		for _, announced := range []bool{true, false} {
			head := "POST /app/x HTTP/1.1\r\nHost: " + s.one.Address + "\r\nCookie: " + session + "\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n"
			if announced {
				head += "Trailer: X-Checksum, " + strings.Join(batch, ", ") + "\r\n"
			}
			body := "\r\n2\r\nhi\r\n0\r\nX-Checksum: right\r\n" + strings.Join(batch, ": "+forged+"\r\n") + ": " + forged + "\r\n\r\n"
			s.up.Forget()
			w := dial(t, s.one.Address)
			w.write(head + body)
			r, _ := w.read("POST")
			for _, seen := range s.up.Requests() {
				wantOwn(t, seen, p)
				wantForwarding(t, seen, s.one.Address)
				if passed := strings.Contains(seen.Trailer, "X-Checksum: right"); announced && r.status == 200 && !passed && slices.Contains(batch, "Remote-User") {
					t.Errorf("the trailer that means nothing to anybody is gone: %q", seen.Trailer)
				}
			}
			if r.status != 200 && (r.status != 400 || announced != strings.Contains(strings.Join(batch, " "), "Content-Length")) {
				t.Errorf("announced %v, %.60q…: %d, want 200", announced, batch, r.status)
			}
		}
	}
}

// streams are requests in HTTP/2 that are malformed (RFC 9113 section 8.1.1), or that say in its own way what HTTP/1
// may not say. Each is for /app/x in the name of somebody signed in.
func streams(host, session string) map[string][]field {
	get := func(more ...field) []field {
		return request("GET", "/app/x", host, append([]field{{"cookie", session}}, more...)...)
	}
	pseudo := func(fields ...field) []field { return append(fields, field{"cookie", session}) }
	m, sc, a, p := field{":method", "GET"}, field{":scheme", "http"}, field{":authority", host}, field{":path", "/app/x"}
	return map[string][]field{
		"an upper-case name":                   get(field{"Remote-User", forged}),
		"a mixed-case name":                    get(field{"remote-User", forged}),
		"an underscore":                        get(field{"remote_user", forged}),
		"a dot":                                get(field{"remote.user", forged}),
		"the name itself":                      get(field{"remote-user", forged}),
		"the name itself, twice":               get(field{"remote-user", forged}, field{"remote-user", forged}),
		"an empty name":                        get(field{"", forged}),
		"a space at the name's end":            get(field{"remote-user ", forged}),
		"a colon in the name":                  get(field{"x-a:remote-user", forged}),
		"a line end in the name":               get(field{"x-a: b\r\nremote-user", forged}),
		"a line end in the value":              get(field{"x-a", "b\r\nRemote-User: " + forged}),
		"a line feed in the value":             get(field{"x-a", "b\nRemote-User: " + forged}),
		"a CR in the value":                    get(field{"x-a", "b\rRemote-User: " + forged}),
		"NUL in the value":                     get(field{"x-a", "b\x00Remote-User: " + forged}),
		"a line end in the cookie":             get(field{"cookie", "a=b\r\nRemote-User: " + forged}),
		"a line end in the path":               pseudo(m, sc, a, field{":path", "/app/x HTTP/1.1\r\nRemote-User: " + forged + "\r\nX-A: b"}),
		"a space in the path":                  pseudo(m, sc, a, field{":path", "/app/x HTTP/1.1"}),
		"a line end in the method":             pseudo(field{":method", "GET /public/hidden HTTP/1.1\r\nRemote-User: " + forged + "\r\n\r\nGET"}, sc, a, p),
		"a space in the method":                pseudo(field{":method", "GET /admin/x"}, sc, a, p),
		"a lower-case method":                  pseudo(field{":method", "get"}, sc, a, p),
		"a line end in the authority":          pseudo(m, sc, field{":authority", host + "\r\nRemote-User: " + forged}, p),
		"a user in the authority":              pseudo(m, sc, field{":authority", "user@" + host}, p),
		"a path in the authority":              pseudo(m, sc, field{":authority", host + "/admin/x?"}, p),
		"a line end in the scheme":             pseudo(m, field{":scheme", "http://x/\r\nRemote-User: " + forged}, a, p),
		"a scheme that is an address":          pseudo(m, field{":scheme", "http://" + host + "/admin/x?"}, a, p),
		"connection":                           get(field{"connection", "remote-user"}, field{"remote-user", forged}),
		"connection that keeps":                get(field{"connection", "keep-alive"}),
		"proxy-connection":                     get(field{"proxy-connection", "keep-alive"}),
		"keep-alive":                           get(field{"keep-alive", "timeout=5"}),
		"transfer-encoding":                    get(field{"transfer-encoding", "chunked"}),
		"upgrade":                              get(field{"upgrade", "h2c"}, field{"connection", "upgrade"}),
		"upgrade to a WebSocket":               get(field{"upgrade", "websocket"}, field{"sec-websocket-key", "x"}),
		"te of something else":                 get(field{"te", "gzip"}),
		"two paths":                            pseudo(m, sc, a, p, field{":path", "/admin/x"}),
		"two paths, the other way round":       pseudo(m, sc, a, field{":path", "/public/x"}, p),
		"two methods":                          pseudo(m, field{":method", "DELETE"}, sc, a, p),
		"two authorities":                      pseudo(m, sc, a, field{":authority", "evil.example"}, p),
		"two schemes":                          pseudo(m, sc, field{":scheme", "https"}, a, p),
		"no path":                              pseudo(m, sc, a),
		"an empty path":                        pseudo(m, sc, a, field{":path", ""}),
		"a path without a slash":               pseudo(m, sc, a, field{":path", "app/x"}),
		"a path that is an address":            pseudo(m, sc, a, field{":path", "http://" + host + "/app/x"}),
		"an asterisk":                          pseudo(m, sc, a, field{":path", "*"}),
		"a fragment in the path":               pseudo(m, sc, a, field{":path", "/app/x#/public/"}),
		"no method":                            pseudo(sc, a, p),
		"an empty method":                      pseudo(field{":method", ""}, sc, a, p),
		"no scheme":                            pseudo(m, a, p),
		"no authority and no host":             pseudo(m, sc, p),
		"an empty authority":                   pseudo(m, sc, field{":authority", ""}, p),
		"another host beside the authority":    get(field{"host", "evil.example"}),
		"two other hosts beside it":            get(field{"host", host}, field{"host", "evil.example"}),
		"a pseudo-header nobody knows":         pseudo(m, sc, a, p, field{":remote-user", forged}),
		"a pseudo-header of answers":           pseudo(m, sc, a, p, field{":status", "200"}),
		"a pseudo-header behind the others":    append(get(field{"x-a", "b"}), field{":path", "/admin/x"}),
		"CONNECT":                              pseudo(field{":method", "CONNECT"}, a),
		"CONNECT with a path":                  pseudo(field{":method", "CONNECT"}, sc, a, p),
		"extended CONNECT":                     pseudo(field{":method", "CONNECT"}, field{":protocol", "websocket"}, sc, a, p),
		"extended CONNECT of something else":   pseudo(field{":method", "CONNECT"}, field{":protocol", "h2c"}, sc, a, p),
		"TRACE":                                request("TRACE", "/app/x", host, field{"cookie", session}),
		"a length and no body":                 get(field{"content-length", "100"}),
		"two lengths":                          get(field{"content-length", "0"}, field{"content-length", "5"}),
		"a length that is none":                get(field{"content-length", "0x0"}),
		"a length and no body, in disguise":    get(field{"content_length", "100"}),
		"expect":                               get(field{"expect", "100-continue"}),
		"an identity over several cookies":     get(field{"cookie", "a=b"}, field{"cookie", "c=d; remote-user"}),
		"a routing header":                     get(field{"x-forwarded-for", forged}, field{"x-forwarded-host", forged}, field{"forwarded", "for=" + forged}),
		"a routing header with an underscore":  get(field{"x_forwarded_for", forged}, field{"x_forwarded-user", forged}),
		"a client's settings for an upgrade":   get(field{"http2-settings", "AAMAAABk"}),
		"a name longer than a table has room":  get(field{"remote" + strings.Repeat("_", 200) + "user", forged}),
		"a name that is not ASCII":             get(field{"remote-u\u017fer", forged}),
		"a name with NUL":                      get(field{"remote-user\x00", forged}),
		"a value that begins with a space":     get(field{"remote-user", " " + forged}),
		"the gateway's cookie in several ones": request("GET", "/app/x", host, field{"cookie", "a=b"}, field{"cookie", session}, field{"cookie", "c=d"}),
	}
}

func TestT27AMalformedStreamBringsNothingThrough(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	session := cookies(p.signedIn(s.one))
	for what, fields := range streams(s.one.Address, session) {
		t.Run(what, func(t *testing.T) {
			s.up.Forget()
			r := askFrames(t, s.one.Address, fields...)
			seen := s.up.Requests()
			if len(seen) == 0 && r.status != 0 && !r.denies() || len(seen) > 1 {
				t.Fatalf("%d, and the upstream saw %d requests", r.status, len(seen))
			}
			for _, got := range seen {
				wantOwn(t, got, p)
				wantOneReading(t, got)
				wantForwarding(t, got, s.one.Address)
				if got.method() != "GET" || got.target() != "/app/x" || strings.Contains(got.Head, session) || got.Trouble != "" {
					t.Errorf("the upstream saw %q (%s)", got.Head, got.Trouble)
				}
				for _, name := range []string{"Connection", "Upgrade", "Transfer-Encoding", "HTTP2-Settings", "Keep-Alive", "Proxy-Connection"} {
					if got := got.values(name); got != nil {
						t.Errorf("the upstream saw %s: %q", name, got)
					}
				}
			}
		})
	}
}

func TestT27NoTrailerOfAStreamTakesThePlaceOfAHeader(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	session := cookies(p.signedIn(s.one))
	for what, trailers := range map[string][]field{
		"identity":          {{"remote-user", forged}, {"x-forwarded-user", forged}, {"remote_groups", forged}},
		"in upper case":     {{"Remote-User", forged}},
		"a pseudo-header":   {{":path", "/admin/x"}, {"remote-user", forged}},
		"framing":           {{"content-length", "100"}, {"transfer-encoding", "chunked"}, {"host", forged}},
		"with a line end":   {{"x-a", "b\r\nRemote-User: " + forged}},
		"cookie":            {{"cookie", "sallyport=" + forged}, {"authorization", "Bearer " + forged}},
		"a routing header":  {{"x-forwarded-for", forged}, {"x_forwarded_for", forged}},
		"a name of nothing": {{"", forged}},
	} {
		t.Run(what, func(t *testing.T) {
			s.up.Forget()
			f := dialFrames(t, s.one.Address)
			names := "x-checksum"
			for _, h := range trailers {
				names += ", " + h.name
			}
			f.headers(1, false, request("POST", "/app/x", s.one.Address, field{"cookie", session}, field{"trailer", names})...)
			f.data(1, false, "hi")
			f.headers(1, true, trailers...)
			r := f.outcome(1)
			if r.status != 0 && r.status != 200 && !r.denies() {
				t.Errorf("%d: %s", r.status, r.body)
			}
			for _, seen := range s.up.Requests() {
				wantUnforged(t, seen)
				if wantForwarding(t, seen, s.one.Address); seen.Trouble == "" {
					wantClean(t, seen, p)
				}
			}
		})
	}
}
