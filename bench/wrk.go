package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wrkScript sends requests with the cookies of a file, one after the other, and prints what it saw in one line.
const wrkScript = `
local head, cookies, at = "", {}, 0
function init(args)
	head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\nCookie: sallyport="
	for line in io.lines(args[1]) do cookies[#cookies + 1] = line end
	at = tonumber(args[2]) % #cookies
end
function request()
	at = at % #cookies + 1
	return head .. cookies[at] .. "\r\n\r\n"
end
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("RESULT requests=%d took=%d p50=%d p99=%d bytes=%d connect=%d read=%d write=%d status=%d timeout=%d\n",
		summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.bytes,
		e.connect, e.read, e.write, e.status, e.timeout))
end
`

// load is what wrk sends.
type load struct {
	connections int
	path        string
	cookies     string // a file with one on each line
	first       int    // the number of the cookie to begin with
	seconds     int
}

// result is what wrk saw.
type result struct {
	requests int64
	took     time.Duration
	p50, p99 time.Duration
	bytes    int64
	failed   int64 // connections, reads and writes that failed, answers of 400 and above, timeouts
}

func (r result) perSecond() float64 { return float64(r.requests) / r.took.Seconds() }

// wrk sends a load with one thread. A request that is not answered, or not with success, is an error.
func (b *bench) wrk(address string, l load) (result, error) {
	r, err := b.wrkWithFailures(address, l)
	if err == nil && r.failed > 0 {
		err = fmt.Errorf("wrk on %s%s with %d connections: %d of %d requests failed", address, l.path, l.connections, r.failed, r.requests)
	}
	return r, err
}

func (b *bench) wrkWithFailures(address string, l load) (result, error) {
	script := filepath.Join(b.dir, "load.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		return result{}, err
	}
	c := exec.CommandContext(b.ctx, "wrk", "--latency", "-t1", "-c"+strconv.Itoa(l.connections), "-d"+strconv.Itoa(l.seconds)+"s",
		"--timeout", "10s", "-s", script, "http://"+address+l.path, "--", l.cookies, strconv.Itoa(l.first))
	out, err := c.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("wrk on %s%s: %w: %s", address, l.path, err, strings.TrimSpace(string(out)))
	}
	r, err := parseWrk(string(out))
	if err != nil {
		return result{}, fmt.Errorf("wrk on %s%s: %w", address, l.path, err)
	}
	return r, nil
}

// parseWrk reads the line that wrkScript prints.
func parseWrk(out string) (result, error) {
	_, line, found := strings.Cut(out, "RESULT ")
	if !found {
		return result{}, fmt.Errorf("no RESULT in its output: %q", out)
	}
	line, _, _ = strings.Cut(line, "\n")
	seen := map[string]int64{}
	for _, field := range strings.Fields(line) {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return result{}, fmt.Errorf("%q is no number", field)
		}
		seen[name] = n
	}
	for _, name := range []string{"requests", "took", "p50", "p99", "bytes", "connect", "read", "write", "status", "timeout"} {
		if _, ok := seen[name]; !ok {
			return result{}, fmt.Errorf("no %s in %q", name, line)
		}
	}
	if seen["requests"] <= 0 || seen["took"] <= 0 {
		return result{}, errors.New("not one request was answered")
	}
	micro := func(name string) time.Duration { return time.Duration(seen[name]) * time.Microsecond }
	return result{
		requests: seen["requests"], took: micro("took"), p50: micro("p50"), p99: micro("p99"), bytes: seen["bytes"],
		failed: seen["connect"] + seen["read"] + seen["write"] + seen["status"] + seen["timeout"],
	}, nil
}

// pairs are slices of the same load on two servers, taken in turns.
type pairs struct{ ours, bare []result }

// compare measures n pairs of slices in ABBA order, so that a drift of the machine falls on both alike. In a pair
// both get the same cookies.
func (b *bench) compare(ours, bare string, l load, n int) (pairs, error) {
	var p pairs
	for i := range n {
		l.first += 7919 * i
		order := []string{ours, bare}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, address := range order {
			r, err := b.wrk(address, l)
			if err != nil {
				return p, err
			}
			if address == ours {
				p.ours = append(p.ours, r)
			} else {
				p.bare = append(p.bare, r)
			}
		}
	}
	return p, nil
}

// throughput returns the median, the least and the greatest of the ratios of the pairs.
func (p pairs) throughput() (ratio, least, most float64) {
	ratios := make([]float64, len(p.ours))
	for i := range p.ours {
		ratios[i] = p.ours[i].perSecond() / p.bare[i].perSecond()
	}
	return median(ratios), slices.Min(ratios), slices.Max(ratios)
}

// slowest returns the medians of the 99th percentiles.
func (p pairs) slowest() (ours, bare time.Duration) {
	p99 := func(all []result) time.Duration {
		var each []time.Duration
		for _, r := range all {
			each = append(each, r.p99)
		}
		return median(each)
	}
	return p99(p.ours), p99(p.bare)
}

// perSecond returns the medians of the throughputs.
func (p pairs) perSecond() (ours, bare float64) {
	rate := func(all []result) float64 {
		var each []float64
		for _, r := range all {
			each = append(each, r.perSecond())
		}
		return median(each)
	}
	return rate(p.ours), rate(p.bare)
}

// median of at least one value; of an even number the mean of the middle two.
func median[T ~int64 | ~float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// percentile returns the value that the share of the sorted values does not exceed, by the nearest rank.
func percentile(sorted []time.Duration, share float64) time.Duration {
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
