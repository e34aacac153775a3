package apps

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/e2e/harness"
)

// shop is a gateway whose people are rows of a database, as docs/apps/own-database.md sets it up.
type shop struct {
	*harness.Gateway
	t        *testing.T
	upstream *harness.Upstream
	dir      string // holds the program and the database
}

// alicesPassword is in the database.
const alicesPassword = "alices ünusual password"

// startShop starts the gateway before one app under two names, one of which has the source's name. edit changes the page's configuration.
func startShop(t *testing.T, edit ...string) *shop {
	t.Helper()
	page := harness.Read(t, "docs/apps/own-database.md")
	s := &shop{t: t, upstream: harness.StartUpstream(t), dir: t.TempDir()}
	s.program(harness.FirstBlock(t, page, "python"))
	s.database(harness.FirstBlock(t, page, "sql"))
	_, last, _ := strings.Cut(page, "## In the gateway's `config.yaml`")
	paths := []string{"/usr/local/lib/sallyport/", s.dir + "/", "/var/lib/shop/", s.dir + "/"}
	more := strings.NewReplacer(append(edit, paths...)...).Replace(harness.FirstYAML(t, last))
	s.Gateway = harness.StartGateway(t, harness.Settings{
		More: more, Upstreams: fmt.Sprintf("  - { name: desk, url: %q }\n  - { name: shop, path: /shop, url: %[1]q }", s.upstream.URL),
		Users: []harness.User{{Name: "admin"}}, // whose names are nobody's in the database
	})
	return s
}

// program puts a program in the place of the one that checks passwords. One that was asked meanwhile goes on.
func (s *shop) program(text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "check-shop")
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// database makes the page's table, with alice in it.
func (s *shop) database(table string) {
	s.t.Helper()
	key, err := pbkdf2.Key(sha256.New, alicesPassword, []byte("salt"), 1000, sha256.Size)
	if err != nil {
		s.t.Fatal(err)
	}
	const fill = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])
db.execute("INSERT INTO people VALUES (?, ?)", sys.argv[3:])
db.commit()
`
	hash := "pbkdf2_sha256$1000$salt$" + base64.StdEncoding.EncodeToString(key)
	cmd := exec.CommandContext(s.t.Context(), "/usr/bin/python3", "-c", fill, filepath.Join(s.dir, "db.sqlite3"), table, "alice", hash)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("making the database: %v: %s", err, out)
	}
}

func (s *shop) try(name, password string) harness.Answer {
	s.t.Helper()
	return s.Client().Post("/auth/login", harness.Fields{"username": name, "password": password})
}

func TestThePeopleOfADatabaseSignInWithTheirPasswordAndACode(t *testing.T) {
	s := startShop(t)
	c := s.Client()
	pending := c.Post("/auth/login", harness.Fields{"username": "Alice", "password": alicesPassword}).Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")
	setting := c.With("Authorization", "Bearer "+pending)
	phone := harness.NewAuthenticator(t, setting.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
	setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": phone.Code()}).Want(200)
	for path, name := range map[string]string{"/": "shop/alice", "/shop/": "alice"} {
		c.Get(path).Want(200)
		saw := s.upstream.Only()
		if user, groups := saw.Header["Remote-User"], saw.Header["Remote-Groups"]; !slices.Equal(user, []string{name}) || !slices.Equal(groups, []string{"shop-users"}) {
			t.Errorf("at %s the upstream was told of %q in %q", path, user, groups)
		}
	}

	again := s.Client()
	pending = again.Post("/auth/login", harness.Fields{"username": "alice", "password": alicesPassword}).Want(200).Is("requiresTwoFactor", true).Text("tempToken")
	again.Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": phone.Code()}).Want(200)
	again.Get("/auth/me").Want(200).Is("sub", "app:shop:alice")
}

func TestAWrongPasswordOfADatabaseAndAProgramThatIsBrokenAreToldApart(t *testing.T) {
	s := startShop(t)
	s.try("alice", "wrong").Want(401, "INVALID_CREDENTIALS")
	s.try("nobody", alicesPassword).Want(401, "INVALID_CREDENTIALS")
	s.try("ali\nce", alicesPassword).Want(400)
	if err := os.Rename(filepath.Join(s.dir, "db.sqlite3"), filepath.Join(s.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	s.try("alice", alicesPassword).Want(503, "SOURCE_UNAVAILABLE")
	for what, want := range map[string]string{"what the program said": "OperationalError: unable to open database file", "what that means": "could not say whether a password is right"} {
		if !strings.Contains(s.Log(), want) {
			t.Errorf("the log does not say %s, %q:\n%s", what, want, s.Log())
		}
	}
	if strings.Contains(s.Log(), alicesPassword) {
		t.Errorf("the log holds the password:\n%s", s.Log())
	}
	s.upstream.Untouched()
}

func TestAProgramThatHangsIsKilledAndIsNoWrongPassword(t *testing.T) {
	s := startShop(t, "timeout: 5s", "timeout: 300ms")
	s.program("#!/bin/sh\nsleep 3600\n")
	s.try("alice", alicesPassword).Want(503, "SOURCE_UNAVAILABLE")
	if want := "killed, since it took longer than 300ms"; !strings.Contains(s.Log(), want) {
		t.Errorf("the log does not say %q:\n%s", want, s.Log())
	}
}

// Each run of the program stands in the journal, with how many there were beside it.
func TestFiftySignInsAtOnceRunTheProgramNoMoreTimesAtOnceThanIsSaid(t *testing.T) {
	s := startShop(t, "timeout: 5s", "timeout: 30s", "at_once: 4", "at_once: 3")
	running := filepath.Join(s.dir, "running")
	if err := os.Mkdir(running, 0o700); err != nil {
		t.Fatal(err)
	}
	s.program("#!/bin/sh\ntouch '" + running + "'/$$\nls '" + running + "' | wc -l >>'" + s.dir + "/journal'\nsleep 0.5\nrm '" + running + "'/$$\nexit 1\n")
	const people = 50
	statuses := make(chan int, people)
	var all sync.WaitGroup
	for i := range people { // of as many names, since the guesses at one are counted
		all.Go(func() { statuses <- s.try(fmt.Sprint("guest", i), "a guess").Status })
	}
	all.Wait()
	close(statuses)
	counts := map[int]int{}
	for status := range statuses {
		counts[status]++
	}
	journal, err := os.ReadFile(filepath.Join(s.dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	runs := strings.Fields(string(journal))
	if most := slices.Max(runs); len(most) > 1 || most > "3" {
		t.Errorf("%s ran at once, want 3 at most", most)
	}
	if counts[401]+counts[503] != people || counts[401] != len(runs) || counts[401] < 3+16 {
		t.Errorf("the answers were %v after %d runs; want 401 for each run, of which there are 19 at least, and 503 for the others", counts, len(runs))
	}
}
