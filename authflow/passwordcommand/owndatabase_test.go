package passwordcommand

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// block returns the first block of a language in docs/apps/own-database.md.
func block(t *testing.T, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(contents(t, filepath.Join("..", "..", "docs", "apps", "own-database.md")), "```"+language+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("the page has no block of %s", language)
	}
	return text
}

// django returns the password's hash as Django stores it.
func django(t *testing.T, password string) string {
	t.Helper()
	key, err := pbkdf2.Key(sha256.New, password, []byte("NaCl"), 1000, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	return "pbkdf2_sha256$1000$NaCl$" + base64.StdEncoding.EncodeToString(key)
}

// database makes the page's table with one row for each name and password hash.
func database(t *testing.T, rows ...string) string {
	t.Helper()
	const fill = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])
db.executemany("INSERT INTO people VALUES (?, ?)", zip(sys.argv[3::2], sys.argv[4::2]))
db.commit()
`
	path := filepath.Join(t.TempDir(), "db ?#%20.sqlite3")
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"-c", fill, path, block(t, "sql")}, rows...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func pageProgram(t *testing.T, args ...string) (*Command, *bytes.Buffer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check-shop")
	if err := os.WriteFile(path, []byte(block(t, "python")), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := New(path, args, Limits{Timeout: time.Minute}, slog.New(slog.NewJSONHandler(&log, nil)))
	if err := c.CheckProgram(); err != nil {
		t.Fatal(err)
	}
	return c, &log
}

func TestTheProgramOfThePageTellsRightFromWrong(t *testing.T) {
	c, log := pageProgram(t, database(t, "alice", django(t, "correct horse ü"), "bob", django(t, "$"), "carol", "!unusable", "dora", "argon2$argon2id$x"))
	for _, a := range []struct {
		name, password string
		want           bool
	}{
		{"alice", "correct horse ü", true}, {"bob", "$", true},
		{"alice", "correct horse u", false}, {"alice", "correct horse ü ", false}, {"alice", "$", false}, {"alice", "\xff", false},
		{"nobody", "correct horse ü", false}, {"Alice", "correct horse ü", false}, {"carol", "!unusable", false}, {"dora", "x", false},
		{"' OR '1'='1", "correct horse ü", false},
	} {
		if right, err := c.Check(t.Context(), a.name, a.password); right != a.want || err != nil {
			t.Errorf("%q, %q: got %t, %v; want %t", a.name, a.password, right, err, a.want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", log)
	}
}

func TestTheProgramOfThePageSaysNeitherWithoutItsDatabase(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.sqlite3")
	for said, args := range map[string][]string{
		"OperationalError: unable to open database file": {missing},
		"DatabaseError: file is not a database":          {script(t, strings.Repeat("# no database\n", 100))},
		"IndexError: list index out of range":            nil,
	} {
		c, log := pageProgram(t, args...)
		right, err := c.Check(t.Context(), "alice", "hunter2")
		if right || !errors.Is(err, ErrNoAnswer) || !strings.HasSuffix(err.Error(), "exit status 2") {
			t.Errorf("%q: got %t, %v", args, right, err)
		}
		if !strings.Contains(log.String(), said) {
			t.Errorf("%q: the log says %s", args, log)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the missing database is there now")
	}
}

// A hash that breaks the work shows that the work is done.
func TestTheProgramOfThePageWorksForUnknownNamesToo(t *testing.T) {
	c, _ := pageProgram(t, database(t, "mallory", "pbkdf2_sha256$many$NaCl$x"))
	for _, name := range []string{"mallory", "nobody"} {
		if right, err := c.Check(t.Context(), name, "hunter2"); right || !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: got %t, %v", name, right, err)
		}
	}
}
