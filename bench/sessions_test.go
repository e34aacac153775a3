package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authflow/cookie"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store/boltstore"
	"sallyport/authflow/users"
)

// selfCommand is this process as if it had been started.
func selfCommand(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Process: self}
}

func TestPlantedSessionsAreOpenedByTheirCookiesAndListedForTheirOwner(t *testing.T) {
	dir := t.TempDir()
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g"
	people := filepath.Join(dir, "users.yaml")
	if err := writePeople(people, hash, 3); err != nil {
		t.Fatal(err)
	}
	s := seed{Bolt: filepath.Join(dir, "x.db"), Users: people, Secret: bytes.Repeat([]byte{7}, 32), Sessions: 5, Each: 2, Life: time.Hour,
		Spread: time.Minute, Cookies: filepath.Join(dir, "cookies"), Keys: filepath.Join(dir, "keys")}
	for range 2 { // a second seed adds to what the first has planted
		job, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := seedPart([]string{string(job)}); err != nil {
			t.Fatal(err)
		}
	}

	kv, err := boltstore.Open(s.Bolt, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	keeper := &session.Keeper{KV: kv, Now: time.Now}
	ring, err := seal.New(s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	known, err := users.Open(people, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cookies, err := readLines(s.Cookies)
	if err != nil || len(cookies) != s.Sessions {
		t.Fatalf("%d cookies (%v), want %d", len(cookies), err, s.Sessions)
	}
	for i, c := range cookies {
		raw, err := cookie.NewCodec(ring.Derive("cookie envelopes")).Decode(cookie.Session, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keeper.Lookup(context.Background(), session.Token(raw))
		if err != nil {
			t.Fatalf("cookie %d: %v", i, err)
		}
		if u, ok := known.BySubject(got.Subject); !ok || u.Stamp != got.Stamp || u.Username != person(i/2) || !got.TwoFactor() {
			t.Errorf("cookie %d is %s's with stamp %s and two factors %t", i, got.Subject, got.Stamp, got.TwoFactor())
		}
	}
	for i, want := range []int{4, 4, 2} {
		u, _ := known.Find(person(i))
		if list, err := keeper.List(context.Background(), u.Subject); err != nil || len(list) != want {
			t.Errorf("%s has %d sessions (%v), want %d", person(i), len(list), err, want)
		}
	}
	own, shared, err := keysOf(s.Keys)
	if err != nil || len(own)+len(shared) < 5 || len(shared) == 0 {
		t.Errorf("keys %q and %q (%v), want those of five sessions and of their owners", own, shared, err)
	}
}
