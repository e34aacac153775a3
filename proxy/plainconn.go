package proxy

import (
	"bufio"
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

// roundTrip writes a request and reads the head of the answer. within bounds both together; 0: no limit.
func (c *plainConn) roundTrip(req *http.Request, within time.Duration) (*http.Response, error) {
	c.heard, c.left = false, maxResponseHeader
	if within > 0 {
		c.SetDeadline(time.Now().Add(within))
	}
	unsent := req.Write(c.writer)
	if unsent == nil {
		unsent = c.writer.Flush()
	}
	if unsent != nil {
		if network := new(net.OpError); !errors.As(unsent, &network) {
			return nil, unsent // nothing was written that could be answered
		}
	}
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
	if within > 0 {
		c.SetDeadline(time.Time{})
	}
	c.left = math.MaxInt64
	c.keep = unsent == nil && !res.Close && res.StatusCode > lastInterim
	return res, nil
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
