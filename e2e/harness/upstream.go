package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// Upstream is an app that knows nothing of signing in and keeps a journal of what reaches it.
//
//	/events     a stream of two server-sent events, the second when the test says so
//	/socket     a WebSocket that sends back what it gets
//	/set-cookie sets the cookies that the query names
//	any other   the request's headers as JSON
type Upstream struct {
	T      *testing.T
	URL    string
	server *httptest.Server
	// second lets /events send its second event.
	Second chan struct{}

	mu      sync.Mutex
	journal []Received
}

// Received is one request as the upstream saw it.
type Received struct {
	Method, Target, Host string
	Header               http.Header
}

func StartUpstream(t *testing.T) *Upstream {
	t.Helper()
	u := &Upstream{T: t, Second: make(chan struct{})}
	u.server = httptest.NewServer(u)
	u.URL = u.server.URL
	t.Cleanup(u.server.Close)
	return u
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.journal = append(u.journal, Received{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header.Clone()})
	u.mu.Unlock()
	switch r.URL.Path {
	case "/events":
		u.sendEvents(w, r)
	case "/socket":
		u.echo(w, r)
	case "/set-cookie":
		for _, name := range r.URL.Query()["name"] {
			http.SetCookie(w, &http.Cookie{Name: name, Value: "upstream"})
		}
	default:
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(r.Header); err != nil {
			u.T.Errorf("upstream: answering %s: %v", r.RequestURI, err)
		}
	}
}

func (u *Upstream) sendEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: first\n\n")
	if err := http.NewResponseController(w).Flush(); err != nil {
		u.T.Errorf("upstream: flushing: %v", err)
	}
	select {
	case <-u.Second:
		fmt.Fprint(w, "data: second\n\n")
	case <-r.Context().Done():
	}
}

func (u *Upstream) echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return // the client has closed it
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// Requests returns the journal so far.
func (u *Upstream) Requests() []Received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Received(nil), u.journal...)
}

// Forget empties the journal.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.journal = nil
}

// Only returns the single request of the journal, and empties it.
func (u *Upstream) Only() Received {
	u.T.Helper()
	seen := u.Requests()
	if len(seen) != 1 {
		u.T.Fatalf("the upstream saw %d requests, want 1: %v", len(seen), seen)
	}
	u.Forget()
	return seen[0]
}

// Untouched fails the test where anything has reached the upstream.
func (u *Upstream) Untouched() {
	u.T.Helper()
	if seen := u.Requests(); len(seen) != 0 {
		u.T.Errorf("the upstream saw %v, want nothing", seen)
	}
	u.Forget()
}

// Named returns the values of all headers whose folded name equals name's: lower case, each run of other than
// letters and digits as one dash. That is how a CGI-style server reads them.
func (r Received) Named(name string) []string {
	var values []string
	for key, v := range r.Header {
		if fold(key) == fold(name) {
			values = append(values, v...)
		}
	}
	return values
}

func fold(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})
	return strings.Join(words, "-")
}

// HostOf returns the host:port of a URL.
func HostOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// Proxied is the configuration of one upstream with nothing but its URL.
func Proxied(up *Upstream) string { return "  - { url: \"" + up.URL + "\" }" }
