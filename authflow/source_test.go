package authflow

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"testing"

	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
)

// wikiSource knows the passwords that it is given; asked collects the names.
func wikiSource(name string, passwords map[string]string, asked *[]string) *Source {
	return &Source{
		Name: name, Groups: []string{name + "-users"}, Knows: regexp.MustCompile(`^[a-z]{1,32}$`).MatchString,
		Check: func(_ context.Context, user, plain string, _ Client) (bool, error) {
			*asked = append(*asked, name+":"+user)
			if plain == "away" {
				return false, errors.New("connection refused")
			}
			return passwords[user] == plain && plain != "", nil
		},
	}
}

func TestTheFirstSourceThatKnowsAPersonDecides(t *testing.T) {
	f := newFixture(t, false)
	var asked []string
	wiki := wikiSource("wiki", map[string]string{"carol": "of the wiki", "alice": "of the wiki"}, &asked)
	shop := wikiSource("shop", map[string]string{"carol": "of the shop", "dave": "of the shop"}, &asked)
	for _, c := range []struct {
		name     string
		sources  []*Source
		login    string
		password string
		subject  string // empty: refused
		asked    []string
	}{
		{"the users file first: its user", []*Source{nil, wiki}, "alice", alicePassword, "file:alice", nil},
		{"its user with another's password", []*Source{nil, wiki}, "alice", "of the wiki", "", nil},
		{"a name that only the app has", []*Source{nil, wiki}, "Carol", "of the wiki", "app:wiki:carol", []string{"wiki:carol"}},
		{"the app first: its person", []*Source{wiki, nil}, "alice", "of the wiki", "app:wiki:alice", []string{"wiki:alice"}},
		{"the app first: the file's", []*Source{wiki, nil}, "alice", alicePassword, "file:alice", []string{"wiki:alice"}},
		{"two apps: the second's", []*Source{nil, wiki, shop}, "carol", "of the shop", "app:shop:carol", []string{"wiki:carol", "shop:carol"}},
		{"two apps: nobody's", []*Source{nil, wiki, shop}, "dave", "wrong", "", []string{"wiki:dave", "shop:dave"}},
		{"a name that no app can have", []*Source{nil, wiki}, "carol 2", "of the wiki", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = nil
			f.Sources = c.sources
			out, err := f.Password(t.Context(), Attempt{Login: c.login, Password: c.password, Client: here})
			if c.subject == "" {
				if !errors.Is(err, ErrInvalidCredentials) {
					t.Errorf("%v, want a refusal", err)
				}
			} else if err != nil || out.User.Subject != c.subject {
				t.Fatalf("%v, %v, want %s", out, err, c.subject)
			}
			if !slices.Equal(asked, c.asked) {
				t.Errorf("asked %q, want %q", asked, c.asked)
			}
		})
	}
}

func TestASourceThatDoesNotAnswerSaysNothingOfThePassword(t *testing.T) {
	f := newFixture(t, false)
	var asked []string
	wiki := wikiSource("wiki", nil, &asked)
	f.Sources = []*Source{nil, wiki}
	for range 20 { // more often than wrong passwords are looked at
		_, err := f.Password(t.Context(), Attempt{Login: "carol", Password: "away", Client: here})
		f.wants(err, ErrSourceAway, "a source out of reach")
	}
	if len(asked) != 20 {
		t.Errorf("asked %d times, want 20: what nobody looked at is no wrong password", len(asked))
	}
	f.Sources = []*Source{nil, wiki, wikiSource("shop", map[string]string{"carol": "away"}, &asked)}
	_, err := f.Password(t.Context(), Attempt{Login: "carol", Password: "away", Client: here})
	f.wants(err, ErrSourceAway, "two sources out of reach")
}

func TestAPersonOfAnAppIsGoneWithItsSource(t *testing.T) {
	f := newFixture(t, false)
	var asked []string
	f.Sources = []*Source{nil, wikiSource("wiki", map[string]string{"carol": "of the wiki"}, &asked)}
	out, err := f.Password(t.Context(), Attempt{Login: "carol", Password: "of the wiki", Client: here})
	if err != nil {
		t.Fatal(err)
	}
	if cur := f.current(out); cur.User.Source != "wiki" || !slices.Equal(cur.User.Groups, []string{"wiki-users"}) {
		t.Errorf("signed in as %+v", cur.User)
	}
	f.wants(f.ChangePassword(t.Context(), f.current(out), "of the wiki", "another long password", here), ErrPasswordElsewhere, "changing it here")
	if u, ok := f.Find("wiki/Carol"); !ok || u.Subject != "app:wiki:carol" {
		t.Errorf("found %+v, %t", u, ok)
	}
	f.Sources = nil
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "a session of a source that was taken out")
}

func TestANameThatReadsLikeAnotherSourcesPersonOpensNothing(t *testing.T) {
	f := newFixture(t, false)
	var asked []string
	f.dir.change("file:wiki/alice", func(u *users.User) {
		*u = f.dir.users["file:alice"]
		u.Subject, u.Username = "file:wiki/alice", "wiki/alice"
	})
	attempt := Attempt{Login: "wiki/alice", Password: alicePassword, Client: here}
	out, err := f.Password(t.Context(), attempt)
	if err != nil {
		t.Fatalf("without such a source it is a name like any other: %v", err)
	}
	f.Sources = []*Source{nil, wikiSource("wiki", nil, &asked)}
	_, err = f.Password(t.Context(), attempt)
	f.wants(err, ErrInvalidCredentials, "signing in")
	_, err = f.Authenticate(t.Context(), out.Token.Opener(), false)
	f.wants(err, ErrSessionEnded, "a session from before")
}

func TestAKeptPasswordOpensWithItsSessionsTokenAlone(t *testing.T) {
	for _, demanded := range []bool{false, true} {
		f := newFixture(t, demanded)
		f.PasswordNeed = func(users.User) Need { return NeededLater }
		var begun, out *Outcome
		if demanded {
			secret, _ := f.enrolled("alice")
			begun = f.signInAs("alice")
			var err error
			if out, err = f.second(begun.Challenge, f.code(secret, 0)); err != nil {
				t.Fatal(err)
			}
		} else {
			out = f.signInAs("alice")
		}
		cur := f.current(out)
		if plain, ok := f.OwnPassword(cur.Session, cur.Token); !ok || plain != alicePassword || out.Password != alicePassword {
			t.Errorf("two factors %t: %q, %t, and %q for the caller", demanded, plain, ok, out.Password)
		}
		if bytes.Contains(f.dump(), []byte(alicePassword)) {
			t.Error("the store holds the password")
		}
		// Whoever has the store and secret_key has everything but the token.
		if _, err := f.Keys.Open(cur.Session.Password, "file:alice", fieldPassword); !errors.Is(err, seal.ErrUnsealable) {
			t.Errorf("the gateway's own key: %v", err)
		}
		for _, other := range []session.Token{session.NewToken(), {}} {
			if _, ok := f.OwnPassword(cur.Session, other); ok {
				t.Error("it opens with another token")
			}
		}
	}
}

func TestAKeptPasswordFollowsTheSessionThroughARiseAndIsForgottenWhenItIsNoLongerRight(t *testing.T) {
	f := newFixture(t, false)
	f.PasswordNeed = func(users.User) Need { return NeededLater }
	begun := f.signInAs("alice")
	cur := f.current(begun)
	handed, err := f.BeginEnrolment(t.Context(), Enroller{Current: cur}, nil, "", true, here)
	if err != nil {
		t.Fatal(err)
	}
	client := here
	client.Session, client.Token = cur.Session, cur.Token
	raised, err := f.ConfirmEnrolment(t.Context(), Enroller{Current: cur}, Confirmation{Code: f.code(handed.Secret, 0)}, client)
	if err != nil {
		t.Fatal(err)
	}
	risen := f.current(raised)
	if plain, ok := f.OwnPassword(risen.Session, risen.Token); !ok || plain != alicePassword {
		t.Errorf("after a rise of assurance: %q, %t", plain, ok)
	}
	if _, ok := f.OwnPassword(risen.Session, cur.Token); ok {
		t.Error("the token of before opens it")
	}
	if err := f.ForgetPassword(t.Context(), risen.Session.Key); err != nil {
		t.Fatal(err)
	}
	if s := f.current(raised).Session; s.Password != nil {
		t.Error("it is still there")
	}
	err = f.RenewPassword(t.Context(), risen, "the new one", here, func() (bool, error) { return false, nil })
	f.wants(err, ErrInvalidCredentials, "one that the app refuses")
	if err := f.RenewPassword(t.Context(), risen, "the new one", here, func() (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	if plain, ok := f.OwnPassword(f.current(raised).Session, raised.Token); !ok || plain != "the new one" {
		t.Errorf("after it was renewed: %q, %t", plain, ok)
	}
}

func TestAPasswordIsKeptOnlyWhereItIsNeeded(t *testing.T) {
	f := newFixture(t, false)
	for need, want := range map[Need]struct{ atOnce, kept bool }{NotNeeded: {false, false}, NeededAtSignIn: {true, false}, NeededLater: {true, true}} {
		f.PasswordNeed = func(users.User) Need { return need }
		out := f.signInAs("bob")
		if (out.Password != "") != want.atOnce || (f.current(out).Session.Password != nil) != want.kept {
			t.Errorf("need %d: %q for the caller, %d bytes kept", need, out.Password, len(out.Session.Password))
		}
	}
	f.PasswordNeed = nil
	if out := f.signInAs("bob"); out.Password != "" || out.Session.Password != nil {
		t.Error("kept where nobody needs any")
	}
}
