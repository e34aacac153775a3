package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
	"sallyport/authflow/store/redistest"
)

// direct is a client of one server, past the store.
func direct(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, ReadTimeout: bounded})
	t.Cleanup(func() { c.Close() })
	return c
}

// becomes is a change that writes the value, whatever was there.
func becomes(value string) store.Change {
	return func([]byte) ([]byte, time.Duration, error) { return []byte(value), time.Minute, nil }
}

// replicated starts a master with a replica that is in step, and a store on it.
func replicated(t testing.TB) (master, replica *redistest.Server, s *Store) {
	t.Helper()
	master = redistest.Start(t, redistest.Replicated)
	replica = redistest.StartReplica(t, master)
	return master, replica, open(t, Options{Addresses: []string{master.Addr}})
}

func TestWhatIsKeptIsOnTheReplicaWhenItIsDone(t *testing.T) {
	_, replica, s := replicated(t)
	there := direct(t, replica.Addr)
	for i := range 300 {
		value := fmt.Sprint(i)
		if err := s.Update(t.Context(), "k", becomes(value)); err != nil {
			t.Fatal(err)
		}
		if got, err := there.Get(t.Context(), "k").Result(); err != nil || got != valueTag+value {
			t.Fatalf("round %d: after Update the replica has %q, %v", i, got, err)
		}
		if err := s.Delete(t.Context(), "other", "k"); err != nil {
			t.Fatal(err)
		}
		if n, err := there.Exists(t.Context(), "k").Result(); err != nil || n != 0 {
			t.Fatalf("round %d: after Delete the replica still has it: %v", i, err)
		}
	}
}

func wantUnconfirmed(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrUnconfirmed) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: %v; want store.ErrUnconfirmed and store.ErrUnavailable", what, err)
	}
}

func TestAWriteThatNoReplicaAcknowledgesStandsAndIsNotSafe(t *testing.T) {
	master, replica, s := replicated(t)
	ctx, on := t.Context(), direct(t, master.Addr)
	for _, key := range []string{"a", "b", "c", "u"} {
		if err := s.Put(ctx, key, []byte("old"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	replica.Pause()
	wantUnconfirmed(t, "Update", s.Update(ctx, "u", becomes("new")))
	if got, err := s.Get(ctx, "u"); err != nil || string(got) != "new" {
		t.Errorf("after Update the master has %q, %v", got, err)
	}
	wantUnconfirmed(t, "Delete", s.Delete(ctx, "a", "b", "c"))
	if n, err := on.Exists(ctx, "a", "b", "c").Result(); err != nil || n != 0 {
		t.Errorf("after Delete the master still has %d of 3 keys, %v", n, err)
	}
	wantUnconfirmed(t, "Delete of what is gone", s.Delete(ctx, "a", "b", "c"))

	refusal := errors.New("no")
	if err := s.Update(ctx, "u", func([]byte) ([]byte, time.Duration, error) { return nil, 0, refusal }); err != refusal {
		t.Errorf("an Update that writes nothing: %v", err)
	}
	if err := s.Put(ctx, "p", []byte("v"), time.Minute); err != nil {
		t.Errorf("Put: %v", err)
	}
	if _, _, err := s.Count(ctx, "c", 1, time.Minute); err != nil {
		t.Errorf("Count: %v", err)
	}
	replica.Resume()
	wantBack(t, s)
	if err := s.Delete(ctx, "a", "b", "c"); err != nil {
		t.Errorf("Delete once more: %v", err)
	}
}

func TestAMasterWithoutAReplicaIsNotWaitedFor(t *testing.T) {
	_, replica, s := replicated(t)
	replica.Stop()
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		err := s.Update(t.Context(), "k", becomes("v"))
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnconfirmed) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// writeUntilLost lets eight goroutines put and update keys of their own until a write fails, and kills the master after
// so many rounds. It returns the keys whose writes were reported as done.
func writeUntilLost(t *testing.T, s *Store, master *redistest.Server, rounds int64) (put, updated []string) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	var done atomic.Int64
	enough := make(chan struct{})
	stop := sync.OnceFunc(func() { close(enough) })
	for w := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d/%d", w, n)
				updating, putting := s.Update(t.Context(), "u"+key, becomes("v")), s.Put(t.Context(), "p"+key, []byte("v"), time.Hour)
				mu.Lock()
				if updating == nil {
					updated = append(updated, "u"+key)
				}
				if putting == nil {
					put = append(put, "p"+key)
				}
				mu.Unlock()
				lost := updating != nil || putting != nil
				if done.Add(1) == rounds || lost {
					stop()
				}
				if lost {
					return
				}
			}
		})
	}
	<-enough
	master.Stop()
	all.Wait()
	return put, updated
}

func TestUnderLoadAFailoverLosesNothingThatIsKept(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	s := open(t, Options{Addresses: []string{sentinel.Addr}, MasterName: sentinel.MasterName})
	put, updated := writeUntilLost(t, s, sentinel.Master, 500)
	if len(updated) < 400 {
		t.Fatalf("%d updates were done before the master was killed, want 500 or nearly", len(updated))
	}
	wantBack(t, s)
	lost := func(keys []string) (n int) {
		for _, key := range keys {
			if _, err := s.Get(t.Context(), key); errors.Is(err, store.ErrNotFound) {
				n++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := lost(updated); n > 0 {
		t.Errorf("%d of %d updates that were reported as done are lost", n, len(updated))
	}
	t.Logf("kept: none of %d lost; put and not waited for: %d of %d lost", len(updated), lost(put), len(put))
}

func TestInAClusterTheReplicaOfTheKeysOwnMasterIsWaitedFor(t *testing.T) {
	nodes := redistest.StartCluster(t)
	replica := redistest.StartClusterReplica(t, nodes[0])
	s := open(t, Options{Cluster: true, Addresses: []string{nodes[1].Addr}})
	near, far := keyOf(t, nodes[0], 0, 16384/3), keyOf(t, nodes[0], 2*16384/3+1, 16384)
	replica.Pause()
	wantUnconfirmed(t, "a key of the master whose replica hangs", s.Update(t.Context(), near, becomes("v")))
	if err := s.Update(t.Context(), far, becomes("v")); err != nil {
		t.Errorf("a key of another master: %v", err)
	}

	// The far key's slot is on its way to the first master, so that a new key there is asked for with ASKING.
	slot := direct(t, nodes[0].Addr).ClusterKeySlot(t.Context(), far).Val()
	if err := s.Delete(t.Context(), far); err != nil {
		t.Fatal(err)
	}
	id := func(node *redistest.Server) string {
		return direct(t, node.Addr).Do(t.Context(), "cluster", "myid").Val().(string)
	}
	for _, c := range []struct {
		node *redistest.Server
		args []any
	}{{nodes[0], []any{"importing", id(nodes[2])}}, {nodes[2], []any{"migrating", id(nodes[0])}}} {
		if err := directly(t, c.node.Addr, append([]any{"cluster", "setslot", slot}, c.args...)...); err != nil {
			t.Fatal(err)
		}
	}
	wantUnconfirmed(t, "a key that is asked for elsewhere", s.Update(t.Context(), far, becomes("v")))
	replica.Resume()
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		err := errors.Join(s.Update(t.Context(), near, becomes("w")), s.Update(t.Context(), far, becomes("w")))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// keyOf returns a key whose slot is from low up to high.
func keyOf(t *testing.T, node *redistest.Server, low, high int64) string {
	t.Helper()
	c := direct(t, node.Addr)
	for i := range 1000 {
		key := fmt.Sprint("k", i)
		if slot, err := c.ClusterKeySlot(t.Context(), key).Result(); err != nil {
			t.Fatal(err)
		} else if slot >= low && slot < high {
			return key
		}
	}
	t.Fatalf("no key of 1000 has a slot from %d to %d", low, high)
	return ""
}

func TestReplicasThatHaveAcknowledgedNothingDoNotCount(t *testing.T) {
	replica := func(offset string) any { return []any{"127.0.0.1", "6380", offset} }
	for name, c := range map[string]struct {
		role  any
		count int
		fails bool
	}{
		"alone":             {[]any{"master", int64(0), []any{}}, 0, false},
		"two in step":       {[]any{"master", int64(9), []any{replica("9"), replica("3")}}, 2, false},
		"one being filled":  {[]any{"master", int64(9), []any{replica("0")}}, 0, false},
		"a replica":         {[]any{"slave", "127.0.0.1", int64(6379), "connected", int64(9)}, 0, true},
		"nothing":           {nil, 0, true},
		"no list":           {[]any{"master", int64(9), "none"}, 0, true},
		"a strange replica": {[]any{"master", int64(9), []any{"127.0.0.1:6380"}}, 0, true},
	} {
		if count, err := replicasOf(c.role); count != c.count || (err != nil) != c.fails {
			t.Errorf("%s: %d, %v", name, count, err)
		}
	}
}

// BenchmarkUpdate says what waiting for a replica costs.
func BenchmarkUpdate(b *testing.B) {
	alone := redistest.Start(b)
	_, _, waiting := replicated(b)
	for name, s := range map[string]*Store{
		"no replica": open(b, Options{Addresses: []string{alone.Addr}}), "a replica": waiting,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := s.Update(context.Background(), "k", becomes("v")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
