package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
	"sallyport/authflow/store/redistest"
)

const (
	// bounded is far above the 2 seconds that a method may take, so that a busy machine does not fail a test,
	// and far below what a missing bound would give (go-redis's own defaults, or for ever).
	bounded = 10 * time.Second
	settle  = 30 * time.Second
)

// everyMethod calls each method once, side by side, and returns their errors.
func everyMethod(t *testing.T, s *Store) map[string]error {
	t.Helper()
	ctx := t.Context()
	put := func([]byte) ([]byte, time.Duration, error) { return []byte("v"), time.Minute, nil }
	calls := map[string]func() error{
		"Get":    func() error { _, err := s.Get(ctx, "there"); return err },
		"Put":    func() error { return s.Put(ctx, "there", []byte("v"), time.Minute) },
		"Delete": func() error { return s.Delete(ctx, "elsewhere") },
		"Update": func() error { return s.Update(ctx, "updated", put) },
		"Renew": func() error {
			_, err := s.Renew(ctx, []store.Renewal{{Key: "there", Head: []byte("v"), TTL: time.Minute}, {Key: "elsewhere", TTL: time.Minute}})
			return err
		},
		"Count": func() error { _, _, err := s.Count(ctx, "counted", 1, time.Minute); return err },
		"Ping":  func() error { return s.Ping(ctx) },
		"Check": func() error { _, err := s.Check(ctx); return err },
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[string]error{}
	for name, call := range calls {
		wg.Go(func() {
			err := call()
			mu.Lock()
			errs[name] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	return errs
}

func wantAllUnavailable(t *testing.T, s *Store) {
	t.Helper()
	began := time.Now()
	for name, err := range everyMethod(t, s) {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v; want store.ErrUnavailable", name, err)
		}
	}
	if took := time.Since(began); took > bounded {
		t.Errorf("took %v", took)
	}
}

func wantBack(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(settle); ; time.Sleep(50 * time.Millisecond) {
		err := s.Put(t.Context(), "there", []byte("v"), time.Minute)
		if err == nil {
			var all []error
			for name, err := range everyMethod(t, s) {
				if err != nil {
					all = append(all, fmt.Errorf("%s: %w", name, err))
				}
			}
			err = errors.Join(all...)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not back within %v: %v", settle, err)
		}
	}
}

func TestWithRedisGoneEveryMethodIsUnavailableInTimeAndBackByItself(t *testing.T) {
	type fault struct{ begin, end func() }
	for name, start := range map[string]func(t *testing.T) (Options, []*redistest.Server){
		"one server": func(t *testing.T) (Options, []*redistest.Server) {
			s := redistest.Start(t)
			return Options{Addresses: []string{s.Addr}}, []*redistest.Server{s}
		},
		"TLS": func(t *testing.T) (Options, []*redistest.Server) {
			s := redistest.StartTLS(t)
			return Options{Addresses: []string{s.Addr}, TLS: s.TLS}, []*redistest.Server{s}
		},
		"Cluster": func(t *testing.T) (Options, []*redistest.Server) {
			nodes := redistest.StartCluster(t)
			return Options{Addresses: []string{nodes[0].Addr, nodes[1].Addr, nodes[2].Addr}}, nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts, servers := start(t)
			s := open(t, opts)
			each := func(do func(*redistest.Server)) func() {
				return func() {
					for _, server := range servers {
						do(server)
					}
				}
			}
			wantBack(t, s)
			for _, f := range []fault{
				{each((*redistest.Server).Pause), each((*redistest.Server).Resume)},
				{each((*redistest.Server).Stop), each((*redistest.Server).Restart)},
			} {
				f.begin()
				wantAllUnavailable(t, s)
				f.end()
				wantBack(t, s)
			}
		})
	}
}

func TestNoCallFailsOverAConnectionThatARestartHasClosed(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{"plain": redistest.Start, "TLS": redistest.StartTLS} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s := open(t, Options{Addresses: []string{server.Addr}, TLS: server.TLS})
			for range 5 { // fills the pool
				for method, err := range everyMethod(t, s) {
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Fatalf("%s: %v", method, err)
					}
				}
			}
			server.Restart()
			for i := range 20 {
				if _, _, err := s.Count(t.Context(), "k", 1, time.Minute); err != nil {
					t.Fatalf("call %d: %v", i+1, err)
				}
			}
		})
	}
}

func TestAFailoverIsFollowed(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	s := open(t, Options{Addresses: []string{sentinel.Addr}, MasterName: sentinel.MasterName})
	wantBack(t, s)
	sentinel.Master.Stop()
	wantBack(t, s)
	c := redis.NewClient(&redis.Options{Addr: sentinel.Replica.Addr})
	defer c.Close()
	if n, err := c.Exists(t.Context(), "there").Result(); err != nil || n != 1 {
		t.Errorf("the replica does not hold what was written after the failover: %d, %v", n, err)
	}
}

func TestSentinelsThatForgotTheMasterAreNoMissingKey(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	s := open(t, Options{Addresses: []string{sentinel.Addr}, MasterName: sentinel.MasterName})
	wantBack(t, s)
	c := redis.NewClient(&redis.Options{Addr: sentinel.Addr, Protocol: 2})
	defer c.Close()
	if err := c.Do(t.Context(), "sentinel", "remove", sentinel.MasterName).Err(); err != nil {
		t.Fatal(err)
	}
	sentinel.Master.Restart() // so that the client must ask where the master is
	wantAllUnavailable(t, s)
}

func TestAServerThatRefusesWritesIsUnavailable(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, Options{Addresses: []string{server.Addr}})
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer admin.Close()
	for name, c := range map[string]struct{ begin, end []any }{
		"a replica":   {[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		"full memory": {[]any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantBack(t, s)
			if err := admin.Do(t.Context(), c.begin...).Err(); err != nil {
				t.Fatal(err)
			}
			errs := everyMethod(t, s)
			for _, method := range []string{"Put", "Update", "Count", "Ping"} {
				if !errors.Is(errs[method], store.ErrUnavailable) {
					t.Errorf("%s: %v; want store.ErrUnavailable", method, errs[method])
				}
			}
			if err := admin.Do(t.Context(), c.end...).Err(); err != nil {
				t.Fatal(err)
			}
			wantBack(t, s)
		})
	}
}

func TestScriptsThatTheServerForgotAreSentAgain(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, Options{Addresses: []string{server.Addr}})
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer admin.Close()
	for want := int64(1); want <= 3; want++ {
		if err := admin.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if sum, _, err := s.Count(t.Context(), "k", 1, time.Minute); err != nil || sum != want {
			t.Fatalf("%d, %v; want %d", sum, err, want)
		}
	}
}

func TestACommandWhoseReplyWasLostIsNotSentAgain(t *testing.T) {
	ctx := t.Context()
	for name, start := range map[string]func(t *testing.T) (opts Options, direct string, proxy *lossyProxy){
		"one server": func(t *testing.T) (Options, string, *lossyProxy) {
			server := redistest.Start(t)
			proxy := newLossyProxy(t, server.Addr)
			return Options{Addresses: []string{proxy.addr}}, server.Addr, proxy
		},
		"Cluster": func(t *testing.T) (Options, string, *lossyProxy) {
			nodes := redistest.StartCluster(t)
			proxy := newLossyProxy(t, nodes[0].Addr)
			announce(t, nodes, proxy.addr)
			return Options{Addresses: []string{proxy.addr}, Cluster: true}, nodes[0].Addr, proxy
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts, direct, proxy := start(t)
			s := open(t, opts)
			admin := redis.NewClient(&redis.Options{Addr: direct})
			defer admin.Close()
			// In the Cluster the first node holds the lower third of the slots.
			key := ""
			for i := range 100 {
				key = fmt.Sprint("k", i)
				if slot, err := admin.ClusterKeySlot(ctx, key).Result(); err != nil || slot < 16384/3 {
					break
				}
			}
			if _, _, err := s.Count(ctx, key, 5, time.Minute); err != nil {
				t.Fatal(err)
			}
			proxy.lose.Store(1)
			if _, _, err := s.Count(ctx, key, -1, time.Minute); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("reply lost: %v; want store.ErrUnavailable", err)
			}
			if proxy.lose.Load() != 0 {
				t.Fatal("the call did not go through the proxy")
			}
			if sum, err := admin.Get(ctx, key).Result(); err != nil || sum != "4" {
				t.Errorf("the counter stands at %s, %v; want 5 less 1", sum, err)
			}
		})
	}
}

// announce lets the whole Cluster send clients to addr where they look for its first node.
func announce(t *testing.T, nodes []*redistest.Server, addr string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	if err := directly(t, nodes[0].Addr, "config", "set", "cluster-announce-port", port); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		c := redis.NewClient(&redis.Options{Addr: node.Addr, Protocol: 2})
		defer c.Close()
		for deadline := time.Now().Add(settle); ; time.Sleep(50 * time.Millisecond) {
			slots, err := c.Do(t.Context(), "cluster", "slots").Result()
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s does not know the new address: %v, %v", node.Addr, slots, err)
			}
			if strings.Contains(fmt.Sprint(slots), " "+port+" ") {
				break
			}
		}
	}
}

// lossyProxy passes bytes on between client and server. While lose is above 0, it swallows what the server
// says next and closes the connection.
type lossyProxy struct {
	addr string
	lose atomic.Int32
}

func newLossyProxy(t *testing.T, target string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{addr: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(ctx, client, target) })
		}
	})
	return p
}

func (p *lossyProxy) serve(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer stop()
	go func() { // ends when either connection is closed, which the other direction sees to
		io.Copy(server, client)
		server.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || p.lose.Load() > 0 && p.lose.Add(-1) >= 0 {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
