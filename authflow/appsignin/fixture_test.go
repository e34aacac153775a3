package appsignin

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	rightPassword = "korrekt+Pferd"
	loginPage     = `<form method=post action=/login><input type=hidden name=csrf value=t0ken><input name=u><input type=password name=p></form>`
)

// fakeApp is an app with a login form at /login and, at /me, HTTP Basic. Tests replace its handlers.
type fakeApp struct {
	*http.ServeMux
	App
	mu       sync.Mutex
	requests []string // "GET /login"
	posted   url.Values
	sent     http.Header // of the last request
}

// startApp starts an app that browsers know as http://wiki.example.com.
func startApp(t *testing.T) *fakeApp {
	a := &fakeApp{ServeMux: http.NewServeMux()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.requests = append(a.requests, r.Method+" "+r.URL.Path)
		a.sent = r.Header.Clone()
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			a.posted, _ = url.ParseQuery(string(body))
			r.PostForm = a.posted
		}
		a.mu.Unlock()
		a.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	inner, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	a.App = App{
		Name:   "wiki",
		Origin: &url.URL{Scheme: "http", Host: "wiki.example.com"},
		Now:    time.Now,
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "wiki.example.com" {
				t.Errorf("asked for %s", r.URL)
			}
			out := r.Clone(r.Context())
			out.URL.Host = inner.Host
			return server.Client().Transport.RoundTrip(out)
		}),
		Home: func(u string) string { return strings.Replace(u, server.URL, "http://wiki.example.com", 1) },
	}
	return a
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// withForm gives an app a login page, and this answer to its form.
func (a *fakeApp) withForm(answer http.HandlerFunc) *fakeApp {
	a.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "sid=visitor; HttpOnly")
		page(w, loginPage)
	})
	a.HandleFunc("POST /login", answer)
	return a
}

// ordinary is an app as most are: it checks the token of its form and the cookie of its page.
func (a *fakeApp) ordinary() *fakeApp {
	return a.withForm(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("sid")
		if err != nil || c.Value != "visitor" || r.PostForm.Get("csrf") != "t0ken" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		if r.PostForm.Get("u") != "alice" || r.PostForm.Get("p") != rightPassword {
			page(w, "<p>Wrong.</p>"+loginPage)
			return
		}
		w.Header().Add("Set-Cookie", "sid=alice; HttpOnly")
		w.Header().Set("Location", "/home?welcome=alice")
		w.WriteHeader(http.StatusFound)
	})
}

func page(w http.ResponseWriter, html string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, html)
}

func (a *fakeApp) seen() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.requests, ", ")
}

// isClean says that an error gives nothing away that it must not.
func isClean(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{rightPassword, url.QueryEscape(rightPassword), url.PathEscape(rightPassword), "127.0.0.1", "t0ken", "visitor"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
}
