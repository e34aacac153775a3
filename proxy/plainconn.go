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
	errSwitched    = errors.New("the upstream switches protocols, and nobody has asked it to")
)

// plainConn is one connection to an upstream, in the hands of one request or idle. It keeps its buffers.
type plainConn struct {
	net.Conn
	host string // of the URLs that it is for

	reader *bufio.Reader
	writer *bufio.Writer
	left   int64 // bytes that may still be read

	heard bool // something of the answer has come
	ended bool // the upstream has closed its side
	keep  bool // the answer says nothing against another request

	idleSince time.Time
	abort     func() // closes it, from any goroutine

	raw  syscall.RawConn
	look func(fd uintptr) bool // what raw calls
	seen error                 // what look saw
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
	c.reader, c.writer = bufio.NewReaderSize(c, connBufferSize), bufio.NewWriterSize(conn, connBufferSize)
	c.look = func(fd uintptr) bool {
		var one [1]byte
		_, c.seen = syscall.Read(int(fd), one[:]) // the descriptors of package net do not block
		return true
	}
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

// roundTrip writes a request, with further header lines, and reads the head of the answer. within bounds both together; 0: no limit.
func (c *plainConn) roundTrip(req *http.Request, lines []headerLine, within time.Duration) (*http.Response, error) {
	c.heard, c.left = false, maxResponseHeader
	if within > 0 {
		c.SetReadDeadline(time.Now().Add(within)) // the answer's alone, as http.Transport has it
	}
	unsent := c.writeHead(req, lines)
	// An upstream may refuse a request before it has read all of it, and hang up: the refusal is there to be read.
	if _, err := c.reader.Peek(1); unsent != nil && err != nil {
		return nil, unsent
	} else if err != nil {
		return nil, err
	}
	c.heard = true
	res, err := c.readHead(req)
	if err != nil {
		return nil, err
	}
	if within > 0 && (res.ContentLength < 0 || res.ContentLength > int64(c.reader.Buffered())) {
		c.SetReadDeadline(time.Time{}) // where all is here already, the next request sets another
	}
	c.left = math.MaxInt64
	c.keep = unsent == nil && !res.Close && res.StatusCode > lastInterim
	return res, nil
}

// writeHead writes a request that checkHead has let through (RFC 9112 section 3). What net/http's own writer would sort and
// look at once more, for each request, is written as it stands.
func (c *plainConn) writeHead(r *http.Request, lines []headerLine) error {
	w := c.writer
	w.Reset(c.Conn) // a write that failed once would fail for ever
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(cmp.Or(r.URL.EscapedPath(), "/"))
	if r.URL.ForceQuery || r.URL.RawQuery != "" {
		w.WriteByte('?')
		w.WriteString(r.URL.RawQuery)
	}
	w.WriteString(" HTTP/1.1\r\n")
	writeHeader(w, "Host", cmp.Or(r.Host, r.URL.Host))
	if _, given := r.Header["User-Agent"]; !given {
		writeHeader(w, "User-Agent", "Go-http-client/1.1") // http.Transport's
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
			writeHeader(w, name, textproto.TrimString(v))
		}
	}
	for _, line := range lines {
		writeHeader(w, line.name, line.value)
	}
	w.WriteString("\r\n")
	return w.Flush()
}

func writeHeader(w *bufio.Writer, name, value string) {
	w.WriteString(name)
	w.WriteString(": ")
	w.WriteString(value)
	w.WriteString("\r\n")
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
