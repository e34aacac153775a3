package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// replicas measures group 5.
func (b *bench) replicas() ([]row, error) {
	rows, err := b.behindHAProxy()
	if err != nil {
		return rows, err
	}
	b.stopAll()
	more, err := b.cluster()
	return append(rows, more...), err
}

var replicaCounts = []int{1, 2, 4}

// behindHAProxy measures what a request costs with one, two and four gateways on one Redis.
func (b *bench) behindHAProxy() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	r, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	cookies := filepath.Join(b.memory, "replica-cookies")
	err = b.plant(seed{Redis: []string{r.address}, Users: b.users.path, Sessions: 1000, Each: 1, Life: 12 * time.Hour, Cookies: cookies})
	if err != nil {
		return nil, err
	}
	ours, bare := make([]replica, slices.Max(replicaCounts)), make([]replica, slices.Max(replicaCounts))
	for i := range ours {
		g, err := b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), redis: []string{r.address}})
		if err != nil {
			return nil, err
		}
		ours[i] = replica{g.process, g.address}
		if bare[i], err = b.bareReplica(web.url, "tuned"); err != nil {
			return nil, err
		}
	}
	l := load{connections: 32, path: small, cookies: cookies, seconds: 1}
	costs, commands, err := b.costs(r, l, ours, bare)
	if err != nil {
		return nil, err
	}
	return replicaRows(costs, commands), nil
}

// replica is one of several processes that do the same.
type replica struct {
	*process
	address string
}

// costs measures the gateways, and the bare proxies beside them, in numbers that rise and fall: a drift of the machine falls
// on all alike. It returns the seconds of CPU of 1,000 requests by kind and number, and the gateways' store commands of one.
func (b *bench) costs(r *redis, l load, kinds ...[]replica) (costs [2]map[int][]float64, commands map[int][]float64, err error) {
	commands = map[int][]float64{}
	fronts := make([]map[int]string, len(kinds))
	for i, all := range kinds {
		costs[i] = map[int][]float64{}
		if fronts[i], err = b.startHAProxy(all); err == nil {
			_, err = b.wrk(fronts[i][slices.Max(replicaCounts)], l)
		}
		if err != nil {
			return costs, nil, err
		}
	}
	for _, n := range slices.Repeat([]int{1, 2, 4, 4, 2, 1}, 2) {
		for i, all := range kinds {
			cost, asked, err := b.costOf(all[:n], r, fronts[i][n], l)
			if err != nil {
				return costs, nil, err
			}
			costs[i][n] = append(costs[i][n], cost)
			if i == 0 {
				commands[n] = append(commands[n], asked)
			}
		}
	}
	return costs, commands, nil
}

// costOf returns the seconds of CPU of 1,000 requests, and the store commands of one.
func (b *bench) costOf(replicas []replica, r *redis, front string, l load) (cpu, commands float64, err error) {
	used := func() (sum time.Duration, err error) {
		for _, p := range replicas {
			t, err := p.cpu()
			if err != nil {
				return 0, err
			}
			sum += t
		}
		return sum, nil
	}
	cpuBefore, err := used()
	if err != nil {
		return 0, 0, err
	}
	before, err := r.commands()
	if err != nil {
		return 0, 0, err
	}
	res, err := b.wrk(front, l)
	if err != nil {
		return 0, 0, err
	}
	after, errAfter := r.commands()
	cpuAfter, errUsed := used()
	return (cpuAfter - cpuBefore).Seconds() / float64(res.requests) * 1000,
		float64(after.since(before).sentForRequests()) / float64(res.requests), errors.Join(errAfter, errUsed)
}

// replicaRows holds what a request costs against what it costs with as many bare proxies: more processes on the same two
// cores wait and wake more often, whatever they do.
func replicaRows(costs [2]map[int][]float64, commands map[int][]float64) []row {
	var rows []row
	for _, n := range replicaCounts {
		ours, bare := median(costs[0][n]), median(costs[1][n])
		fewCommands := median(commands[n]) < 0.01 || atMost(median(commands[n])/median(commands[1]), 1.1)
		rows = append(rows, row{
			plural(n, "gateway") + " behind HAProxy: CPU of all of them for 1,000 requests beside as many bare proxies', and store commands",
			fmt.Sprintf("%.2f times, %.3f s of %.3f s; %.4f store commands a request beside the beats", ours/bare, ours, bare, median(commands[n])),
			"1.1 times; as many commands as with one, or under 0.01", judge(atMost(ours/bare, 1.1) && fewCommands),
		})
	}
	return rows
}

// startHAProxy runs HAProxy with a port for each number of replicas, and returns their addresses.
func (b *bench) startHAProxy(replicas []replica) (map[int]string, error) {
	var conf strings.Builder
	conf.WriteString("global\n\tmaxconn 4096\ndefaults\n\tmode http\n\toption http-keep-alive\n\thttp-reuse always\n" +
		"\ttimeout connect 5s\n\ttimeout client 60s\n\ttimeout server 60s\n")
	fronts := map[int]string{}
	for _, n := range replicaCounts {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		fronts[n] = address
		fmt.Fprintf(&conf, "listen replicas%d\n\tbind %s\n\tbalance roundrobin\n", n, address)
		for i, r := range replicas[:n] {
			fmt.Fprintf(&conf, "\tserver r%d %s\n", i, r.address)
		}
	}
	path := filepath.Join(b.dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		return nil, err
	}
	p, err := b.start(b.dir, "haproxy", "-db", "-f", path)
	if err != nil {
		return nil, err
	}
	for _, address := range fronts {
		if err := p.listens(address); err != nil {
			return nil, err
		}
	}
	return fronts, nil
}

// cluster looks at how the keys of many sessions spread over the masters of a Redis Cluster.
func (b *bench) cluster() ([]row, error) {
	const masters, slots, sessions = 3, 16384, 30_000
	nodes := make([]*redis, masters)
	var addresses []string
	for i := range nodes {
		var err error
		if nodes[i], err = b.startRedis("--cluster-enabled", "yes", "--cluster-config-file", fmt.Sprintf("nodes-%d.conf", i)); err != nil {
			return nil, err
		}
		addresses = append(addresses, nodes[i].address)
	}
	host, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, err
	}
	for i, node := range nodes {
		if _, err := node.do("cluster", "addslotsrange", fmt.Sprint(slots*i/masters), fmt.Sprint(slots*(i+1)/masters-1)); err != nil {
			return nil, err
		}
		if i > 0 {
			if _, err := node.do("cluster", "meet", host, port); err != nil {
				return nil, err
			}
		}
	}
	for _, node := range nodes {
		err := node.until("the cluster is whole", 20*time.Millisecond, func() bool {
			info, err := node.do("cluster", "info")
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters))
		})
		if err != nil {
			return nil, err
		}
	}
	if err := b.plant(seed{Redis: addresses, Cluster: true, Crowd: "cluster", Sessions: sessions, Each: eachHas, Life: time.Hour}); err != nil {
		return nil, err
	}
	keys := make([]int64, masters)
	for i, node := range nodes {
		if keys[i], err = node.number("dbsize"); err != nil {
			return nil, err
		}
	}
	spread := float64(slices.Max(keys)) / float64(slices.Min(keys))
	return []row{{fmt.Sprintf("keys of the fullest of %d cluster masters beside the emptiest, %d sessions", masters, sessions),
		fmt.Sprintf("%.3f times, %v", spread, keys), "under 1.1", judge(spread < 1.1)}}, nil
}
