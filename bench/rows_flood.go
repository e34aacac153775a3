package main

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// flooders are the clients that sign in without pause.
const flooders = 16

// flood measures group 3: sign-ins without pause, beside somebody who is signed in.
func (b *bench) flood() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	// The crowd has nowhere to go that asks for a second factor, so that each of its sign-ins ends with a session.
	spec := gatewaySpec{upstreams: upstreamEntry("open", "/open", web.url, "one_factor") +
		fmt.Sprintf("  - { name: app, path: /, url: %q, access: { policy: two_factor, groups: [staff] } }\n", web.url)}
	cookies := filepath.Join(b.memory, "flood-cookies")
	s := seed{Users: b.users.path, Only: person(0), Sessions: 1, Each: 1, Life: 12 * time.Hour, Cookies: cookies}
	var rows []row
	for _, driver := range []string{"embedded", "redis"} {
		s.Redis, s.Bolt, spec.redis, spec.seed = nil, "", nil, ""
		if driver == "redis" {
			r, err := b.startRedis()
			if err != nil {
				return rows, err
			}
			s.Redis, spec.redis = []string{r.address}, []string{r.address}
		} else {
			s.Bolt = filepath.Join(b.memory, "flood.db")
			spec.seed = s.Bolt
		}
		if err := b.plant(s); err != nil {
			return rows, err
		}
		g, err := b.startGateway(spec)
		if err != nil {
			return rows, err
		}
		more, err := b.floodOf(driver, g, cookies)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s store: %w", driver, err)
		}
	}
	return rows, nil
}

// floodOf measures quiet, flood and quiet again.
func (b *bench) floodOf(driver string, g *gateway, cookies string) ([]row, error) {
	l := load{connections: 32, path: small, cookies: cookies, seconds: 1}
	if _, err := b.wrk(g.address, l); err != nil {
		return nil, err
	}
	l.seconds = b.slices(3)
	quiet := make([]result, 2)
	var err error
	if quiet[0], err = b.wrk(g.address, l); err != nil {
		return nil, err
	}
	f := startFlood(g.address)
	time.Sleep(time.Second) // until the queue of hashes is as long as it gets
	during := l
	during.seconds = b.slices(6)
	busy, err := b.wrk(g.address, during)
	f.stop()
	if err != nil {
		return nil, err
	}
	if quiet[1], err = b.wrk(g.address, l); err != nil {
		return nil, err
	}
	peak, err := g.memoryOf("VmHWM")
	if err != nil {
		return nil, err
	}
	if f.statuses[http.StatusOK] == 0 {
		return nil, fmt.Errorf("not one sign-in of the flood came to its end: %s", f.answers())
	}
	rate := (quiet[0].perSecond() + quiet[1].perSecond()) / 2
	kept, slower := busy.perSecond()/rate, float64(busy.p99)/float64((quiet[0].p99+quiet[1].p99)/2)
	in := func(what string) string { return driver + ": " + what }
	return []row{
		{in(fmt.Sprintf("throughput kept while %d clients sign in without pause", flooders)),
			fmt.Sprintf("%.2f, %.0f of %.0f req/s", kept, busy.perSecond(), rate), "0.75", judge(atLeast(kept, 0.75))},
		{in("p99 beside the quiet one"), fmt.Sprintf("%.2f times, %s of %s", slower, milli(busy.p99), milli((quiet[0].p99+quiet[1].p99)/2)), "3 times", judge(atMost(slower, 3))},
		{in("peak memory (VmHWM)"), mebi(peak), "under 128 MiB", judge(peak < 128<<20)},
		{in("sign-ins"), fmt.Sprintf("%.1f a second answered with 200; all answers: %s", float64(f.statuses[http.StatusOK])/f.took.Seconds(), f.answers()), "", none},
	}, nil
}

// signInFlood is clients that sign in without pause, each time as somebody else.
type signInFlood struct {
	end      atomic.Bool
	all      sync.WaitGroup
	began    time.Time
	took     time.Duration
	mu       sync.Mutex
	statuses map[int]int // how often each was answered; 0: no answer
}

func startFlood(address string) *signInFlood {
	f := &signInFlood{began: time.Now(), statuses: map[int]int{}}
	for i := range flooders {
		f.all.Go(func() {
			c := newClient(address)
			defer c.close()
			for n := i; !f.end.Load(); n += flooders {
				body := fmt.Sprintf(`{"username":%q,"password":%q}`, person(1+n%(people-1)), password)
				status, _, err := c.ask(http.MethodPost, "/auth/login", "", strings.NewReader(body))
				if err != nil {
					status = 0
				}
				f.mu.Lock()
				f.statuses[status]++
				f.mu.Unlock()
			}
		})
	}
	return f
}

// stop waits for the sign-ins under way.
func (f *signInFlood) stop() {
	f.end.Store(true)
	f.all.Wait()
	f.took = time.Since(f.began)
}

// answers names the statuses with their numbers.
func (f *signInFlood) answers() string {
	var out []string
	for _, status := range slices.Sorted(maps.Keys(f.statuses)) {
		name := fmt.Sprint(status)
		if status == 0 {
			name = "none"
		}
		out = append(out, fmt.Sprintf("%s: %d", name, f.statuses[status]))
	}
	return strings.Join(out, ", ")
}

// mebi writes bytes in MiB.
func mebi(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
