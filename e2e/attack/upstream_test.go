package attack

import (
	"bufio"
	"crypto/sha1" // RFC 6455 section 1.3 asks for it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// upstream is an app on a bare TCP listener, which writes down each request as it came, byte for byte, and what it did
// not understand of it. By the last part of the path:
//
//	socket    a WebSocket that sends back what it gets
//	events    a stream that sends one event and then nothing, until it is cut
//	download  bytes without end, until it is cut
//	any other what the test has set with answer, or else 200 and "ok"
type upstream struct {
	URL      string
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	journal []received
	answers map[string]string // by path
	conns   map[net.Conn]bool
	streams int // sockets, events and downloads that are open
}

// received is one request as it came over the wire.
type received struct {
	Head    string // request line and headers, with all line ends
	Body    int64  // length, as the framing says
	Trailer string // the lines after the last chunk
	Trouble string // why the rest of the connection could not be read; empty: it could
}

// maxHead bounds a request's line and headers, in bytes.
const maxHead = 4 << 20

func startUpstream(t testing.TB) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{URL: "http://" + l.Addr().String(), listener: l, answers: map[string]string{}, conns: map[net.Conn]bool{}}
	u.serving.Go(u.accept)
	t.Cleanup(u.close)
	return u
}

func (u *upstream) close() {
	u.listener.Close()
	u.mu.Lock()
	for c := range u.conns {
		c.Close()
	}
	u.conns = nil
	u.mu.Unlock()
	u.serving.Wait()
}

func (u *upstream) accept() {
	for {
		c, err := u.listener.Accept()
		if err != nil {
			return // it is closed
		}
		u.mu.Lock()
		closed := u.conns == nil
		if !closed {
			u.conns[c] = true
		}
		u.mu.Unlock()
		if closed {
			c.Close()
			return
		}
		u.serving.Go(func() {
			u.serve(c)
			c.Close()
			u.mu.Lock()
			delete(u.conns, c)
			u.mu.Unlock()
		})
	}
}

// serve answers the requests of a connection until one of them ends it.
func (u *upstream) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		head, err := readHead(in)
		if head == "" && err != nil {
			return // nothing more came
		}
		r := received{Head: head}
		if err != nil {
			r.Trouble = err.Error()
		} else if err := r.readBody(c, in); err != nil {
			r.Trouble = err.Error()
		}
		u.mu.Lock()
		u.journal = append(u.journal, r)
		u.mu.Unlock()
		if r.Trouble != "" || !u.answer(c, in, &r) {
			return
		}
	}
}

// readHead returns everything up to an empty line.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for head.Len() < maxHead {
		line, err := in.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String(), err
		}
		if strings.TrimRight(line, "\r\n") == "" {
			return head.String(), nil
		}
	}
	return head.String(), errors.New("the head is too long")
}

// readBody counts the body. A length that could be read in two ways is trouble.
func (r *received) readBody(c net.Conn, in *bufio.Reader) error {
	lengths, codings := r.values("Content-Length"), r.values("Transfer-Encoding")
	if len(lengths)+len(codings) > 1 {
		return fmt.Errorf("%d lengths and %d codings", len(lengths), len(codings))
	}
	if r.values("Expect") != nil {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	var err error
	switch {
	case len(codings) == 1 && strings.EqualFold(codings[0], "chunked"):
		if r.Body, err = io.Copy(io.Discard, httputil.NewChunkedReader(in)); err == nil {
			r.Trailer, err = readHead(in)
		}
	case len(codings) == 1:
		err = fmt.Errorf("the coding is %q", codings[0])
	case len(lengths) == 1:
		var n int64
		if n, err = strconv.ParseInt(lengths[0], 10, 64); err == nil {
			r.Body, err = io.CopyN(io.Discard, in, n)
		}
	}
	return err
}

// answer says whether the connection goes on.
func (u *upstream) answer(c net.Conn, in *bufio.Reader, r *received) bool {
	u.mu.Lock()
	set, found := u.answers[r.path()]
	u.mu.Unlock()
	switch last := path.Base(r.path()); {
	case found:
		_, err := io.WriteString(c, set)
		return err == nil && strings.Contains(set, "\r\n\r\n")
	case last == "socket" && r.values("Upgrade") != nil:
		u.stream(func() { r.echo(c, in) })
		return false
	case last == "events":
		u.stream(func() {
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: first\n\n"); err == nil {
				io.Copy(io.Discard, in) // until the other end cuts it
			}
		})
		return false
	case last == "download":
		u.stream(func() {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n")
			for chunk := make([]byte, 4096); err == nil; {
				_, err = c.Write(chunk) // until the other end cuts it
			}
		})
		return false
	}
	body := "ok"
	if r.method() == "HEAD" {
		body = ""
	}
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"+body)
	return err == nil
}

// stream counts what runs as open while it runs.
func (u *upstream) stream(run func()) {
	count := func(n int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.streams += n
	}
	count(1)
	defer count(-1)
	run()
}

// echo is a WebSocket of small frames (RFC 6455 sections 4.2.2 and 5.2).
func (r *received) echo(c net.Conn, in *bufio.Reader) {
	key := strings.Join(r.values("Sec-WebSocket-Key"), "")
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	for err == nil {
		err = echoFrame(c, in)
	}
}

func echoFrame(c net.Conn, in *bufio.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	length := uint16(head[1] & 0x7f)
	switch length {
	case 126:
		if err := binary.Read(in, binary.BigEndian, &length); err != nil {
			return err
		}
	case 127:
		return errors.New("a frame that is too long")
	}
	masked := make([]byte, 4+int(length)) // the key, and the payload
	if _, err := io.ReadFull(in, masked); err != nil {
		return err
	}
	for i := range masked[4:] {
		masked[4+i] ^= masked[i%4]
	}
	out := []byte{head[0]}
	if length < 126 {
		out = append(out, byte(length))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, 126), length)
	}
	_, err := c.Write(append(out, masked[4:]...))
	return err
}

// Answer sets the bytes that requests for a path are answered with, until the journal is emptied. Bytes without the
// end of a head end the connection.
func (u *upstream) Answer(path, raw string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers[path] = raw
}

// Requests returns the journal so far.
func (u *upstream) Requests() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.journal)
}

// Forget empties the journal and forgets the answers that were set.
func (u *upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.journal = nil
	clear(u.answers)
}

// Streams is how many sockets, event streams and downloads are open.
func (u *upstream) Streams() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.streams
}

// Only returns the single request of the journal, and empties it.
func (u *upstream) Only(t testing.TB) received {
	t.Helper()
	seen := u.Requests()
	if len(seen) != 1 {
		t.Fatalf("the upstream saw %d requests, want 1: %+v", len(seen), seen)
	}
	u.Forget()
	return seen[0]
}

// line is one header as it was written.
type line struct{ name, value string }

func (r *received) method() string {
	method, _, _ := strings.Cut(r.Head, " ")
	return method
}

// target is what stands between the method and the version.
func (r *received) target() string {
	first, _, _ := strings.Cut(r.Head, "\r\n")
	_, rest, _ := strings.Cut(first, " ")
	if i := strings.LastIndex(rest, " "); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

func (r *received) path() string {
	p, _, _ := strings.Cut(r.target(), "?")
	return p
}

// lines are the headers in their order, without the space around their values.
func (r *received) lines() []line {
	var all []line
	for i, raw := range strings.Split(r.Head, "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		if i == 0 || raw == "" {
			continue
		}
		name, value, _ := strings.Cut(raw, ":")
		all = append(all, line{name, strings.TrimSpace(value)})
	}
	return all
}

// values are those of the headers of a name, in any letter case.
func (r *received) values(name string) []string {
	var found []string
	for _, l := range r.lines() {
		if strings.EqualFold(l.name, name) {
			found = append(found, l.value)
		}
	}
	return found
}
