package proxy

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"syscall"
	"time"
)

const (
	connBufferSize = 4 << 10 // bytes; a trailer has to fit in it
	lastInterim    = 199     // the last status of an answer that another one follows
)

var (
	errHeadTooLong = fmt.Errorf("the head of the answer is longer than %d bytes", maxResponseHeader)
	errSpoilt      = errors.New("something has come while the connection was idle")
	errSwitched    = errors.New("the upstream switches protocols, and nobody has asked it to")
)

// plainConn is one connection to an upstream, in the hands of one request or idle. It keeps its buffers.
type plainConn struct {
	net.Conn
	host string // of the URLs that it is for

	reader *bufio.Reader
	left   int64 // bytes that may still be read

	used  bool // an answer has come over it before
	heard bool // something of the answer has come
	ended bool // the upstream has closed its side
	keep  bool // the answer says nothing against another request

	idleSince time.Time
	deadline  time.Time // what reading was last given; zero: none
	abort     func()    // closes it, from any goroutine

	raw  syscall.RawConn
	look func(fd uintptr) bool // what raw calls to look whether something has come
	seen error                 // what look saw
	ask  func(fd uintptr) bool // what raw calls to send a request and wait for its answer
	head []byte                // of the request
	sent int                   // bytes of head that are out; negative: there is nothing to send, or not yet
}

func newPlainConn(conn net.Conn, host string) (*plainConn, error) {
	below, ok := conn.(syscall.Conn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("connection of type %T: want one with a file descriptor", conn)
	}
	raw, err := below.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &plainConn{Conn: conn, host: host, raw: raw, abort: func() { conn.Close() }}
	c.reader = bufio.NewReaderSize(c, connBufferSize)
	c.look = func(fd uintptr) bool {
		var one [1]byte
		_, c.seen = syscall.Read(int(fd), one[:]) // the descriptors of package net do not block
		return true
	}
	c.ask = c.sendAndWait
	return c, nil
}

// Read is for the reader alone. It stops where a head has become too long, which http.ReadResponse would not notice.
func (c *plainConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeadTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.ended = c.ended || err == io.EOF
	return n, err
}

// quiet says whether an idle connection can take a request: nothing has come since the last answer, neither bytes,
// which the next person would take for their answer, nor the end. A connection on which something has is spoilt by it.
func (c *plainConn) quiet() bool {
	return c.raw.Read(c.look) == nil && c.seen == syscall.EAGAIN
}

// reusable says whether an answer that was read to its end was all that there is on the connection.
func (c *plainConn) reusable() bool {
	return c.keep && !c.ended && c.reader.Buffered() == 0
}

// sendAndWait is called once, and then each time that something may have come, until it returns true. The wait begins
// before the request is out, so that its answer cannot be missed, and needs no read that finds nothing.
func (c *plainConn) sendAndWait(fd uintptr) bool {
	if c.sent >= 0 {
		return true
	}
	if c.used {
		if c.look(fd); c.seen != syscall.EAGAIN {
			return true
		}
	}
	c.sent = 0
	if n, err := syscall.Write(int(fd), c.head); err == nil {
		c.sent = n
	}
	return c.sent < len(c.head)
}

// send writes the head of a request, and waits until something of the answer is there, or the end. It gives errSpoilt
// where an idle connection was not quiet, and has sent nothing then. unsent is why not all could be written.
func (c *plainConn) send() (unsent, err error) {
	c.sent = -1
	if err := c.raw.Read(c.ask); err != nil {
		return nil, err
	}
	if c.sent < 0 {
		return nil, errSpoilt
	}
	if c.sent < len(c.head) {
		_, unsent = c.Conn.Write(c.head[c.sent:])
	}
	// An upstream may refuse a request before it has read all of it, and hang up: the refusal is there to be read.
	if _, err := c.reader.Peek(1); err != nil {
		return unsent, cmp.Or(unsent, err)
	}
	return unsent, nil
}

// deadlineSlack is how much later than asked for the wait for an answer may end. With it a busy connection gets a new
// deadline once a second, and not with each request.
const deadlineSlack = time.Second

// readWithin bounds the wait for an answer; 0: no limit.
func (c *plainConn) readWithin(d time.Duration) {
	now := time.Now()
	if d > 0 && c.deadline.Sub(now) < d {
		c.deadline = now.Add(d + min(d/8, deadlineSlack))
		c.SetReadDeadline(c.deadline)
	}
}

// roundTrip writes a request, with further header lines, and reads the head of the answer. within bounds both together; 0: no
// limit. It gives errSpoilt where nothing was sent, since the connection is of no more use.
func (c *plainConn) roundTrip(req *http.Request, lines []headerLine, within time.Duration) (*http.Response, error) {
	c.heard, c.left = false, maxResponseHeader
	c.readWithin(within) // the answer's alone, as http.Transport has it
	c.head = appendHead(c.head[:0], req, lines)
	unsent, err := c.send()
	if cap(c.head) > connBufferSize {
		c.head = nil // a rare one: an idle connection is not to hold it
	}
	if err != nil {
		return nil, err
	}
	c.heard, c.used = true, true
	res, err := c.readHead(req)
	if err != nil {
		return nil, err
	}
	if within > 0 && (res.ContentLength < 0 || res.ContentLength > int64(c.reader.Buffered())) {
		c.deadline = time.Time{} // where all is here already, the next request goes by what is set
		c.SetReadDeadline(c.deadline)
	}
	c.left = math.MaxInt64
	c.keep = unsent == nil && !res.Close && res.StatusCode > lastInterim
	return res, nil
}

// appendHead appends the head of a request that checkHead has let through (RFC 9112 section 3). What net/http's own writer
// would sort and look at once more, for each request, is written as it stands.
func appendHead(b []byte, r *http.Request, lines []headerLine) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, cmp.Or(r.URL.EscapedPath(), "/")...)
	if r.URL.ForceQuery || r.URL.RawQuery != "" {
		b = append(append(b, '?'), r.URL.RawQuery...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendHeader(b, "Host", cmp.Or(r.Host, r.URL.Host))
	if _, given := r.Header["User-Agent"]; !given {
		b = appendHeader(b, "User-Agent", "Go-http-client/1.1") // http.Transport's
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "User-Agent":
			if values = values[:min(len(values), 1)]; len(values) == 0 || values[0] == "" {
				continue // there is to be none
			}
		}
		for _, v := range values {
			b = appendHeader(b, name, textproto.TrimString(v))
		}
	}
	for _, line := range lines {
		b = appendHeader(b, line.name, line.value)
	}
	return append(b, "\r\n"...)
}

func appendHeader(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// readHead reads the head of the answer, and before it those of any number of interim answers, which only the time
// and whoever is told of them bound. Where nobody is told, all heads together have the length of one.
func (c *plainConn) readHead(req *http.Request) (*http.Response, error) {
	for {
		res, err := http.ReadResponse(c.reader, req)
		if err != nil {
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode < http.StatusContinue || res.StatusCode > lastInterim:
			return res, nil
		}
		trace := httptrace.ContextClientTrace(req.Context())
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
			c.left = maxResponseHeader
		}
	}
}
