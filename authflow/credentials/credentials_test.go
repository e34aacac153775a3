package credentials

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/config/strictyaml"
)

func TestEveryFormOfAnAccountIsRead(t *testing.T) {
	m, err := Read(filepath.Join("testdata", "accounts.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []struct {
		subject string
		groups  []string
		want    string // name:password; empty: nobody
	}{
		{"file:alice", nil, "alice.l:hunter2, # ü"},
		{"file:Alice", []string{"admins"}, "alice.l:hunter2, # ü"},
		{"file:jose\u0301", nil, "jose:from a file"},
		{"app:wiki:bob", []string{"staff"}, "bob: spaced "},
		{"file:carol", []string{"staff", "admins"}, "root:toor"},
		{"app:wiki:carol", []string{"other", "staff"}, "Jürgen:pass:word"},
		{"file:bob", nil, ""}, {"app:shop:bob", nil, ""}, {"app:wiki:alice", nil, ""}, {"file:wiki/bob", nil, ""}, {"file:carol", []string{"Admins"}, ""},
		{"", nil, ""}, {"alice", nil, ""}, {"file:", nil, ""}, {"app::alice", nil, ""}, {"app:wiki", nil, ""}, {":alice", nil, ""}, {"file:al\x00ice", nil, ""},
	} {
		a, found := m.For(who.subject, who.groups)
		if found != (who.want != "") || found && a.Username+":"+a.Password() != who.want {
			t.Errorf("%q in %q: got %v, %t; want %q", who.subject, who.groups, a, found, who.want)
		}
		if want := "Basic " + base64.StdEncoding.EncodeToString([]byte(who.want)); found && a.Authorization() != want {
			t.Errorf("%q: another header than %s", who.subject, want)
		}
	}
}

// The bad file begins with comment lines that are the very errors it must give.
func TestABadFileGivesEveryErrorAtOnceAndNoPassword(t *testing.T) {
	t.Chdir("testdata")
	data, err := os.ReadFile("everything.bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan() && strings.HasPrefix(lines.Text(), "# "); {
		want = append(want, strings.TrimPrefix(lines.Text(), "# "))
	}
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Read("everything.bad.yaml")
	if err == nil {
		t.Fatal("it is read")
	}
	got := strings.ReplaceAll(err.Error(), folder, "FOLDER")
	if got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if strings.Contains(got, "hunter") || strings.Contains(got, "ter2") {
		t.Error("a password shows")
	}
}

func TestAFileThatNamesNobodyIsAnError(t *testing.T) {
	for _, text := range []string{"", "# nobody yet\n", "people: {}", "groups: []", "people: {}\ngroups: []"} {
		_, err := parse("credentials.yaml", []byte(text))
		if err == nil || err.Error() != "credentials.yaml:1: names nobody; give an account to a name under people: or to a group under groups:" {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{"people:": "people: has no value", "{": "not valid YAML", "people: {alice: {username: a, password: *hunter2}}": "not valid YAML"} {
		_, err := parse("credentials.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml: cannot be read: ") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestAFileThatOthersCanReadIsWarnedOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.yaml")
	if err := os.WriteFile(path, []byte("people: {alice: {username: a, password: b}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode][]string{
		0o600: nil, 0o400: nil, 0o622: nil,
		0o640: {path + ": others than its owner can read the passwords in it (mode 0640); chmod 600 " + path},
		0o604: {path + ": others than its owner can read the passwords in it (mode 0604); chmod 600 " + path},
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		m, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Warnings(); !slices.Equal(got, want) {
			t.Errorf("%o: got %q, want %q", mode, got, want)
		}
	}
}

func TestAnAccountIsWhatBasicCanCarry(t *testing.T) {
	for _, a := range [][2]string{{"", "x"}, {"x", ""}, {"a:b", "x"}, {"a\n", "x"}, {"a", "hunter2\x00"}, {"a", "hunter2\u0085"}, {"a", "hunter2\xff"}, {"\xff", "x"}} {
		if _, err := NewAccount(a[0], a[1]); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", a, err)
		}
	}
	// The example of RFC 7617, section 2.1.
	a, err := NewAccount("test", "123\u00a3")
	if err != nil || a.Authorization() != "Basic dGVzdDoxMjPCow==" {
		t.Errorf("got %v, %v", a.Authorization(), err)
	}
	if zero := (Account{}); zero.Authorization() != "" || zero.Password() != "" {
		t.Error("no account signs in")
	}
}

func TestAPasswordShowsInNothingThatIsPrinted(t *testing.T) {
	a, err := NewAccount("alice.l", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	m := &Map{people: map[person]Account{{"", "alice"}: a}, groups: []groupAccount{{"admins", a}}}
	hidden := struct{ account Account }{a}
	var out bytes.Buffer
	for _, thing := range []any{a, &a, []Account{a}, map[string]Account{"x": a}, struct{ Account Account }{a}, hidden, &hidden, m, *m} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", thing)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "thing", thing)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "thing", thing)
		if text, err := json.Marshal(thing); err == nil {
			out.Write(text)
		}
	}
	for _, secret := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), base64.StdEncoding.EncodeToString([]byte("alice.l:hunter2"))} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, out.String())
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", a, a, a); got != strings.TrimSpace(strings.Repeat(`account "alice.l" `, 3)) {
		t.Errorf("got %s", got)
	}
	if text, err := json.Marshal(a); err != nil || string(text) != `{"Username":"alice.l"}` {
		t.Errorf("got %s, %v", text, err)
	}
	if got := a.LogValue().String(); got != "alice.l" {
		t.Errorf("got %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"accounts.good.yaml", "everything.bad.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse("testdata/fuzz.yaml", data)
		if err != nil {
			if found, ok := err.(strictyaml.Errors); !ok || strings.Count(err.Error(), "\n") != len(found)-1 {
				t.Fatalf("not one line for each problem: %q", err)
			}
			return
		}
		if len(m.people)+len(m.groups) == 0 {
			t.Fatal("it names nobody")
		}
		for p, a := range m.people {
			subject := "file:" + p.name
			if p.source != "" {
				subject = "app:" + p.source + ":" + p.name
			}
			if found, ok := m.For(subject, nil); !strings.Contains(p.source, ":") && (!ok || found != a) {
				t.Fatalf("%q finds %v, %t", subject, found, ok)
			}
		}
		for i, g := range m.groups {
			if found, ok := m.For("", []string{"another", g.group}); !ok || found != m.groups[i].account {
				t.Fatalf("the group %q finds %v, %t", g.group, found, ok)
			}
			if _, err := NewAccount(g.account.Username, g.account.Password()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
