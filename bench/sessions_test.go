package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// garden is where sessions were planted.
type garden struct {
	seed    seed
	keeper  *session.Keeper
	codec   *cookie.Codec
	known   *users.Directory
	cookies []string
}

// planted plants five sessions of three people twice, the second time beside the first, and opens the store.
func planted(t *testing.T) garden {
	t.Helper()
	dir := t.TempDir()
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g"
	people := filepath.Join(dir, "users.yaml")
	if err := writePeople(people, hash, 3); err != nil {
		t.Fatal(err)
	}
	s := seed{Bolt: filepath.Join(dir, "x.db"), Users: people, Secret: bytes.Repeat([]byte{7}, 32), Sessions: 5, Each: 2, Life: time.Hour,
		Spread: time.Minute, Cookies: filepath.Join(dir, "cookies"), Keys: filepath.Join(dir, "keys")}
	for range 2 {
		job, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := seedPart([]string{string(job)}); err != nil {
			t.Fatal(err)
		}
	}
	kv, errStore := boltstore.Open(s.Bolt, boltstore.Options{})
	ring, errRing := seal.New(s.Secret)
	known, errUsers := users.Open(people, slog.New(slog.DiscardHandler))
	cookies, errCookies := readLines(s.Cookies)
	if err := errors.Join(errStore, errRing, errUsers, errCookies); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	return garden{s, &session.Keeper{KV: kv, Now: time.Now}, cookie.NewCodec(ring.Derive("cookie envelopes")), known, cookies}
}

func TestPlantedSessionsAreOpenedByTheirCookies(t *testing.T) {
	g := planted(t)
	if len(g.cookies) != g.seed.Sessions {
		t.Fatalf("%d cookies, want %d", len(g.cookies), g.seed.Sessions)
	}
	for i, c := range g.cookies {
		raw, err := g.codec.Decode(cookie.Session, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.keeper.Lookup(context.Background(), session.Token(raw).Opener())
		if err != nil {
			t.Fatalf("cookie %d: %v", i, err)
		}
		if u, ok := g.known.BySubject(got.Subject); !ok || u.Stamp != got.Stamp || u.Username != person(i/2) || !got.TwoFactor() {
			t.Errorf("cookie %d is %s's with stamp %s and two factors %t", i, got.Subject, got.Stamp, got.TwoFactor())
		}
	}
}

func TestPlantedSessionsStandBesideThoseThatWereThere(t *testing.T) {
	g := planted(t)
	for i, want := range []int{4, 4, 2} {
		u, _ := g.known.Find(person(i))
		if list, err := g.keeper.List(context.Background(), u.Subject); err != nil || len(list) != want {
			t.Errorf("%s has %d sessions (%v), want %d", person(i), len(list), err, want)
		}
	}
	own, shared, err := keysOf(g.seed.Keys)
	if err != nil || len(own)+len(shared) < g.seed.Sessions || len(shared) == 0 {
		t.Errorf("keys %q and %q (%v), want those of five sessions and of their owners", own, shared, err)
	}
}
