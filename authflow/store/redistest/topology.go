package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is one Sentinel that watches a master with one replica, and alone decides on a failover.
type Sentinel struct {
	*Server           // the Sentinel itself
	MasterName string // under which it knows the master
	Master     *Server
	Replica    *Server
}

// StartSentinel runs master, replica and Sentinel, and returns when the replica is in step. A master that
// does not answer for half a second is replaced.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	const name = "sallyport"
	master := Start(t, "repl-diskless-sync-delay 0") // by default it waits 5 s for more replicas
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := Start(t, fmt.Sprintf("replicaof %s %s", host, port))
	sentinel := start(t, nil, []string{"--sentinel"}, []string{
		"port %port",
		fmt.Sprintf("sentinel monitor %s %s %s 1", name, host, port),
		fmt.Sprintf("sentinel down-after-milliseconds %s 500", name),
		fmt.Sprintf("sentinel failover-timeout %s 2000", name),
	})
	until(t, master.Addr, "the replica is in step", func(ctx context.Context, c *redis.Client) (bool, error) {
		info, err := c.Info(ctx, "replication").Result()
		return strings.Contains(info, "state=online"), err
	})
	until(t, sentinel.Addr, "the Sentinel knows the replica", func(ctx context.Context, c *redis.Client) (bool, error) {
		info, err := c.Info(ctx, "sentinel").Result()
		return strings.Contains(info, "status=ok") && strings.Contains(info, "slaves=1"), err
	})
	return &Sentinel{Server: sentinel, MasterName: name, Master: master, Replica: replica}
}

// StartCluster runs a Cluster of three masters without replicas, each with these further lines of redis.conf,
// and returns when all of them serve.
func StartCluster(t testing.TB, conf ...string) []*Server {
	t.Helper()
	const slots, size = 16384, 3
	nodes := make([]*Server, size)
	for i := range nodes {
		nodes[i] = Start(t, append([]string{"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 5000"}, conf...)...)
	}
	for i, node := range nodes {
		host, port, _ := net.SplitHostPort(nodes[0].Addr)
		until(t, node.Addr, "the node has its slots and has met the first", func(ctx context.Context, c *redis.Client) (bool, error) {
			err := c.ClusterAddSlotsRange(ctx, slots*i/size, slots*(i+1)/size-1).Err()
			if err == nil && i > 0 {
				err = c.ClusterMeet(ctx, host, port).Err()
			}
			return true, err
		})
	}
	for _, node := range nodes {
		until(t, node.Addr, "the cluster is whole", func(ctx context.Context, c *redis.Client) (bool, error) {
			info, err := c.ClusterInfo(ctx).Result()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", size)), err
		})
	}
	return nodes
}

// until asks the server again and again whether something has come about; an error ends the test.
func until(t testing.TB, addr, what string, ask func(context.Context, *redis.Client) (bool, error)) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	defer c.Close()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok, err := ask(context.Background(), c); err != nil {
			t.Fatalf("redistest: %s: %s: %v", addr, what, err)
		} else if ok {
			return
		}
	}
	t.Fatalf("redistest: %s: not within %v: %s", addr, startTimeout, what)
}
