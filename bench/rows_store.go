package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// storeSite is what group 2 measures: two gateways on one Redis with many sessions.
type storeSite struct {
	redis   *redis
	spec    gatewaySpec
	one     *gateway
	two     *gateway
	all     string   // the file of all cookies
	cookies []string // the same
}

// storeCommands measures group 2.
func (b *bench) storeCommands() ([]row, error) {
	s, err := b.openStoreSite()
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, measure := range []func(*storeSite) ([]row, error){b.steadyState, b.revocation, b.herd, b.junk} {
		more, err := measure(s)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func (b *bench) openStoreSite() (*storeSite, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	s := &storeSite{all: filepath.Join(b.memory, "store-cookies")}
	if s.redis, err = b.startRedis(); err != nil {
		return nil, err
	}
	s.spec = gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), redis: []string{s.redis.address}}
	err = b.plant(seed{Redis: s.spec.redis, Users: b.users.path, Sessions: manyDistinct, Each: manyDistinct / people,
		Life: 12 * time.Hour, Spread: time.Minute, Cookies: s.all})
	if err != nil {
		return nil, err
	}
	if s.cookies, err = readLines(s.all); err != nil {
		return nil, err
	}
	if s.one, err = b.startGateway(s.spec); err != nil {
		return nil, err
	}
	s.two, err = b.startGateway(s.spec)
	return s, err
}

// asked returns what the store was asked during do.
func (s *storeSite) asked(do func() error) (calls, error) {
	before, err := s.redis.commands()
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := s.redis.commands()
	return after.since(before), err
}

// steadyState counts the commands of a request once all sessions are known.
func (b *bench) steadyState(s *storeSite) ([]row, error) {
	one, err := b.firstLines(s.all, 1)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []cell{{"redis", 1, small, 32}, {"redis", manyDistinct, small, 32}} {
		cookies := one
		if c.sessions > 1 {
			cookies = s.all
		}
		if err := b.warmOurs(c, s.one.address, load{connections: 64, path: small, cookies: cookies, seconds: 1}); err != nil {
			return rows, err
		}
		var r result
		during, err := s.asked(func() (err error) {
			r, err = b.wrk(s.one.address, load{connections: 32, path: small, cookies: cookies, seconds: b.slices(3)})
			return err
		})
		if err != nil {
			return rows, err
		}
		each := float64(during.sent()) / float64(r.requests)
		rows = append(rows, row{
			"store commands a request, " + strings.Split(c.label(), ", ")[1],
			fmt.Sprintf("%.4f (%d in %d requests; with those inside scripts: %s)", each, during.sent(), r.requests, during), "under 0.01", judge(each < 0.01),
		})
	}
	return rows, nil
}

const signOuts = 100

// untilWritten is for what rows before have left to be written: last uses, which a gateway gathers for a second.
const untilWritten = 2 * time.Second

// revocation signs out at one replica and asks the other one without pause until it says no.
func (b *bench) revocation(s *storeSite) ([]row, error) {
	here, there := newClient(s.one.address), newClient(s.two.address)
	defer here.close()
	defer there.close()
	var took []time.Duration
	for _, cookie := range s.cookies[len(s.cookies)-signOuts:] {
		for _, c := range []*client{here, there} { // both know the session
			if _, _, err := c.want(http.StatusOK, http.MethodGet, small, cookie); err != nil {
				return nil, err
			}
		}
		began := time.Now()
		if _, _, err := here.want(http.StatusOK, http.MethodPost, "/auth/logout", cookie); err != nil {
			return nil, err
		}
		for {
			status, err := there.get(small, cookie)
			if err != nil {
				return nil, err
			}
			if status == http.StatusUnauthorized {
				break
			}
			if time.Since(began) > patience {
				return nil, fmt.Errorf("a session that was ended at one replica is good at the other after %s (status %d)", patience, status)
			}
		}
		took = append(took, time.Since(began))
	}
	middle, longest := median(took), slices.Max(took)
	return []row{
		{fmt.Sprintf("from a sign-out to the other replica's no, median of %d", signOuts), milli(middle), "under 20 ms", judge(middle < 20*time.Millisecond)},
		{"the longest of them", milli(longest), "250 ms", judge(longest <= 250*time.Millisecond)},
	}, nil
}

// herd lets many requests at once meet a replica that has never seen their session. The other one has just noted that
// the session was used, which is no business of this row.
func (b *bench) herd(s *storeSite) ([]row, error) {
	const n = 200
	known := newClient(s.one.address)
	defer known.close()
	cookie := s.cookies[len(s.cookies)/2]
	if _, _, err := known.want(http.StatusOK, http.MethodGet, small, cookie); err != nil {
		return nil, err
	}
	fresh, err := b.startGateway(s.spec)
	if err != nil {
		return nil, err
	}
	time.Sleep(untilWritten)
	during, err := s.asked(func() error { return together(fresh.address, small, cookie, n) })
	if err != nil {
		return nil, err
	}
	return []row{{fmt.Sprintf("store reads of %d requests at once on a session new to the replica", n),
		fmt.Sprintf("%d (all commands: %s)", during.reads(), during), "1", judge(during.reads() == 1)}}, nil
}

// junk sends cookies that nobody has signed.
func (b *bench) junk(s *storeSite) ([]row, error) {
	const requests = 10_000
	c := newClient(s.one.address)
	defer c.close()
	time.Sleep(untilWritten)
	during, err := s.asked(func() error {
		return many(requests, func(i int) error {
			_, _, err := c.want(http.StatusUnauthorized, http.MethodGet, small, forge(s.cookies[i], i))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	n := during.sentForRequests()
	return []row{{"store commands of 10,000 requests with forged or damaged cookies, but for the beats of an idle gateway too",
		fmt.Sprintf("%d (beats: publish %d, pttl %d)", n, during["publish"], during["pttl"]), "0", judge(n == 0)}}, nil
}

// forge makes a cookie that is not good, in one of three ways: a letter changed, cut short, or nothing of ours.
func forge(cookie string, i int) string {
	switch i % 3 {
	case 0:
		at := 10 + i%(len(cookie)-20)
		letter := "A"
		if cookie[at] == 'A' {
			letter = "B"
		}
		return cookie[:at] + letter + cookie[at+1:]
	case 1:
		return cookie[:len(cookie)-1-i%40]
	default:
		return fmt.Sprintf("%x-%d", cookie[:16], i)
	}
}
