package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

var identityHeaders = []string{headerUser, headerEmail, headerName, headerGroups, headerXUser}

// foldSlowly is the definition of folding, written plainly, for tests to hold kindOf against.
func foldSlowly(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < 128 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, name)
	return strings.ToLower(strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' }), "-"))
}

// wantClean fails the test unless the upstream saw exactly one of each identity header, with alice's values, and no
// other header that folds to one.
func wantClean(t *testing.T, q received) {
	t.Helper()
	want := map[string]string{"Remote-User": "alice", "Remote-Email": "alice@example.com", "Remote-Name": "Zoë Liddell", "Remote-Groups": "staff", "X-Forwarded-User": "alice"}
	got := map[string]int{}
	for _, line := range append(slices.Clone(q.headers), q.trailer...) {
		name, value, _ := strings.Cut(line, ":")
		for header, alices := range want {
			if foldSlowly(name) != strings.ToLower(header) {
				continue
			}
			if got[header]++; name != header || strings.TrimSpace(value) != alices {
				t.Errorf("the upstream saw %q", line)
			}
		}
	}
	for header := range want {
		if got[header] != 1 {
			t.Errorf("the upstream saw %s %d times, want once", header, got[header])
		}
	}
}

// wantNobody fails the test where the upstream saw a header that folds to an identity header.
func wantNobody(t *testing.T, q received) {
	t.Helper()
	for _, line := range append(slices.Clone(q.headers), q.trailer...) {
		name, _, _ := strings.Cut(line, ":")
		if slices.ContainsFunc(identityHeaders, func(h string) bool { return foldSlowly(name) == strings.ToLower(h) }) {
			t.Errorf("the upstream saw %q", line)
		}
	}
}

var spoofs = []string{
	"Remote-User: mallory",
	"remote-user: mallory",
	"REMOTE-USER: mallory",
	"Remote-User: mallory\r\nRemote-User: root",
	"Remote_User: mallory",
	"remote_user: mallory",
	"Remote.User: mallory",
	"Remote~User: mallory",
	"Remote!User: mallory",
	"Remote+User: mallory",
	"Remote--User: mallory",
	"Remote_-_User: mallory",
	"-Remote-User: mallory",
	"_Remote_User: mallory",
	"Remote-User-: mallory",
	"Remote" + strings.Repeat("-", 100) + "User: mallory",
	"X_Forwarded.User: mallory",
	"x-forwarded_user: mallory",
	"Remote_Groups: admins",
	"Remote.Email: root@example.com",
	"Remote|Name: Root",
	"Remote-User : mallory",
	"X-Harmless: a\r\n Remote-User: mallory",
	": mallory",
	"Remote-User: mallory\nRemote_User: mallory",
	"Connection: Remote-User, X-Forwarded-For, Cookie",
	"connection: remote-user\r\nConnection: remote-email,remote-groups",
	"Connection: close, X-Forwarded-User, Remote-Name",
	"X_Forwarded_" + strings.Repeat("Very_Long_", 20) + "Name: mallory",
	"Te: trailers\r\nTrailer: Remote-User, Remote_User",
}

func TestIdentityHeadersOfAClientNeverReachAnUpstream(t *testing.T) {
	for _, spoof := range spoofs {
		for path, check := range map[string]func(*testing.T, received){"/app/x": wantClean, "/public/x": wantNobody} {
			t.Run(path+" "+spoof, func(t *testing.T) {
				j := newJournal(t, nil)
				res, _ := send(t, start(t, options(fixture(j.url))), get(path, aliceOne, spoof))
				if res.StatusCode == http.StatusBadRequest {
					j.empty(t)
					return
				}
				if res.StatusCode != http.StatusOK {
					t.Fatalf("got %s, want 200 or 400", describe(res))
				}
				check(t, j.only(t))
			})
		}
	}
}

func TestTrailersThatWouldSpeakForTheGatewayNeverReachAnUpstream(t *testing.T) {
	for path, check := range map[string]func(*testing.T, received){"/app/x": wantClean, "/public/x": wantNobody} {
		j := newJournal(t, nil)
		raw := request("POST", path, aliceOne, "Transfer-Encoding: chunked", "Trailer: Remote-User, Remote_Groups") +
			"2\r\nhi\r\n0\r\nRemote-User: mallory\r\nRemote_Groups: admins\r\nX-Forwarded-User: mallory\r\n\r\n"
		if res, _ := send(t, start(t, options(fixture(j.url))), raw); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s, want 200", path, describe(res))
		}
		q := j.only(t)
		check(t, q)
		if q.body != "hi" || len(q.trailer) != 0 || len(q.values("Trailer")) != 0 {
			t.Errorf("%s: body %q, trailers %q, announced %q; want the body alone", path, q.body, q.trailer, q.values("Trailer"))
		}
	}
}

func TestIdentityHeadersSentByHTTP2NeverReachAnUpstream(t *testing.T) {
	j := newJournal(t, nil)
	s := httptest.NewUnstartedServer(Front(newGateway(t, options(fixture(j.url))), false))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/app/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"remote-user", "remote_user", "remote.groups", "x_forwarded-user", "x_forwarded_proto"} {
		r.Header[name] = []string{"mallory"}
	}
	r.Header.Set("Cookie", "sallyport=alice-1")
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		t.Fatalf("got %s by %s, want 200 by HTTP/2", describe(res), res.Proto)
	}
	q := j.only(t)
	wantClean(t, q)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	wantForwarded(t, q, "127.0.0.1", "https", s.Listener.Addr().String(), port)
}

func TestEveryIdentityHeaderIsThereEvenWithNothingToSay(t *testing.T) {
	people["blank"] = &session.Identity{Username: "blank", AMR: []string{"pwd"}}
	t.Cleanup(func() { delete(people, "blank") })
	j := newJournal(t, nil)
	send(t, start(t, options(fixture(j.url))), get("/app/x", "Cookie: sallyport=blank", "Remote-Groups: admins"))
	q := j.only(t)
	for header, want := range map[string]string{"Remote-User": "blank", "X-Forwarded-User": "blank", "Remote-Email": "", "Remote-Name": "", "Remote-Groups": ""} {
		if got := q.values(header); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want one %q", header, got, want)
		}
	}
}

func TestAPersonOfAnotherAppIsCalledSoEverywhereElse(t *testing.T) {
	people["wikis"] = &session.Identity{Source: "wiki", Username: "admin", AMR: []string{"pwd"}}
	t.Cleanup(func() { delete(people, "wikis") })
	j := newJournal(t, nil)
	o := options([]Upstream{
		{Name: "wiki", Hosts: []string{"wiki.example.com"}, URL: j.url, Policy: OneFactor},
		{Name: "shop", Hosts: []string{"shop.example.com"}, URL: j.url, Policy: OneFactor},
	})
	o.TrustedProxies = prefixes("127.0.0.1/32")
	addr := start(t, o)
	g := newGateway(t, o)
	for host, want := range map[string]string{"wiki.example.com": "admin", "shop.example.com": "wiki/admin"} {
		send(t, addr, "GET / HTTP/1.1\r\nHost: "+host+"\r\nCookie: sallyport=wikis\r\n\r\n")
		all := j.all()
		q := all[len(all)-1]
		if user, older := q.values("Remote-User"), q.values("X-Forwarded-User"); !slices.Equal(user, []string{want}) || !slices.Equal(older, user) {
			t.Errorf("%s: the upstream saw Remote-User %q and X-Forwarded-User %q, want %q", host, user, older, want)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/auth/authz/auth-request", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header = http.Header{"Cookie": {"sallyport=wikis"}, "X-Original-Url": {"http://" + host + "/"}, "X-Original-Method": {"GET"}}
		g.ForwardAuth(w, r)
		if got := w.Header()["Remote-User"]; w.Code != http.StatusOK || !slices.Equal(got, []string{want}) {
			t.Errorf("%s by forward-auth: %d, Remote-User %q, want 200 and %q", host, w.Code, got, want)
		}
	}
}

func TestNothingInAnIdentityBreaksOutOfItsHeader(t *testing.T) {
	h := http.Header{}
	var lines headerLines
	setIdentity(&lines, &session.Identity{Username: "a\r\nRemote-Groups: admins", Name: "b\x00\x7f", Groups: []string{"x", "y,admins", "z"}}, "app")
	lines.moveTo(h)
	if got := h["Remote-User"][0]; got != "a  Remote-Groups: admins" {
		t.Errorf("Remote-User: got %q", got)
	}
	if got := h["Remote-Name"][0]; got != "b" {
		t.Errorf("Remote-Name: got %q", got)
	}
	if got := h["Remote-Groups"][0]; got != "x,z" {
		t.Errorf("Remote-Groups: got %q, want the group with a comma left out", got)
	}
}

func TestOtherHeadersPassByteForByte(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	send(t, addr, get("/public/x", "X-Custom_Header: a", "Accept-Encoding: gzip;q=0.3", "Remote-Users: no header of ours", "Content_Length: 7", "Transfer.Encoding: chunked", "X-HTTP-Method-Override: DELETE"))
	q := j.only(t)
	for name, want := range map[string]string{"X-Custom_header": "a", "Accept-Encoding": "gzip;q=0.3", "Remote-Users": "no header of ours", "X-Http-Method-Override": "DELETE"} {
		if got := q.values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"User-Agent", "Content_length", "Transfer.encoding"} {
		if got := q.values(name); len(got) != 0 {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

func TestAMethodThatWasNotJudgedIsNotPassedOnWhereRulesLookAtMethods(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options([]Upstream{{Name: "app", URL: j.url, Policy: Bypass, Rules: []Rule{{Methods: []string{"DELETE"}, Policy: Deny}}}}))
	send(t, addr, request("POST", "/x", "X-HTTP-Method-Override: DELETE", "X_HTTP_Method: DELETE", "Content-Length: 0"))
	for _, line := range j.only(t).headers {
		if strings.Contains(line, "DELETE") {
			t.Errorf("the upstream saw %q", line)
		}
	}
}

func TestTheGatewaysOwnBearerTokenStaysHereAndOthersPass(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	for _, path := range []string{"/app/x", "/public/x"} {
		if res, _ := send(t, addr, get(path, "Authorization: Bearer alice-1")); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s, want 200", path, describe(res))
		}
	}
	send(t, addr, get("/public/x", "Authorization: Basic YTpi"))
	all := j.all()
	if a, b := all[0].values("Authorization"), all[1].values("Authorization"); len(a)+len(b) != 0 {
		t.Errorf("the upstream saw the access token: %q, %q", a, b)
	}
	if got := all[2].values("Authorization"); len(got) != 1 || got[0] != "Basic YTpi" {
		t.Errorf("another Authorization header: got %q", got)
	}
}

func TestWhatIsUnderWayEndsWithItsSession(t *testing.T) {
	began := make(chan struct{}, 1)
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		began <- struct{}{}
		io.Copy(io.Discard, conn) // until the gateway hangs up
	})
	o := options(fixture(j.url))
	ended := looks(&o)
	conn := dial(t, start(t, o))
	io.WriteString(conn, get("/app/events", aliceOne))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	ended <- session.ErrNone
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stream ended as if it were whole; want it cut off")
	}
}

func TestASessionThatEndsBeforeTheAnswerIsAnsweredByWhatEndedIt(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) { io.Copy(io.Discard, conn) })
	o := options(fixture(j.url))
	found := looks(&o)
	url := start(t, o)
	gone := errors.New("the store is gone")
	for _, c := range []struct {
		looks []error
		want  string
	}{
		{[]error{session.ErrNone}, "401 sign-in"}, {[]error{nil}, "403 refused"}, {[]error{gone, gone}, "503 refused"},
	} {
		for _, look := range c.looks {
			found <- look
		}
		if res, _ := send(t, url, get("/app/slow", aliceOne)); describe(res) != c.want {
			t.Errorf("%v: got %s, want %s", c.looks, describe(res), c.want)
		}
	}
}

func TestOneLookThatFindsNothingOutEndsNothing(t *testing.T) {
	found := make(chan struct{}, 2)
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		<-found
		<-found
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	o := options(fixture(j.url))
	looks := 0
	o.Alive = func(context.Context, string) (*session.Identity, error) {
		if looks++; looks <= 4 {
			found <- struct{}{}
		}
		if looks%2 == 1 {
			return nil, errors.New("the store is gone")
		}
		return &session.Identity{AMR: []string{"pwd"}}, nil
	}
	if res, _ := send(t, start(t, o), get("/app/slow", aliceOne)); res.StatusCode != 200 {
		t.Errorf("got %s", describe(res))
	}
}

func FuzzHeaderFolding(f *testing.F) {
	for _, s := range spoofs {
		name, _, _ := strings.Cut(s, ":")
		f.Add(name)
	}
	f.Add("X-Forwarded-For")
	f.Add("Content_Length")
	f.Fuzz(func(t *testing.T, name string) {
		folded := foldSlowly(name)
		want := headerKinds[folded]
		if folded == "x-forwarded" || strings.HasPrefix(folded, "x-forwarded-") {
			want = gatewaysOwn
		}
		if want == framing && name == http.CanonicalHeaderKey(folded) {
			want = passed
		}
		if got := kindOf(name); got != want {
			t.Errorf("%q folds to %q: got kind %d, want %d", name, folded, got, want)
		}
	})
}

// FuzzNoFoldingOfWhatIsForwardedIsAnIdentityHeader sends a header of any name, and folds what arrives as CGI (RFC 3875
// section 4.1.18), WSGI and PHP do, which take whatever is no letter or digit for an underscore.
func FuzzNoFoldingOfWhatIsForwardedIsAnIdentityHeader(f *testing.F) {
	for _, s := range spoofs {
		name, _, _ := strings.Cut(s, ":")
		f.Add(name)
	}
	own := map[string]bool{}
	for _, name := range append([]string{headerAssertion}, identityHeaders...) {
		own[underscored(name)] = true
	}
	alice := people["alice-2"]
	f.Fuzz(func(t *testing.T, name string) {
		h := http.Header{name: {"mallory"}, http.CanonicalHeaderKey(name): {"mallory"}}
		dropForeignHeaders(h, true)
		var lines headerLines
		setIdentity(&lines, alice, "app")
		lines.moveTo(h)
		for forwarded, values := range h {
			if own[underscored(forwarded)] && slices.Contains(values, "mallory") {
				t.Errorf("%q arrives as %q", name, forwarded)
			}
		}
		for _, header := range identityHeaders {
			if len(h[header]) != 1 {
				t.Errorf("with %q the app is sent %s %q", name, header, h[header])
			}
		}
	})
}

// underscored is the name of a header as a CGI program reads it in its environment, after HTTP_.
func underscored(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, name)
}
