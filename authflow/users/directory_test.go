package users

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// journal is a log that may be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), text)
}

// eventually waits far longer than is ever needed, so that only a promise that is broken fails.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 1000 {
		if holds() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// watched opens a directory that follows a file until the test ends.
func watched(t *testing.T, text string) (d *Directory, path string, log *journal) {
	t.Helper()
	path, log = filepath.Join(t.TempDir(), "users.yaml"), &journal{}
	write(t, path, text)
	d, err := Open(path, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { d.Watch(ctx) })
	t.Cleanup(func() { cancel(); watch.Wait() })
	return d, path, log
}

const oneUser = "users:\n  alice: {password: " + quotedHash + "}\n"

func TestAChangedFileIsTakenOverByItself(t *testing.T) {
	d, path, log := watched(t, oneUser)
	write(t, path, oneUser+"  bob: {password: "+quotedHash+", email: a@b}\n  carol: {password: "+quotedHash+", email: a@b}\n")
	eventually(t, "bob is found", func() bool { _, found := d.Find("bob"); return found })
	eventually(t, "the log says so", func() bool { return log.count("users file taken over") == 1 && log.count("is also the e-mail of") == 1 })

	// A file that is renamed into place may have the size and the time of the old one.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := path + ".other"
	write(t, other, strings.Replace(contents(t, path), "bob", "rob", 1))
	if err := os.Chtimes(other, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rob is found", func() bool { _, found := d.Find("rob"); return found })

	// And some programs write over the old file.
	if err := os.WriteFile(path, []byte(oneUser), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rob is gone", func() bool { _, found := d.Find("rob"); return !found })
}

func TestAFileEditedIntoNonsenseLeavesTheOldOneInForce(t *testing.T) {
	d, path, log := watched(t, oneUser)
	var changes atomic.Int64
	d.OnChange(func() { changes.Add(1) })
	write(t, path, "users:\n  alice: {pasword: x}\n  bob: [\n")
	eventually(t, "the log says so", func() bool { return log.count("users file not taken over; the old one stays in force") == 1 })
	if _, found := d.Find("alice"); !found {
		t.Error("alice is not found any more")
	}
	write(t, path, "users:\n  alice: {password: x}\n  bob: {password: y}\n")
	eventually(t, "the log names the next error", func() bool {
		return log.count("users.alice.password: is not a password hash") == 1 && log.count("more=1") == 1
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log says that it is gone", func() bool { return log.count("create the users file with") == 1 })
	if err := d.Reload(); err == nil {
		t.Error("Reload gives no error")
	}
	if u, found := d.Find("alice"); !found || !u.Password.Verify("password") {
		t.Error("alice is not found any more")
	}
	if changes.Load() != 1 {
		t.Errorf("%d calls, want only the first one", changes.Load())
	}
	write(t, path, strings.ReplaceAll(oneUser, "alice", "dora"))
	eventually(t, "the mended file is in force", func() bool { _, found := d.Find("dora"); return found })
	if _, found := d.Find("alice"); found {
		t.Error("alice is still found")
	}
	if n := log.count("not taken over"); n != 3 {
		t.Errorf("%d lines about errors, want one for each change: 3", n)
	}
}

func TestANewPasswordIsInForceWhenSetPasswordReturns(t *testing.T) {
	d, _, _ := watched(t, oneUser)
	changes := 0
	d.OnChange(func() { changes++ })
	before, _ := d.Find("alice")
	if err := d.SetPassword("ALICE", bcryptHash); err != nil {
		t.Fatal(err)
	}
	after, _ := d.Find("alice")
	if !after.Password.Verify("rasmuslerdorf") || after.Stamp == before.Stamp {
		t.Error("the old password is still in force")
	}
	d.loading.Lock()
	defer d.loading.Unlock()
	if changes != 2 {
		t.Errorf("%d changes, want 2", changes)
	}
}

func TestReadersNeverSeeHalfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	write(t, path, oneUser+"  bob: {password: "+quotedHash+"}\n")
	d, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				_, alice := d.Find("alice")
				if _, bob := d.BySubject("file:bob"); !alice || !bob || len(d.All()) != 2 {
					t.Error("somebody is missing")
				}
			}
		})
	}
	for i := range 10 {
		if err := SetDisabled(path, "bob", i%2 == 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
}
