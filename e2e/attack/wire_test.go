package attack

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// wire is a TCP connection on which a test writes what no HTTP client would.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, address string) *wire {
	t.Helper()
	return dialFrom(t, "127.0.0.1", address)
}

// dialFrom connects from an address of the loopback network.
func dialFrom(t *testing.T, from, address string) *wire {
	t.Helper()
	dialer := net.Dialer{Timeout: harness.Patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// write sends bytes as they are. A gateway that has refused the beginning need not read the rest, so that it
// does not is no failure.
func (w *wire) write(raw string) { _, _ = io.WriteString(w.conn, raw) }

// reply is one answer on a wire.
type reply struct {
	status int
	header http.Header
	body   string
}

// read reads the next answer to a request of the method, but for what is said in between (1xx); false: the connection
// was closed instead.
func (w *wire) read(method string) (reply, bool) {
	w.t.Helper()
	response, err := http.ReadResponse(w.in, &http.Request{Method: method})
	for err == nil && response.StatusCode < http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
		response, err = http.ReadResponse(w.in, &http.Request{Method: method})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("no answer within %s, and the connection is still open", harness.Patience)
	}
	if err != nil {
		return reply{}, false
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body) // as much as came before the end of the connection
	return reply{response.StatusCode, response.Header, string(body)}, true
}

// rest reads answers until the gateway closes the connection.
func (w *wire) rest(method string) (replies []reply) {
	w.t.Helper()
	for {
		r, ok := w.read(method)
		if !ok {
			return replies
		}
		replies = append(replies, r)
	}
}

// last is a request that the gateway answers with 200 and after which it closes the connection.
const last = "GET /auth/healthz HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"

// exchange sends bytes on a connection of their own, [last] after them, and returns every answer that came. Where the
// last of them is that of [last], the gateway took what follows the bytes for a request.
func exchange(t *testing.T, address, raw string) []reply {
	t.Helper()
	w := dial(t, address)
	w.write(raw + last)
	method, _, _ := strings.Cut(raw, " ")
	return w.rest(method)
}

// speak sends one request, without a body, with its header lines as they are given, and returns the answer. The
// gateway is asked to close the connection.
func speak(t *testing.T, address, method, target string, lines ...string) reply {
	t.Helper()
	return speakFrom(t, "127.0.0.1", address, method, target, lines...)
}

func speakFrom(t *testing.T, from, address, method, target string, lines ...string) reply {
	t.Helper()
	w := dialFrom(t, from, address)
	w.write(method + " " + target + " HTTP/1.1\r\n" + strings.Join(append(lines, "Connection: close"), "\r\n") + "\r\n\r\n")
	replies := w.rest(method)
	if len(replies) != 1 {
		t.Fatalf("%s %q: %d answers, want one: %v", method, target, len(replies), replies)
	}
	return replies[0]
}

// denies says whether the answer keeps the request from what it asked for: the sign-in, or a refusal.
func (r reply) denies() bool {
	switch {
	case r.status == http.StatusFound || r.status == http.StatusSeeOther:
		to := r.header.Get("Location")
		return strings.Contains(to, "/auth/login") || strings.Contains(to, "/auth/2fa") || strings.Contains(to, "/auth/enroll")
	case r.status == http.StatusNotImplemented || r.status == http.StatusHTTPVersionNotSupported:
		return true
	}
	return r.status >= 400 && r.status < 500
}
