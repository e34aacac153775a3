package appsignin

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// withBasic gives an app a path for people: what it answers without credentials, and with those that are wrong.
func (a *fakeApp) withBasic(without, wrong int) *fakeApp {
	a.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		name, password, given := r.BasicAuth()
		w.Header().Set("WWW-Authenticate", `Basic realm="app"`)
		switch {
		case !given:
			w.Header().Set("Set-Cookie", "before=1; Path=/")
			w.WriteHeader(without)
		case name != "älice" || password != rightPassword:
			w.WriteHeader(wrong)
		default:
			w.Header().Set("Set-Cookie", "sid=1; Path=/")
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return a
}

func TestBasicAsksWithoutThePasswordFirst(t *testing.T) {
	a := startApp(t).withBasic(401, 401)
	r, err := (&Basic{Probe: "/me?x=1"}).SignIn(t.Context(), a.App, "älice", rightPassword)
	if err != nil || !slices.Equal(r.Cookies, []string{"before=1; Path=/", "sid=1; Path=/"}) {
		t.Errorf("got %v, %v", r, err)
	}
	if got := a.seen(); got != "GET /me, GET /me" || a.sent.Get("Cookie") != "before=1" || a.sent.Get("User-Agent") != "Sallyport" {
		t.Errorf("asked for %s, at last with %v", got, a.sent)
	}
}

func TestBasicTellsARefusalFromWhatIsNoAnswer(t *testing.T) {
	for _, c := range []struct {
		without, wrong int
		want           error
		says           string
		requests       int
	}{
		{401, 401, ErrRefused, "wiki: the app refuses this name and password: GET /me answered 401", 2},
		{401, 403, ErrRefused, "GET /me answered 403", 2},
		{200, 200, ErrUnclear, "wiki: the app's answer is neither yes nor no: GET /me without a password answered 200 and not 401; set probe", 1},
		{403, 401, ErrUnclear, "without a password answered 403", 1},
		{302, 401, ErrUnclear, "without a password answered 302", 1},
		{404, 401, ErrUnclear, "without a password answered 404", 1},
		{503, 401, ErrUnclear, "without a password answered 503", 1},
		{401, 302, ErrUnclear, "with name and password answered 302, neither", 2},
		{401, 404, ErrUnclear, "with name and password answered 404", 2},
		{401, 429, ErrUnclear, "with name and password answered 429", 2},
		{401, 500, ErrUnclear, "with name and password answered 500", 2},
	} {
		a := startApp(t).withBasic(c.without, c.wrong)
		_, err := (&Basic{Probe: "/me"}).SignIn(t.Context(), a.App, "mallory", rightPassword)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || len(a.requests) != c.requests {
			t.Errorf("%d and %d: got %v after %s", c.without, c.wrong, err, a.seen())
		}
		isClean(t, err)
	}
}

func TestBasicCannotCarryEveryNameAndPassword(t *testing.T) {
	a := startApp(t).withBasic(401, 401)
	for _, c := range [][2]string{{"a:b", "x"}, {"a\tb", "x"}, {"a", "x\x7f"}, {"a", "x\u0085"}} {
		if _, err := (&Basic{Probe: "/me"}).SignIn(t.Context(), a.App, c[0], c[1]); !errors.Is(err, ErrBadInput) || a.seen() != "" {
			t.Errorf("%q: %v, asked for %q", c, err, a.seen())
		}
	}
}
