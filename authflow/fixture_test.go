package authflow

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/bcrypt"

	"sallyport/authflow/audit"
	"sallyport/authflow/password"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/store/boltstore"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
)

// directory is a users directory in memory.
type directory struct {
	mu    sync.Mutex
	users map[string]users.User
}

func (d *directory) Find(login string) (users.User, bool) {
	name, err := users.Fold(login)
	if err != nil {
		return users.User{}, false
	}
	name, _, _ = strings.Cut(name, "@")
	return d.BySubject("file:" + name)
}

func (d *directory) BySubject(subject string) (users.User, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, ok := d.users[subject]
	return u, ok
}

func (d *directory) SetPassword(username, phc string) error {
	hash, err := password.Parse(phc)
	d.change("file:"+username, func(u *users.User) { u.Password, u.Stamp = &hash, phc })
	return err
}

func (d *directory) change(subject string, with func(*users.User)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.users[subject]
	with(&u)
	d.users[subject] = u
}

// demands is a policy that asks everybody for two factors, or nobody.
type demands bool

func (d demands) DemandsTwoFactor([]string) bool { return bool(d) }

type fixture struct {
	*testing.T
	*Flow
	dir  *directory
	path string // of the store
	mu   sync.Mutex
	now  time.Time
}

const alicePassword = "correct horse battery"

// hashOf makes a bcrypt hash of the least cost, so that tests are fast.
func hashOf(t *testing.T, plain string) string {
	t.Helper()
	raw, err := bcrypt.GenerateFromPassword([]byte(plain), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func newFixture(t *testing.T, demanded bool) *fixture {
	t.Helper()
	f := &fixture{T: t, now: time.Unix(1_800_000_000, 0), path: filepath.Join(t.TempDir(), "s.db")}
	kv, err := boltstore.Open(f.path, boltstore.Options{Now: f.clock, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	phc := hashOf(t, alicePassword)
	hash, err := password.Parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	user := func(name string) users.User {
		return users.User{Subject: "file:" + name, Username: name, Email: name + "@example.com", Groups: []string{"staff"}, Password: &hash, Stamp: phc}
	}
	f.dir = &directory{users: map[string]users.User{"file:alice": user("alice"), "file:bob": user("bob")}}
	f.Flow = f.flowOn(kv, demands(demanded))
	return f
}

// flowOn makes one replica.
func (f *fixture) flowOn(kv store.KV, policy Policy) *Flow {
	keys, err := seal.New(bytes.Repeat([]byte{1}, seal.MinKey))
	if err != nil {
		f.Fatal(err)
	}
	return &Flow{
		Users: f.dir, Passwords: password.NewChecker(password.Limits{AtOnce: 2, Waiting: 1000}), KV: kv, Keys: keys, Now: f.clock,
		Sessions: &session.Keeper{KV: kv, Now: f.clock}, Throttle: &throttle.Throttle{KV: kv},
		Trail: &audit.Trail{Log: slog.New(slog.DiscardHandler)}, Policy: policy,
		Settings: Settings{
			Issuer: "Test", ChallengeLifetime: 5 * time.Minute, MaxAttempts: 5, FreshFor: 5 * time.Minute,
			IdleTimeout: time.Hour, Lifetime: 12 * time.Hour, RememberFor: 30 * 24 * time.Hour, AccessTokenLifetime: 15 * time.Minute,
		},
	}
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

var here = Client{Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "test"}

// signInAs gives the first factor, which must be right.
func (f *fixture) signInAs(name string) *Outcome {
	f.Helper()
	out, err := f.Password(f.Context(), Attempt{Login: name, Password: alicePassword, Client: here})
	if err != nil {
		f.Fatalf("password of %s: %v", name, err)
	}
	return out
}

// code is what an authenticator app shows, steps away from now.
func (f *fixture) code(secret string, steps int) string {
	f.Helper()
	code, err := totp.GenerateCode(secret, f.clock().Add(time.Duration(steps)*30*time.Second))
	if err != nil {
		f.Fatal(err)
	}
	return code
}

// enrolled sets an authenticator up for name, and returns the secret and the outcome. A step has passed since.
func (f *fixture) enrolled(name string) (secret string, out *Outcome) {
	f.Helper()
	begun := f.signInAs(name)
	e := Enroller{Challenge: &begun.Challenge}
	if begun.Step == StepDone {
		e = Enroller{Current: &Current{Session: begun.Session, User: begun.User}}
	}
	handed, err := f.BeginEnrolment(f.Context(), e, nil, "", true, here)
	if err != nil {
		f.Fatal(err)
	}
	client := here
	client.Session = begun.Session
	out, err = f.ConfirmEnrolment(f.Context(), e, Confirmation{Code: f.code(handed.Secret, 0)}, client)
	if err != nil {
		f.Fatal(err)
	}
	f.pass(time.Minute)
	return handed.Secret, out
}

// challenged gives the first factor of somebody enrolled.
func (f *fixture) challenged(name string) ChallengeToken {
	f.Helper()
	out := f.signInAs(name)
	if out.Step != StepCode {
		f.Fatalf("step %d after the password, want a challenge", out.Step)
	}
	return out.Challenge
}

func (f *fixture) second(token ChallengeToken, typed string) (*Outcome, error) {
	proof, _ := ReadProof(typed)
	return f.SecondFactor(f.Context(), token, proof, here)
}

func (f *fixture) current(out *Outcome) *Current {
	f.Helper()
	cur, err := f.Authenticate(f.Context(), out.Token.Opener(), out.Session.Bearer)
	if err != nil {
		f.Fatalf("the session opens nothing: %v", err)
	}
	return cur
}

func (f *fixture) wants(err, want error, what string) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: %v, want %v", what, err, want)
	}
}

// dump is what somebody reads who gets hold of the store.
func (f *fixture) dump() []byte {
	f.Helper()
	raw, err := os.ReadFile(f.path)
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// wrongCode is six digits that no step near now gives, different for each n.
func (f *fixture) wrongCode(secret string, n int) string {
	f.Helper()
	near := map[string]bool{}
	for s := -2; s <= 2; s++ {
		near[f.code(secret, s)] = true
	}
	for i := 100000 + n*17; ; i++ {
		if code := strconv.Itoa(i); !near[code] {
			return code
		}
	}
}
