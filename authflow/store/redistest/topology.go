package redistest

import (
	"context"
	"fmt"
	"net"
	"slices"
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
	master := Start(t, Replicated)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := StartReplica(t, master)
	sentinel := start(t, nil, []string{"--sentinel"}, []string{
		"port %port",
		fmt.Sprintf("sentinel monitor %s %s %s 1", name, host, port),
		fmt.Sprintf("sentinel down-after-milliseconds %s 500", name),
		fmt.Sprintf("sentinel failover-timeout %s 2000", name),
	})
	until(t, sentinel.Addr, "the Sentinel knows the replica", func(ctx context.Context, c *redis.Client) (bool, error) {
		info, err := c.Info(ctx, "sentinel").Result()
		return strings.Contains(info, "status=ok") && strings.Contains(info, "slaves=1"), err
	})
	return &Sentinel{Server: sentinel, MasterName: name, Master: master, Replica: replica}
}

// Replicated is a line of redis.conf for a master that is to get a replica: by default it waits 5 s for more of them.
const Replicated = "repl-diskless-sync-delay 0"

// StartReplica runs a replica of the master with these further lines of redis.conf, and returns when it is in step.
func StartReplica(t testing.TB, master *Server, conf ...string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := Start(t, append(conf, fmt.Sprintf("replicaof %s %s", host, port))...)
	untilInStep(t, master)
	return replica
}

// StartClusterReplica runs a replica of one master of a Cluster, and returns when it is in step.
func StartClusterReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	var id string
	until(t, master.Addr, "the master knows its name", func(ctx context.Context, c *redis.Client) (bool, error) {
		name, err := c.Do(ctx, "cluster", "myid").Text()
		id = name
		return true, err
	})
	replica := Start(t, clusterNode...)
	until(t, replica.Addr, "the replica meets its master", func(ctx context.Context, c *redis.Client) (bool, error) {
		return true, c.ClusterMeet(ctx, host, port).Err()
	})
	until(t, replica.Addr, "the replica follows its master", func(ctx context.Context, c *redis.Client) (bool, error) {
		err := c.ClusterReplicate(ctx, id).Err()
		if redis.HasErrorPrefix(err, "Unknown node") { // they have not met yet
			return false, nil
		}
		return true, err
	})
	untilInStep(t, master)
	return replica
}

func untilInStep(t testing.TB, master *Server) {
	t.Helper()
	until(t, master.Addr, "a replica is in step", func(ctx context.Context, c *redis.Client) (bool, error) {
		if err := c.Do(ctx, "wait", 1000, 20).Err(); err != nil { // lets the master ask for acknowledgements
			return false, err
		}
		role, err := c.Do(ctx, "role").Slice() // "master", offset, and of each replica host, port, acknowledged offset
		if err != nil || len(role) != 3 {
			return false, err
		}
		text := fmt.Sprint(role[2])
		return text != "[]" && !strings.Contains(text, " 0]"), nil
	})
}

// clusterNode are the lines of redis.conf that make a server a node of a Cluster.
var clusterNode = []string{"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 5000", Replicated}

// StartCluster runs a Cluster of three masters without replicas, each with these further lines of redis.conf,
// and returns when all of them serve.
func StartCluster(t testing.TB, conf ...string) []*Server {
	t.Helper()
	const slots, size = 16384, 3
	nodes := make([]*Server, size)
	for i := range nodes {
		nodes[i] = Start(t, slices.Concat(clusterNode, conf)...)
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
