package authflow

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

func TestEnrolmentIsForcedWhereTwoFactorsAreDemandedAndEndsInASession(t *testing.T) {
	f := newFixture(t, true)
	out := f.signInAs("alice")
	if out.Step != StepEnrol || out.Session != nil {
		t.Fatalf("outcome %+v", out)
	}
	_, err := f.second(out.Challenge, "123456")
	f.wants(err, ErrNoChallenge, "a code for a challenge that waits for an enrolment")
	_, done := f.enrolled("alice")
	if !f.current(done).Session.TwoFactor() || len(done.RecoveryCodes) != 10 {
		t.Errorf("outcome %+v", done)
	}
}

func TestTheCodeThatConfirmedAnEnrolmentIsUsedUp(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	f.pass(-time.Minute) // back to the moment of the enrolment
	_, err := f.second(f.challenged("alice"), f.code(secret, 0))
	f.wants(err, ErrWrongCode, "the code of the enrolment")
}

func TestOnlyTheSecretHandedOutLastIsConfirmed(t *testing.T) {
	f := newFixture(t, true)
	out := f.signInAs("alice")
	e := Enroller{Challenge: &out.Challenge}
	_, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: "123456"}, here)
	f.wants(err, ErrNoEnrolment, "a code before a secret")
	first, _ := f.BeginEnrolment(t.Context(), e, nil, "", true, here)
	second, err := f.BeginEnrolment(t.Context(), e, nil, "", true, here)
	if err != nil || first.Secret == second.Secret {
		t.Fatalf("two secrets: %v, %v, %v", first, second, err)
	}
	again, _ := f.BeginEnrolment(t.Context(), e, nil, "", false, here)
	if again.Secret != second.Secret {
		t.Error("a page that is loaded again shows another secret")
	}
	_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(first.Secret, 0)}, here)
	f.wants(err, ErrWrongCode, "a code of the first secret")
	_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(first.Secret, 0), Secret: first.Secret}, here)
	f.wants(err, ErrBadRequest, "the first secret by name")
	if _, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(second.Secret, 0), Secret: second.Secret}, here); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestOfTwoEnrolmentsUnderWayTheFirstConfirmedStands(t *testing.T) {
	f := newFixture(t, true)
	a, b := f.signInAs("alice"), f.signInAs("alice")
	begin := func(out *Outcome) string {
		handed, err := f.BeginEnrolment(t.Context(), Enroller{Challenge: &out.Challenge}, nil, "", true, here)
		if err != nil {
			t.Fatal(err)
		}
		return handed.Secret
	}
	secrets := []string{begin(a), begin(b)}
	var all sync.WaitGroup
	errs := make([]error, 2)
	for i, out := range []*Outcome{a, b} {
		all.Go(func() {
			_, errs[i] = f.ConfirmEnrolment(t.Context(), Enroller{Challenge: &out.Challenge}, Confirmation{Code: f.code(secrets[i], 0)}, here)
		})
	}
	all.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrAlreadyEnrolled) {
		t.Errorf("the two ended in %v and %v", errs[0], errs[1])
	}
}

func TestWrongCodesAtAnEnrolmentAreSlowed(t *testing.T) {
	f := newFixture(t, false)
	cur := f.current(f.signInAs("alice"))
	e := Enroller{Current: cur}
	handed, err := f.BeginEnrolment(t.Context(), e, nil, "", true, here)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int(limitCodes.Attempts) {
		_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.wrongCode(handed.Secret, n)}, here)
		f.wants(err, ErrWrongCode, "a wrong code")
	}
	_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(handed.Secret, 0)}, here)
	f.wants(err, throttle.ErrTooMany, "the right code after them")
}

func TestAnAuthenticatorIsReplacedOnlyWithAFreshSecondFactor(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	f.pass(10 * time.Minute)
	cur := f.current(out)
	e := Enroller{Current: cur}
	_, err := f.BeginEnrolment(t.Context(), e, nil, "", true, here)
	f.wants(err, ErrReauthenticate, "with a stale one")
	_, err = f.BeginEnrolment(t.Context(), e, &Proof{TOTP: f.wrongCode(secret, 0)}, "", true, here)
	f.wants(err, ErrWrongCode, "with a wrong code")
	handed, err := f.BeginEnrolment(t.Context(), e, &Proof{TOTP: f.code(secret, 0)}, "", true, here)
	if err != nil {
		t.Fatal(err)
	}
	if handed.Secret == secret || !handed.Replacing {
		t.Errorf("handed out %+v", handed)
	}
	f.pass(time.Minute)
	if _, err := f.second(f.challenged("alice"), f.code(secret, 0)); err != nil {
		t.Errorf("the old secret before the new one is confirmed: %v", err)
	}
	client := here
	client.Session = cur.Session
	f.pass(time.Minute)
	done, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(handed.Secret, 0)}, client)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the session from before the replacement")
	f.pass(time.Minute)
	_, err = f.second(f.challenged("alice"), f.code(secret, 0))
	f.wants(err, ErrWrongCode, "the old secret")
	_, err = f.second(f.challenged("alice"), out.RecoveryCodes[0])
	f.wants(err, ErrWrongCode, "an old recovery code")
	if _, err := f.second(f.challenged("alice"), f.code(handed.Secret, 0)); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if _, err := f.second(f.challenged("alice"), done.RecoveryCodes[0]); err != nil {
		t.Errorf("a new recovery code: %v", err)
	}
}

func TestAReplacementIsConfirmedOnlyWhileItsSecondFactorIsFresh(t *testing.T) {
	for name, provedBy := range map[string]func(f *fixture, secret string) *Proof{
		"the session's": func(*fixture, string) *Proof { return nil },
		"a code of its own, the session's being stale": func(f *fixture, secret string) *Proof {
			f.pass(10 * time.Minute)
			return &Proof{TOTP: f.code(secret, 0)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, true)
			begun := f.clock() // when the session's second factor is given
			secret, out := f.enrolled("alice")
			proof := provedBy(f, secret)
			if proof != nil {
				begun = f.clock()
			}
			cur := f.current(out)
			e, client := Enroller{Current: cur}, here
			client.Session = cur.Session
			handed, err := f.BeginEnrolment(t.Context(), e, proof, "", true, here)
			if err != nil {
				t.Fatal(err)
			}
			f.pass(begun.Add(f.Settings.FreshFor + time.Second).Sub(f.clock()))
			_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(handed.Secret, 0)}, client)
			f.wants(err, ErrReauthenticate, "a second after fresh_for")
			if _, err := f.second(f.challenged("alice"), f.code(secret, 0)); err != nil {
				t.Errorf("the authenticator that was to stay: %v", err)
			}
			f.pass(-time.Second)
			if _, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(handed.Secret, 0)}, client); err != nil {
				t.Errorf("at the end of fresh_for: %v", err)
			}
		})
	}
}

func TestDisablingNeedsAFreshSecondFactorAndPolicyToAllowIt(t *testing.T) {
	f := newFixture(t, true)
	_, out := f.enrolled("alice")
	cur := f.current(out)
	f.wants(f.Disable(t.Context(), cur, nil, here), ErrTwoFactorRequired, "where policy demands it")
	f.Policy = demands(false)
	f.pass(10 * time.Minute)
	f.wants(f.Disable(t.Context(), cur, nil, here), ErrReauthenticate, "with a stale one")
	f.wants(f.Disable(t.Context(), cur, &Proof{Recovery: "0000000000000000"}, here), ErrWrongCode, "with a wrong code")
	spelled, _ := ReadProof(out.RecoveryCodes[0])
	if err := f.Disable(t.Context(), cur, &spelled, here); err != nil {
		t.Fatal(err)
	}
	if after := f.current(out); after.Session.TwoFactor() {
		t.Error("the session still counts as two factors")
	}
	f.wants(f.Disable(t.Context(), cur, nil, here), ErrNotEnrolled, "once more")
	if out := f.signInAs("alice"); out.Step != StepDone {
		t.Errorf("step %d after it", out.Step)
	}
}

func TestNewRecoveryCodesVoidTheOld(t *testing.T) {
	f := newFixture(t, true)
	_, out := f.enrolled("alice")
	cur := f.current(out)
	codes, err := f.NewRecoveryCodes(t.Context(), cur, nil, here)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.second(f.challenged("alice"), out.RecoveryCodes[0])
	f.wants(err, ErrWrongCode, "an old code")
	if _, err := f.second(f.challenged("alice"), codes[0]); err != nil {
		t.Errorf("a new code: %v", err)
	}
}

func TestAStepUpGivesANewTokenAndKeepsTheEnd(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	f.pass(10 * time.Minute)
	cur := f.current(out)
	asked, err := f.ChallengeSession(t.Context(), cur, "/auth/account")
	if err != nil {
		t.Fatal(err)
	}
	proof := Proof{TOTP: f.code(secret, 0)}
	if _, err := f.SecondFactor(t.Context(), asked.Challenge, proof, here); !errors.Is(err, ErrNoChallenge) {
		t.Errorf("a browser without the session: %v", err)
	}
	client := here
	client.Session, client.Token = cur.Session, out.Token
	asked, _ = f.ChallengeSession(t.Context(), cur, "/auth/account")
	f.pass(time.Minute)
	proof = Proof{TOTP: f.code(secret, 0)}
	done, err := f.SecondFactor(t.Context(), asked.Challenge, proof, client)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the old token")
	after := f.current(done)
	if after.Session.EndsAt != cur.Session.EndsAt || !after.Session.FreshWithin(time.Minute, f.clock()) || done.Return != "/auth/account" {
		t.Errorf("raised to %+v", after.Session)
	}
}

func TestAStepUpDoesNotBringBackASessionThatWasEndedMeanwhile(t *testing.T) {
	f := newFixture(t, true)
	secret, out := f.enrolled("alice")
	cur := f.current(out)
	asked, err := f.ChallengeSession(t.Context(), cur, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SignOut(t.Context(), out.Token, here); err != nil {
		t.Fatal(err)
	}
	client := here
	client.Session = cur.Session // as a request has it that came before the sign-out
	_, err = f.SecondFactor(t.Context(), asked.Challenge, Proof{TOTP: f.code(secret, 0)}, client)
	f.wants(err, session.ErrNone, "the step-up")
	if list, err := f.Sessions.List(t.Context(), "file:alice"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions live, %v", len(list), err)
	}
}

func TestAnOldKeyCanBeRetiredOnceItsPeopleHaveSignedIn(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	old, next := bytes.Repeat([]byte{1}, seal.MinKey), bytes.Repeat([]byte{2}, seal.MinKey)
	for _, ring := range [][][]byte{{next, old}, {next}} {
		keys, err := seal.New(ring[0], ring[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		f.Keys = keys
		f.pass(time.Minute)
		if _, err := f.second(f.challenged("alice"), f.code(secret, 0)); err != nil {
			t.Errorf("with %d keys: %v", len(ring), err)
		}
	}
}

func TestARecoveryCodeThatConfirmsAChangeEndsTheOtherSessionsToo(t *testing.T) {
	f := newFixture(t, true)
	secret, mine := f.enrolled("alice")
	other, err := f.second(f.challenged("alice"), f.code(secret, 0))
	if err != nil {
		t.Fatal(err)
	}
	proof, _ := ReadProof(mine.RecoveryCodes[0])
	if _, err := f.NewRecoveryCodes(t.Context(), f.current(mine), &proof, here); err != nil {
		t.Fatal(err)
	}
	f.current(mine)
	_, err = f.Authenticate(t.Context(), other.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the other session")
}

func TestASessionEndsWithItsUserItsPasswordItsIdlenessAndItsLife(t *testing.T) {
	for name, meanwhile := range map[string]func(*fixture, *Outcome){
		"its user":     func(f *fixture, _ *Outcome) { f.dir.change("file:alice", func(u *users.User) { u.Disabled = true }) },
		"its password": func(f *fixture, _ *Outcome) { f.dir.change("file:alice", func(u *users.User) { u.Stamp = "another" }) },
		"its idleness": func(f *fixture, _ *Outcome) { f.pass(time.Hour) },
		"its life under constant use": func(f *fixture, out *Outcome) {
			for range 12*4 - 1 {
				f.pass(15 * time.Minute)
				f.current(out)
			}
			f.pass(15 * time.Minute)
		},
		"a sign-out": func(f *fixture, out *Outcome) {
			if err := f.SignOut(f.Context(), out.Token, here); err != nil {
				f.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, false)
			out := f.signInAs("alice")
			f.current(out)
			meanwhile(f, out)
			_, err := f.Authenticate(t.Context(), out.Token.Opener(), false)
			f.wants(err, ErrSessionEnded, "afterwards")
		})
	}
}

func TestARememberedSessionOutlivesIdlenessAndEndsAtItsTime(t *testing.T) {
	f := newFixture(t, false)
	out, err := f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Remember: true, Client: here})
	if err != nil {
		t.Fatal(err)
	}
	f.pass(29 * 24 * time.Hour)
	f.current(out)
	f.pass(24 * time.Hour)
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "after remember_for")
}

func TestChangingThePasswordKeepsThisSessionAndEndsTheOthers(t *testing.T) {
	f := newFixture(t, false)
	other, mine := f.signInAs("alice"), f.signInAs("alice")
	cur := f.current(mine)
	f.wants(f.ChangePassword(t.Context(), cur, "wrong", "a new password", here), ErrInvalidCredentials, "with a wrong password")
	var weak *WeakPasswordError
	if err := f.ChangePassword(t.Context(), cur, alicePassword, "short", here); !errors.As(err, &weak) {
		t.Errorf("a short password: %v", err)
	}
	if err := f.ChangePassword(t.Context(), cur, alicePassword, "a new password", here); err != nil {
		t.Fatal(err)
	}
	f.current(mine)
	_, err := f.Authenticate(t.Context(), other.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the other session")
	_, err = f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Client: here})
	f.wants(err, ErrInvalidCredentials, "the old password")
}

func TestARefreshTokenIsGoodOnceAndItsSecondUseEndsTheSession(t *testing.T) {
	f := newFixture(t, false)
	client := here
	client.Bearer = true
	out, err := f.Password(t.Context(), Attempt{Login: "alice", Password: alicePassword, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "a bearer token as a cookie")
	next, err := f.Refresh(t.Context(), out.Token, out.Session.Generation, here)
	if err != nil || next.Session.Generation == out.Session.Generation {
		t.Fatalf("%+v, %v", next, err)
	}
	f.current(out)
	_, err = f.Refresh(t.Context(), out.Token, out.Session.Generation, here)
	f.wants(err, ErrSessionEnded, "the first refresh token again")
	_, err = f.Refresh(t.Context(), out.Token, next.Session.Generation, here)
	f.wants(err, ErrSessionEnded, "the second after that")
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), true)
	f.wants(err, ErrSessionEnded, "the access token after that")
}

func TestASessionIsListedAndRevokedByItsOwnerAlone(t *testing.T) {
	f := newFixture(t, false)
	a, b, bobs := f.signInAs("alice"), f.signInAs("alice"), f.signInAs("bob")
	list, err := f.Sessions.List(t.Context(), "file:alice")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	f.wants(f.Revoke(t.Context(), f.current(a), bobs.Session.Handle(), here), ErrNoSession, "bob's session")
	f.current(bobs)
	if err := f.Revoke(t.Context(), f.current(a), b.Session.Handle(), here); err != nil {
		t.Fatal(err)
	}
	_, err = f.Authenticate(t.Context(), b.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the revoked session")
	f.current(a)
}

func TestAPersonHasABoundedNumberOfSessionsAndSignOutsMakeRoom(t *testing.T) {
	f := newFixture(t, false)
	first := f.signInAs("alice")
	for range session.MaxPerUser + 20 {
		if err := f.SignOut(t.Context(), f.signInAs("alice").Token, here); err != nil {
			t.Fatal(err)
		}
	}
	f.current(first)
	for range session.MaxPerUser {
		f.signInAs("alice")
	}
	_, err := f.Authenticate(t.Context(), first.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "the oldest of too many")
	list, err := f.Sessions.List(t.Context(), "file:alice")
	if err != nil || len(list) != session.MaxPerUser {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestWithInvitationsAPasswordAloneNeverEnrols(t *testing.T) {
	f := newFixture(t, true)
	f.Settings.InviteOnly = true
	begin := func() (Enroller, string) {
		out := f.signInAs("alice")
		e := Enroller{Challenge: &out.Challenge}
		handed, err := f.BeginEnrolment(t.Context(), e, nil, "", true, here)
		if err != nil || !handed.Invite {
			t.Fatalf("%+v, %v", handed, err)
		}
		return e, handed.Secret
	}
	invite, _, err := f.Invite(t.Context(), "file:alice")
	if err != nil {
		t.Fatal(err)
	}
	bobs, _, _ := f.Invite(t.Context(), "file:bob")
	for what, code := range map[string]string{"none": "", "junk": "123", "bob's": bobs} {
		e, secret := begin()
		_, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(secret, 0), Invite: code}, here)
		f.wants(err, ErrInvite, what)
	}
	e, secret := begin()
	_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(secret, 0), Invite: "mistyped"}, here)
	f.wants(err, ErrInvite, "mistyped")
	if _, err := f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(secret, 0), Invite: invite}, here); err != nil {
		t.Fatalf("the same code with the right invitation: %v", err)
	}
	if err := f.RemoveAuthenticator(t.Context(), "file:alice", ""); err != nil {
		t.Fatal(err)
	}
	e, secret = begin()
	_, err = f.ConfirmEnrolment(t.Context(), e, Confirmation{Code: f.code(secret, 0), Invite: invite}, here)
	f.wants(err, ErrInvite, "the same invitation again")
}

func TestASecretSealedUnderAnUnknownKeyOpensNothing(t *testing.T) {
	f := newFixture(t, true)
	secret, _ := f.enrolled("alice")
	token := f.challenged("alice")
	keys, err := seal.New(bytes.Repeat([]byte{9}, seal.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	f.Keys = keys
	_, err = f.second(token, f.code(secret, 0))
	f.wants(err, seal.ErrUnsealable, "after the key was lost")
}

func TestRecoveryCodesAreShownToTheirSessionUntilTheyAreSaved(t *testing.T) {
	f := newFixture(t, true)
	_, out := f.enrolled("alice")
	if err := f.KeepCodes(t.Context(), out.Session, ShownCodes{Codes: out.RecoveryCodes, Return: "/x"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if shown, err := f.Codes(t.Context(), out.Session); err != nil || len(shown.Codes) != 10 || shown.Return != "/x" {
			t.Fatalf("%+v, %v", shown, err)
		}
	}
	if err := f.DropCodes(t.Context(), out.Session); err != nil {
		t.Fatal(err)
	}
	if shown, err := f.Codes(t.Context(), out.Session); err == nil {
		t.Errorf("shown again: %v", shown)
	}
}
