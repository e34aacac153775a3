package users

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/config/strictyaml"
)

// Hashes of "rasmuslerdorf" and "password".
const (
	bcryptHash = "$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a"
	argonHash  = "$argon2id$v=19$m=65536,t=3,p=2$BpLnfgDsc2WD8F2q$o/vzA4myCqZZ36bUGsDY//8mKUYNZZaR0t4MFFSs+iM"
	quotedHash = "'" + argonHash + "'" // as it must stand inside { }, where a comma means something
)

func TestAnAutheliaFileIsReadAsItIs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "authelia.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse("authelia.good.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.users) != 2 || len(s.warnings) != 0 {
		t.Fatalf("got %+v", s)
	}
	harry, john := s.users[0], s.users[1]
	if !john.Password.Verify("password") || !harry.Password.Verify("rasmuslerdorf") {
		t.Error("the passwords do not fit")
	}
	if len(john.Stamp) != 16 || john.Stamp == harry.Stamp {
		t.Errorf("stamps %q and %q", john.Stamp, harry.Stamp)
	}
	john.Password, harry.Password, john.Stamp, harry.Stamp = nil, nil, "", ""
	want := User{Subject: "file:john", Username: "john", Email: "john.doe@authelia.com", Name: "John Doe", Groups: []string{"admins", "dev"}}
	if !reflect.DeepEqual(john, want) {
		t.Errorf("got %+v, want %+v", john, want)
	}
	if want := (User{Subject: "file:harry.potter", Username: "harry.potter", Name: "Harry Potter"}); !reflect.DeepEqual(harry, want) {
		t.Errorf("got %+v, want %+v", harry, want)
	}
}

// The bad file begins with comment lines that are the very errors it must give.
func TestABadFileGivesTheErrorsItsCommentsName(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "everything.bad.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan() && strings.HasPrefix(lines.Text(), "# "); {
		want = append(want, strings.TrimPrefix(lines.Text(), "# "))
	}
	_, err = parse("everything.bad.yaml", data)
	if err == nil {
		t.Fatal("it is read")
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestAFileWithoutUsersIsFineAndOneWithoutTheKeyIsNot(t *testing.T) {
	for _, text := range []string{"users:\n", "users: {}", "# nobody yet\nusers: ~"} {
		if s, err := parse("users.yaml", []byte(text)); err != nil || len(s.users) != 0 {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "# users: {}\n"} {
		if _, err := parse("users.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "users.yaml:1: users: missing") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAMissingFileSaysHowToCreateOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	for name, err := range map[string]error{
		"Open":        func() error { _, err := Open(path, nil); return err }(),
		"SetPassword": SetPassword(path, "alice", argonHash),
	} {
		if err == nil || !strings.Contains(err.Error(), path+": file does not exist; create the users file with: sallyport users add NAME") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnErrorNeverShowsAPassword(t *testing.T) {
	for _, password := range []string{"hunter2hunter2", "[hunter2]", "$6$hunter2$x", "'hunter2"} {
		_, err := parse("users.yaml", []byte("users:\n  alice:\n    password: "+password+"\n"))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", password, err)
		}
	}
}

func directoryOf(t *testing.T, text string) *Directory {
	t.Helper()
	s, err := parse("users.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &Directory{}
	d.good.Store(s)
	return d
}

func TestAUserIsFoundByNameOrEMailInAnySpelling(t *testing.T) {
	d := directoryOf(t, `users:
  Alice: {password: `+quotedHash+`, email: Alice@Example.com}
  josé: {password: `+quotedHash+`, email: jose@example.com, disabled: true}
  bob@example.com: {password: `+quotedHash+`, email: BOB@example.com}
`)
	for login, want := range map[string]string{
		"Alice": "Alice", "alice": "Alice", " ALICE ": "Alice", "ａｌｉｃｅ": "Alice", "alice@example.COM": "Alice", "ALICE＠example.com": "Alice",
		"JOSÉ": "josé", "jose\u0301": "josé", "bob@EXAMPLE.com": "bob@example.com",
	} {
		if u, found := d.Find(login); !found || u.Username != want {
			t.Errorf("%q: found %q, %t; want %q", login, u.Username, found, want)
		}
	}
	for _, login := range []string{"", "jose", "al\u200bice", "alice\x00", "al ice", "file:Alice", "аlice" /* Cyrillic а */, strings.Repeat("a", 257), "\xff"} {
		if u, found := d.Find(login); found {
			t.Errorf("%q: found %q", login, u.Username)
		}
	}
	if u, found := d.BySubject("file:josé"); !found || u.Username != "josé" || !u.Disabled {
		t.Errorf("by subject: %+v, %t", u, found)
	}
	for _, subject := range []string{"josé", "file:JOSÉ", "file:", ""} {
		if _, found := d.BySubject(subject); found {
			t.Errorf("by the subject %q somebody is found", subject)
		}
	}
}

func TestAllUsersComeInTheOrderOfTheirNames(t *testing.T) {
	d := directoryOf(t, "users:\n  zoe: {password: "+quotedHash+"}\n  adam: {password: "+quotedHash+"}\n")
	all := d.All()
	if len(all) != 2 || all[0].Username != "adam" || all[1].Username != "zoe" {
		t.Errorf("got %+v", all)
	}
	all[0].Username = "changed"
	if d.All()[0].Username != "adam" {
		t.Error("a change of the answer changes the directory")
	}
}

func TestASharedEMailSignsNobodyInAndIsWarnedOf(t *testing.T) {
	d := directoryOf(t, `users:
  alice: {password: `+quotedHash+`, email: team@example.com}
  bob: {password: `+quotedHash+`, email: Team@example.com}
  carol: {password: `+quotedHash+`, email: team@example.com}
`)
	if u, found := d.Find("team@example.com"); found {
		t.Errorf("it finds %s", u.Username)
	}
	if _, found := d.Find("bob"); !found {
		t.Error("bob is not found by name")
	}
	want := []string{
		`users.yaml:3: users.bob.email: is also the e-mail of "alice"; nobody can sign in by it`,
		`users.yaml:4: users.carol.email: is also the e-mail of "alice"; nobody can sign in by it`,
	}
	if got := d.Warnings(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheStampChangesWithThePasswordAlone(t *testing.T) {
	stamp := func(rest string) string {
		u, _ := directoryOf(t, "users: {alice: {"+rest+"}}").Find("alice")
		return u.Stamp
	}
	first := stamp("password: " + bcryptHash)
	if first == "" || first != stamp("disabled: true, email: a@b, password: "+bcryptHash) || first == stamp("password: "+bcryptHash[:59]+"b") {
		t.Errorf("the stamp %q does not follow the password", first)
	}
}

func TestFoldRefusesWhatCannotBeSeen(t *testing.T) {
	for _, login := range []string{
		"", " ", "\u3000", "a\x00b", "a\nb", "a\u200bb", "a\u200db", "a\u202eb", "a\ufeffb", "a\u00adb", "a\u034fb", "a\u115fb", "a\u3164b", "a\ufe0fb",
		"a\U000e0041b", "a\ue000b", "a\u2028b", "a\n", "\r\na", "a\u0085", "\u2028a", "\xff", strings.Repeat("a", 257), strings.Repeat("ﷺ", 85),
	} {
		if folded, err := Fold(login); err == nil {
			t.Errorf("%q: %q", login, folded)
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, seed := range []string{"Alice", " ALICE＠Example.com", "STRASSE ß ẞ", "İıIi", "ﬃ Å Å", "\u0345ᾳ", "a\u200b", "ͺ", "ΌΣΟΣς", "\u1e9e\u0307"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, login string) {
		folded, err := Fold(login)
		if err != nil {
			return
		}
		if again, err := Fold(folded); err != nil || again != folded {
			t.Fatalf("%q folds to %q, and that to %q, %v", login, folded, again, err)
		}
		if upper, err := Fold(" " + strings.ToUpper(folded) + " "); err == nil && len(upper) == len(folded) && strings.EqualFold(upper, folded) && upper != folded {
			t.Fatalf("%q folds to %q, and in capitals to %q", login, folded, upper)
		}
		if folded == "" || len(folded) > maxName || strings.TrimSpace(folded) != folded || strings.ContainsFunc(folded, unseen) {
			t.Fatalf("%q folds to %q", login, folded)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"authelia.good.yaml", "everything.bad.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse("fuzz.yaml", data)
		if err != nil {
			if found, ok := err.(strictyaml.Errors); !ok || strings.Count(err.Error(), "\n") != len(found)-1 {
				t.Fatalf("not one line for each problem: %q", err)
			}
			return
		}
		d := &Directory{}
		d.good.Store(s)
		for _, u := range d.All() {
			if found, ok := d.Find(u.Username); !ok || found.Subject != u.Subject {
				t.Fatalf("%q finds %+v, %t", u.Username, found, ok)
			}
			if found, ok := d.Find(u.Email); ok && found.Subject != u.Subject {
				t.Fatalf("the e-mail of %q finds %q", u.Username, found.Username)
			}
			if found, ok := d.BySubject(u.Subject); !ok || found.Username != u.Username || u.Password == nil || u.Stamp == "" {
				t.Fatalf("not complete: %+v", u)
			}
		}
	})
}
