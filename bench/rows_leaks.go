package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	leakRequests = 100_000
	leakSockets  = 10_000
	leakFailures = 1_000
	// leakTolerance is how many goroutines and open files more than before are none that leaked: what asks for the
	// metrics has some of its own, and the runtime starts others when it first needs them.
	leakTolerance = 5
	settleWithin  = 15 * time.Second
)

// leaks looks for what requests, WebSockets and failures of upstreams leave behind, once idle connections are closed.
func (b *bench) leaks(web *nginx, app string) ([]row, error) {
	db, file, err := b.plantOne("leaks")
	if err != nil {
		return nil, err
	}
	cookies, err := readLines(file)
	if err != nil {
		return nil, err
	}
	refuses, err := freeAddress() // nobody listens there
	if err != nil {
		return nil, err
	}
	g, err := b.startGateway(gatewaySpec{admin: true, seed: db, oneUser: true, upstreams: upstreamEntry("web", "/", web.brief, "two_factor") +
		upstreamEntry("socket", "/socket", app, "two_factor") + upstreamEntry("break", "/break", app, "two_factor") +
		upstreamEntry("gone", "/gone", "http://"+refuses, "two_factor")})
	if err != nil {
		return nil, err
	}
	if _, err := b.wrk(g.address, load{connections: 32, path: small, cookies: file, seconds: 1}); err != nil {
		return nil, err
	}
	before, err := settle(g, held{}, 4*time.Second)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, load := range []struct {
		what string
		run  func() error
	}{
		{fmt.Sprintf("%d requests", leakRequests), func() error { return b.manyRequests(g, file) }},
		{fmt.Sprintf("%d WebSockets opened and closed", leakSockets), func() error { return many(leakSockets, func(int) error { return webSocket(g.address, cookies[0]) }) }},
		{fmt.Sprintf("%d failures of an upstream", leakFailures), func() error { return failures(g, cookies[0]) }},
	} {
		if err := load.run(); err != nil {
			return rows, err
		}
		after, err := settle(g, before, settleWithin)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{"goroutines and open files after " + load.what, fmt.Sprintf("%d and %d, before %d and %d", after.goroutines, after.files, before.goroutines, before.files),
			fmt.Sprintf("as before (within %d)", leakTolerance), judge(after.within(before))})
	}
	return rows, nil
}

// manyRequests sends at least as many as a leak is looked for in.
func (b *bench) manyRequests(g *gateway, cookies string) error {
	for sent := int64(0); sent < leakRequests; {
		r, err := b.wrk(g.address, load{connections: 64, path: small, cookies: cookies, seconds: 4})
		if err != nil {
			return err
		}
		sent += r.requests
	}
	return nil
}

// held is what a process holds, as its /metrics say.
type held struct{ goroutines, files int64 }

func (h held) within(before held) bool {
	return h.goroutines <= before.goroutines+leakTolerance && h.files <= before.files+leakTolerance
}

// settle waits until the gateway holds no more than before, or the time is over, and returns what it holds then.
func settle(g *gateway, before held, within time.Duration) (held, error) {
	for end := time.Now().Add(within); ; time.Sleep(250 * time.Millisecond) {
		h, err := holds(g)
		if err != nil || h.within(before) || time.Now().After(end) {
			return h, err
		}
	}
}

func holds(g *gateway) (held, error) {
	c := newClient(g.admin)
	defer c.close()
	_, text, err := c.want(http.StatusOK, http.MethodGet, "/metrics", "")
	if err != nil {
		return held{}, err
	}
	return parseHeld(string(text))
}

func parseHeld(text string) (held, error) {
	goroutines, errGo := metric(text, "go_goroutines")
	files, errFiles := metric(text, "process_open_fds")
	if errGo != nil {
		return held{}, errGo
	}
	return held{goroutines, files}, errFiles
}

// metric reads a metric without labels from the text format of Prometheus.
func metric(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(f), err
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

// many does something n times, a few at a time, and returns the first error.
func many(n int, do func(i int) error) error {
	const workers = 32
	next, errs := make(chan int), make(chan error, workers)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var first error
			for i := range next {
				if first == nil {
					first = do(i)
				}
			}
			errs <- first
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	for range workers {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// webSocket opens one, sends a frame, waits for it to come back, and closes it.
func webSocket(address, cookie string) error {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nCookie: sallyport=%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", address, cookie)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("WebSocket: status %d, want 101", resp.StatusCode)
	}
	frame := []byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'} // a masked text frame, RFC 6455 section 5.2
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	_, err = io.ReadFull(r, make([]byte, len(frame)))
	return err
}

// failures asks for what breaks off and for what nobody serves, in turns.
func failures(g *gateway, cookie string) error {
	c := newClient(g.address)
	defer c.close()
	return many(leakFailures, func(i int) error {
		if i%2 == 0 {
			_, _, err := c.want(http.StatusBadGateway, http.MethodGet, "/gone", cookie)
			return err
		}
		status, _, err := c.ask(http.MethodGet, "/break", cookie, nil)
		if err == nil && status == http.StatusOK {
			return fmt.Errorf("GET /break: came whole, want an answer that breaks off")
		}
		return nil
	})
}
