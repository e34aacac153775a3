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

// millionInRedis looks at what sessions take in Redis, and at one person's among few and among many.
func (b *bench) millionInRedis() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	r, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	g, err := b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), redis: []string{r.address}})
	if err != nil {
		return nil, err
	}
	const few = 1000
	s := seed{Redis: []string{r.address}, Crowd: "few", Sessions: few, Each: eachHas, Life: 12 * time.Hour}
	if err := b.plant(s); err != nil {
		return nil, err
	}
	fewList, fewRevoke, err := b.listAndRevoke(g, r)
	if err != nil {
		return nil, err
	}
	before, err := r.infoNumber("memory", "used_memory")
	if err != nil {
		return nil, err
	}
	s.Crowd, s.Sessions, s.Keys = "many", b.sessions, filepath.Join(b.memory, "keys")
	began := time.Now()
	if err := b.plant(s); err != nil {
		return nil, err
	}
	b.note("%d sessions in Redis after %.0f s", b.sessions, time.Since(began).Seconds())
	after, err := r.infoNumber("memory", "used_memory")
	if err != nil {
		return nil, err
	}
	rows, err := b.bytesEach(r, s.Keys, float64(after-before)/float64(b.sessions))
	if err != nil {
		return rows, err
	}
	manyList, manyRevoke, err := b.listAndRevoke(g, r)
	if err != nil {
		return rows, err
	}
	return b.amongMany(rows, r, [2]time.Duration{fewList, manyList}, [2]time.Duration{fewRevoke, manyRevoke})
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

// listAndRevoke begins sessions of one person, lists them and ends all but the caller's, and returns the medians.
func (b *bench) listAndRevoke(g *gateway, r *redis) (list, revoke time.Duration, err error) {
	file := filepath.Join(b.memory, "own-cookies")
	err = b.plant(seed{Redis: []string{r.address}, Users: b.users.path, Only: person(0), Sessions: ownHas + 1, Each: ownHas + 1,
		Life: 12 * time.Hour, Cookies: file})
	if err != nil {
		return 0, 0, err
	}
	cookies, err := readLines(file)
	if err != nil {
		return 0, 0, err
	}
	c := newClient(g.address)
	defer c.close()
	var listed, revoked []time.Duration
	var handles []string
	for range 100 {
		var took time.Duration
		if handles, took, err = c.handles(cookies[0]); err != nil {
			return 0, 0, err
		}
		listed = append(listed, took)
	}
	if len(handles) != ownHas {
		return 0, 0, fmt.Errorf("GET /auth/sessions lists %d others, want %d", len(handles), ownHas)
	}
	for _, h := range handles {
		took, _, err := c.want(http.StatusOK, http.MethodDelete, "/auth/sessions/"+h, cookies[0])
		if err != nil {
			return 0, 0, err
		}
		revoked = append(revoked, took)
	}
	_, _, err = c.want(http.StatusOK, http.MethodPost, "/auth/logout", cookies[0])
	return median(listed), median(revoked), err
}

// amongMany compares the times among few sessions and among many, and looks for commands that go through all keys.
func (b *bench) amongMany(rows []row, r *redis, list, revoke [2]time.Duration) ([]row, error) {
	for _, op := range []struct {
		what string
		took [2]time.Duration
	}{{"listing", list}, {"revoking", revoke}} {
		ratio := float64(op.took[1]) / float64(op.took[0])
		rows = append(rows, row{fmt.Sprintf("%s one person's among %d beside among 1000, medians", op.what, b.sessions),
			fmt.Sprintf("%.2f times, %s of %s", ratio, milli(op.took[1]), milli(op.took[0])), "about 1 (up to 1.25)", judge(atMost(ratio, 1.25))})
	}
	asked, err := r.commands()
	if err != nil {
		return rows, err
	}
	through := asked["keys"] + asked["scan"]
	return append(rows, row{"KEYS and SCAN that Redis was asked for", fmt.Sprint(through), "0", judge(through == 0)}), nil
}
