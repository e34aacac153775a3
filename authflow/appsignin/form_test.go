package appsignin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

func TestAFormSignsAPersonIn(t *testing.T) {
	a := startApp(t).ordinary()
	r, err := (&Form{Page: "/login?next=/home"}).SignIn(t.Context(), a.App, "alice", rightPassword)
	if err != nil || !slices.Equal(r.Cookies, []string{"sid=alice; HttpOnly; Path=/"}) {
		t.Fatalf("got %v, %v", r, err)
	}
	if got := a.seen(); got != "GET /login, POST /login" {
		t.Errorf("asked for %s", got)
	}
	if got := a.posted.Encode(); got != "csrf=t0ken&p=korrekt%2BPferd&u=alice" {
		t.Errorf("posted %s", got)
	}
	for name, want := range map[string]string{
		"Origin": "http://wiki.example.com", "Referer": "http://wiki.example.com/login?next=/home", "User-Agent": "Sallyport",
		"Content-Type": "application/x-www-form-urlencoded", "Cookie": "sid=visitor", "Accept-Encoding": "identity", "Accept": "text/html,application/xhtml+xml,*/*;q=0.5",
	} {
		if got := a.sent.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestThePersonsBrowserIsNamedWhereItIsKnown(t *testing.T) {
	a := startApp(t).ordinary()
	a.Header = http.Header{"User-Agent": {"Browser/1"}, "Accept-Language": {"de"}}
	if _, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword); err != nil {
		t.Error(err)
	}
	if a.sent.Get("User-Agent") != "Browser/1" || a.sent.Get("Accept-Language") != "de" || a.sent.Get("Referer") == "" {
		t.Errorf("sent %v", a.sent)
	}
}

func TestAWrongPasswordIsRefusedInWords(t *testing.T) {
	a := startApp(t).ordinary()
	_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", "wrong")
	if !errors.Is(err, ErrRefused) || err.Error() != "wiki: the app refuses this name and password: POST /login answered 200 with a login form and no new cookie" {
		t.Errorf("got %v", err)
	}
}

func TestThePageMayBeBehindRedirectsOfTheApp(t *testing.T) {
	a := startApp(t).ordinary()
	a.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "lang=en; Path=/")
		http.Redirect(w, r, "http://"+r.Host+"/enter/", http.StatusSeeOther)
	})
	a.HandleFunc("GET /enter/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "../login")
		w.WriteHeader(308)
	})
	r, err := (&Form{Page: "/"}).SignIn(t.Context(), a.App, "alice", rightPassword)
	if err != nil || !slices.Equal(r.Cookies, []string{"lang=en; Path=/", "sid=alice; HttpOnly; Path=/"}) {
		t.Errorf("got %v, %v", r, err)
	}
	if got := a.sent.Get("Cookie"); got != "lang=en; sid=visitor" && got != "sid=visitor; lang=en" {
		t.Errorf("sent the cookies %q", got)
	}
}

func TestTenRedirectsAreFollowedAndNoMore(t *testing.T) {
	a := startApp(t).ordinary()
	a.HandleFunc("GET /hop/{left}", func(w http.ResponseWriter, r *http.Request) {
		left, _ := strconv.Atoi(r.PathValue("left"))
		w.Header().Set("Location", "/hop/"+strconv.Itoa(left-1))
		if left == 1 {
			w.Header().Set("Location", "/login")
		}
		w.WriteHeader(http.StatusFound)
	})
	if _, err := (&Form{Page: "/hop/10"}).SignIn(t.Context(), a.App, "alice", rightPassword); err != nil {
		t.Errorf("10: %v", err)
	}
	if _, err := (&Form{Page: "/hop/11"}).SignIn(t.Context(), a.App, "alice", rightPassword); !errors.Is(err, ErrUnclear) {
		t.Errorf("11: %v", err)
	}
}

func TestALoginPageThatCannotBeUsedSaysWhy(t *testing.T) {
	answers := func(status int, header, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set(header, value)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for name, c := range map[string]struct {
		page http.HandlerFunc
		says string
	}{
		"none":                 {http.NotFound, "GET /login answered 404 and no login page"},
		"broken":               {answers(500, "X", "", loginPage), "GET /login answered 500 and no login page"},
		"too busy":             {answers(429, "X", "", loginPage), "GET /login answered 429 and no login page"},
		"JSON":                 {answers(200, "Content-Type", "application/json", "{}"), "something other than HTML"},
		"no type":              {answers(200, "Content-Type", "", loginPage), "something other than HTML"},
		"compressed":           {answers(200, "Content-Encoding", "br", "x"), "compressed"},
		"no form":              {answers(200, "X", "", "<p>Hello</p>"), "GET /login has no form with a password field; set page"},
		"another origin":       {answers(302, "Location", "https://sso.example/login", ""), "GET /login answered 302, which leads out of the app; set page"},
		"no location":          {answers(302, "X", "", ""), "GET /login answered 302, which leads out of the app"},
		"another port":         {answers(302, "Location", "http://wiki.example.com:81/", ""), "leads out of the app"},
		"redirects for ever":   {answers(302, "Location", "/login?again", ""), "more than 10 redirects"},
		"50 MiB":               {endless(50 << 20), "more than 1024 KiB"},
		"a page without end":   {endless(1 << 60), "more than 1024 KiB"},
		"500 cookies":          {cookies(500), "GET /login set more than 50 cookies"},
		"a form to elsewhere":  {answers(200, "X", "", `<form method=post action=//evil.example><input name=u><input type=password name=p></form>`), "sent elsewhere than to the app; the password was not sent"},
		"a form by GET":        {answers(200, "X", "", `<form><input name=u><input type=password name=p></form>`), "method is not post"},
		"100,000 inputs":       {answers(200, "X", "", `<form method=post>`+strings.Repeat("<input>", 100_000)), "more than 5000 fields"},
		"a form as plain text": {answers(200, "X", "", `<form method=post enctype=text/plain><input name=u><input type=password name=p></form>`), "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t)
			a.HandleFunc("GET /login", c.page)
			_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
			if !errors.Is(err, ErrUnclear) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %s", err, c.says)
			}
			isClean(t, err)
			if strings.Contains(a.seen(), "POST") {
				t.Errorf("asked for %s", a.seen())
			}
		})
	}
}

// endless answers with a page of so many bytes, or until nobody reads on.
func endless(bytes int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		page(w, loginPage)
		for block := []byte(strings.Repeat(" ", 1<<15)); bytes > 0; bytes -= len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

func cookies(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := range n {
			w.Header().Add("Set-Cookie", fmt.Sprintf("c%d=1", i))
		}
		page(w, loginPage)
	}
}

func TestSomeAppsShowTheirLoginPageWith401(t *testing.T) {
	a := startApp(t)
	a.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, loginPage)
	})
	a.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", "x"); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestAPageMayBeTheRoot(t *testing.T) {
	for _, p := range []string{"", "?a=1", "/", "#top"} {
		a := startApp(t)
		a.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { page(w, loginPage) })
		a.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
		if _, err := (&Form{Page: p}).SignIn(t.Context(), a.App, "alice", "x"); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestAPageInTheConfigurationIsAPathOfTheApp(t *testing.T) {
	a := startApp(t)
	for _, page := range []string{"//evil.example/", "https://evil.example/", "/%zz", `/\evil.example`, "javascript:x"} {
		if _, err := (&Form{Page: page}).SignIn(t.Context(), a.App, "alice", "x"); !errors.Is(err, ErrUnclear) || a.seen() != "" {
			t.Errorf("%s: %v, asked for %q", page, err, a.seen())
		}
		if _, err := (&Basic{Probe: page}).SignIn(t.Context(), a.App, "alice", "x"); !errors.Is(err, ErrUnclear) || a.seen() != "" {
			t.Errorf("%s: %v, asked for %q", page, err, a.seen())
		}
	}
}

func TestWhatNoFormCanCarryIsRefusedBeforeAnythingIsSent(t *testing.T) {
	a := startApp(t)
	for name, c := range map[string][2]string{
		"line break in the name": {"a\nb", "x"}, "carriage return in the password": {"a", "x\r"}, "NUL": {"a\x00", "x"}, "NUL in the password": {"a", "\x00"},
		"no name": {"", "x"}, "no password": {"a", ""}, "not UTF-8": {"a", "\xff"}, "long name": {strings.Repeat("a", 1025), "x"}, "long password": {"a", strings.Repeat("x", 1025)},
	} {
		for _, m := range []Method{&Form{Page: "/login"}, &Basic{Probe: "/me"}} {
			if _, err := m.SignIn(t.Context(), a.App, c[0], c[1]); !errors.Is(err, ErrBadInput) || a.seen() != "" {
				t.Errorf("%s: %v, asked for %q", name, err, a.seen())
			}
		}
	}
}

func TestAnAppOutOfReachIsNoAnswerAndItsAddressStaysHidden(t *testing.T) {
	for name, c := range map[string]struct {
		app  func(*fakeApp)
		says string
	}{
		"closed": {func(a *fakeApp) {
			a.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				r.URL.Host = "127.0.0.1:1" // where nothing listens
				return http.DefaultTransport.RoundTrip(r)
			})
		}, "wiki: the app is out of reach: GET /login: connection refused"},
		"breaks off": {func(a *fakeApp) {
			a.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				page(w, loginPage)
			})
		}, "wiki: the app is out of reach: GET /login: the connection broke, or the answer is not HTTP"},
		"no name": {func(a *fakeApp) {
			a.Transport = failing(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "127.0.0.1.inner"}})
		}, "wiki: the app is out of reach: GET /login: its host name cannot be resolved"},
		"not trusted": {func(a *fakeApp) {
			server := httptest.NewUnstartedServer(a)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			a.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				r.URL.Scheme, r.URL.Host = "https", server.Listener.Addr().String()
				return http.DefaultTransport.RoundTrip(r)
			})
		}, "wiki: the app is out of reach: GET /login: its certificate is not trusted"},
		"hangs up at the form": {func(a *fakeApp) {
			a.withForm(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, "wiki: the app is out of reach: POST /login: the connection broke, or the answer is not HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t)
			c.app(a)
			_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
			if !errors.Is(err, ErrOutOfReach) || err.Error() != c.says {
				t.Errorf("got %v", err)
			}
			isClean(t, err)
		})
	}
}

func TestAnAnswerThatTheTransportFindsTooLongIsTheAppsFault(t *testing.T) {
	a := startApp(t)
	a.Transport = failing(fmt.Errorf("the answer of 127.0.0.1: %w", &http.MaxBytesError{Limit: 2 << 20}))
	_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
	const says = "GET /login answered with more than 2048 KiB, too long for a page to sign in on"
	if !errors.Is(err, ErrUnclear) || errors.Is(err, ErrOutOfReach) || !strings.HasSuffix(err.Error(), says) {
		t.Errorf("got %v", err)
	}
	isClean(t, err)
}

func failing(err error) http.RoundTripper {
	return roundTrip(func(*http.Request) (*http.Response, error) { return nil, err })
}

func TestASignInEndsAfterTenSecondsAndWithItsCaller(t *testing.T) {
	silent := App{Name: "wiki", Origin: origin, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}
	for _, m := range []Method{&Form{Page: "/login"}, &Basic{Probe: "/me"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience-1)
			defer cancel()
			if _, err := m.SignIn(ctx, silent, "alice", "x"); ctx.Err() == nil || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with less than ten seconds: %v", err)
			}
			longer, cancel := context.WithTimeout(t.Context(), patience+1)
			defer cancel()
			if _, err := m.SignIn(longer, silent, "alice", "x"); longer.Err() != nil || !errors.Is(err, ErrOutOfReach) || !strings.Contains(err.Error(), "no whole answer in time") {
				t.Errorf("with more: %v", err)
			}
			cancel()
			if _, err := m.SignIn(longer, silent, "alice", "x"); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrOutOfReach) {
				t.Errorf("with none: %v", err)
			}
		})
	}
}

func TestAnAppThatSendsThePasswordBackDoesNotPutItInOurErrors(t *testing.T) {
	for _, location := range []string{"/said/" + rightPassword, "/said/" + strings.ReplaceAll(url.QueryEscape(rightPassword), "P", "%50"), "/x?p=" + rightPassword, "/x;p=" + rightPassword} {
		a := startApp(t).withForm(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", location); w.WriteHeader(302) })
		_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
		if !errors.Is(err, ErrUnclear) {
			t.Errorf("got %v", err)
		}
		isClean(t, err)
	}
}

func TestADeepPageOnTheWayIsSignedInThrough(t *testing.T) {
	a := startApp(t).ordinary()
	a.HandleFunc("GET /deep", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "sid=visitor; Path=/")
		page(w, strings.Repeat("<div><b>", 100_000)+loginPage)
	})
	if _, err := (&Form{Page: "/deep"}).SignIn(t.Context(), a.App, "alice", rightPassword); err != nil {
		t.Error(err)
	}
}
