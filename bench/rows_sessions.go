package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

const (
	eachHas = 4  // sessions of one person, where there are a million
	ownHas  = 50 // sessions of the one who lists and revokes
)

// storedSessions measures group 4.
func (b *bench) storedSessions() ([]row, error) {
	rows, err := b.millionInRedis()
	if err != nil {
		return rows, err
	}
	b.stopAll() // gives the memory back
	more, err := b.manyEmbedded()
	return append(rows, more...), err
}

// crowded is a gateway on a Redis of its own, with the sessions of many people in it.
type crowded struct {
	*gateway
	redis     *redis
	sessions  int      // of the many
	cookies   []string // of one person's sessions
	handles   []string // of all but the first of them
	list, end deed
}

// deed is what was done several times, and what it took.
type deed struct {
	took  []time.Duration
	asked calls // of Redis, by all of them together
}

// each is how many commands Redis got for each, without the beats.
func (d deed) each() float64 { return float64(d.asked.sentForRequests()) / float64(len(d.took)) }

// crowd starts a gateway and its Redis, and begins so many sessions.
func (b *bench) crowd(web *nginx, s seed) (c *crowded, grown float64, err error) {
	c = &crowded{sessions: s.Sessions}
	if c.redis, err = b.startRedis(); err != nil {
		return nil, 0, err
	}
	s.Redis = []string{c.redis.address}
	if c.gateway, err = b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), redis: s.Redis}); err != nil {
		return nil, 0, err
	}
	before, err := c.redis.infoNumber("memory", "used_memory")
	if err != nil {
		return nil, 0, err
	}
	if err := b.plant(s); err != nil {
		return nil, 0, err
	}
	after, err := c.redis.infoNumber("memory", "used_memory")
	return c, float64(after-before) / float64(s.Sessions), err
}

// millionInRedis looks at what sessions take in Redis, and at one person's among few and among many.
func (b *bench) millionInRedis() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	s := seed{Crowd: "few", Sessions: 1000, Each: eachHas, Life: 12 * time.Hour}
	few, _, err := b.crowd(web, s)
	if err != nil {
		return nil, err
	}
	s.Crowd, s.Sessions, s.Keys = "many", b.sessions, filepath.Join(b.memory, "keys")
	began := time.Now()
	many, grown, err := b.crowd(web, s)
	if err != nil {
		return nil, err
	}
	b.note("%d sessions in Redis after %.0f s", b.sessions, time.Since(began).Seconds())
	rows, err := b.bytesEach(many.redis, s.Keys, grown)
	if err != nil {
		return rows, err
	}
	if err := b.listAndRevoke([]*crowded{few, many}); err != nil {
		return rows, err
	}
	return amongMany(rows, few, many)
}

// bytesEach asks Redis what the sessions of the first people take, and what is each one's share of the person's record.
func (b *bench) bytesEach(r *redis, keys string, delta float64) ([]row, error) {
	sessions, persons, err := keysOf(keys)
	if err != nil {
		return nil, err
	}
	sum := func(keys []string) (total float64, err error) {
		for _, key := range keys {
			n, err := r.number("memory", "usage", key, "samples", "0")
			if err != nil {
				return 0, err
			}
			total += float64(n)
		}
		return total, nil
	}
	own, err := sum(sessions)
	if err != nil {
		return nil, err
	}
	shared, err := sum(persons)
	if err != nil {
		return nil, err
	}
	n := float64(notedPeople * eachHas)
	each := (own + shared) / n
	return []row{
		{fmt.Sprintf("bytes a session by MEMORY USAGE, %d sessions of %d people", int(n), notedPeople),
			fmt.Sprintf("%.0f: %.0f of its own and %.0f of the person's record", each, own/n, shared/n), "under 400", judge(each < 400)},
		{fmt.Sprintf("bytes a session by the growth of used_memory, %d sessions, %d a person", b.sessions, eachHas),
			fmt.Sprintf("%.0f", delta), "under 400", judge(delta < 400)},
	}, nil
}

// listAndRevoke begins sessions of one person at each of the gateways, and lists them and ends all but the first, at the
// gateways in turns.
func (b *bench) listAndRevoke(all []*crowded) error {
	for _, at := range all {
		file := filepath.Join(b.memory, "own-cookies")
		err := b.plant(seed{Redis: []string{at.redis.address}, Users: b.users.path, Only: person(0), Sessions: ownHas + 1, Each: ownHas + 1,
			Life: 12 * time.Hour, Cookies: file})
		if err != nil {
			return err
		}
		if at.cookies, err = readLines(file); err != nil {
			return err
		}
	}
	err := inTurns(all, 100, func(at *crowded) *deed { return &at.list }, func(at *crowded, c *client, _ int) (took time.Duration, err error) {
		at.handles, took, err = c.handles(at.cookies[0])
		return took, err
	})
	if err != nil {
		return err
	}
	return inTurns(all, ownHas, func(at *crowded) *deed { return &at.end }, func(at *crowded, c *client, i int) (time.Duration, error) {
		if len(at.handles) != ownHas {
			return 0, fmt.Errorf("GET /auth/sessions lists %d others, want %d", len(at.handles), ownHas)
		}
		took, _, err := c.want(http.StatusOK, http.MethodDelete, "/auth/sessions/"+at.handles[i], at.cookies[0])
		return took, err
	})
}

// inTurns does something n times at each of the gateways, so that a drift of the machine falls on all alike.
func inTurns(all []*crowded, n int, what func(*crowded) *deed, do func(at *crowded, c *client, i int) (time.Duration, error)) error {
	clients, before := make([]*client, len(all)), make([]calls, len(all))
	for i, at := range all {
		clients[i] = newClient(at.address)
		defer clients[i].close()
		var err error
		if before[i], err = at.redis.commands(); err != nil {
			return err
		}
	}
	for i := range n {
		for k, at := range all {
			took, err := do(at, clients[k], i)
			if err != nil {
				return err
			}
			d := what(at)
			d.took = append(d.took, took)
		}
	}
	for i, at := range all {
		after, err := at.redis.commands()
		if err != nil {
			return err
		}
		what(at).asked = after.since(before[i])
	}
	return nil
}

// amongMany compares what Redis is asked among few sessions and among many, and looks for commands that go through all keys.
// What they take for the client hangs on which processor its Redis happens to be on, and is only shown.
func amongMany(rows []row, few, many *crowded) ([]row, error) {
	for _, op := range []struct {
		what      string
		few, many deed
	}{{"listing", few.list, many.list}, {"revoking one of", few.end, many.end}} {
		rows = append(rows, row{fmt.Sprintf("store commands for %s one person's %d among %d beside among %d", op.what, ownHas+1, many.sessions, few.sessions),
			fmt.Sprintf("%.1f of %.1f; for the client %s of %s", op.many.each(), op.few.each(), milli(median(op.many.took)), milli(median(op.few.took))),
			"as many (within 5 %)", judge(atMost(op.many.each()/op.few.each(), 1.05))})
	}
	asked, err := many.redis.commands()
	if err != nil {
		return rows, err
	}
	through := asked["keys"] + asked["scan"]
	return append(rows, row{"KEYS and SCAN that Redis was asked for", fmt.Sprint(through), "0", judge(through == 0)}), nil
}
