package e2e

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sallyport/e2e/harness"
)

// identityNames are the headers by which an app learns who asks, with what alice's say.
var identityNames = map[string]string{
	"Remote-User": "alice", "Remote-Email": "alice@example.com", "Remote-Name": "Alice Example", "Remote-Groups": "admins,staff", "X-Forwarded-User": "alice",
}

func TestTheProxiesThatPeopleRunAskTheGateway(t *testing.T) {
	for name, run := range fronts {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, run)
			for what, check := range map[string]func(*testing.T, *site){
				"a page load signs in and comes back":          pageLoadComesBack,
				"anything else of nobody's is told":            othersAreTold,
				"the app sees who it is and no forgery":        noForgery,
				"every method reaches the app":                 everyMethod,
				"a wrong group is refused":                     wrongGroup,
				"one factor is not two":                        oneIsNotTwo,
				"forged routing headers change nothing":        forgedRouting,
				"no spelling of a path gets round a rule":      noWayRound,
				"a WebSocket goes through for whoever may ask": webSocketGoesThrough,
				"clients cannot ask":                           clientsCannotAsk,
				"a network is the client's own":                networkIsTheClients,
				"no protocol but WebSocket is switched to":     noOtherProtocol,
			} {
				t.Run(what, func(t *testing.T) {
					defer s.of(t)()
					check(t, s)
				})
			}
			t.Run("without the gateway nothing passes", func(t *testing.T) {
				c := s.signedInAs("alice")
				s.app.Forget()
				s.gateway.Stop()
				for _, a := range []harness.Answer{c.Get("/app/x"), c.Page("/app/x"), c.Get("/public/x")} {
					if a.Status != 502 && a.Status != 503 {
						t.Errorf("%s: %d, want 502 or 503", a.What, a.Status)
					}
				}
				s.app.Untouched()
			})
		})
	}
}

func pageLoadComesBack(t *testing.T, s *site) {
	c := s.client()
	const target = "/app/x%20y?a=1&b=%26%3D&rd=https://evil.example/&c"
	for what, a := range map[string]harness.Answer{
		"GET": c.Page(target), "HEAD": c.With("Sec-Fetch-Mode", "navigate").Do("HEAD", target, ""),
		"an old browser's": c.With("Accept", "text/html,*/*").Get(target),
	} {
		where, err := url.Parse(a.Want(302).Header.Get("Location"))
		if err != nil || where.Scheme != "http" || where.Host != siteName || where.Path != "/auth/login" {
			t.Fatalf("%s: Location is %q, want the login page on the app's host", what, a.Header.Get("Location"))
		}
		if rd := where.Query().Get("rd"); rd != "http://"+siteName+target {
			t.Fatalf("%s: rd is %q, want the whole address", what, rd)
		}
	}
	s.app.Untouched()
	rd := "http://" + siteName + target
	c.Page("/auth/login?" + url.Values{"rd": {rd}}.Encode()).Want(200)
	back := c.Form("/auth/login", "username", "alice", "password", harness.Password, "rd", rd).Want(303).Header.Get("Location")
	if back != rd {
		t.Fatalf("sign-in leads to %q, want %q", back, rd)
	}
	c.Page(target).Want(200)
	if seen := s.app.Only(); seen.Target != target || seen.Host != siteName {
		t.Errorf("the app sees %s on %s, want %s on %s", seen.Target, seen.Host, target, siteName)
	}
}

func othersAreTold(t *testing.T, s *site) {
	c := s.client()
	for what, a := range map[string]harness.Answer{
		"a program":       c.Get("/app/x?a&b"),
		"a fetch":         c.With("Sec-Fetch-Mode", "cors").With("Accept", "text/html").Get("/app/x?a&b"),
		"a script of old": c.With("X-Requested-With", "XMLHttpRequest").With("Accept", "text/html").Get("/app/x?a&b"),
		"a form":          c.With("Accept", "text/html").With("Sec-Fetch-Mode", "navigate").Do("POST", "/app/x?a&b", "q=1"),
	} {
		a.T = t
		login := a.Want(401, "UNAUTHENTICATED").Text("loginUrl")
		if want := "http://" + siteName + "/auth/login?rd=" + url.QueryEscape("http://"+siteName+"/app/x?a&b"); login != want {
			t.Errorf("%s: loginUrl is %q, want %q", what, login, want)
		}
		if a.Header.Get("Location") != "" {
			t.Errorf("%s is sent to %q", what, a.Header.Get("Location"))
		}
	}
	c.Do("HEAD", "/app/x", "").Want(401)
	s.app.Untouched()
}

func noForgery(t *testing.T, s *site) {
	c := s.signedInAs("alice")
	forgeries := []string{
		"Remote-User", "remote-user", "REMOTE-USER", "Remote_User", "remote_user", "Remote.User", "Remote_Groups", "Remote-Groups",
		"Remote-Email", "REMOTE_NAME", "X-Forwarded-User", "X_Forwarded_User", "X_Forwarded-User", "X.Forwarded.User", "Remote~User",
	}
	for _, name := range forgeries {
		forged := *c
		forged.Header = http.Header{"Host": {siteName}, name: {"mallory", "root"}, "Connection": {"Remote-User, X-Forwarded-User"}}
		forged.Get("/app/x").Want(200)
		seen := s.app.Only()
		for header, want := range identityNames {
			if got := seen.Named(header); !slices.Equal(got, []string{want}) {
				t.Errorf("with a forged %s the app sees %s %q, want %q", name, header, got, want)
			}
		}
		nobody := *s.client()
		nobody.Header = http.Header{"Host": {siteName}, name: {"mallory"}}
		nobody.Get("/public/x").Want(200)
		seen = s.app.Only()
		for header := range identityNames {
			if got := seen.Named(header); strings.Join(got, "") != "" {
				t.Errorf("with a forged %s the app sees %s %q of nobody", name, header, got)
			}
		}
	}
}

func everyMethod(t *testing.T, s *site) {
	c := s.signedInAs("alice")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		body := ""
		if method == "POST" || method == "PUT" {
			body = strings.Repeat("a form, ", 1000)
		}
		c.Do(method, "/app/x%2Cy?y=%2F&z", body).Want(200)
		if seen := s.app.Only(); seen.Method != method || seen.Target != "/app/x%2Cy?y=%2F&z" || seen.Header.Get("Remote-User") != "alice" {
			t.Errorf("%s: the app sees %s %s of %q", method, seen.Method, seen.Target, seen.Header.Get("Remote-User"))
		}
	}
}

func wrongGroup(t *testing.T, s *site) {
	bob := s.signedInAs("bob")
	for _, a := range []harness.Answer{bob.Get("/admin/x"), bob.Page("/admin/x"), bob.Do("HEAD", "/admin/x", ""), bob.Do("POST", "/admin/x", "a=b")} {
		a.T = t
		a.Want(403)
	}
	s.app.Untouched()
	s.signedInAs("alice").Get("/admin/x").Want(200)
	s.app.Only()
}

func oneIsNotTwo(t *testing.T, s *site) {
	c := s.signedInAs("alice")
	c.Get("/secret/x").Want(401)
	want := "http://" + siteName + "/auth/enroll?rd=" + url.QueryEscape("http://"+siteName+"/secret/x")
	if got := c.Page("/secret/x").Want(302).Header.Get("Location"); got != want {
		t.Errorf("a page load is sent to %q, want %q", got, want)
	}
	s.app.Untouched()
}

func forgedRouting(t *testing.T, s *site) {
	bob := s.signedInAs("bob")
	for name, value := range map[string]string{
		"X-Original-URL": "http://wiki.example.com/public/x", "X-Original-Uri": "/public/x", "X-Original-Method": "OPTIONS", "X-Rewrite-Url": "/public/x",
		"X-Forwarded-Uri": "/public/x", "X-Forwarded-Host": "other.example.com", "X-Forwarded-Method": "OPTIONS", "X-Forwarded-Proto": "https",
		"X-Forwarded-Port": "444", "X-Forwarded-Prefix": "/public", "X_Forwarded_Uri": "/public/x", "Forwarded": "host=other.example.com;proto=https",
	} {
		bob.With(name, value).Get("/admin/x").Want(403)
		a := s.client().With(name, value).Page("/app/x").Want(302)
		if got, want := a.Header.Get("Location"), "http://"+siteName+"/auth/login?rd="+url.QueryEscape("http://"+siteName+"/app/x"); got != want {
			t.Errorf("with a forged %s a page load is sent to %q, want %q", name, got, want)
		}
		if a := s.client().With(name, value).Page("/auth/login?rd=https://other.example.com/"); strings.Contains(a.Want(200).Body, "other.example.com") {
			t.Errorf("with a forged %s the login page leads to another host", name)
		}
	}
	s.app.Untouched()
}

// noWayRound sends what no HTTP client would, byte for byte.
func noWayRound(t *testing.T, s *site) {
	bob := s.signedInAs("bob")
	var cookie strings.Builder
	for _, c := range bob.Http.Jar.Cookies(&url.URL{Scheme: "http", Host: siteName}) {
		cookie.WriteString(c.String() + "; ")
	}
	s.client().With("Cookie", cookie.String()).Get("/app/x").Want(200)
	s.app.Only() // so the cookie is good for more than a refusal
	for _, target := range []string{
		"/public/../admin/x", "/public/%2e%2e/admin/x", "/public/..%2fadmin/x", "/public/..;/admin/x", "/public/%252e%252e/admin/x", "//admin/x",
		"/public//../admin/x", "/./admin/x", "/%61dmin/x", "/admin%2fx", "/ADMIN/x", "/auth/../admin/x", "/auth/%2e%2e/admin/x", "/auth/..%2fadmin/x",
		"/admin/x?/public/", "/public/\\..\\..\\admin/x", "/public/%5c..%5cadmin/x", "/admin/x%00", "http://other.example.com/public/x",
	} {
		conn, err := net.DialTimeout("tcp", s.Address, harness.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: "+siteName+"\r\nCookie: "+cookie.String()+"\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		// What a proxy says of a host that it does not serve is its own affair.
		if absolute := strings.HasPrefix(target, "http"); !absolute && (response.StatusCode < 400 || response.StatusCode >= 500) {
			t.Errorf("%s: %d, want a refusal", target, response.StatusCode)
		}
		conn.Close()
		if seen := s.app.Requests(); len(seen) != 0 {
			t.Errorf("%s: the app sees %v", target, seen)
			s.app.Forget()
		}
	}
}

func webSocketGoesThrough(t *testing.T, s *site) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	dial := func(c *harness.Client, origin string) (*websocket.Conn, int, error) {
		h := http.Header{"Remote-User": {"mallory"}}
		if origin != "" {
			h.Set("Origin", origin)
		}
		// The app behind it compares Origin with Host as the gateway does.
		conn, response, err := websocket.Dial(ctx, "ws://"+s.Address+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Jar: c.Http.Jar}, HTTPHeader: h, Host: siteName})
		if response == nil {
			return conn, 0, err
		}
		return conn, response.StatusCode, err
	}
	if _, status, err := dial(s.client(), ""); err == nil || status != 401 {
		t.Errorf("without a session: %d %v, want 401", status, err)
	}
	c := s.signedInAs("alice")
	if _, status, err := dial(c, "https://evil.example"); err == nil || status != 403 {
		t.Errorf("of a foreign page: %d %v, want 403", status, err)
	}
	s.app.Untouched()
	socket, _, err := dial(c, "http://"+siteName)
	if err != nil {
		t.Fatalf("opening the WebSocket: %v", err)
	}
	defer socket.CloseNow()
	for _, message := range []string{"hello", strings.Repeat("long ", 5000)} {
		if err := socket.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := socket.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("the echo is %.20q, %v, want %.20q", got, err, message)
		}
	}
	if seen := s.app.Only(); !slices.Equal(seen.Named("Remote-User"), []string{"alice"}) {
		t.Errorf("the app sees %q, want alice", seen.Named("Remote-User"))
	}
}

func networkIsTheClients(t *testing.T, s *site) {
	c := s.client().With("X-Real-Ip", "10.1.2.3").With("X-Client-Ip", "10.1.2.3").With("Forwarded", "for=10.1.2.3")
	for _, forged := range []string{"10.1.2.3", "10.1.2.3, 127.0.0.1", "127.0.0.1, 10.1.2.3"} {
		c.With("X-Forwarded-For", forged).Get("/lan/x").Want(401)
	}
	s.app.Untouched()
	s.client().Get("/here/x").Want(200)
	s.app.Only()
}

func noOtherProtocol(t *testing.T, s *site) {
	c := s.signedInAs("alice").With("Connection", "Upgrade, HTTP2-Settings").With("Upgrade", "h2c").With("HTTP2-Settings", "AAMAAABkAAQAAP__")
	if a := c.Get("/app/x"); a.Status != 200 && a.Status != 400 {
		t.Errorf("status %d, want the request served without the switch, or refused", a.Status)
	}
	for _, seen := range s.app.Requests() {
		if seen.Header["Upgrade"] != nil {
			t.Errorf("the app is asked to switch to %q", seen.Header["Upgrade"])
		}
	}
}

func clientsCannotAsk(t *testing.T, s *site) {
	c := s.signedInAs("alice").With("X-Original-URL", "http://wiki.example.com/app/x").With("X-Original-Method", "GET").
		With("X-Forwarded-Uri", "/app/x").With("X-Forwarded-Method", "GET")
	for _, path := range []string{"/auth/authz/auth-request", "/auth/authz/forward-auth", "/auth/authz/ext-authz/app/x", "/auth/%61uthz/auth-request", "/auth/authz/../authz/auth-request"} {
		if a := c.Get(path); a.Status < 400 || a.Status >= 500 || a.Header.Get("Remote-User") != "" {
			t.Errorf("%s: %d %v", path, a.Status, a.Header)
		}
	}
	s.app.Untouched()
}
