package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

// shelf keeps every request that it is offered, and turns those with the header Send into another.
type shelf struct{ asked chan string }

func (s shelf) Keep(w http.ResponseWriter, r *http.Request, id *session.Identity) bool {
	s.asked <- "keep " + r.URL.Path
	if r.URL.Path == "/app/unkept" {
		return false
	}
	w.Header().Set("Answer", "kept")
	w.WriteHeader(http.StatusSeeOther)
	return true
}

func (s shelf) Restore(w http.ResponseWriter, r *http.Request, id *session.Identity) (*http.Request, bool) {
	s.asked <- "restore " + r.URL.Path
	switch r.Header.Get("Send") {
	case "kept":
		r = r.WithContext(r.Context())
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("what was kept")), 13
	case "gone":
		w.WriteHeader(http.StatusSeeOther)
		return nil, false
	}
	return r, true
}

func (s shelf) all() (all []string) {
	close(s.asked)
	for a := range s.asked {
		all = append(all, a)
	}
	return all
}

func TestFormsAreKeptAndRestoredOnlyWhereASessionIsAskedFor(t *testing.T) {
	app, s := newJournal(t, nil), shelf{make(chan string, 16)}
	o := options(fixture(app.url))
	o.Forms = s
	addr := start(t, o)
	post := func(path string, headers ...string) string {
		res, _ := send(t, addr, request("POST", path, append(headers, "Content-Length: 4")...)+"body")
		return describe(res)
	}
	for _, c := range []struct{ got, want string }{
		{post("/public/x"), "200 "},
		{post("/closed"), "403 refused"},
		{post("/app/x"), "303 kept"},
		{post("/app/unkept"), "401 sign-in"},
		{post("/secret/x", aliceOne), "303 kept"},
		{post("/app/y", aliceOne), "200 "},
		{post("/app/z", aliceOne, "Send: kept"), "200 "},
		{post("/app/gone", aliceOne, "Send: gone"), "303 "},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	want := []string{"keep /app/x", "keep /app/unkept", "keep /secret/x", "restore /app/y", "restore /app/z", "restore /app/gone"}
	if got := s.all(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	var bodies []string
	for _, q := range app.all() {
		bodies = append(bodies, q.path()+" "+q.body)
	}
	if want := []string{"/public/x body", "/app/y body", "/app/z what was kept"}; !slices.Equal(bodies, want) {
		t.Errorf("the app got %q, want %q", bodies, want)
	}
}

// The app may have acted on it already, so it must not be offered a second time.
func TestAFormWhoseSessionEndsOnItsWayIsNotKept(t *testing.T) {
	stop := make(chan chan<- error, 1)
	app := newJournal(t, func(_ net.Conn, br *bufio.Reader, _ received) {
		(<-stop) <- session.ErrNone
		br.ReadByte() // until the gateway gives up
	})
	s := shelf{make(chan string, 16)}
	o := options(fixture(app.url))
	o.Forms = s
	stop <- looks(&o)
	res, _ := send(t, start(t, o), request("POST", "/app/x", aliceOne, "Content-Length: 4")+"body")
	if describe(res) != "401 sign-in" {
		t.Errorf("got %s", describe(res))
	}
	if got := s.all(); !slices.Equal(got, []string{"restore /app/x"}) {
		t.Errorf("asked %q", got)
	}
}
