package attack

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// The neighbours of T06 to T15 that need two things to happen at once: each is fired at both replicas at the same moment.

func TestT06WrongCodesOnManySignInsAtOnceAreAllOnePersons(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	who := subject(p.enrolled(s.one))
	var bodies []string
	for i := range 30 {
		if i%5 == 0 {
			bodies = append(bodies, verifying(p.pending(s.both()[i%2]), "recoveryCode", "wrong-wrong-wrong-wrong"))
		}
		bodies = append(bodies, verifying(p.pending(s.both()[i%2]), "totpCode", p.app.Wrong(i)))
	}
	statuses := volley(t, s, p.from, "/auth/2fa/verify", bodies)
	if statuses[401]+statuses[429] != len(bodies) || statuses[429] < 20 {
		t.Errorf("%d wrong codes at once, each on a sign-in of its own: %v, want 429 for the most", len(bodies), statuses)
	}
	if looked := s.events("second_factor_failed", who); looked < 1 || looked > 10 {
		t.Errorf("%d of the codes were looked at, want at most ten", looked)
	}
}

func TestT07WrongPasswordsAtOnceAreAllOnePersons(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	who := subject(p.oneFactor(s.one))
	var bodies []string
	for i := range 100 {
		bodies = append(bodies, fmt.Sprintf(`{"username":%q,"password":"guess %d"}`, spellings(p)[i%3], i))
	}
	if statuses := volley(t, s, newHost(), "/auth/login", bodies); statuses[401]+statuses[429]+statuses[503] != 100 || statuses[401] > 10 {
		t.Errorf("100 wrong passwords at once: %v, want ten 401 at most", statuses)
	}
	if looked := s.events("sign_in_failed", who); looked < 1 || looked > 10 {
		t.Errorf("%d of the passwords were looked at, want at most ten", looked)
	}
}

func TestT09OneSignInIsFinishedOnce(t *testing.T) {
	s := enter(t)
	for range 3 {
		p := newPerson(t, plain)
		p.enrolledEarly(s.one)
		temp, code := p.pending(s.one), p.app.Code()
		same := verifying(temp, "totpCode", code)
		if got := volley(t, s, p.from, "/auth/2fa/verify", []string{same, same, same, same}); got[200] != 1 || got[401] != 3 {
			t.Errorf("one code on one temp token four times at once: %v, want one 200", got)
		}
		temp = p.pending(s.two)
		both := []string{verifying(temp, "totpCode", p.app.Code()), verifying(temp, "recoveryCode", p.app.Recovery[0])}
		if got := volley(t, s, p.from, "/auth/2fa/verify", both); got[200] != 1 || got[401] != 1 {
			t.Errorf("two right answers to one temp token at once: %v, want one 200", got)
		}
	}
}

func TestT14OfEnrolmentsConfirmedAtOnceOneIsInForce(t *testing.T) {
	s := enter(t)
	for range 3 {
		p := newPerson(t, plain)
		var apps []*harness.Authenticator
		var clients []*harness.Client
		for _, g := range s.both() {
			c := p.browser(g)
			c = c.With("Authorization", "Bearer "+c.Login(p.Name).Want(403).Text("tempToken"))
			clients, apps = append(clients, c), append(apps, setUp(t, c))
		}
		answers := atOnce(func(i int) harness.Answer {
			return clients[i].Post("/auth/2fa/verify-setup", harness.Fields{"token": apps[i].Code()})
		}, len(clients))
		winner := -1
		for i, a := range answers {
			if a.Status == 200 && winner < 0 {
				winner = i
			} else {
				a.Want(403, "ALREADY_ENROLLED")
			}
		}
		if winner < 0 {
			t.Fatal("neither is in force")
		}
		p.app = apps[1-winner]
		p.browser(s.one).Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(401)
		p.app = apps[winner]
		p.signedIn(s.two)
	}
}

func TestT18OfOneRefreshTokenUsedTwiceAtOnceNobodyKeepsTheSession(t *testing.T) {
	s := enter(t)
	for range 3 {
		p := newPerson(t, plain)
		p.enrolled(s.one)
		first := p.browser(s.one).With("X-Auth-Strategy", "bearer").Post("/auth/2fa/verify", harness.Fields{"tempToken": p.pending(s.one), "totpCode": p.app.Code()}).Want(200)
		answers := atOnce(func(i int) harness.Answer {
			return p.browser(s.both()[i]).Post("/auth/refresh", harness.Fields{"refreshToken": first.Text("refreshToken")})
		}, 2)
		tokens := []string{first.Text("accessToken")}
		for _, a := range answers {
			if a.Status == 200 {
				tokens = append(tokens, a.Text("accessToken"))
			} else {
				a.Want(401)
			}
		}
		if len(tokens) > 2 {
			t.Error("one refresh token was taken twice")
		}
		s.up.Forget()
		for _, token := range tokens {
			s.wantDenied(from(t, s.two, p.from).With("Authorization", "Bearer "+token).Get("/app/x"))
		}
	}
}

func TestT13WithInvitationsOneInvitationEnrolsOnce(t *testing.T) {
	s := enter(t)
	p, other := newPerson(t, plain), newPerson(t, plain)
	settings := harness.Settings{Redis: s.redis, Users: []harness.User{p.User, other.User}, Upstreams: upstreams(s.up), More: "two_factor: { enrollment: invite }"}
	g := harness.StartGateway(t, settings)
	invited := lastWord(g.Run("users", "invite", p.Name))
	others := lastWord(g.Run("users", "invite", other.Name))
	confirm := func(p *person, invite string) harness.Answer {
		c := p.browser(g)
		c = c.With("Authorization", "Bearer "+c.Login(p.Name).Want(403).Text("tempToken"))
		app := setUp(t, c)
		return c.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code(), "inviteCode": invite})
	}
	for what, invite := range map[string]string{"none": "", "another person's": others, "a wrong one": "wrong-wrong-wrong-wrong", "a part of it": invited[:len(invited)-1]} {
		if a := confirm(p, invite); a.Status != 403 || a.JSON["code"] != "INVITE_REQUIRED" {
			t.Errorf("with %s: %d %v, want 403 INVITE_REQUIRED", what, a.Status, a.JSON["code"])
		}
	}
	confirm(other, others).Want(200)
	confirm(p, invited).Want(200)
	g.Run("users", "reset-2fa", p.Name)
	confirm(p, invited).Want(403, "INVITE_REQUIRED") // it was for once
	if a := p.browser(g).Login(p.Name); a.Status != 403 {
		t.Errorf("%s: %d", a.What, a.Status)
	}
}

// lastWord is what a command's output ends with.
func lastWord(out string) string {
	words := strings.Fields(out)
	return words[len(words)-1]
}

// atOnce asks n times at the same moment.
func atOnce(ask func(i int) harness.Answer, n int) []harness.Answer {
	answers, gun, done := make([]harness.Answer, n), make(chan struct{}), make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			<-gun
			answers[i] = ask(i)
		}()
	}
	close(gun)
	for range n {
		<-done
	}
	return answers
}
