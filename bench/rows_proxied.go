package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"
)

// manyDistinct is how many sessions are in play where there are many.
const manyDistinct = 100_000

// cell is one combination of group 1.
type cell struct {
	store       string
	sessions    int
	path        string
	connections int
}

// headline is the cell that stands for all.
func (c cell) headline() bool { return c.connections == 32 && c.path == small }

func (c cell) limit() float64 {
	if c.connections == 32 {
		return 1
	}
	return 0.97
}

// pairs is how many pairs of slices a cell gets: the more, the nearer its limit is to what there is to be seen.
func (c cell) pairs() int {
	switch {
	case c.connections == 32:
		return 6
	case c.path == large:
		return 4
	default:
		return 5
	}
}

func (c cell) label() string {
	n := "1 session"
	if c.sessions > 1 {
		n = "100,000 sessions"
	}
	return fmt.Sprintf("%s, %s, %s, %s", c.store, n, size(c.path), plural(c.connections, "connection"))
}

func size(path string) string {
	if path == small {
		return "1 KiB"
	}
	return "100 KiB"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// proxied measures group 1: every store, with one session and with many, by size of the body and connections.
func (b *bench) proxied() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	bare, err := b.startBareProxy(web.url, "tuned")
	if err != nil {
		return nil, err
	}
	var rows, headlines []row
	slower := map[int][]float64{}
	for _, driver := range []string{"embedded", "redis"} {
		address, cookies, err := b.seeded(driver, gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor")})
		if err != nil {
			return rows, fmt.Errorf("%s store: %w", driver, err)
		}
		for _, sessions := range []int{1, manyDistinct} {
			for _, path := range []string{small, large} {
				more, err := b.cells(cell{store: driver, sessions: sessions, path: path}, address, bare, cookies[sessions])
				for _, m := range more {
					if m.headline() {
						headlines = append(headlines, m.row)
					}
					rows = append(rows, m.row)
					slower[m.connections] = append(slower[m.connections], m.slower)
				}
				if err != nil {
					return rows, err
				}
			}
		}
	}
	others, err := b.otherProxies(web.url, bare)
	for i := range headlines {
		headlines[i].what = "headline: " + headlines[i].what
	}
	return slices.Concat(headlines, rows, p99Rows(slower), others), err
}

// p99Limit is how many times the bare proxy's 99th percentile the gateway's may be.
const p99Limit = 1.1

// p99Rows judges the 99th percentiles by the number of connections, over all stores, sessions and sizes of body: that of a
// cell alone moves by 7 % from one run to the next.
func p99Rows(slower map[int][]float64) (rows []row) {
	for _, connections := range slices.Sorted(maps.Keys(slower)) {
		ratios := slower[connections]
		logs := 0.0
		for _, r := range ratios {
			logs += math.Log(r)
		}
		mean := math.Exp(logs / float64(len(ratios)))
		rows = append(rows, row{
			fmt.Sprintf("99th percentile beside the bare proxy's, %s, geometric mean of %d cells", plural(connections, "connection"), len(ratios)),
			fmt.Sprintf("%.2f (%.2f to %.2f)", mean, slices.Min(ratios), slices.Max(ratios)), fmt.Sprint(p99Limit), judge(atMost(mean, p99Limit)),
		})
	}
	return rows
}

// seeded starts a gateway with many sessions in its store, and returns files of one and of all of their cookies.
func (b *bench) seeded(driver string, spec gatewaySpec) (address string, cookies map[int]string, err error) {
	all := filepath.Join(b.memory, driver+"-cookies")
	s := seed{Users: b.users.path, Sessions: manyDistinct, Each: manyDistinct / people, Life: 12 * time.Hour, Spread: time.Minute, Cookies: all}
	if driver == "redis" {
		r, err := b.startRedis()
		if err != nil {
			return "", nil, err
		}
		s.Redis, spec.redis = []string{r.address}, []string{r.address}
	} else {
		s.Bolt = filepath.Join(b.memory, "row1.db")
		spec.seed = s.Bolt
	}
	if err := b.plant(s); err != nil {
		return "", nil, err
	}
	g, err := b.startGateway(spec)
	if err != nil {
		return "", nil, err
	}
	one, err := b.firstLines(all, 1)
	return g.address, map[int]string{1: one, manyDistinct: all}, err
}

type cellRow struct {
	row
	cell
	slower float64 // the ratio of the 99th percentiles
}

// cells measures a store, a number of sessions and a size of body over all numbers of connections.
func (b *bench) cells(c cell, ours, bare, cookies string) ([]cellRow, error) {
	if err := b.warm(c, ours, bare, cookies); err != nil {
		return nil, err
	}
	var out []cellRow
	for _, c.connections = range []int{32, 1, 256} {
		p, err := b.compare(ours, bare, load{connections: c.connections, path: c.path, cookies: cookies, seconds: 1}, b.slices(c.pairs()))
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.label(), err)
		}
		r := p.row(c.label(), c.limit())
		ratio, _, _ := p.throughput()
		b.bars = append(b.bars, bar{c.label(), ratio, c.limit()})
		b.note("%s: %s", r.what, r.measured)
		out = append(out, cellRow{r, c, p.slower()})
	}
	return out, nil
}

// warm sends each server what it will be measured with, at the greatest number of connections.
func (b *bench) warm(c cell, ours, bare, cookies string) error {
	l := load{connections: 256, path: c.path, cookies: cookies, seconds: 1}
	if _, err := b.wrk(bare, l); err != nil {
		return err
	}
	return b.warmOurs(c, ours, l)
}

// warmFor bounds how many seconds the gateway gets to see each session once. One that takes longer is measured as it is.
const warmFor = 15

// warmOurs lets the gateway see each session once. The large bodies come second, and find the sessions known.
func (b *bench) warmOurs(c cell, ours string, l load) error {
	sent := int64(0)
	for range warmFor {
		r, err := b.wrk(ours, l)
		if err != nil {
			return err
		}
		sent += r.requests
		l.first = int(sent)
		if sent >= int64(c.sessions) || c.path == large {
			return nil
		}
	}
	b.note("%s: not every session was seen in %d s of warming up", c.label(), warmFor)
	return nil
}

// row makes a line of the table of pairs.
func (p pairs) row(what string, limit float64) row {
	ratio, least, most := p.throughput()
	ours, bare := p.perSecond()
	oursP99, bareP99 := p.slowest()
	r := row{what: what, verdict: none, measured: fmt.Sprintf("%.2f (%.2f to %.2f), %.0f of %.0f req/s; p99 %.2f, %s of %s",
		ratio, least, most, ours, bare, p.slower(), milli(oursP99), milli(bareP99))}
	if limit > 0 {
		r.limit, r.verdict = fmt.Sprintf("%.2f", limit), judge(atLeast(ratio, limit))
	}
	return r
}

// slower is how many times as long as the bare proxy's the gateway's 99th percentile is.
func (p pairs) slower() float64 {
	ours, bare := p.slowest()
	return float64(ours) / float64(bare)
}

// otherProxies measures what has no limit: the bare proxy with Go's own transport, and nginx in its place.
func (b *bench) otherProxies(upstream, bare string) ([]row, error) {
	plain, errPlain := b.startBareProxy(upstream, "default")
	nginx, errNginx := b.startNginxProxy(upstream)
	if err := cmp.Or(errPlain, errNginx); err != nil {
		return nil, err
	}
	cookies := filepath.Join(b.memory, "embedded-cookies-first-1")
	var rows []row
	for _, other := range []struct{ name, address string }{{"bare proxy with Go's default transport", plain}, {"nginx as the proxy", nginx}} {
		for _, path := range []string{small, large} {
			l := load{connections: 32, path: path, cookies: cookies, seconds: 1}
			if _, err := b.wrk(other.address, l); err != nil {
				return rows, err
			}
			p, err := b.compare(other.address, bare, l, b.slices(2))
			if err != nil {
				return rows, err
			}
			r := p.row(fmt.Sprintf("%s, %s, 32 connections", other.name, size(path)), 0)
			ratio, _, _ := p.throughput()
			b.bars = append(b.bars, bar{fmt.Sprintf("%s, %s", other.name, size(path)), ratio, 0})
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// atLeast and atMost compare at two digits, as the values are printed.
func atLeast(value, limit float64) bool { return math.Round(value*100) >= math.Round(limit*100) }

func atMost(value, limit float64) bool { return math.Round(value*100) <= math.Round(limit*100) }

// milli writes a duration in milliseconds.
func milli(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}
