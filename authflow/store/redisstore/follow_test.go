package redisstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/store/redistest"
)

// aclAnnounced is what the comment on [Options.Username] promises to be enough for announcements.
const aclAnnounced = " +publish +subscribe &sallyport:*"

// listener is a follower that takes down what it is told.
type listener struct {
	mu       sync.Mutex
	heard    map[string]int
	missed   int
	upTo     time.Time
	witness  string
	vanished []string
}

func (l *listener) Changed(key string) { l.mu.Lock(); defer l.mu.Unlock(); l.heard[key]++ }
func (l *listener) Missed()            { l.mu.Lock(); defer l.mu.Unlock(); l.missed++; l.upTo = time.Time{} }
func (l *listener) UpTo(t time.Time)   { l.mu.Lock(); defer l.mu.Unlock(); l.upTo = t }
func (l *listener) Witness() string    { l.mu.Lock(); defer l.mu.Unlock(); return l.witness }
func (l *listener) Vanished(k string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vanished = append(l.vanished, k)
}

// wait waits until said, which looks with the lock held, and fails where that does not come.
func (l *listener) wait(t *testing.T, what string, said func() bool) {
	t.Helper()
	for deadline := time.Now().Add(settle); ; time.Sleep(2 * time.Millisecond) {
		l.mu.Lock()
		ok := said()
		l.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", settle, what)
		}
	}
}

// upToNow waits until the listener knows of all that has been announced by now.
func (l *listener) upToNow(t *testing.T) {
	t.Helper()
	now := time.Now()
	l.wait(t, "up to date", func() bool { return l.upTo.After(now) })
}

// follow has a listener follow a store until the test ends.
func follow(t *testing.T, s *Store) *listener {
	t.Helper()
	l := &listener{heard: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { s.Follow(ctx, l) })
	t.Cleanup(func() { stop(); following.Wait() })
	l.upToNow(t)
	return l
}

func announcing(opts Options) Options {
	opts.KeyPrefix, opts.Announced = "sallyport:", "watched/"
	return opts
}

func remove([]byte) ([]byte, time.Duration, error) { return nil, 0, nil }

func TestWhoeverIsUpToDateHasHeardOfEveryChangeBefore(t *testing.T) {
	for name, start := range map[string]func(*testing.T) Options{
		"on one server, as an ACL user with no more rights than documented": func(t *testing.T) Options {
			s := redistest.Start(t, "user default off", aclUser(aclBasic+aclAnnounced))
			return Options{Addresses: []string{s.Addr}, Username: "gate", Password: "secret"}
		},
		"with TLS": func(t *testing.T) Options {
			s := redistest.StartTLS(t)
			return Options{Addresses: []string{s.Addr}, TLS: s.TLS}
		},
		"behind a Sentinel": func(t *testing.T) Options {
			s := redistest.StartSentinel(t)
			return Options{Addresses: []string{s.Addr}, MasterName: s.MasterName}
		},
		"in a Cluster, as an ACL user with no more rights than documented": func(t *testing.T) Options {
			nodes := redistest.StartCluster(t, aclUser(aclBasic+aclAnnounced+" +ping +cluster|slots"))
			return Options{Addresses: []string{nodes[0].Addr}, Cluster: true, Username: "gate", Password: "secret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := announcing(start(t))
			here, there := open(t, opts), open(t, opts)
			l := follow(t, here)
			update := func([]byte) ([]byte, time.Duration, error) { return []byte("w"), time.Minute, nil }
			for i := range 20 {
				updated, deleted, removed := fmt.Sprint("watched/u", i), fmt.Sprint("watched/d", i), fmt.Sprint("watched/r", i)
				for _, key := range []string{updated, deleted, removed} {
					if err := there.Put(t.Context(), key, []byte("v"), time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				for _, err := range []error{
					there.Update(t.Context(), updated, update), there.Update(t.Context(), removed, remove), there.Delete(t.Context(), deleted, "unwatched"),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				l.upToNow(t)
				l.mu.Lock()
				for _, key := range []string{updated, deleted, removed} {
					if l.heard[key] == 0 {
						t.Errorf("up to date, and nothing was heard of %s", key)
					}
				}
				if len(l.heard) != 3*(i+1) {
					t.Errorf("heard of %v, want the changes alone", l.heard)
				}
				l.mu.Unlock()
			}
			if l.missed != 0 {
				t.Errorf("changes were missed %d times", l.missed)
			}
		})
	}
}

func TestWithoutRedisNobodyIsUpToDateAndAfterwardsByItself(t *testing.T) {
	server := redistest.Start(t)
	l := follow(t, open(t, announcing(Options{Addresses: []string{server.Addr}})))
	server.Stop()
	l.wait(t, "told that changes may have been missed", func() bool { return l.missed > 0 && l.upTo.IsZero() })
	server.Restart()
	l.upToNow(t)
}

func TestWhileRedisHangsNobodyIsUpToDate(t *testing.T) {
	server := redistest.Start(t)
	l := follow(t, open(t, announcing(Options{Addresses: []string{server.Addr}})))
	server.Pause()
	paused := time.Now()
	l.wait(t, "told that changes may have been missed", func() bool { return l.missed > 0 })
	l.mu.Lock()
	if l.upTo.After(paused) {
		t.Error("up to date past the moment at which Redis stopped")
	}
	l.mu.Unlock()
	server.Resume()
	l.upToNow(t)
}

func TestASubscriptionThatIsCutOffHasMissedSomething(t *testing.T) {
	server := redistest.Start(t)
	l := follow(t, open(t, announcing(Options{Addresses: []string{server.Addr}})))
	for round := 1; round <= 3; round++ {
		if err := directly(t, server.Addr, "client", "kill", "type", "pubsub"); err != nil {
			t.Fatal(err)
		}
		l.wait(t, "told that changes may have been missed", func() bool { return l.missed >= round })
		l.upToNow(t)
	}
}

func TestAfterAFailoverTheNewMasterIsHeard(t *testing.T) {
	s := redistest.StartSentinel(t)
	opts := announcing(Options{Addresses: []string{s.Addr}, MasterName: s.MasterName})
	here, there := open(t, opts), open(t, opts)
	l := follow(t, here)
	s.Master.Pause() // its connections stay open
	l.wait(t, "told that changes may have been missed", func() bool { return l.missed > 0 })
	l.upToNow(t)
	s.Master.Resume() // it does not know yet that it was replaced
	if err := there.Delete(t.Context(), "watched/x"); err != nil {
		t.Fatal(err)
	}
	l.upToNow(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard["watched/x"] == 0 {
		t.Error("up to date, and nothing was heard of a change on the new master")
	}
}

func TestAServerThatHasLostTheWitnessIsFoundOut(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, announcing(Options{Addresses: []string{server.Addr}}))
	l := follow(t, s)
	if err := s.Put(t.Context(), "watched/w", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.witness = "watched/w"
	l.mu.Unlock()
	l.upToNow(t)
	l.upToNow(t)
	l.mu.Lock()
	if len(l.vanished) != 0 {
		t.Error("what stands there has vanished")
	}
	l.mu.Unlock()
	if err := directly(t, server.Addr, "flushall"); err != nil {
		t.Fatal(err)
	}
	l.wait(t, "told that the witness has vanished", func() bool { return len(l.vanished) > 0 && l.vanished[0] == "watched/w" })
}

func TestAUserWhoMayNotAnnounceIsToldSoAtTheStart(t *testing.T) {
	for _, rights := range []string{"", " +publish +subscribe", " +publish &sallyport:*", " +subscribe &sallyport:*"} {
		server := redistest.Start(t, "user default off", aclUser(aclBasic+rights))
		_, err := Open(t.Context(), announcing(Options{Addresses: []string{server.Addr}, Username: "gate", Password: "secret"}))
		if err == nil || !strings.Contains(err.Error(), "the ACL user may not do all that is needed") {
			t.Errorf("with%s: %v", rights, err)
		}
	}
}

func TestWhatOthersSayOnTheChannelDoesNoHarm(t *testing.T) {
	server := redistest.Start(t)
	l := follow(t, open(t, announcing(Options{Addresses: []string{server.Addr}})))
	for _, said := range []string{"", "x", "sallyport:", strings.Repeat("y", 1<<20), "\r\n"} {
		if err := directly(t, server.Addr, "publish", "sallyport:changed", said); err != nil {
			t.Fatal(err)
		}
	}
	l.upToNow(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missed != 0 || l.heard["x"] != 1 {
		t.Errorf("missed %d times, heard %d different things", l.missed, len(l.heard))
	}
}
