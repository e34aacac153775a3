package users

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// write puts a file into place in one step, so that no test depends on who reads it meanwhile.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheFirstUserCreatesTheFileForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "users.yaml")
	if err := Add(path, NewUser{Username: "alice", Email: "alice@example.com", Name: "yes: #1", Groups: []string{"admins", "007"}, PHC: argonHash}); err != nil {
		t.Fatal(err)
	}
	if err := Add(path, NewUser{Username: "bob.b", PHC: bcryptHash}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	d, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, found := d.Find("alice@example.com")
	if !found || u.Name != "yes: #1" || !slices.Equal(u.Groups, []string{"admins", "007"}) || !u.Password.Verify("password") {
		t.Errorf("got %+v, %t", u, found)
	}
	if _, found := d.Find("bob.b"); !found {
		t.Error("the second user is not there")
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAUserIsAddedOnceWhateverTheSpelling(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := Add(path, NewUser{Username: "alice", PHC: argonHash}); err != nil {
		t.Fatal(err)
	}
	before := contents(t, path)
	if err := Add(path, NewUser{Username: "ALICE", PHC: argonHash}); !errors.Is(err, ErrUserExists) {
		t.Errorf("in capitals: %v", err)
	}
	for name, u := range map[string]NewUser{
		"an invisible name": {Username: "bob\u200b", PHC: argonHash},
		"a control":         {Username: "bob\n", Name: "a\nb", PHC: argonHash},
		"no hash":           {Username: "bob", PHC: "hunter2"},
		"a comma":           {Username: "bob", Groups: []string{"a,b"}, PHC: argonHash},
		"the name as mail":  {Username: "bob", Email: "Alice", PHC: argonHash},
	} {
		if err := Add(path, u); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := contents(t, path); after != before {
		t.Errorf("a refused user changed the file:\n%s", after)
	}
}

func TestAnEditKeepsCommentsOtherKeysModeAndLink(t *testing.T) {
	folder := t.TempDir()
	path, link := filepath.Join(folder, "real.yaml"), filepath.Join(folder, "users.yaml")
	write(t, path, "# Staff.\nusers:\n  # the boss\n  Alice:\n    password: "+bcryptHash+" # from 2019\n    website: https://example.com\n  bob: {password: "+bcryptHash+"}\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := SetPassword(link, "alice", argonHash); err != nil {
		t.Fatal(err)
	}
	if err := SetDisabled(link, "BOB", true); err != nil {
		t.Fatal(err)
	}
	want := "# Staff.\nusers:\n  # the boss\n  Alice:\n    password: " + argonHash + " # from 2019\n    website: https://example.com\n  bob: {password: " + bcryptHash + ", disabled: true}\n"
	if got := contents(t, path); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := SetDisabled(link, "bob", false); err != nil || !strings.Contains(contents(t, path), "disabled: false") {
		t.Errorf("enabled again: %v\n%s", err, contents(t, path))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

func TestAFileThatIsWrongCanBeMended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	write(t, path, "users:\n  alice: {password: $6$salt$key}\n  bob: {password: plain}\n")
	if _, err := Open(path, nil); err == nil {
		t.Fatal("it is read")
	}
	for _, name := range []string{"alice", "bob"} {
		if err := SetPassword(path, name, argonHash); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path, nil); err != nil {
		t.Error(err)
	}
}

func TestAnEditOfSomebodyWhoIsNotThereIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	write(t, path, "users: {}\n")
	for _, name := range []string{"nobody", "", "a\x00"} {
		if err := SetDisabled(path, name, true); !errors.Is(err, ErrUnknownUser) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := SetPassword(path, "nobody", "hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password that is no hash: %v", err)
	}
	write(t, path, "users: {alice: [}\n")
	if err := Add(path, NewUser{Username: "bob", PHC: argonHash}); err == nil || !strings.Contains(err.Error(), "not valid YAML") {
		t.Errorf("broken YAML: %v", err)
	}
}

func TestEditsAtTheSameTimeAreAllKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if err := Add(path, NewUser{Username: fmt.Sprintf("user%d", i), PHC: argonHash}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d, err := Open(path, nil)
	if err != nil || len(d.All()) != 4 {
		t.Fatalf("%v; %d users, want 4", err, len(d.All()))
	}
}
