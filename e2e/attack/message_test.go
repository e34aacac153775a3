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
	all := oddPseudo(host, session)
	for what, fields := range oddFields(host) {
		all[what] = request("GET", "/app/x", host, append([]field{{"cookie", session}}, fields...)...)
	}
	return all
}

// oddFields follow what is right.
func oddFields(host string) map[string][]field {
	return map[string][]field{
		"an upper-case name":                  {{"Remote-User", forged}},
		"a mixed-case name":                   {{"remote-User", forged}},
		"an underscore":                       {{"remote_user", forged}},
		"a dot":                               {{"remote.user", forged}},
		"the name itself":                     {{"remote-user", forged}},
		"the name itself, twice":              {{"remote-user", forged}, {"remote-user", forged}},
		"an empty name":                       {{"", forged}},
		"a space at the name's end":           {{"remote-user ", forged}},
		"a colon in the name":                 {{"x-a:remote-user", forged}},
		"a line end in the name":              {{"x-a: b\r\nremote-user", forged}},
		"a line end in the value":             {{"x-a", "b\r\nRemote-User: " + forged}},
		"a line feed in the value":            {{"x-a", "b\nRemote-User: " + forged}},
		"a CR in the value":                   {{"x-a", "b\rRemote-User: " + forged}},
		"NUL in the value":                    {{"x-a", "b\x00Remote-User: " + forged}},
		"a line end in the cookie":            {{"cookie", "a=b\r\nRemote-User: " + forged}},
		"connection":                          {{"connection", "remote-user"}, {"remote-user", forged}},
		"connection that keeps":               {{"connection", "keep-alive"}},
		"proxy-connection":                    {{"proxy-connection", "keep-alive"}},
		"keep-alive":                          {{"keep-alive", "timeout=5"}},
		"transfer-encoding":                   {{"transfer-encoding", "chunked"}},
		"upgrade":                             {{"upgrade", "h2c"}, {"connection", "upgrade"}},
		"upgrade to a WebSocket":              {{"upgrade", "websocket"}, {"sec-websocket-key", "x"}},
		"te of something else":                {{"te", "gzip"}},
		"another host beside the authority":   {{"host", "evil.example"}},
		"two other hosts beside it":           {{"host", host}, {"host", "evil.example"}},
		"a length and no body":                {{"content-length", "100"}},
		"two lengths":                         {{"content-length", "0"}, {"content-length", "5"}},
		"a length that is none":               {{"content-length", "0x0"}},
		"a length and no body, in disguise":   {{"content_length", "100"}},
		"expect":                              {{"expect", "100-continue"}},
		"an identity over several cookies":    {{"cookie", "a=b"}, {"cookie", "c=d; remote-user"}},
		"a routing header":                    {{"x-forwarded-for", forged}, {"x-forwarded-host", forged}, {"forwarded", "for=" + forged}},
		"a routing header with an underscore": {{"x_forwarded_for", forged}, {"x_forwarded-user", forged}},
		"a client's settings for an upgrade":  {{"http2-settings", "AAMAAABk"}},
		"a name longer than a table has room": {{"remote" + strings.Repeat("_", 200) + "user", forged}},
		"a name that is not ASCII":            {{"remote-u\u017fer", forged}},
		"a name with NUL":                     {{"remote-user\x00", forged}},
		"a value that begins with a space":    {{"remote-user", " " + forged}},
	}
}

// oddPseudo are odd about the request itself.
func oddPseudo(host, session string) map[string][]field {
	pseudo := func(fields ...field) []field { return append(fields, field{"cookie", session}) }
	m, sc, a, p := field{":method", "GET"}, field{":scheme", "http"}, field{":authority", host}, field{":path", "/app/x"}
	return map[string][]field{
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
		"a pseudo-header nobody knows":         pseudo(m, sc, a, p, field{":remote-user", forged}),
		"a pseudo-header of answers":           pseudo(m, sc, a, p, field{":status", "200"}),
		"CONNECT":                              pseudo(field{":method", "CONNECT"}, a),
		"CONNECT with a path":                  pseudo(field{":method", "CONNECT"}, sc, a, p),
		"extended CONNECT":                     pseudo(field{":method", "CONNECT"}, field{":protocol", "websocket"}, sc, a, p),
		"extended CONNECT of something else":   pseudo(field{":method", "CONNECT"}, field{":protocol", "h2c"}, sc, a, p),
		"TRACE":                                request("TRACE", "/app/x", host, field{"cookie", session}),
		"the gateway's cookie in several ones": request("GET", "/app/x", host, field{"cookie", "a=b"}, field{"cookie", session}, field{"cookie", "c=d"}),
		"a pseudo-header behind the others":    pseudo(m, sc, a, p, field{"x-a", "b"}, field{":path", "/admin/x"}),
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
