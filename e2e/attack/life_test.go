package attack

import (
	"flag"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// How many people use the gateways at once, and for how long, where each must be seen as themselves.
var (
	crowd = flag.Int("sessions", 100, "`sessions` in use at once")
	soak  = flag.Duration("soak", 3*time.Second, "for `how long` they are")
)

// A clock that jumps is the tests' own in TestAnOlderStepIsRefusedAfterANewer of authflow (90 s back: no code is accepted
// twice), TestAStepIsNotMatchedTwiceNorAnOlderOne of authflow/totp, TestASecondFactorIsFreshOnlyForItsTimeAndNeverFromTheFuture
// and TestAClockThatJumpsLetsNoSessionLiveLonger of authflow/session.
func TestT56ASessionEndsOnTimeHoweverMuchItIsUsed(t *testing.T) {
	s := enter(t)
	const life = 5 * time.Second
	settings := s.settings()
	settings.More = "session: { idle_timeout: 4s, lifetime: 5s, access_token_lifetime: 2s, remember_for: 5s }"
	s.one, s.two = harness.StartGateway(t, settings), harness.StartGateway(t, settings)
	p, q, r := newPerson(t, plain), newPerson(t, plain), newPerson(t, plain)
	p.enrolled(s.one) // for the bearer client below; its own session is left alone
	app := p.browser(s.one).With("X-Auth-Strategy", "bearer")

	began := time.Now()
	tokens := app.Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
	used, remembered := q.oneFactor(s.one), r.browser(s.one)
	remembered.Form("/auth/login", "username", r.Name, "password", harness.Password, "rd", "/app/x", "remember", "1").Want(303)
	socket := opened(t, s.two, "/app/socket", "Cookie: sallyport="+sessionOf(used))
	stream := opened(t, s.one, "/app/events", "Cookie: sallyport="+sessionOf(remembered))
	refresh := tokens.Text("refreshToken")

	harness.Eventually(t, "everything in constant use ends", func() bool {
		socket.write(hello) // what goes over an open connection is no use of the session either
		used.Post("/auth/refresh", nil)
		ends := used.At(s.two).Get("/app/x").Status == 401
		ends = remembered.At(s.two).Get("/app/x").Status == 401 && ends
		if a := app.Post("/auth/refresh", harness.Fields{"refreshToken": refresh}); a.Status == 200 {
			refresh, ends = a.Text("refreshToken"), false
		}
		return ends
	})
	took := time.Since(began)
	t.Logf("ended %s after the first sign-in, of a lifetime of %s", took.Round(time.Millisecond), life)
	if took < life-time.Second { // whole seconds are kept
		t.Errorf("ended after %s already: by idleness, and it was in use", took)
	}
	wantCut(t, s, "streams open since the beginning", began.Add(life), socket, stream)
	s.up.Forget()
	s.wantDenied(from(t, s.one, p.from).With("Authorization", "Bearer "+tokens.Text("accessToken")).Get("/app/x"))
	used.Post("/auth/refresh", nil).Want(401)
	app.Post("/auth/refresh", harness.Fields{"refreshToken": refresh}).Want(401)
}

func TestT56ASessionThatNobodyUsesEndsThoughItsStreamIsOpen(t *testing.T) {
	s := enter(t)
	settings := s.settings()
	settings.More = "session: { idle_timeout: 4s, lifetime: 1h }"
	g := harness.StartGateway(t, settings)
	p := newPerson(t, plain)
	c := p.oneFactor(g)
	for range 10 { // in use for longer than the idle timeout
		c.Get("/app/x").Want(200)
		time.Sleep(500 * time.Millisecond)
	}
	began := time.Now()
	socket := opened(t, g, "/app/socket", "Cookie: sallyport="+sessionOf(c))
	done := make(chan struct{})
	go func() { // talks all the time
		defer close(done)
		for {
			if _, err := socket.conn.Write([]byte(hello)); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	wantCut(t, s, "after the last request", began, socket)
	<-done
	s.up.Forget()
	s.wantDenied(c.Get("/app/x"))
}

func TestT57EachSessionIsItsOwnPersonsWhateverGoesOnBeside(t *testing.T) {
	s := enter(t)
	const sessionsOfOne = 5
	var people []*person
	var sessions []string
	for len(sessions) < *crowd {
		p := newPerson(t, plain)
		for range sessionsOfOne {
			people, sessions = append(people, p), append(sessions, sessionOf(p.oneFactor(s.one)))
		}
	}
	// One pool of connections for all: each carries many people's requests in turn.
	transport := &http.Transport{MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	var (
		all   sync.WaitGroup
		asked atomic.Int64
		until = time.Now().Add(*soak)
	)
	for i, session := range sessions {
		p, other := people[i], people[(i+sessionsOfOne)%len(people)]
		all.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				g := s.both()[n%2]
				path := []string{"/app/of/" + p.Name, "/auth/me", "/public/of/" + p.Name}[n%3]
				status, body, err := asPerson(transport, g.URL+path, session, other.Name)
				if err != nil || status != 200 || path == "/auth/me" && !strings.Contains(body, `"`+p.Name+`"`) {
					t.Errorf("%s of %s: %d %v: %s", path, p.Name, status, err, body)
					return
				}
				asked.Add(1)
			}
		})
	}
	all.Wait()
	byName := map[string]*person{}
	for _, p := range people {
		byName[p.Name] = p
	}
	for _, r := range s.up.Requests() {
		of := strings.TrimPrefix(r.path(), "/app/of/")
		wantClean(t, r, byName[of]) // nobody's on the open route
	}
	t.Logf("%d requests of %d sessions in %s, %d of them at the app", asked.Load(), len(sessions), *soak, len(s.up.Requests()))
	if len(s.up.Requests()) == 0 {
		t.Error("nothing reached the app")
	}
}

// asPerson asks with a session's cookie, and with another person's name where one might be believed.
func asPerson(transport *http.Transport, url, session, other string) (status int, body string, err error) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header = http.Header{"Cookie": {"sallyport=" + session}, "Remote-User": {other}, "X-Forwarded-User": {other}}
	response, err := (&http.Client{Transport: transport, Timeout: harness.Patience}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), err
}

// edit writes the users file of a pair of replicas anew: the person as they are now; none: only somebody else.
func (s *site) edit(users ...harness.User) {
	s.one.Write("users.yaml", harness.UsersFile(append(users, harness.User{Name: "somebody-else"})...))
}

func TestT58WhoLosesAGroupOrIsDisabledLosesItAtOnce(t *testing.T) {
	s := enter(t)
	for what, test := range map[string]struct {
		change   func(*site, *person)
		signedIn bool // afterwards
	}{
		"dropped from the group": {func(s *site, p *person) { p.Groups = "staff"; s.edit(p.User) }, true},
		"disabled":               {func(s *site, p *person) { p.Disabled = true; s.edit(p.User) }, false},
		"taken out of the file":  {func(s *site, p *person) { s.edit() }, false},
		"given another password": {func(s *site, p *person) {
			s.one.Write("users.yaml", strings.ReplaceAll(harness.UsersFile(p.User), harness.PasswordHash(), argon2idHash()))
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPerson(t, admin)
			s, _ := s.forTest(t).pair(p)
			c, app := p.browser(s.one), p.browser(s.two).With("X-Auth-Strategy", "bearer")
			c.Login(p.Name).Want(200)
			tokens := app.Login(p.Name).Want(200)
			credentials := map[string]http.Header{"a cookie": {"Cookie": {cookies(c)}}, "a token": {"Authorization": {"Bearer " + tokens.Text("accessToken")}}}
			var streams []*wire
			for _, g := range s.both() {
				c.At(g).Get("/admin/x").Want(200)
				streams = append(streams, opened(t, g, "/admin/socket", "Cookie: "+cookies(c)), opened(t, g, "/admin/events", "Authorization: Bearer "+tokens.Text("accessToken")))
			}
			began := time.Now()
			test.change(s, p)
			for how, header := range credentials {
				for _, g := range s.both() {
					asking := from(t, g, p.from)
					asking.Header, asking.Http.Jar = header, nil
					harness.Eventually(t, "with "+how+" /admin is closed", func() bool { return asking.Get("/admin/x").Status != 200 })
					t.Logf("with %s closed within %s", how, time.Since(began).Round(time.Millisecond))
					s.up.Forget()
					s.wantDenied(asking.Get("/admin/x"))
					for endpoint := range endpoints {
						s.wantDenied(ask(t, g, endpoint, "GET", "/admin/x", header))
					}
					if status := asking.Get("/app/x").Status; (status == 200) != test.signedIn {
						t.Errorf("with %s /app: %d", how, status)
					}
				}
			}
			wantCut(t, s, "after the change", began, streams...)
			if refreshed := app.Post("/auth/refresh", harness.Fields{"refreshToken": tokens.Text("refreshToken")}).Status; (refreshed == 200) != test.signedIn {
				t.Errorf("a refresh token afterwards: %d", refreshed)
			}
		})
	}
}

func TestT58WhoLosesItBetweenPasswordAndCodeDoesNotGetIn(t *testing.T) {
	s := enter(t)
	for what, test := range map[string]struct {
		change func(*site, *person)
		want   int // of the right code
	}{
		"disabled":               {func(s *site, p *person) { p.Disabled = true; s.edit(p.User) }, 401},
		"taken out of the file":  {func(s *site, p *person) { s.edit() }, 401},
		"dropped from the group": {func(s *site, p *person) { p.Groups = "staff"; s.edit(p.User) }, 200},
		"given another password": {func(s *site, p *person) {
			s.one.Write("users.yaml", strings.ReplaceAll(harness.UsersFile(p.User), harness.PasswordHash(), argon2idHash()))
		}, 401},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPerson(t, admin)
			s, _ := s.forTest(t).pair(p)
			p.enrolledHere(s.one)
			waiting := map[*harness.Gateway]string{s.one: p.pending(s.one), s.two: p.pending(s.two)}
			before := map[*harness.Gateway]int{s.one: len(s.one.Log()), s.two: len(s.two.Log())}
			test.change(s, p)
			for _, g := range s.both() {
				harness.Eventually(t, "the file is taken over", func() bool { return strings.Contains(g.Log()[before[g]:], "users file taken over") })
			}
			for g, temp := range waiting {
				c := p.browser(g)
				c.Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "totpCode": p.app.Code()}).Want(test.want)
				if c.SignedIn() != (test.want == 200) {
					t.Error("signed in against what was answered")
				}
				s.up.Forget()
				s.wantDenied(c.Get("/admin/x"))
			}
		})
	}
	t.Run("before the enrolment is confirmed", func(t *testing.T) {
		p := newPerson(t, admin)
		s := s.forTest(t)
		one := harness.StartGateway(t, harness.Settings{Redis: s.redis, Users: []harness.User{p.User}, Upstreams: upstreams(s.up)})
		setting := p.browser(one)
		setting = setting.With("Authorization", "Bearer "+setting.Login(p.Name).Want(403).Text("tempToken"))
		app := setUp(t, setting)
		p.Disabled = true
		before := len(one.Log())
		one.Write("users.yaml", harness.UsersFile(p.User))
		harness.Eventually(t, "the file is taken over", func() bool { return strings.Contains(one.Log()[before:], "users file taken over") })
		setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(401)
		setting.Post("/auth/2fa/setup", nil).Want(401)
		// And it is not set up behind their back.
		p.Disabled = false
		one.Write("users.yaml", harness.UsersFile(p.User))
		harness.Eventually(t, "the person is back", func() bool { return p.browser(one).Login(p.Name).Status == 403 })
	})
}
