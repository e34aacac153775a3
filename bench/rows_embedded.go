package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	embeddedMany = 200_000
	pauseLimit   = 10 * time.Millisecond
	// signOutEvery is the pace of the writes while the expired are swept.
	signOutEvery = 20 * time.Millisecond
	sweepWithin  = 45 * time.Second
	quietFor     = 4 * time.Second
)

// manyEmbedded looks at the embedded store with many sessions: the start, and the sweep of as many that have expired.
func (b *bench) manyEmbedded() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	// In memory, since what a disk takes for the flushes of a write is no pause of a sweep's, and would be all there is to see.
	spec := gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), seed: filepath.Join(b.memory, "live.db"), inMemory: true}
	began := time.Now()
	cookies, err := b.plantEmbedded(spec.seed, 12*time.Hour)
	if err != nil {
		return nil, err
	}
	seeding := time.Since(began)
	g, err := b.prepare(spec)
	if err != nil {
		return nil, err
	}
	took, err := b.run(g, "/auth/me", cookies[0], time.Millisecond)
	if err != nil {
		return nil, err
	}
	rows := []row{{fmt.Sprintf("from exec to the first answer with %d sessions in the file", embeddedMany), milli(took), "under 1 s", judge(took < time.Second)}}
	quiet, err := watch(g, cookies, func(time.Duration, []int64) bool { return false }, quietFor)
	if err != nil {
		return rows, err
	}
	g.stop()

	spec.seed = filepath.Join(b.memory, "ending.db")
	if cookies, err = b.plantEmbedded(spec.seed, seeding+5*time.Second); err != nil {
		return rows, err
	}
	if g, err = b.startGateway(spec); err != nil {
		return rows, err
	}
	swept := sweepEnds(quiet.written)
	during, err := watch(g, cookies, swept, sweepWithin)
	if err != nil {
		return rows, err
	}
	return append(rows, sweepRows(quiet, during)...), nil
}

// plantEmbedded begins many sessions that live for a while, and some of one person's that live on.
func (b *bench) plantEmbedded(file string, life time.Duration) ([]string, error) {
	if err := b.plant(seed{Bolt: file, Crowd: "many", Sessions: embeddedMany, Each: eachHas, Life: life}); err != nil {
		return nil, err
	}
	out := filepath.Join(b.memory, "watch-cookies")
	err := b.plant(seed{Bolt: file, Users: b.users.path, Sessions: people, Each: 1, Life: 12 * time.Hour, Cookies: out})
	if err != nil {
		return nil, err
	}
	return readLines(out)
}

// watched is what clients saw of a gateway, by the second.
type watched struct {
	reads, writes []latencies // of the requests that ended in a second
	written       []int64     // bytes that the gateway handed to write calls in a second
}

// watch reads without pause by one session and ends others at a steady pace, until enough says so or the time is over.
func watch(g *gateway, cookies []string, enough func(time.Duration, []int64) bool, within time.Duration) (watched, error) {
	began := time.Now()
	end := make(chan struct{})
	second := func() int { return int(time.Since(began) / time.Second) }
	most := int(within/time.Second) + 2
	w := watched{reads: make([]latencies, most), writes: make([]latencies, most)}
	var errRead, errWrite error
	var all sync.WaitGroup
	all.Go(func() {
		errRead = repeat(g, end, 0, func(int) (string, string, string) { return http.MethodGet, "/auth/me", cookies[0] }, second, w.reads)
	})
	all.Go(func() {
		errWrite = repeat(g, end, signOutEvery, func(n int) (string, string, string) {
			return http.MethodPost, "/auth/logout", cookies[1+n%(len(cookies)-1)]
		}, second, w.writes)
	})
	last, err := g.written()
	for time.Since(began) < within && err == nil && !enough(time.Since(began), w.written) {
		time.Sleep(time.Until(began.Add(time.Duration(len(w.written)+1) * time.Second)))
		var now int64
		now, err = g.written()
		w.written = append(w.written, now-last)
		last = now
	}
	close(end)
	all.Wait()
	return w, errors.Join(err, errRead, errWrite)
}

// repeat sends one request after the other until end is closed, and sorts how long they took by the second.
func repeat(g *gateway, end chan struct{}, every time.Duration, next func(n int) (method, path, cookie string), second func() int, took []latencies) error {
	c := newClient(g.address)
	defer c.close()
	for n := 0; ; n++ {
		select {
		case <-end:
			return nil
		case <-time.After(every):
		}
		method, path, cookie := next(n)
		t, _, err := c.want(http.StatusOK, method, path, cookie)
		if err != nil {
			return err
		}
		at := min(second(), len(took)-1)
		took[at] = append(took[at], t)
	}
}

// sweepEnds says that a sweep has begun and is over: the gateway wrote far more than it does when quiet, and then two
// seconds no longer.
func sweepEnds(quiet []int64) func(time.Duration, []int64) bool {
	return func(_ time.Duration, written []int64) bool {
		busy := sweeping(quiet, written)
		n := len(busy)
		return slices.Contains(busy, true) && !busy[n-1] && !busy[n-2]
	}
}

// sweeping says of each second whether the gateway wrote more than twice what it does when quiet, and nearly as much as
// in the busiest: each write is larger once a sweep has left free pages, whose list it writes too.
func sweeping(quiet, written []int64) []bool {
	if len(written) == 0 {
		return nil
	}
	usual := max(2*slices.Max(quiet)+1<<20, slices.Max(written)*2/3)
	out := make([]bool, len(written))
	for i, n := range written {
		out[i] = n > usual
	}
	return out
}

// sweepRows compares the seconds of the sweep with the quiet ones: a pause is what the sweep adds. A stall of the machine in
// the quiet ones excuses no pause in the others.
func sweepRows(quiet, during watched) []row {
	busy := sweeping(quiet.written, during.written)
	if !slices.Contains(busy, true) {
		return []row{{"sweeping the expired", "no sweep was seen in " + sweepWithin.String(), "", unmeasured}}
	}
	pick := func(all []latencies, take func(i int) bool) (out latencies) {
		for i, l := range all {
			if take(i) {
				out = append(out, l...)
			}
		}
		return out
	}
	swept := func(i int) bool { return i < len(busy) && busy[i] }
	every := func(int) bool { return true }
	seconds := 0
	for _, b := range busy {
		if b {
			seconds++
		}
	}
	line := func(what string, during, quiet []latencies) row {
		p999, longest := pick(during, swept).worst()
		quietP999, quietLongest := pick(quiet, every).worst()
		return row{fmt.Sprintf("the longest %s while %d expired sessions are swept (%s)", what, embeddedMany, plural(seconds, "second")),
			fmt.Sprintf("%s, p99.9 %s; without a sweep %s, p99.9 %s", milli(longest), milli(p999), milli(quietLongest), milli(quietP999)),
			milli(pauseLimit) + " more than without, 20 ms at most", judge(longest <= pauseLimit+min(quietLongest, pauseLimit))}
	}
	return []row{line("GET /auth/me", during.reads, quiet.reads), line("sign-out, which writes twice,", during.writes, quiet.writes)}
}
