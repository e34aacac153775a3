package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// withSignOut starts an app whose own sign-out is joined with the gateway's.
func withSignOut(t *testing.T) *app {
	t.Helper()
	return startAppBefore(t, `, sign_out: { path: /bye, cookies: [appsession, "wiki_*"] }`, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bye" && r.URL.Query().Has("refuse") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "appsession", Value: "gone", MaxAge: -1})
		fmt.Fprintf(w, "user=%s path=%s", r.Header.Get("Remote-User"), r.URL.Path)
	})
}

func TestTheAppsSignOutEndsTheGatewaysSessionToo(t *testing.T) {
	a := withSignOut(t)
	for _, method := range []string{"GET", "POST"} {
		c := a.browser()
		a.enrolledAgain(c)
		if a.expect(c, "GET", "/x", "", "", 200)["text"] != "user=alice path=/x" {
			t.Error("not signed in")
		}
		a.expect(c, "GET", "/bye?refuse", "", "", 403)
		a.expect(c, "GET", "/bye/further", "", "", 200)
		a.expect(c, "GET", "/x", "", "", 200)
		if text := a.expect(c, method, "/bye", "", "", 200)["text"]; text != "user=alice path=/bye" {
			t.Errorf("the app saw %v", text)
		}
		a.expect(c, "GET", "/x", "", "", 401)
		a.expect(c, "GET", "/auth/me", "", "", 401)
	}
}

func TestTheGatewaysSignOutExpiresTheAppsCookies(t *testing.T) {
	a := withSignOut(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/auth/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", "wiki_a=1; wiki_b=2; other=3; wikia=4")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var expired []string
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 && c.Path == "/" && !strings.HasPrefix(c.Name, "sallyport") {
			expired = append(expired, c.Name)
		}
	}
	if slices.Sort(expired); !slices.Equal(expired, []string{"appsession", "wiki_a", "wiki_b"}) {
		t.Errorf("expired %q", expired)
	}
}

// enrolledAgain signs alice in, by a new authenticator.
func (a *app) enrolledAgain(c *http.Client) {
	a.Helper()
	if err := a.server.current.Load().flow.RemoveAuthenticator(a.Context(), "file:alice", ""); err != nil {
		a.Fatal(err)
	}
	a.enrol(c, "alice")
}
