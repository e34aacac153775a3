package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	starts  = 10
	longRun = 4 << 30 // bytes of a long body
)

// footprint measures group 6.
func (b *bench) footprint() ([]row, error) {
	web, err := b.upstream()
	if err != nil {
		return nil, err
	}
	app, err := b.startUpstream()
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, measure := range []func(web *nginx, app string) ([]row, error){b.size, b.starts, b.memoryUse, b.longBodies, b.leaks} {
		more, err := measure(web, app)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// size is that of the binary.
func (b *bench) size(*nginx, string) ([]row, error) {
	info, err := os.Stat(b.binary)
	if err != nil {
		return nil, err
	}
	return []row{{"the stripped binary", mebi(info.Size()), "under 25 MiB", judge(info.Size() < 25<<20)}}, nil
}

// starts measures from exec to the first answer, each time with an empty data folder that has only a key.
func (b *bench) starts(web *nginx, _ string) ([]row, error) {
	var took []time.Duration
	for range starts {
		g, err := b.prepare(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), oneUser: true})
		if err != nil {
			return nil, err
		}
		t, err := b.run(g, "/auth/healthz", "", time.Millisecond)
		if err != nil {
			return nil, err
		}
		g.stop()
		took = append(took, t)
	}
	middle := median(took)
	return []row{{fmt.Sprintf("from exec to the first answer, embedded store, median of %d", starts), milli(middle), "50 ms", judge(middle <= 50*time.Millisecond)}}, nil
}

// plantOne begins one session in an embedded store's file, and returns the file of its cookie.
func (b *bench) plantOne(name string) (db, cookies string, err error) {
	db, cookies = filepath.Join(b.memory, name+".db"), filepath.Join(b.memory, name+"-cookies")
	return db, cookies, b.plant(seed{Bolt: db, Users: b.users.path, Only: person(0), Sessions: 1, Each: 1, Life: 12 * time.Hour, Cookies: cookies})
}

// memoryUse looks at the memory of a gateway that has answered one request, and of one with many connections.
func (b *bench) memoryUse(web *nginx, _ string) ([]row, error) {
	db, cookies, err := b.plantOne("memory")
	if err != nil {
		return nil, err
	}
	g, err := b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), seed: db, oneUser: true})
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	idle, err := g.memoryOf("VmRSS")
	if err != nil {
		return nil, err
	}
	for _, path := range []string{small, large} {
		if _, err := b.wrk(g.address, load{connections: 256, path: path, cookies: cookies, seconds: b.slices(3)}); err != nil {
			return nil, err
		}
	}
	peak, err := g.memoryOf("VmHWM")
	if err != nil {
		return nil, err
	}
	g.stop()
	return []row{
		{"memory of an idle gateway (VmRSS)", mebi(idle), "under 30 MiB", judge(idle < 30<<20)},
		{"peak memory with 256 connections, both bodies (VmHWM)", mebi(peak), "under 60 MiB", judge(peak < 60<<20)},
	}, nil
}

// longBodies sends 4 GiB in each direction, and looks at what they add to the peak of the memory.
func (b *bench) longBodies(_ *nginx, app string) ([]row, error) {
	db, file, err := b.plantOne("long")
	if err != nil {
		return nil, err
	}
	cookies, err := readLines(file)
	if err != nil {
		return nil, err
	}
	g, err := b.startGateway(gatewaySpec{upstreams: upstreamEntry("app", "/", app, "two_factor"), seed: db, oneUser: true})
	if err != nil {
		return nil, err
	}
	c := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableCompression: true}}
	defer c.CloseIdleConnections()
	size := int64(longRun)
	if b.quick {
		size /= 8
	}
	var rows []row
	for _, way := range []string{"up", "down"} {
		// What one body of a usual length takes is no part of what a long one adds.
		if err := long(c, g.address, cookies[0], way, 1<<20); err != nil {
			return rows, err
		}
		before, err := g.memoryOf("VmHWM")
		if err != nil {
			return rows, err
		}
		began := time.Now()
		if err := long(c, g.address, cookies[0], way, size); err != nil {
			return rows, err
		}
		rate := float64(size) / (1 << 20) / time.Since(began).Seconds()
		after, err := g.memoryOf("VmHWM")
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{fmt.Sprintf("what a body of %.1f GiB %s adds to the peak", float64(size)/(1<<30), way),
			fmt.Sprintf("%s, at %.0f MiB/s", mebi(after-before), rate), "under 5 MiB", judge(after-before < 5<<20)})
	}
	g.stop()
	return rows, nil
}

// long sends a body of a size one way through the gateway.
func long(c *http.Client, address, cookie, way string, size int64) error {
	method, path, body := http.MethodGet, fmt.Sprintf("/produce?bytes=%d", size), io.Reader(nil)
	if way == "up" {
		method, path, body = http.MethodPost, "/discard", io.LimitReader(zeros{}, size)
	}
	req, err := http.NewRequest(method, "http://"+address+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", "sallyport="+cookie)
	if body != nil {
		req.ContentLength = size
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf := make([]byte, 256<<10)
	var got int64
	if way == "down" {
		got, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
	} else if _, errScan := fmt.Fscan(resp.Body, &got); errScan != nil {
		err = errScan
	}
	if err == nil && (resp.StatusCode != http.StatusOK || got != size) {
		err = fmt.Errorf("status %d and %d bytes of %d", resp.StatusCode, got, size)
	}
	if err != nil {
		return fmt.Errorf("a body of %d bytes %s: %w", size, way, err)
	}
	return nil
}
