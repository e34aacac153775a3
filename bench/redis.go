package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redis is a redis-server with a connection of the benchmark's own.
type redis struct {
	*process
	address string
	conn    net.Conn
	answers *bufio.Reader
}

// startRedis runs a redis-server that keeps nothing on disk, with these further arguments.
func (b *bench) startRedis(args ...string) (*redis, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dir := b.memory
	r := &redis{address: address}
	r.process, err = b.start(dir, "redis-server", append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no"}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := r.listens(address); err != nil {
		return nil, err
	}
	if r.conn, err = net.DialTimeout("tcp", address, time.Second); err != nil {
		return nil, err
	}
	r.answers = bufio.NewReader(r.conn)
	return r, nil
}

// do sends one command and returns its answer as text. It is for commands that do not answer with a list.
func (r *redis) do(args ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(r.conn, b.String()); err != nil {
		return "", err
	}
	answer, err := readAnswer(r.answers)
	if err != nil {
		return "", fmt.Errorf("redis %s: %w", strings.Join(args, " "), err)
	}
	return answer, nil
}

// readAnswer reads one answer that is no list (RESP2).
func readAnswer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("an empty answer")
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", fmt.Errorf("%s", rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 || n > 64<<20 {
			return "", fmt.Errorf("no value: %q", line)
		}
		raw := make([]byte, n+2)
		if _, err := io.ReadFull(r, raw); err != nil {
			return "", err
		}
		return string(raw[:n]), nil
	default:
		return "", fmt.Errorf("an answer of an unknown kind: %q", line)
	}
}

// number sends a command that answers with a number.
func (r *redis) number(args ...string) (int64, error) {
	answer, err := r.do(args...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer, 10, 64)
}

// infoNumber returns a number out of INFO.
func (r *redis) infoNumber(part, name string) (int64, error) {
	info, err := r.do("info", part)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("redis info %s has no %s", part, name)
}

// calls is how often each command was carried out, those from inside scripts too.
type calls map[string]int64

// commands returns how often each command was carried out so far, without the benchmark's own questions.
func (r *redis) commands() (calls, error) {
	info, err := r.do("info", "commandstats")
	if err != nil {
		return nil, err
	}
	return parseCalls(info)
}

// parseCalls reads INFO commandstats. INFO itself is left out, since it is the benchmark that asks.
func parseCalls(info string) (calls, error) {
	c := calls{}
	for line := range strings.Lines(info) {
		line, found := strings.CutPrefix(strings.TrimSpace(line), "cmdstat_")
		if !found {
			continue
		}
		name, rest, _ := strings.Cut(line, ":calls=")
		number, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("INFO commandstats: no number of calls in %q", line)
		}
		if name != "info" {
			c[name] = n
		}
	}
	return c, nil
}

// since returns what came after before.
func (c calls) since(before calls) calls {
	d := calls{}
	for name, n := range c {
		if n > before[name] {
			d[name] = n - before[name]
		}
	}
	return d
}

// String names the commands with their numbers, the most frequent first.
func (c calls) String() string {
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, c[name])
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func (c calls) total() (sum int64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// sent are the commands that a gateway has sent while it served known sessions: INFO counts what a script does too, and
// the one that notes last uses gets and sets each session's record.
func (c calls) sent() int64 { return c.total() - 2*c["set"] }

// sentForRequests leaves out what a gateway sends without any request: its beats, and the looks before them.
func (c calls) sentForRequests() int64 { return c.sent() - c["publish"] - c["pttl"] }

// reads are the commands that fetch a value.
func (c calls) reads() int64 {
	return c["get"] + c["mget"] + c["getex"] + c["hget"] + c["hmget"] + c["hgetall"]
}
