package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/session"
)

// patience bounds waits that end early when all is well.
const patience = 20 * time.Second

// received is one request as it came over an upstream's wire.
type received struct {
	line    string
	headers []string // whole lines, in their order
	body    string
	trailer []string
}

// values gives the values of every header with the name, letter case aside.
func (q received) values(name string) (all []string) {
	for _, line := range q.headers {
		if n, v, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

// path is the request-target without the query.
func (q received) path() string {
	target := strings.Split(q.line, " ")[1]
	target, _, _ = strings.Cut(target, "?")
	return target
}

// journal is an upstream that writes down the bytes of every request.
type journal struct {
	url    *url.URL
	answer func(net.Conn, *bufio.Reader, received) // writes the answer; nil: 200 "ok"

	mu       sync.Mutex
	requests []received
}

func newJournal(t testing.TB, answer func(net.Conn, *bufio.Reader, received)) *journal {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{url: &url.URL{Scheme: "http", Host: listener.Addr().String()}, answer: answer}
	var connections sync.WaitGroup
	var open sync.Map
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			connections.Go(func() { defer conn.Close(); j.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		connections.Wait()
	})
	return j
}

func (j *journal) serve(conn net.Conn) {
	br := bufio.NewReader(conn)
	for {
		q, err := readRequest(br)
		if err != nil {
			return
		}
		j.mu.Lock()
		j.requests = append(j.requests, q)
		j.mu.Unlock()
		if j.answer == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
			continue
		}
		j.answer(conn, br, q)
	}
}

func readRequest(br *bufio.Reader) (received, error) {
	tp := textproto.NewReader(br)
	var q received
	var err error
	if q.line, err = tp.ReadLine(); err != nil {
		return q, err
	}
	if q.headers, err = readLines(tp); err != nil {
		return q, err
	}
	if n := q.values("Content-Length"); len(n) == 1 {
		length, _ := strconv.Atoi(n[0])
		body := make([]byte, length)
		_, err = io.ReadFull(br, body)
		q.body = string(body)
	} else if len(q.values("Transfer-Encoding")) == 1 {
		var body []byte
		if body, err = io.ReadAll(httputil.NewChunkedReader(br)); err == nil {
			q.body = string(body)
			q.trailer, err = readLines(tp)
		}
	}
	return q, err
}

func readLines(tp *textproto.Reader) (lines []string, err error) {
	for {
		line, err := tp.ReadLine()
		if err != nil || line == "" {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// all gives the requests so far.
func (j *journal) all() []received {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]received(nil), j.requests...)
}

// only gives the one request that came, and fails the test where there is none or another.
func (j *journal) only(t testing.TB) received {
	t.Helper()
	if all := j.all(); len(all) != 1 {
		t.Fatalf("the upstream saw %d requests, want one: %q", len(all), all)
	}
	return j.all()[0]
}

func (j *journal) empty(t testing.TB) {
	t.Helper()
	if all := j.all(); len(all) != 0 {
		t.Errorf("the upstream saw %q, want nothing", all)
	}
}

// plainAnswers says in a header which answer was chosen.
type plainAnswers struct{}

func (plainAnswers) SignIn(w http.ResponseWriter, _ *http.Request, id *session.Identity) {
	w.Header().Set("Answer", "sign-in")
	if id != nil {
		w.Header().Set("Answer", "second-factor")
	}
	w.WriteHeader(http.StatusUnauthorized)
}

func (plainAnswers) SignInFor(w http.ResponseWriter, r *http.Request, id *session.Identity, status int) {
	w.Header().Set("Location", "/login?"+r.URL.String())
	plainAnswers{}.SignIn(w, r, id)
}

func (plainAnswers) Refuse(w http.ResponseWriter, _ *http.Request, status int, requestID string) {
	w.Header().Set("Answer", "refused")
	w.Header().Set("Request-Id", requestID)
	w.WriteHeader(status)
}

// people are the sessions of the tests, by the value of the cookie.
var people = map[string]*session.Identity{
	"alice-1": {Username: "alice", Email: "alice@example.com", Name: "Zoë Liddell", Groups: []string{"staff"}, AMR: []string{"pwd"}},
	"alice-2": {Username: "alice", Email: "alice@example.com", Name: "Zoë Liddell", Groups: []string{"staff"}, AMR: []string{"pwd", "otp"}},
	"root-1":  {Username: "root", Groups: []string{"admins", "staff"}, AMR: []string{"pwd"}},
	"root-2":  {Username: "root", Groups: []string{"admins", "staff"}, AMR: []string{"pwd", "otp"}},
}

var errStoreGone = errors.New("store: dial tcp 127.0.0.1:6379: connection refused")

func identify(r *http.Request) (*session.Identity, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if c, err := r.Cookie("sallyport"); err == nil {
		token = c.Value
	}
	if token == "store-gone" {
		return nil, errStoreGone
	}
	return people[token], nil
}

func ownBearer(r *http.Request) bool {
	_, ours := people[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	return ours
}

// fixture is the access that SECURITY-CASES.md is written against.
func fixture(to *url.URL) []Upstream {
	return []Upstream{{Name: "app", URL: to, Policy: Deny, Rules: []Rule{
		{Paths: []string{"/public/*"}, Policy: Bypass},
		{Paths: []string{"/app/*"}, Policy: OneFactor},
		{Paths: []string{"/secret/*"}, Policy: TwoFactor},
		{Paths: []string{"/admin/*"}, Policy: TwoFactor, Groups: []string{"admins"}},
	}}}
}

// whole is an upstream without rules on paths, so that paths pass as they come.
func whole(to *url.URL, policy Policy) []Upstream {
	return []Upstream{{Name: "app", URL: to, Policy: policy}}
}

func options(upstreams []Upstream) Options {
	return Options{
		Upstreams:   upstreams,
		AuthPath:    "/auth",
		CookieNames: []string{"sallyport", "__Host-sallyport"},
		Identify:    identify,
		OwnBearer:   ownBearer,
		Answers:     plainAnswers{},
		Log:         slog.New(slog.DiscardHandler),
	}
}

func newGateway(t testing.TB, o Options) *Gateway {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// start serves the gateway as main does, Front first, and gives its address.
func start(t testing.TB, o Options) string {
	t.Helper()
	return serve(t, newGateway(t, o))
}

func serve(t testing.TB, g *Gateway) string {
	t.Helper()
	s := httptest.NewUnstartedServer(Front(g, false))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// get is a request of HTTP/1.1 in full, with further header lines.
func get(path string, headers ...string) string {
	return request("GET", path, headers...)
}

func request(method, path string, headers ...string) string {
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: app.example.com"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

const (
	aliceOne = "Cookie: sallyport=alice-1"
	aliceTwo = "Cookie: sallyport=alice-2"
	rootTwo  = "Cookie: sallyport=root-2"
)

// dial opens a connection that ends with the test.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// send writes the bytes as they are and reads one answer, body included.
func send(t testing.TB, addr, raw string) (*http.Response, string) {
	t.Helper()
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer to %.200q: %v", raw, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("the answer to %.200q broke off: %v", raw, err)
	}
	return res, string(body)
}

func prefixes(networks ...string) (all []netip.Prefix) {
	for _, n := range networks {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

func describe(res *http.Response) string {
	return fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Answer"))
}

// looks has what is said of sessions under way come from what is sent: nil says that they live and have no rights any more.
func looks(o *Options) chan<- error {
	said := make(chan error, 16)
	o.Alive = func(context.Context, string) (*session.Identity, error) {
		select {
		case err := <-said:
			return nil, err
		default:
			return &session.Identity{AMR: []string{"pwd", "otp"}, Groups: []string{"admins", "staff"}}, nil
		}
	}
	return said
}
