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
	gateways := make([]*gateway, slices.Max(replicaCounts))
	for i := range gateways {
		// Each has a machine of its own in earnest, and one processor here: those of several on two would spin against
		// one another while they look for work.
		if gateways[i], err = b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), redis: []string{r.address}, processors: 1}); err != nil {
			return nil, err
		}
	}
	fronts, err := b.startHAProxy(gateways)
	if err != nil {
		return nil, err
	}
	cpu, commands := map[int][]float64{}, map[int][]float64{}
	l := load{connections: 32, path: small, cookies: cookies, seconds: 2}
	if _, err := b.wrk(fronts[slices.Max(replicaCounts)], l); err != nil {
		return nil, err
	}
	l.seconds = b.slices(3)
	for _, n := range []int{1, 2, 4, 4, 2, 1} { // a drift of the machine falls on all alike
		cost, asked, err := b.costOf(gateways[:n], r, fronts[n], l)
		if err != nil {
			return nil, err
		}
		cpu[n], commands[n] = append(cpu[n], cost), append(commands[n], asked)
	}
	return replicaRows(cpu, commands), nil
}

// costOf returns the seconds of CPU of 1,000 requests, and the store commands of one.
func (b *bench) costOf(gateways []*gateway, r *redis, front string, l load) (cpu, commands float64, err error) {
	used := func() (sum time.Duration, err error) {
		for _, g := range gateways {
			t, err := g.cpu()
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
		float64(after.since(before).sent()) / float64(res.requests), errors.Join(errAfter, errUsed)
}

func replicaRows(cpu, commands map[int][]float64) []row {
	var rows []row
	for _, n := range replicaCounts {
		ratio := median(cpu[n]) / median(cpu[1])
		r := row{plural(n, "gateway") + " behind HAProxy: CPU of all of them, and store commands", fmt.Sprintf(
			"%.3f s for 1,000 requests, %.2f times that of one; %.4f store commands a request", median(cpu[n]), ratio, median(commands[n])), "", none}
		if n == slices.Max(replicaCounts) {
			fewCommands := median(commands[n]) < 0.01 || atMost(median(commands[n])/median(commands[1]), 1.1)
			r.limit, r.verdict = "1.1 times one; commands too, or under 0.01", judge(atMost(ratio, 1.1) && fewCommands)
		}
		rows = append(rows, r)
	}
	return rows
}

// startHAProxy runs HAProxy with a port for each number of replicas, and returns their addresses.
func (b *bench) startHAProxy(gateways []*gateway) (map[int]string, error) {
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
		for i, g := range gateways[:n] {
			fmt.Fprintf(&conf, "\tserver g%d %s\n", i, g.address)
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
