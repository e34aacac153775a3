package attack

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// rounds is how often the races of a code against itself are run.
var rounds = flag.Int("rounds", 50, "`rounds` of each race over both replicas")

// enrolledEarly is enrolled with the code of the step before this one, so that those of this step and the next are
// unused.
func (p *person) enrolledEarly(g *harness.Gateway) *harness.Client {
	p.t.Helper()
	c := p.browser(g)
	p.setUpEarly(c.With("Authorization", "Bearer "+c.Login(p.Name).Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")))
	return c
}

// setUpEarly confirms a new authenticator with the code of the step before this one.
func (p *person) setUpEarly(c *harness.Client) {
	p.t.Helper()
	for {
		p.app = setUp(p.t, c)
		p.app.Last = harness.Now() - 1
		a := c.Post("/auth/2fa/verify-setup", harness.Fields{"token": p.app.At(p.app.Last)})
		if a.Status != 400 || harness.Now() == p.app.Last+1 { // 400: the step may have turned on the way
			p.app.Recovery = a.Want(200).List("recoveryCodes")
			return
		}
	}
}

// volley sends JSON bodies to the gateways in turn, all at the same moment, each over a connection of its own that is
// open by then, from one address. It returns how often each status came.
func volley(t *testing.T, s *site, address, path string, bodies []string) map[int]int {
	t.Helper()
	var (
		ready, done sync.WaitGroup
		gun         = make(chan struct{})
		mu          sync.Mutex
		statuses    = map[int]int{}
	)
	for i, body := range bodies {
		g := s.both()[i%2]
		ready.Add(1)
		done.Go(func() {
			status := shoot(g.Address, address, path, body, &ready, gun)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	ready.Wait()
	close(gun)
	done.Wait()
	if statuses[0] > 0 {
		t.Errorf("%d of %d calls of %s got no answer", statuses[0], len(bodies), path)
	}
	return statuses
}

// shoot opens a connection, waits for the gun, and posts. 0: no answer.
func shoot(to, from, path, body string, ready *sync.WaitGroup, gun <-chan struct{}) int {
	dialer := net.Dialer{Timeout: harness.Patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", to)
	ready.Done()
	<-gun
	if err != nil {
		return 0
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	response, err := (&http.Client{Transport: transport, Timeout: harness.Patience}).Post("http://"+to+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// verifying is the body of a second factor.
func verifying(temp, kind, code string) string {
	return fmt.Sprintf(`{"tempToken":%q,%q:%q}`, temp, kind, code)
}

// events counts an event of the audit trail over both replicas, of one subject or, where that is empty, of anybody.
func (s *site) events(kind, subject string) int {
	n := 0
	for _, g := range s.both() {
		for l := range strings.Lines(g.Log()) {
			if strings.Contains(l, "event="+kind+" ") && strings.Contains(l, "subject="+subject) {
				n++
			}
		}
	}
	return n
}

// subject is what the gateway calls the person in its log and store.
func subject(c *harness.Client) string { return c.Get("/auth/me").Want(200).Text("sub") }

func TestT06OfManyWrongCodesAtOnceFewAreLookedAt(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	who := subject(p.enrolled(s.one))
	temp := p.pending(s.one)
	var bodies []string
	for i := range 200 {
		bodies = append(bodies, verifying(temp, "totpCode", p.app.Wrong(i)))
	}
	statuses := volley(t, s, p.from, "/auth/2fa/verify", bodies)
	if statuses[401]+statuses[429] != 200 {
		t.Errorf("200 wrong codes at once: %v, want 401 and 429 alone", statuses)
	}
	if looked := s.events("second_factor_failed", who); looked < 1 || looked > 5 {
		t.Errorf("%d of the codes were looked at, want at most max_attempts, 5", looked)
	}
	for _, right := range []string{verifying(temp, "totpCode", p.app.At(harness.Now())), verifying(temp, "totpCode", p.app.At(harness.Now()+1)), verifying(temp, "recoveryCode", p.app.Recovery[0])} {
		if got := volley(t, s, p.from, "/auth/2fa/verify", []string{right}); got[401]+got[429] != 1 {
			t.Errorf("the right code afterwards: %v, want 401 or 429", got)
		}
	}
	if a := p.browser(s.one).Get("/auth/me"); a.Status != 401 {
		t.Errorf("%s: %d", a.What, a.Status)
	}
}

func TestT07WrongCodesOfAnAccountRunOutWhateverChangesAroundThem(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	who := subject(p.enrolled(s.one))
	third := harness.StartGateway(t, s.settings())
	replicas := []*harness.Gateway{s.one, s.two, third}
	// attempt begins a sign-in anew after every third code, each time at another replica, address and browser.
	var c *harness.Client
	var temp string
	tried := 0
	for ; tried < 30; tried++ {
		if tried%3 == 0 {
			c = from(t, replicas[tried%len(replicas)], newHost()).With("User-Agent", fmt.Sprintf("browser %d", tried)).
				With("X-Forwarded-For", fmt.Sprintf("10.0.0.%d", tried)).With("X-Real-IP", fmt.Sprintf("10.0.1.%d", tried)).With("Forwarded", fmt.Sprintf("for=10.0.2.%d", tried))
			c.Http.Jar = nil
			a := c.Login(p.Name) // the right password
			if a.Status == 429 {
				break
			}
			temp = a.Want(200).Text("tempToken")
		}
		if tried == 6 {
			third.Stop()
			third.Start()
		}
		a := c.At(replicas[(tried+1)%len(replicas)]).Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "totpCode": p.app.Wrong(tried)})
		if a.Status == 429 {
			if a.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			break
		}
		a.Want(401)
	}
	if tried > 10 {
		t.Errorf("429 came after %d wrong codes, want 10 at most", tried)
	}
	if looked := s.events("second_factor_failed", who); looked > 10 {
		t.Errorf("%d codes were looked at at two of the replicas alone", looked)
	}
	// The right one is not looked at either, by whatever way: as a recovery code, on the page, or to confirm a change.
	for range 3 {
		fresh := p.browser(s.two)
		if a := fresh.Login(p.Name); a.Status == 200 {
			fresh.Post("/auth/2fa/verify", harness.Fields{"tempToken": a.Text("tempToken"), "recoveryCode": p.app.Recovery[0]}).Want(429, "RATE_LIMITED")
		}
		fresh.Form("/auth/login", "username", p.Name, "password", harness.Password)
		if a := fresh.Form("/auth/2fa", "code", p.app.At(harness.Now()+1)); a.Status != 429 || setsSession(a) {
			t.Errorf("%s: %d, want 429", a.What, a.Status)
		}
	}
}

func TestT07WrongPasswordsOfAnAccountRunOutToo(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	tried := 0
	for ; tried < 30; tried++ {
		c := from(t, s.both()[tried%2], newHost()).With("User-Agent", fmt.Sprintf("browser %d", tried)).With("X-Forwarded-For", fmt.Sprintf("10.0.0.%d", tried))
		if c.Post("/auth/login", harness.Fields{"username": p.Name, "password": fmt.Sprintf("guess %d", tried)}).Status == 429 {
			break
		}
	}
	if tried > 10 {
		t.Errorf("429 came after %d wrong passwords, want 10 at most", tried)
	}
	p.browser(s.one).Login(p.Name).Want(429, "RATE_LIMITED")
}

func TestT08T09ACodeIsAcceptedOnceOverBothReplicas(t *testing.T) {
	s := enter(t)
	began := time.Now()
	for round := 0; round < *rounds; {
		p := newPerson(t, plain)
		p.enrolledEarly(s.one)
		for range 2 { // the codes of this step and the next
			code := p.app.Code()
			var bodies []string
			for i := range 2 {
				bodies = append(bodies, verifying(p.pending(s.both()[i]), "totpCode", code))
			}
			if got := volley(t, s, p.from, "/auth/2fa/verify", bodies); got[200] != 1 || got[401] != 1 {
				t.Fatalf("round %d: one code at two replicas at once: %v, want one 200 and one 401", round, got)
			}
			g := s.both()[round%2] // once more, when the race is over
			p.browser(g).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(g), "totpCode": code}).Want(401, "INVALID_TOTP_CODE")
			round++
		}
	}
	t.Logf("%d rounds in %s", *rounds, time.Since(began).Round(time.Millisecond))
}

func TestT10AnOlderStepIsRefusedAfterANewer(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	p.enrolledEarly(s.one)
	n := harness.Now()
	verify := func(g *harness.Gateway, step int64) harness.Answer {
		return p.browser(g).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(g), "totpCode": p.app.At(step)})
	}
	verify(s.one, n+1).Want(200)
	for _, g := range s.both() {
		for _, older := range []int64{n - 1, n, n + 1} {
			verify(g, older).Want(401, "INVALID_TOTP_CODE")
		}
	}
}

// The step before this one is accepted at an enrolment here; that it is at a sign-in too is shown with a clock that the
// test sets, by TestOnlyTheStepBeforeThePresentAndTheNextMatch of authflow/totp.
func TestT11OnlyTheStepsAroundNowAreAccepted(t *testing.T) {
	s := enter(t)
	setting, signing := newPerson(t, plain), newPerson(t, plain)
	signing.enrolledEarly(s.two)
	enrolling := setting.browser(s.one)
	enrolling = enrolling.With("Authorization", "Bearer "+enrolling.Login(setting.Name).Want(403).Text("tempToken"))
	app := harness.NewAuthenticator(t, enrolling.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
	temp := signing.pending(s.two)
	// A step can turn while a code is on its way, so each answer is judged by the steps that it may have met.
	try := func(what string, far int64, send func(step int64) harness.Answer, refusal int) bool {
		before := harness.Now()
		a := send(before + far)
		distance := []int64{far, before + far - harness.Now()}
		accepted := a.Status == 200
		mayBe := func(d int64) bool { return d >= -1 && d <= 1 }
		if accepted != mayBe(distance[0]) && accepted != mayBe(distance[1]) {
			t.Errorf("%s: the code of step %+d: %d: %s", what, far, a.Status, a.Body)
		}
		if !accepted && a.Status != refusal {
			t.Errorf("%s: the code of step %+d: %d, want %d", what, far, a.Status, refusal)
		}
		return accepted
	}
	verifySetup := func(step int64) harness.Answer {
		return enrolling.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.At(step)})
	}
	for _, far := range []int64{-3, -2, 2} {
		try("an enrolment", far, verifySetup, 400)
	}
	if !try("an enrolment", -1, verifySetup, 400) {
		t.Log("the step turned on the way")
	}
	verify := func(step int64) harness.Answer {
		c := signing.browser(s.one)
		return c.Post("/auth/2fa/verify", harness.Fields{"tempToken": temp, "totpCode": signing.app.At(step)})
	}
	for _, far := range []int64{-3, -2, 2, 3} {
		if try("a sign-in", far, verify, 401) {
			return // a step turned, and the temp token is spent
		}
	}
	if try("a sign-in", 0, verify, 401) {
		temp = signing.pending(s.one)
		try("a sign-in", 1, verify, 401)
	}
}

func TestT12WhatHasNotTheFormOfACodeIsNone(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	browser := p.enrolled(s.one)
	right := p.app.At(harness.Now() + 1) // the enrolment has used the one of this step
	wide := strings.Map(func(r rune) rune { return r - '0' + '０' }, right)
	arabic := strings.Map(func(r rune) rune { return r - '0' + '٠' }, right)
	q := func(text string) string {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for what, value := range map[string]string{
		"nothing": `""`, "null": `null`, "zero": `0`, "a number": strings.TrimLeft(right, "0"), "true": `true`, "an array": `[` + q(right) + `]`,
		"an object": `{"$ne":""}`, "too short": q(right[:5]), "too long": q(right + "0"), "with a line's end": q(right + "\n"),
		"after a line's end": q("\n" + right), "with a carriage return": q(right + "\r"), "with a tab": q(right + "\t"), "with NUL": q(right + "\x00"),
		"before NUL": `"\u0000` + right + `"`, "full-width": q(wide), "Arabic digits": q(arabic), "with a zero-width space": q(right[:3] + "\u200b" + right[3:]),
		"with a no-break space": q(right[:3] + "\u00a0" + right[3:]), "with a sign": q("+" + right), "as a float": q(right + ".0"), "in hexadecimal": q("0x" + right),
		"a percent sign": q("%"), "a wildcard": q("______"), "an injection": q("' or '1'='1"), "twice": q(right + right), "very long": q(strings.Repeat(right, 5000)),
		"invalid UTF-8": "\"" + right + "\xff\"", "a lone surrogate": `"` + right + `\ud800"`, "twice as a key": q("000000") + `,"totpCode":` + q(right),
		"in another letter case too": q("000000") + `,"TotpCode":` + q(right), "as both kinds": q(right) + `,"recoveryCode":` + q(right),
	} {
		t.Run(what, func(t *testing.T) {
			c := from(t, s.two, p.from)
			temp := p.pending(s.one)
			if a := c.With("Content-Type", "application/json").Do("POST", "/auth/2fa/verify", `{"tempToken":"`+temp+`","totpCode":`+value+`}`); a.Status != 400 && a.Status != 401 {
				t.Errorf("totpCode %.60s: %d, want 400 or 401: %s", value, a.Status, a.Body)
			}
			// And where a code confirms a change, none of them lets it through: the account keeps its authenticator.
			confirming := from(t, s.two, p.from).With("Cookie", "sallyport="+sessionOf(browser)).With("Content-Type", "application/json")
			for _, path := range []string{"/auth/2fa/disable", "/auth/2fa/verify-setup"} {
				if a := confirming.Do("POST", path, `{"totpCode":`+value+`,"token":`+value+`}`); a.Status < 400 || a.Status >= 500 {
					t.Errorf("%s: totpCode %.60s: %d: %s", path, value, a.Status, a.Body)
				}
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		c := from(t, s.two, p.from)
		c.Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one)}).Want(400)
		c.Post("/auth/2fa/verify", harness.Fields{"totpCode": right}).Want(400)
		c.Post("/auth/2fa/verify", nil).Want(400)
	})
	// The code that stood in all of them was good all the while.
	p.browser(s.two).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.two), "totpCode": right}).Want(200)
}

func TestT13ARecoveryCodeOpensOnceAndOnlyItsOwnersDoor(t *testing.T) {
	s := enter(t)
	began := time.Now()
	for round := 0; round < *rounds; {
		p := newPerson(t, plain)
		p.enrolled(s.one)
		for _, code := range p.app.Recovery[:8] { // the loser's code counts as wrong, and nine of those are all there are
			var bodies []string
			for i := range 2 {
				bodies = append(bodies, verifying(p.pending(s.both()[i]), "recoveryCode", code))
			}
			if got := volley(t, s, p.from, "/auth/2fa/verify", bodies); got[200] != 1 || got[401] != 1 {
				t.Fatalf("round %d: one recovery code at two replicas at once: %v, want one 200 and one 401", round, got)
			}
			round++
		}
	}
	t.Logf("%d rounds in %s", *rounds, time.Since(began).Round(time.Millisecond))

	p, other := newPerson(t, plain), newPerson(t, plain)
	browser := p.enrolled(s.one)
	other.enrolled(s.two)
	verify := func(p *person, code string) harness.Answer {
		return p.browser(s.two).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "recoveryCode": code})
	}
	t.Run("of twenty at once", func(t *testing.T) {
		crowd := newPerson(t, plain)
		crowd.enrolled(s.one)
		var bodies []string
		for i := range 20 {
			bodies = append(bodies, verifying(crowd.pending(s.both()[i%2]), "recoveryCode", crowd.app.Recovery[0]))
		}
		if got := volley(t, s, crowd.from, "/auth/2fa/verify", bodies); got[200] != 1 || got[401]+got[429] != 19 {
			t.Errorf("%v, want one 200 and nineteen refusals", got)
		}
	})
	t.Run("of another person", func(t *testing.T) {
		verify(p, other.app.Recovery[0]).Want(401)
		verify(other, other.app.Recovery[0]).Want(200)
	})
	t.Run("of the set before", func(t *testing.T) {
		old := p.app.Recovery[0]
		fresh := browser.Post("/auth/2fa/recovery-codes", nil).Want(200).List("recoveryCodes")
		verify(p, old).Want(401)
		verify(p, fresh[0]).Want(200)
		verify(p, fresh[0]).Want(401)
	})
}
