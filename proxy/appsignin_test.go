package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authflow/session"
)

// fakeSignIn signs in to an app that knows its people by the cookie "app".
type fakeSignIn struct {
	headers     []string
	credentials func(*session.Identity) (http.Header, bool, error)             // nil: none
	signedOut   func(*http.Request, *http.Response) bool                       // nil: 401
	signIn      func(*http.Request, *session.Identity) ([]string, bool, error) // nil: the cookie "app" with the person's name
	signIns     atomic.Int32
}

func (f *fakeSignIn) Describe() string  { return "signed in to by its cookie" }
func (f *fakeSignIn) Headers() []string { return f.headers }

func (f *fakeSignIn) Credentials(_ *http.Request, id *session.Identity) (http.Header, bool, error) {
	if f.credentials == nil {
		return nil, false, nil
	}
	return f.credentials(id)
}

func (f *fakeSignIn) SignedOut(r *http.Request, res *http.Response) bool {
	if f.signedOut == nil {
		return res.StatusCode == http.StatusUnauthorized
	}
	return f.signedOut(r, res)
}

func (f *fakeSignIn) SignIn(r *http.Request, id *session.Identity) ([]string, bool, error) {
	f.signIns.Add(1)
	if f.signIn == nil {
		return []string{"app=" + id.Username + "; Path=/; HttpOnly"}, false, nil
	}
	return f.signIn(r, id)
}

func (f *fakeSignIn) Ask(w http.ResponseWriter, _ *http.Request, id *session.Identity) {
	w.Header().Set("Answer", "ask-"+id.Username)
	w.WriteHeader(http.StatusUnauthorized)
}

// knownBy is an app's answer: 200 and what came in for whoever has the cookie of a sign-in, and 401 for anybody else.
func knownBy(cookie string) func(net.Conn, *bufio.Reader, received) {
	return func(conn net.Conn, br *bufio.Reader, q received) {
		for _, line := range q.values("Cookie") {
			if !slices.Contains(strings.Split(line, "; "), cookie) {
				continue
			}
			if len(q.values("Upgrade")) > 0 {
				echo(conn, br, q)
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(q.body), q.body)
			return
		}
		io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nSet-Cookie: app=nobody; Path=/\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nwho?")
	}
}

// signedInTo is the options of a gateway with one upstream.
func signedInTo(j *journal, f *fakeSignIn) Options {
	o := options(fixture(j.url))
	o.Upstreams[0].SignIn = f
	return o
}

func TestWhoeverTheAppHasForgottenIsSignedInAndTheSameRequestSentAgain(t *testing.T) {
	long := strings.Repeat("x", maxHeldBody)
	for name, raw := range map[string]string{
		"GET":            get("/app/x?q=1", aliceOne, "Cookie: a=1; app=old", "X-Other: y"),
		"DELETE":         request("DELETE", "/app/x?q=1", aliceOne, "Cookie: a=1; app=old", "X-Other: y"),
		"POST":           request("POST", "/app/x?q=1", aliceOne, "Cookie: a=1; app=old", "X-Other: y", "Content-Length: 5") + "a=b&c",
		"POST, nothing":  request("POST", "/app/x?q=1", aliceOne, "Cookie: a=1; app=old", "X-Other: y", "Content-Length: 0"),
		"PUT, the bound": request("PUT", "/app/x?q=1", aliceOne, "Cookie: a=1; app=old", "X-Other: y", "Content-Length: "+strconv.Itoa(maxHeldBody)) + long,
	} {
		j, f := newJournal(t, knownBy("app=alice")), &fakeSignIn{}
		res, body := send(t, start(t, signedInTo(j, f)), raw)
		_, sent, _ := strings.Cut(raw, "\r\n\r\n")
		if res.StatusCode != 200 || body != sent {
			t.Errorf("%s: got %s with %d bytes, want 200 with %d", name, describe(res), len(body), len(sent))
		}
		if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"app=alice; Path=/; HttpOnly"}) || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Set-Cookie %q, Cache-Control %q; want the sign-in's cookie alone, for no cache", name, got, res.Header.Get("Cache-Control"))
		}
		all := j.all()
		if len(all) != 2 || f.signIns.Load() != 1 {
			t.Fatalf("%s: %d requests and %d sign-ins, want 2 and 1", name, len(all), f.signIns.Load())
		}
		if got := all[1].values("Cookie"); !slices.Equal(got, []string{"a=1; app=alice"}) {
			t.Errorf("%s: Cookie %q", name, got)
		}
		isCookie := func(line string) bool { return strings.HasPrefix(line, "Cookie:") }
		first, again := slices.DeleteFunc(all[0].headers, isCookie), slices.DeleteFunc(all[1].headers, isCookie)
		slices.Sort(first) // headers of different names have no order
		slices.Sort(again)
		if all[0].line != all[1].line || all[0].body != all[1].body || !slices.Equal(first, again) {
			t.Errorf("%s: sent again as %s %q, first as %s %q", name, all[1].line, again, all[0].line, first)
		}
	}
}

func TestABodyThatIsNotHeldIsNotSentAgainAndTheCookiesPass(t *testing.T) {
	for name, raw := range map[string]string{
		"too long":       request("POST", "/app/x", aliceOne, "Content-Length: "+strconv.Itoa(maxHeldBody+1)) + strings.Repeat("x", maxHeldBody+1),
		"unknown length": request("POST", "/app/x", aliceOne, "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n",
	} {
		j, f := newJournal(t, knownBy("app=alice")), &fakeSignIn{}
		res, body := send(t, start(t, signedInTo(j, f)), raw)
		if res.StatusCode != 401 || body != "who?" || f.signIns.Load() != 1 {
			t.Errorf("%s: got %s %q after %d sign-ins, want the app's own 401 after one", name, describe(res), body, f.signIns.Load())
		}
		if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"app=alice; Path=/; HttpOnly"}) {
			t.Errorf("%s: Set-Cookie %q, want the sign-in's and not nobody's", name, got)
		}
		if q := j.only(t); len(q.body) == 0 {
			t.Errorf("%s: the body did not arrive", name)
		}
	}
}

func TestAnAppThatAlwaysSaysNoCostsOneSignInForARequest(t *testing.T) {
	j, f := newJournal(t, knownBy("app=somebody-else")), &fakeSignIn{}
	res, body := send(t, start(t, signedInTo(j, f)), get("/app/x", aliceOne))
	if res.StatusCode != 401 || body != "who?" || len(j.all()) != 2 || f.signIns.Load() != 1 {
		t.Errorf("got %s %q after %d requests and %d sign-ins, want the app's second 401 after 2 and 1", describe(res), body, len(j.all()), f.signIns.Load())
	}
	if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"app=alice; Path=/; HttpOnly", "app=nobody; Path=/"}) {
		t.Errorf("Set-Cookie %q, want the sign-in's first and the app's own after it", got)
	}
}

func TestNobodyIsSignedInWhereThatIsNotToBe(t *testing.T) {
	for name, c := range map[string]struct {
		raw    string
		answer func(net.Conn, *bufio.Reader, received)
		signIn func(*http.Request, *session.Identity) ([]string, bool, error)
		status int
		asked  int32 // how often
	}{
		"the app knows them": {get("/app/x", aliceOne, "Cookie: app=alice"), knownBy("app=alice"), nil, 200, 0},
		"nobody asks":        {get("/public/x", aliceOne), knownBy("app=alice"), nil, 401, 0},
		"they sign out":      {get("/app/bye", aliceOne), knownBy("app=alice"), nil, 401, 0},
		"a preflight":        {request("OPTIONS", "/app/x", aliceOne, "Origin: http://app.example.com", "Access-Control-Request-Method: PUT"), knownBy("app=alice"), nil, 401, 0},
		"the app is down":    {get("/app/x", aliceOne), func(conn net.Conn, _ *bufio.Reader, _ received) { conn.Close() }, nil, 502, 0},
		"not now":            {get("/app/x", aliceOne), knownBy("app=alice"), func(*http.Request, *session.Identity) ([]string, bool, error) { return nil, false, nil }, 401, 1},
		"it fails": {get("/app/x", aliceOne), knownBy("app=alice"), func(*http.Request, *session.Identity) ([]string, bool, error) {
			return nil, false, errors.New("no form")
		}, 401, 1},
		"a program is to be asked": {get("/app/x", aliceOne), knownBy("app=alice"), func(*http.Request, *session.Identity) ([]string, bool, error) { return nil, true, nil }, 401, 1},
	} {
		j, f := newJournal(t, c.answer), &fakeSignIn{signIn: c.signIn}
		o := signedInTo(j, f)
		o.Upstreams[0].SignOutPath = "/app/bye"
		o.SignOut = func(*http.Request) ([]string, error) { return nil, nil }
		res, body := send(t, start(t, o), c.raw)
		if res.StatusCode != c.status || f.signIns.Load() != c.asked || c.status == 401 && body != "who?" {
			t.Errorf("%s: got %s %q after %d sign-ins, want the app's %d after %d", name, describe(res), body, f.signIns.Load(), c.status, c.asked)
		}
		if all := j.all(); len(all) != 1 && c.status != 502 {
			t.Errorf("%s: the app saw %d requests, want one", name, len(all))
		}
	}
}

func TestAPageLoadIsSentToThePageThatAsksForThePassword(t *testing.T) {
	page := []string{aliceOne, "Sec-Fetch-Mode: navigate"}
	ask := func(*session.Identity) (http.Header, bool, error) { return nil, true, nil }
	gone := func(*http.Request, *session.Identity) ([]string, bool, error) { return nil, true, nil }
	for name, c := range map[string]struct {
		sign     *fakeSignIn
		raw      string
		requests int
	}{
		"before the app is asked":            {&fakeSignIn{credentials: ask}, get("/app/x", page...), 0},
		"a program, before the app is asked": {&fakeSignIn{credentials: ask}, get("/app/x", aliceOne), 0},
		"once the app has refused":           {&fakeSignIn{signIn: gone}, get("/app/x", page...), 1},
	} {
		j := newJournal(t, knownBy("app=alice"))
		o := signedInTo(j, c.sign)
		o.Forms = restoring{t}
		if c.requests > 0 {
			o.Forms = nil
		}
		res, body := send(t, start(t, o), c.raw)
		if describe(res) != "401 ask-alice" || body != "" || len(res.Header["Set-Cookie"]) != 0 || len(j.all()) != c.requests {
			t.Errorf("%s: got %s %q with %q after %d requests", name, describe(res), body, res.Header["Set-Cookie"], len(j.all()))
		}
	}
}

// restoring fails the test where a kept form would be taken out for a request that cannot be forwarded yet.
type restoring struct{ t *testing.T }

func (restoring) Keep(http.ResponseWriter, *http.Request, *session.Identity) bool { return false }

func (r restoring) Restore(_ http.ResponseWriter, req *http.Request, _ *session.Identity) (*http.Request, bool) {
	r.t.Error("a kept form was taken out")
	return req, true
}

func TestCredentialsGoWithAnIdentityAloneAndAClientsOwnNeverArrive(t *testing.T) {
	f := &fakeSignIn{headers: []string{"authorization", "X-Api-Key"}, credentials: func(id *session.Identity) (http.Header, bool, error) {
		return http.Header{"Authorization": {"Basic " + id.Username}, "Remote-User": {"root"}, "Cookie": {"a=b"}}, false, nil
	}}
	j := newJournal(t, nil)
	o := signedInTo(j, f)
	o.Upstreams[0].Forwarding.RequestHeaders = HeaderChange{Set: map[string]string{"X-Api-Key": "the operator's"}}
	addr := start(t, o)
	spoofs := []string{"Authorization: Basic bWFsbG9yeQ==", "X-Api-Key: m", "x_api.key: m", "Connection: Authorization"}
	for _, raw := range []string{
		get("/app/x", append(spoofs, aliceOne)...), get("/app/x", "Authorization: Bearer alice-1"),
		request("POST", "/app/x", aliceOne, "Transfer-Encoding: chunked", "Trailer: X_Api_Key") + "1\r\nx\r\n0\r\nX_Api_Key: m\r\n\r\n",
	} {
		send(t, addr, raw)
		q := j.all()[len(j.all())-1]
		wantClean(t, q)
		if got := q.values("Authorization"); !slices.Equal(got, []string{"Basic alice"}) {
			t.Errorf("the app saw Authorization %q", got)
		}
		for _, line := range append(slices.Clone(q.headers), q.trailer...) {
			if name, value, _ := strings.Cut(line, ":"); foldSlowly(name) == "x-api-key" || foldSlowly(name) == "cookie" {
				t.Errorf("the app saw %s: %s", name, value)
			}
		}
	}
	send(t, addr, get("/public/x", aliceOne, "Authorization: Basic YTpi"))
	if got := j.all()[3].values("Authorization"); !slices.Equal(got, []string{"Basic YTpi"}) {
		t.Errorf("on bypass the app saw Authorization %q, want the client's own", got)
	}
}

func TestTheBrowserIsNotAskedForWhatTheGatewayReplaces(t *testing.T) {
	for header, want := range map[string]string{"Authorization": "", "X-Api-Key": `Basic realm="app"`} {
		j := newJournal(t, fixed("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"app\"\r\nContent-Length: 0\r\n\r\n"))
		addr := start(t, signedInTo(j, &fakeSignIn{headers: []string{header}}))
		if res, _ := send(t, addr, get("/app/x", aliceOne)); res.StatusCode != 401 || res.Header.Get("Www-Authenticate") != want {
			t.Errorf("%s: got %s with %q, want %q", header, describe(res), res.Header.Get("Www-Authenticate"), want)
		}
		if res, _ := send(t, addr, get("/public/x")); res.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: on bypass the app's question is gone", header)
		}
	}
}

func TestCredentialsThatCannotBeFoundOutAreA503(t *testing.T) {
	j, log := newJournal(t, nil), &lines{}
	o := signedInTo(j, &fakeSignIn{credentials: func(*session.Identity) (http.Header, bool, error) { return nil, false, errStoreGone }})
	o.Log = slog.New(slog.NewJSONHandler(log, nil))
	res, body := send(t, start(t, o), get("/app/x", aliceOne))
	entry := log.find(t, "cause")
	if describe(res) != "503 refused" || entry["request_id"] != res.Header.Get("Request-Id") || entry["upstream"] != "app" || strings.Contains(body, "127.0.0.1") {
		t.Errorf("got %s %q, logged %v", describe(res), body, entry)
	}
	j.empty(t)
}

func TestACredentialHeaderThatMeansSomethingElseIsRefused(t *testing.T) {
	for _, name := range []string{"Remote-User", "remote_groups", "X-Forwarded-For", "Host", "Cookie", "Content-Length", "Connection", "upgrade", "X-HTTP-Method-Override", "", "--"} {
		if _, err := New(signedInTo(newJournal(t, nil), &fakeSignIn{headers: []string{name}})); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestAnAnswerIsJudgedAsTheBrowserWouldSeeItAndPassesWhole(t *testing.T) {
	j := newJournal(t, nil)
	j.answer = fixed("HTTP/1.1 302 Found\r\nLocation: http://" + j.url.Host + "/login\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n0123456789")
	var seen []string
	f := &fakeSignIn{signedOut: func(r *http.Request, res *http.Response) bool {
		head := make([]byte, 4)
		io.ReadFull(res.Body, head)
		own, _ := io.ReadAll(r.Body)
		_, err := r.Cookie("sallyport")
		seen = []string{r.URL.String(), res.Header.Get("Location"), string(head), string(own), res.Request.URL.Host, fmt.Sprint(err)}
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(string(head)), res.Body), res.Body}
		return false
	}}
	o := options([]Upstream{{Name: "app", Path: "/wiki", URL: j.url, Policy: OneFactor, SignIn: f, Forwarding: Forwarding{OwnHost: true, StripPath: true}}})
	res, body := send(t, start(t, o), request("POST", "/wiki/x?q", aliceOne, "Content-Length: 1")+"x")
	if want := []string{"http://app.example.com/wiki/x?q", "http://app.example.com/wiki/login", "0123", "", "app.example.com", "<nil>"}; !slices.Equal(seen, want) {
		t.Errorf("it saw %q, want %q", seen, want)
	}
	if body != "0123456789" || res.Header.Get("Location") != "http://app.example.com/wiki/login" {
		t.Errorf("the browser got %q and Location %q", body, res.Header.Get("Location"))
	}
}

func TestOnlyTheCookiesThatTheBrowserWouldSendGoWithTheRepeatedRequest(t *testing.T) {
	for name, c := range map[string]struct {
		had   string
		lines []string
		want  string
	}{
		"none before":             {"", []string{"app=1; Path=/"}, "app=1"},
		"replaced":                {"app=0; b=2; app=00", []string{"app=1; Path=/"}, "b=2; app=1"},
		"added":                   {"b=2", []string{"app=1; Path=/", "c=3; Path=/app"}, "b=2; c=3; app=1"},
		"for its own folder":      {"b=2", []string{"app=1", "c=3; Path=/app/x"}, "b=2; c=3; app=1"},
		"for another path":        {"app=0; b=2", []string{"app=1; Path=/other", "c=3; Path=/ap"}, "app=0; b=2"},
		"for another host":        {"b=2", []string{"app=1; Domain=evil.example; Path=/"}, "b=2"},
		"taken off":               {"app=0; b=2", []string{"app=deleted; Max-Age=0; Path=/"}, "b=2"},
		"taken off by a date":     {"app=0", []string{"app=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/"}, ""},
		"taken off, then given":   {"app=0", []string{"app=x; Max-Age=0; Path=/", "app=1; Path=/"}, "app=1"},
		"given, then taken off":   {"app=0; b=2", []string{"app=1; Path=/", "app=x; Max-Age=0; Path=/"}, "b=2"},
		"none that is one":        {"b=2", []string{"", "=", "a b=c", "app"}, "b=2"},
		"quoted":                  {"", []string{`app="1 2"; Path=/`}, `app="1 2"`},
		"others stay as they are": {`b="x y";c;=; d==1`, []string{"app=1; Path=/"}, `b="x y";c;=; d==1; app=1`},
	} {
		u := mustURL(t, "http://app.example.com/app/x")
		p := &passage{origin: origin{host: authority{host: "app.example.com"}}, in: &http.Request{URL: u, Header: http.Header{}}}
		h := http.Header{}
		if c.had != "" {
			h.Set("Cookie", c.had)
		}
		p.addCookies(h, c.lines)
		if got := strings.Join(h["Cookie"], "|"); got != c.want {
			t.Errorf("%s: %q and %q became %q, want %q", name, c.had, c.lines, got, c.want)
		}
	}
}

func TestTwoRequestsAtOnceEachGetTheirOwn(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	f := &fakeSignIn{}
	f.signIn = func(_ *http.Request, id *session.Identity) ([]string, bool, error) {
		both.Done()
		both.Wait() // neither is over before the other has begun
		return []string{"app=" + id.Username + "; Path=/"}, false, nil
	}
	j := newJournal(t, func(conn net.Conn, br *bufio.Reader, q received) {
		user := q.values("Remote-User")[0]
		knownBy("app="+user)(conn, br, q)
	})
	addr := start(t, signedInTo(j, f))
	var requests sync.WaitGroup
	for cookie, name := range map[string]string{aliceOne: "alice", "Cookie: sallyport=root-1": "root"} {
		requests.Go(func() {
			res, body := send(t, addr, request("POST", "/app/x", cookie, "Content-Length: 5")+name[:4]+"!")
			if res.StatusCode != 200 || body != name[:4]+"!" || !slices.Equal(res.Header["Set-Cookie"], []string{"app=" + name + "; Path=/"}) {
				t.Errorf("%s: got %s %q with %q", name, describe(res), body, res.Header["Set-Cookie"])
			}
		})
	}
	requests.Wait()
}

func TestAWebSocketThatTheAppRefusesIsOpenedOnceSignedIn(t *testing.T) {
	j, f := newJournal(t, knownBy("app=alice")), &fakeSignIn{}
	f.signedOut = func(_ *http.Request, res *http.Response) bool {
		if res.StatusCode == http.StatusSwitchingProtocols {
			t.Error("the connection of a WebSocket was taken for an answer")
		}
		return res.StatusCode == http.StatusUnauthorized
	}
	conn, br, res := open(t, start(t, signedInTo(j, f)), webSocket("/app/ws", aliceOne))
	if res.StatusCode != http.StatusSwitchingProtocols || !slices.Equal(res.Header["Set-Cookie"], []string{"app=alice; Path=/; HttpOnly"}) {
		t.Fatalf("got %s with %q, want 101 with the cookie", describe(res), res.Header["Set-Cookie"])
	}
	io.WriteString(conn, "ping")
	back := make([]byte, 4)
	if _, err := io.ReadFull(br, back); err != nil || string(back) != "ping" {
		t.Errorf("echo: got %q, %v", back, err)
	}
}

func TestNothingIsSentAgainOrSignedInForASessionThatHasEnded(t *testing.T) {
	j, f := newJournal(t, knownBy("app=alice")), &fakeSignIn{}
	o := signedInTo(j, f)
	ended := looks(&o)
	f.signIn = func(r *http.Request, _ *session.Identity) ([]string, bool, error) {
		ended <- session.ErrNone
		<-r.Context().Done() // ends with the session
		return []string{"app=alice; Path=/"}, false, nil
	}
	addr := start(t, o)
	for _, raw := range []string{get("/app/x", aliceOne), request("POST", "/app/x", aliceOne, "Transfer-Encoding: chunked") + "0\r\n\r\n"} {
		if res, _ := send(t, addr, raw); describe(res) != "401 sign-in" || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("%.4s: got %s with %q, want the sign-in and no cookie", raw, describe(res), res.Header["Set-Cookie"])
		}
	}
	if all := j.all(); len(all) != 2 {
		t.Errorf("the app saw %d requests, want each once", len(all))
	}
}

func TestAnAppCannotPlantACookieOfTheGatewaysBySigningIn(t *testing.T) {
	j, f := newJournal(t, knownBy("app=alice")), &fakeSignIn{}
	f.signIn = func(*http.Request, *session.Identity) ([]string, bool, error) {
		return []string{"sallyport=planted; Path=/", "app=alice; Path=/"}, false, nil
	}
	res, _ := send(t, start(t, signedInTo(j, f)), get("/app/x", aliceOne))
	if got := res.Header["Set-Cookie"]; res.StatusCode != 200 || !slices.Equal(got, []string{"app=alice; Path=/"}) {
		t.Errorf("got %s with Set-Cookie %q", describe(res), got)
	}
}

func TestAnAnswerThatIsHeldBackIsClosed(t *testing.T) {
	closed := make(chan struct{})
	j := newJournal(t, func(conn net.Conn, br *bufio.Reader, q received) {
		if len(q.values("Cookie")) > 0 {
			select {
			case <-closed:
			case <-time.After(patience):
				t.Error("the request was sent again, and the connection of the first answer is still open")
			}
			knownBy("app=alice")(conn, br, q)
			return
		}
		io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\n\r\nand so on") // without an end
		io.Copy(io.Discard, conn)                                                                     // until the gateway hangs up
		close(closed)
	})
	res, _ := send(t, start(t, signedInTo(j, &fakeSignIn{})), get("/app/x", aliceOne))
	if res.StatusCode != 200 {
		t.Errorf("got %s, want 200", describe(res))
	}
}

func TestAnExplanationNamesTheCredentialsAndNoValue(t *testing.T) {
	f := &fakeSignIn{headers: []string{"Authorization"}, credentials: func(*session.Identity) (http.Header, bool, error) {
		t.Error("credentials were asked for")
		return nil, false, nil
	}}
	g := newGateway(t, signedInTo(newJournal(t, nil), f))
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://app.example.com/app/x", nil)
	r.Header.Set("Authorization", "Basic bWU6c2VjcmV0")
	e := g.Explain(r, people["alice-1"])
	if e.SignIn != f.Describe() || len(e.Header["Authorization"]) != 1 || strings.Contains(e.Header.Get("Authorization"), "Basic") {
		t.Errorf("signed in: %q, Authorization %q", e.SignIn, e.Header["Authorization"])
	}
	r = httptest.NewRequestWithContext(t.Context(), "GET", "http://app.example.com/public/x", nil)
	if e := g.Explain(r, people["alice-1"]); e.SignIn != "" || len(e.Header["Authorization"]) != 0 {
		t.Errorf("on bypass: %q, Authorization %q; want neither", e.SignIn, e.Header["Authorization"])
	}
}
