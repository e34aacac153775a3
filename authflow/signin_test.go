package authflow

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/password"
	"sallyport/authflow/session"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

func TestOneFactorIsEnoughWhereNothingMoreIsDemandedOrEnrolled(t *testing.T) {
	f := newFixture(t, false)
	out := f.signInAs("ALICE@example.com")
	if out.Step != StepDone || f.current(out).Session.TwoFactor() || out.Device == nil {
		t.Errorf("outcome %+v", out)
	}
}

func TestAPasswordAloneOpensNothingOnceAnAuthenticatorIsEnrolled(t *testing.T) {
	f := newFixture(t, false)
	secret, _ := f.enrolled("alice")
	out := f.signInAs("alice")
	if out.Step != StepCode || out.Session != nil {
		t.Fatalf("outcome %+v", out)
	}
	done, err := f.second(out.Challenge, f.code(secret, 0))
	if err != nil {
		t.Fatal(err)
	}
	if cur := f.current(done); !cur.Session.TwoFactor() || !cur.Identity().TwoFactor() {
		t.Error("the session does not rest on two factors")
	}
}

func TestATempTokenIsNoSessionAndASessionNoTempToken(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	token := f.challenged("alice")
	_, err := f.Authenticate(t.Context(), session.Token(token).Opener(), false)
	f.wants(err, ErrSessionEnded, "a temp token as a session")
	_, err = f.second(ChallengeToken(out.Token), f.code(secret, 0))
	f.wants(err, ErrNoChallenge, "a session's token as a temp token")
}

func TestUnknownDisabledAndWrongEndAlike(t *testing.T) {
	f := newFixture(t, true)
	f.dir.change("file:bob", func(u *users.User) { u.Disabled = true })
	for _, a := range []Attempt{
		{Login: "nobody", Password: alicePassword}, {Login: "bob", Password: alicePassword}, {Login: "alice", Password: "wrong"},
	} {
		a.Client = here
		for try := range 12 {
			_, err := f.Password(t.Context(), a)
			want := ErrInvalidCredentials
			if try >= int(limitByName.Attempts) {
				want = throttle.ErrTooMany
			}
			f.wants(err, want, a.Login)
		}
	}
}

func TestAMalformedFirstFactorIsRefusedBeforeItIsCounted(t *testing.T) {
	f := newFixture(t, true)
	for _, a := range []Attempt{
		{Login: "", Password: "x"}, {Login: "alice", Password: ""}, {Login: "al\u200bice", Password: "x"}, {Login: "al\nice", Password: "x"},
		{Login: strings.Repeat("a", 5000), Password: "x"},
	} {
		_, err := f.Password(t.Context(), a)
		f.wants(err, ErrBadRequest, a.Login)
	}
	_, err := f.Password(t.Context(), Attempt{Login: "alice", Password: strings.Repeat("a", 1<<20)})
	f.wants(err, password.ErrTooLong, "a password of a megabyte")
}

func TestAllSpellingsOfANameShareOneCounter(t *testing.T) {
	f := newFixture(t, true)
	for _, spellings := range [][]string{
		{"alice", "ALICE", " alice ", "alice@example.com", "ａｌｉｃｅ"},
		{"nobody", "NoBody", " nobody", "ｎｏｂｏｄｙ"}, // or else who has no account could be told from who has
	} {
		for i := range int(limitByName.Attempts) {
			_, err := f.Password(t.Context(), Attempt{Login: spellings[i%len(spellings)], Password: "wrong", Client: here})
			f.wants(err, ErrInvalidCredentials, "a wrong password")
		}
		for _, s := range spellings {
			_, err := f.Password(t.Context(), Attempt{Login: s, Password: alicePassword, Client: here})
			f.wants(err, throttle.ErrTooMany, s)
		}
	}
}

func TestAStrangersFailuresDoNotLockOutAKnownDevice(t *testing.T) {
	f := newFixture(t, false)
	known := here
	known.Device = f.signInAs("alice").Device
	for range 20 {
		f.Password(t.Context(), Attempt{Login: "alice", Password: "wrong", Client: here})
	}
	_, err := f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Client: here})
	f.wants(err, throttle.ErrTooMany, "from a new device")
	if _, err := f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Client: known}); err != nil {
		t.Errorf("from the known device: %v", err)
	}
	_, err = f.Password(t.Context(), Attempt{Login: "bob", Password: "wrong", Client: known})
	f.wants(err, ErrInvalidCredentials, "somebody else from it")
	for range 20 {
		_, err = f.Password(t.Context(), Attempt{Login: "alice", Password: "wrong", Client: known})
	}
	f.wants(err, throttle.ErrTooMany, "a search from the known device")
}

func TestADeviceOfAnotherPersonsSparesNobodyTheCountByName(t *testing.T) {
	f := newFixture(t, false)
	limited := 0
	for range int(limitByName.Attempts) + 5 { // each time with another device, as somebody who collects them would
		bobs := here
		bobs.Device = f.signInAs("bob").Device
		_, err := f.Password(t.Context(), Attempt{Login: "alice", Password: "wrong", Client: bobs})
		if errors.Is(err, throttle.ErrTooMany) {
			limited++
		}
	}
	if limited != 5 {
		t.Errorf("%d guesses of alice's password with devices of bob's were refused, want 5", limited)
	}
}

func TestManyNamesFromOneAddressAreSlowed(t *testing.T) {
	f := newFixture(t, true)
	limited := 0
	for i := range int(limitByAddress.Attempts) + 5 {
		_, err := f.Password(t.Context(), Attempt{Login: fmt.Sprint("name", i), Password: "x", Client: here})
		if errors.Is(err, throttle.ErrTooMany) {
			limited++
		}
	}
	if limited != 5 {
		t.Errorf("%d attempts were slowed, want 5", limited)
	}
}

func TestWhatIsThrottledIsNeverHashed(t *testing.T) {
	f := newFixture(t, false)
	cur := f.current(f.signInAs("alice"))
	for range limitByName.Attempts {
		for _, name := range []string{"alice", "nobody"} {
			_, err := f.Password(t.Context(), Attempt{Login: name, Password: "wrong", Client: here})
			f.wants(err, ErrInvalidCredentials, name)
		}
	}
	f.Passwords = nil // whoever hashes now has a nil pointer in their hands
	for _, name := range []string{"alice", "nobody"} {
		_, err := f.Password(t.Context(), Attempt{Login: name, Password: alicePassword, Client: here})
		f.wants(err, throttle.ErrTooMany, name)
	}
	f.wants(f.ChangePassword(t.Context(), cur, alicePassword, "a new password", here), throttle.ErrTooMany, "a change of the password")
}

func TestAStepIsAcceptedOnceHoweverManyAskAtOnce(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	for range 10 {
		replicas := []*Flow{f.Flow, f.flowOn(f.KV, demands(true))}
		tokens := []ChallengeToken{f.challenged("alice"), f.challenged("alice"), f.challenged("alice"), f.challenged("alice")}
		proof := Proof{TOTP: f.code(secret, 0)}
		accepted := make(chan bool, len(tokens))
		var all sync.WaitGroup
		for i, token := range tokens {
			all.Go(func() {
				_, err := replicas[i%2].SecondFactor(t.Context(), token, proof, here)
				accepted <- err == nil
			})
		}
		all.Wait()
		close(accepted)
		won := 0
		for ok := range accepted {
			if ok {
				won++
			}
		}
		if won != 1 {
			t.Fatalf("one code opened %d sessions", won)
		}
		f.pass(16 * time.Minute) // a new window of attempts, and a new step
	}
}

func TestAnOlderStepIsRefusedAfterANewer(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	if _, err := f.second(f.challenged("alice"), f.code(secret, 1)); err != nil {
		t.Fatal(err)
	}
	for steps := -1; steps <= 1; steps++ {
		_, err := f.second(f.challenged("alice"), f.code(secret, steps))
		f.wants(err, ErrWrongCode, "a step not after the last")
	}
	f.pass(-90 * time.Second) // the clock is set back
	_, err := f.second(f.challenged("alice"), f.code(secret, 0))
	f.wants(err, ErrWrongCode, "after the clock was set back")
}

func TestACodeTypedWithSpacesOrDashesIsTheSameCode(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	code := f.code(secret, 0)
	if _, err := f.second(f.challenged("alice"), code[:3]+" - "+code[3:]); err != nil {
		t.Error(err)
	}
}

func TestTheSameWrongCodeCountsOnce(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	token := f.challenged("alice")
	wrong := f.wrongCode(secret, 0)
	for range 30 {
		_, err := f.second(token, wrong)
		f.wants(err, ErrWrongCode, "the same wrong code")
	}
	if _, err := f.second(token, f.code(secret, 0)); err != nil {
		t.Errorf("the right code after it: %v", err)
	}
}

func TestAChallengeIsSpentAfterItsAttemptsAndHammeringEndsIn429(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	token := f.challenged("alice")
	for n := range f.Settings.MaxAttempts {
		_, err := f.second(token, f.wrongCode(secret, n))
		f.wants(err, ErrWrongCode, "a wrong code")
	}
	_, err := f.second(token, f.code(secret, 0))
	f.wants(err, ErrNoChallenge, "the right code on a spent challenge")
	for n := range 10 {
		_, err = f.second(token, f.wrongCode(secret, 100+n))
	}
	var limited *throttle.LimitedError
	if !errors.As(err, &limited) || limited.RetryAfter <= 0 || limited.RetryAfter > 15*time.Minute {
		t.Errorf("after hammering: %v", err)
	}
}

func TestWrongCodesCountForThePersonOverAllSignInsAndARightPasswordResetsNothing(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	var token ChallengeToken
	for n := range int(limitCodes.Attempts) {
		if n%3 == 0 {
			token = f.challenged("alice") // a right password in between
		}
		_, err := f.second(token, f.wrongCode(secret, n))
		f.wants(err, ErrWrongCode, "a wrong code")
	}
	_, err := f.second(f.challenged("alice"), f.code(secret, 0))
	f.wants(err, throttle.ErrTooMany, "even the right code")
	f.pass(16 * time.Minute)
	if _, err := f.second(f.challenged("alice"), f.code(secret, 0)); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

func TestASuccessGivesBackOnlyItsOwnAttempt(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	for n := range int(limitCodes.Attempts) - 1 {
		_, err := f.second(f.challenged("alice"), f.wrongCode(secret, n))
		f.wants(err, ErrWrongCode, "a wrong code")
	}
	if _, err := f.second(f.challenged("alice"), f.code(secret, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := f.second(f.challenged("alice"), f.wrongCode(secret, 100))
	f.wants(err, ErrWrongCode, "the last one that is looked at")
	_, err = f.second(f.challenged("alice"), f.wrongCode(secret, 101))
	f.wants(err, throttle.ErrTooMany, "one too many")
}

func TestAtMostMaxAttemptsAreLookedAtHoweverManyComeAtOnce(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	token := f.challenged("alice")
	var looked sync.Map
	var all sync.WaitGroup
	for n := range 100 {
		wrong := f.wrongCode(secret, n)
		all.Go(func() {
			if _, err := f.second(token, wrong); errors.Is(err, ErrWrongCode) {
				looked.Store(wrong, true)
			}
		})
	}
	all.Wait()
	count := 0
	looked.Range(func(any, any) bool { count++; return true })
	if count > f.Settings.MaxAttempts {
		t.Errorf("%d codes were looked at", count)
	}
	if _, err := f.second(token, f.code(secret, 0)); err == nil {
		t.Error("the right code was accepted after them")
	}
}

func TestARecoveryCodeOpensOnceAndEndsOtherSessions(t *testing.T) {
	f := newFixture(t, true)
	_, out := f.enrolled("alice")
	tokens := make([]ChallengeToken, 8)
	for i := range tokens {
		tokens[i] = f.challenged("alice")
	}
	won := make(chan *Outcome, len(tokens))
	var all sync.WaitGroup
	for _, token := range tokens {
		all.Go(func() {
			if done, err := f.second(token, strings.ToUpper(out.RecoveryCodes[3])); err == nil {
				won <- done
			}
		})
	}
	all.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("one recovery code opened %d sessions", len(won))
	}
	done := <-won
	if done.RecoveryLeft != 9 || !f.current(done).Session.TwoFactor() {
		t.Errorf("%d codes left", done.RecoveryLeft)
	}
	_, err := f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the session from before")
	f.enrolled("bob")
	f.pass(16 * time.Minute) // the losers' attempts are over
	_, err = f.second(f.challenged("bob"), out.RecoveryCodes[4])
	f.wants(err, ErrWrongCode, "somebody else's recovery code")
}

func TestAChallengeEndsWithItsTimeItsUserOrItsPassword(t *testing.T) {
	for name, meanwhile := range map[string]func(*fixture){
		"its time":     func(f *fixture) { f.pass(f.Settings.ChallengeLifetime) },
		"its user":     func(f *fixture) { f.dir.change("file:alice", func(u *users.User) { u.Disabled = true }) },
		"its password": func(f *fixture) { f.dir.change("file:alice", func(u *users.User) { u.Stamp = "another" }) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, true)
			secret, _ := f.enrolled("alice")
			token := f.challenged("alice")
			meanwhile(f)
			_, err := f.second(token, f.code(secret, 0))
			f.wants(err, ErrNoChallenge, "the right code")
		})
	}
}

func TestAChallengeIsOfOneUserOnly(t *testing.T) {
	f := newFixture(t, true)
	f.enrolled("alice")
	bobs, signedIn := f.enrolled("bob")
	_, err := f.second(f.challenged("alice"), f.code(bobs, 0))
	f.wants(err, ErrWrongCode, "alice's challenge with bob's code")
	f.pass(time.Minute)
	client := here
	client.Session = signedIn.Session
	_, err = f.SecondFactor(t.Context(), f.challenged("alice"), Proof{TOTP: f.code(bobs, 0)}, client)
	f.wants(err, ErrWrongCode, "the same in the browser in which bob is signed in")
}

func TestAStepUpRaisesTheSessionThatAskedForItAndNoOther(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	cur := f.current(out)
	asked, err := f.ChallengeSession(t.Context(), cur, "")
	if err != nil {
		t.Fatal(err)
	}
	_, bobs := f.enrolled("bob")
	client := here
	client.Session = f.current(bobs).Session
	_, err = f.SecondFactor(t.Context(), asked.Challenge, Proof{TOTP: f.code(secret, 0)}, client)
	f.wants(err, ErrNoChallenge, "alice's code in bob's browser")
	if who := f.current(bobs).User.Username; who != "bob" {
		t.Errorf("bob's session is now %s's", who)
	}
	f.current(out)
}

func TestASignInEndsTheSessionThatTheBrowserHad(t *testing.T) {
	f := newFixture(t, false)
	bobs := f.signInAs("bob")
	client := here
	client.Session = bobs.Session
	if _, err := f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Client: client}); err != nil {
		t.Fatal(err)
	}
	_, err := f.Authenticate(t.Context(), bobs.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "bob's session")
}

func TestNoSecretIsReadableInADump(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	token := f.challenged("alice")
	code, _, err := f.Invite(t.Context(), "file:bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.KeepCodes(t.Context(), out.Session, ShownCodes{Codes: out.RecoveryCodes}); err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"the TOTP secret": []byte(secret), "a session's token": out.Token[:], "a temp token": token[:],
		"a recovery code": []byte(out.RecoveryCodes[0]), "a recovery code without dashes": []byte(strings.ReplaceAll(out.RecoveryCodes[0], "-", "")),
		"an invitation": []byte(code), "the password": []byte(alicePassword),
	}
	for what, value := range secrets {
		if bytes.Contains(f.dump(), value) {
			t.Errorf("%s is readable in the store", what)
		}
	}
}
