package redisstore

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
	"sallyport/authflow/store/redistest"
	"sallyport/authflow/store/storetest"
)

// aclUser is what the comment on [Options.Username] promises to be enough, and nothing besides.
const (
	aclKeys  = "~sallyport:*"
	aclBasic = "+get +set +del +eval +evalsha +incrby +pexpire +pttl +role +wait"
)

func aclUser(commands string) string {
	return fmt.Sprintf("user gate on >secret %s %s", aclKeys, commands)
}

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestKeepsTheContract(t *testing.T) {
	for name, start := range map[string]func(*testing.T) Options{
		"on one server": func(t *testing.T) Options {
			return Options{Addresses: []string{redistest.Start(t).Addr}}
		},
		"in another database": func(t *testing.T) Options {
			return Options{Addresses: []string{redistest.Start(t).Addr}, DB: 3}
		},
		"as an ACL user with no more rights than documented": func(t *testing.T) Options {
			s := redistest.Start(t, "user default off", aclUser(aclBasic))
			return Options{Addresses: []string{s.Addr}, Username: "gate", Password: "secret"}
		},
		"with TLS and a client certificate": func(t *testing.T) Options {
			s := redistest.StartTLS(t)
			return Options{Addresses: []string{s.Addr}, TLS: s.TLS}
		},
		"behind a Sentinel": func(t *testing.T) Options {
			s := redistest.StartSentinel(t)
			return Options{Addresses: []string{s.Addr}, MasterName: s.MasterName}
		},
		"in a Cluster, as an ACL user with no more rights than documented": func(t *testing.T) Options {
			nodes := redistest.StartCluster(t, aclUser(aclBasic+" +ping +cluster|slots"))
			return Options{Addresses: []string{nodes[0].Addr}, Cluster: true, Username: "gate", Password: "secret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := start(t)
			opts.KeyPrefix = "sallyport:"
			storetest.Run(t, func(t *testing.T) store.KV { return open(t, opts) })
			storetest.RunShared(t, func(t *testing.T) (a, b store.KV) { return open(t, opts), open(t, opts) })
		})
	}
}

// directly sends a command to the server, past the store.
func directly(t *testing.T, addr string, args ...any) error {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
	defer c.Close()
	return c.Do(t.Context(), args...).Err()
}
