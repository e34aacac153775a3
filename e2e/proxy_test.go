package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"sallyport/e2e/harness"
)

// policies is one upstream that is open here, closed there.
func policies(up *harness.Upstream) string {
	return fmt.Sprintf(`
  - url: %q
    access:
      policy: deny
      rules:
        - { paths: ["/public/*"], policy: bypass }
        - { paths: ["/app/*", "/events", "/socket", "/set-cookie"], policy: one_factor }
        - { paths: ["/secret/*"], policy: two_factor }
        - { paths: ["/admin/*"], groups: [admins], policy: one_factor }`, up.URL)
}

func TestWhoIsNotSignedInIsSentToSignInOrTold(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up)})
	c := g.Client()
	html := c.With("Accept", "text/html,application/xhtml+xml")
	pages := map[string]harness.Answer{
		"a navigation":                       c.Page("/app/x?y=z"),
		"an old browser's page load":         html.Get("/app/x?y=z"),
		"a HEAD of an old browser":           html.Do("HEAD", "/app/x?y=z", ""),
		"a navigation that accepts anything": c.With("Sec-Fetch-Mode", "navigate").Get("/app/x?y=z"),
	}
	for name, a := range pages {
		t.Run(name, func(t *testing.T) {
			where, err := url.Parse(a.Want(302).Header.Get("Location"))
			if err != nil || where.Path != "/auth/login" {
				t.Fatalf("Location is %q, want the login page", a.Header.Get("Location"))
			}
			if rd := where.Query().Get("rd"); rd != "/app/x?y=z" && rd != g.URL+"/app/x?y=z" {
				t.Errorf("rd is %q, want the page asked for", rd)
			}
		})
	}
	programs := map[string]harness.Answer{
		"a program":                c.Get("/app/x"),
		"a script's fetch":         html.With("Sec-Fetch-Mode", "cors").Get("/app/x"),
		"a script of an old page":  html.With("X-Requested-With", "XMLHttpRequest").Get("/app/x"),
		"a form":                   html.Do("POST", "/app/x", ""),
		"a form of a page it left": c.With("Sec-Fetch-Mode", "navigate").Do("POST", "/app/x", ""),
	}
	for name, a := range programs {
		t.Run(name, func(t *testing.T) {
			a.T = t
			if login := a.Want(401, "UNAUTHENTICATED").Text("loginUrl"); !strings.Contains(login, "/auth/login") {
				t.Errorf("loginUrl is %q, want the login page", login)
			}
		})
	}
	up.Untouched()
}

func TestOneFactorIsNotTwo(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up), Users: []harness.User{{Name: "alice"}, {Name: "bob"}}})
	enrolled := g.Client()
	enrolled.Enrol("alice")
	enrolled.Get("/secret/x").Want(200)

	// Somebody without an authenticator is asked to set one up before the first session, as the recipe says.
	g.Client().Login("bob").Want(403, "2FA_SETUP_REQUIRED")
	up.Forget()

	// A browser gets there by the pages: /app/ asks for the password alone.
	c := g.Client()
	c.Form("/auth/login", "username", "bob", "password", harness.Password, "rd", "/app/x").Want(303)
	c.Get("/app/x").Want(200)
	up.Forget()
	c.Get("/secret/x").Want(401, "2FA_REQUIRED")
	if to := c.Page("/secret/x").Want(302).Header.Get("Location"); !strings.Contains(to, "/auth/enroll") {
		t.Errorf("a page load is sent to %q, want the enrolment", to)
	}
	up.Untouched()
}

func TestWhoIsNotAllowedIsTold(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up), Users: []harness.User{{Name: "alice", Groups: "admins"}, {Name: "bob", Groups: "staff"}}})
	admin, other := g.Client(), g.Client()
	admin.Enrol("alice")
	other.Enrol("bob")
	admin.Get("/admin/x").Want(200)
	up.Forget()
	other.Get("/admin/x").Want(403, "FORBIDDEN")
	if a := other.Page("/admin/x").Want(403); !strings.Contains(a.Body, "<h1>") {
		t.Errorf("a page load gets no page: %s", a.Body)
	}
	admin.Get("/elsewhere").Want(403, "FORBIDDEN")
	g.Client().Do("TRACE", "/public/x", "").Want(405)
	up.Untouched()
}

func TestTheUpstreamSeesWhoItIsAndNoForgery(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up), Users: []harness.User{{Name: "alice", Groups: "admins, staff"}}})
	c := g.Client()
	c.Enrol("alice")
	genuine := map[string]string{
		"Remote-User": "alice", "Remote-Email": "alice@example.com", "Remote-Name": "Alice Example",
		"Remote-Groups": "admins,staff", "X-Forwarded-User": "alice",
	}
	forgeries := []string{
		"Remote-User", "remote-user", "REMOTE-USER", "Remote_User", "remote_user", "Remote.User", "Remote~User", "Remote-User-",
		"Remote_Groups", "Remote-Email", "REMOTE_NAME", "X-Forwarded-User", "X_Forwarded_User", "X_Forwarded.User",
	}
	up.Forget()
	for _, name := range forgeries {
		forged := *c
		forged.Header = http.Header{name: {"mallory", "root"}, "Connection": {"Remote-User, X-Forwarded-User"}}
		forged.Get("/app/x").Want(200)
		seen := up.Only()
		for header, want := range genuine {
			if got := seen.Named(header); !slices.Equal(got, []string{want}) {
				t.Errorf("with a forged %s the upstream sees %s %q, want %q", name, header, got, want)
			}
		}
		anonymous := *g.Client()
		anonymous.Header = http.Header{name: {"mallory"}}
		anonymous.Get("/public/x").Want(200)
		seen = up.Only()
		for header := range genuine {
			if got := seen.Named(header); len(got) != 0 {
				t.Errorf("with a forged %s the upstream sees %s %q of nobody", name, header, got)
			}
		}
	}
}

func TestForwardingHeadersAreTheGatewaysOwn(t *testing.T) {
	up := harness.StartUpstream(t)
	older := func(c *harness.Client) *harness.Client {
		return c.With("X-Forwarded-For", "203.0.113.9").With("X-Forwarded-Proto", "https").
			With("X-Forwarded-Host", "apps.example").With("X-Forwarded-Port", "8443")
	}
	newer := func(c *harness.Client) *harness.Client {
		return c.With("Forwarded", "for=203.0.113.9;proto=https;host=apps.example:8443")
	}
	t.Run("from anybody", func(t *testing.T) {
		g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up)})
		up.Forget()
		newer(older(g.Client())).With("X-Real-Ip", "203.0.113.9").With("X-Original-Url", "/secret/x").
			With("X_Forwarded_For", "203.0.113.9").With("X-Rewrite-Url", "/secret/x").Get("/public/x").Want(200)
		seen := up.Only()
		_, port, _ := strings.Cut(g.Address, ":")
		for header, want := range map[string][]string{
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {g.Address},
			"X-Forwarded-Port": {port}, "Forwarded": nil, "X-Real-Ip": nil, "X-Original-Url": nil, "X-Rewrite-Url": nil,
		} {
			if got := seen.Named(header); !slices.Equal(got, want) {
				t.Errorf("%s is %q, want %q", header, got, want)
			}
		}
		if seen.Host != g.Address || seen.Target != "/public/x" {
			t.Errorf("the upstream is asked for %s of %s, want /public/x of %s", seen.Target, seen.Host, g.Address)
		}
	})
	t.Run("from a trusted proxy", func(t *testing.T) {
		g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up), Trusted: "127.0.0.0/8"})
		up.Forget()
		for family, c := range map[string]*harness.Client{"X-Forwarded-*": older(g.Client()), "Forwarded": newer(g.Client())} {
			c.Get("/public/x").Want(200)
			seen := up.Only()
			for header, want := range map[string]string{
				"X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "8443",
			} {
				if got := strings.Join(seen.Named(header), ", "); got != want {
					t.Errorf("by %s: %s is %q, want %q", family, header, got, want)
				}
			}
			if got := strings.Join(seen.Named("X-Forwarded-Host"), ", "); !strings.HasPrefix(got, "apps.example") {
				t.Errorf("by %s: X-Forwarded-Host is %q, want apps.example", family, got)
			}
		}
		newer(g.Client()).With("X-Forwarded-For", "198.51.100.7").Get("/public/x").Want(400)
		up.Untouched()
	})
}

func TestTheGatewaysCookiesStayBetweenItAndTheBrowser(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up)})
	c := g.Client()
	c.Enrol("alice")
	here, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, cookie := range c.Http.Jar.Cookies(here) {
		ours = append(ours, cookie.Name)
	}
	if len(ours) == 0 {
		t.Fatal("the client holds no cookie of the gateway's")
	}
	c.Http.Jar.SetCookies(here, []*http.Cookie{{Name: "basket", Value: "apples"}})
	up.Forget()
	c.Get("/app/x").Want(200)
	if got := up.Only().Header["Cookie"]; !slices.Equal(got, []string{"basket=apples"}) {
		t.Errorf("the upstream sees the cookies %q, want its own alone", got)
	}
	a := c.Get("/set-cookie?name=theme&name=" + strings.Join(ours, "&name=")).Want(200)
	if got := a.Header["Set-Cookie"]; !slices.Equal(got, []string{"theme=upstream"}) {
		t.Errorf("the browser is told to set %q, want theme alone", got)
	}
	c.Get("/auth/me").Want(200)
}

func TestAWebSocketPasses(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up)})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	c := g.Client()
	if _, response, err := websocket.Dial(ctx, "ws://"+g.Address+"/socket", nil); err == nil || response == nil || response.StatusCode != 401 {
		t.Errorf("without a session: %v %v, want 401", response, err)
	}
	up.Untouched()
	c.Enrol("alice")
	socket, _, err := websocket.Dial(ctx, "ws://"+g.Address+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Jar: c.Http.Jar}})
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
	if seen := up.Only(); seen.Header.Get("Remote-User") != "alice" {
		t.Errorf("the upstream sees %q, want alice", seen.Header.Get("Remote-User"))
	}
	foreign := http.Header{"Origin": {"https://evil.example"}}
	_, response, err := websocket.Dial(ctx, "ws://"+g.Address+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Jar: c.Http.Jar}, HTTPHeader: foreign})
	if err == nil || response == nil || response.StatusCode != 403 {
		t.Errorf("from another site: %v %v, want 403", response, err)
	}
	up.Untouched()
}

func TestAnEventStreamArrivesEventByEvent(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(up)})
	c := g.Client()
	c.Enrol("alice")
	request, err := http.NewRequestWithContext(t.Context(), "GET", g.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: first\n" {
		t.Fatalf("the first event is %q, %v", line, err)
	}
	close(up.Second) // only now does the upstream send the second
	if rest, err := io.ReadAll(lines); err != nil || !strings.Contains(string(rest), "data: second") {
		t.Errorf("then comes %q, %v", rest, err)
	}
}

func TestTheLongestPathOfTheHostWins(t *testing.T) {
	wiki, docs, any := harness.StartUpstream(t), harness.StartUpstream(t), harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: fmt.Sprintf(`
  - { hosts: [wiki.example.test], url: %q, access: { policy: bypass } }
  - { hosts: [wiki.example.test], path: /docs, url: %q, access: { policy: bypass } }
  - { path: /any, url: %q, access: { policy: bypass } }`, wiki.URL, docs.URL, any.URL)})
	for _, test := range []struct {
		host, path string
		status     int
		to         *harness.Upstream
	}{
		{"wiki.example.test", "/page?q=a;b&c=%zz", 200, wiki},
		{"WIKI.example.test.", "/page", 200, wiki},
		{"wiki.example.test", "/docs", 200, docs},
		{"wiki.example.test", "/docs/page", 200, docs},
		{"wiki.example.test", "/docsish", 200, wiki},
		{"other.example.test", "/any/page", 200, any},
		{"other.example.test", "/page", 404, nil},
		{"wiki.example.test", "/docs/../page", 400, nil},
		{"wiki.example.test", "/docs%2fpage", 400, nil},
		{"wiki.example.test", "/docs//page", 400, nil},
	} {
		a := g.Client().With("Host", test.host).Get(test.path)
		if a.Status != test.status {
			t.Errorf("%s%s: status %d, want %d", test.host, test.path, a.Status, test.status)
		}
		for _, up := range []*harness.Upstream{wiki, docs, any} {
			if up == test.to {
				if seen := up.Only(); seen.Target != test.path {
					t.Errorf("%s%s: the upstream is asked for %s", test.host, test.path, seen.Target)
				}
			} else {
				up.Untouched()
			}
		}
	}
}
