package proxy

import (
	"net/http"
	"testing"
)

func TestASignOutIsToldFromOtherPagesByPathAndQuery(t *testing.T) {
	for _, c := range []struct {
		page  string
		takes []string
		not   []string
	}{
		{"", nil, []string{"/", "/bye"}},
		{"/bye", []string{"/bye", "/bye?", "/bye?to=%2F", "/bye?a;b", "/%62ye"}, []string{"/", "/bye/", "/bye/x", "/Bye", "/x?/bye"}},
		{"/doku.php?do=logout",
			[]string{"/doku.php?do=logout", "/doku.php?id=start&do=logout&sectok=1a2b", "/doku.php?do=%6cogout", "/doku.php?do=logout&do=logout"},
			[]string{"/doku.php", "/doku.php?do=login", "/doku.php?do=Logout", "/doku.php?do=logout+", "/doku.php?Do=logout", "/doku.php?do[]=logout", "/doku.php?x=do=logout",
				"/doku.php?do=logout&do=show", "/doku.php?do=show&do=logout", "/doku.php?do=logout&id=%zz", "/doku.php?do=logout;id=start", "/start?do=logout", "/?do=logout"}},
		{"/*?do=logout", []string{"/?do=logout", "/start?do=logout", "/a/b.php?x&do=logout"}, []string{"/", "/start?do=show"}},
		{"/wiki/*?do=logout", []string{"/wiki/?do=logout", "/wiki/start?do=logout"}, []string{"/wiki?do=logout", "/start?do=logout"}},
		{"/app?logout&sure=yes%20I%26am", []string{"/app?sure=yes+I%26am&logout", "/app?logout=&sure=yes%20I%26am"}, []string{"/app?logout", "/app?logout=1&sure=yes+I%26am", "/app?sure=yes+I%26am"}},
	} {
		s, err := newSignOut(c.page)
		if err != nil {
			t.Fatalf("%q: %v", c.page, err)
		}
		takes := func(target string) bool {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://app.example.com"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			path, err := canonicalPath(rawPath(r.URL))
			if err != nil {
				t.Fatal(err)
			}
			return s.takes(&path, r.URL.RawQuery)
		}
		for _, target := range c.takes {
			if !takes(target) {
				t.Errorf("%q does not take %s", c.page, target)
			}
		}
		for _, target := range c.not {
			if takes(target) {
				t.Errorf("%q takes %s", c.page, target)
			}
		}
	}
}

func TestASignOutThatNoRequestCouldMatchIsRefused(t *testing.T) {
	for _, page := range []string{"bye", "?do=logout", "/a*b", "/a//b", "/bye?do=%zz", "/bye?a;b", "/bye?do=logout&do=exit"} {
		o := options(whole(newJournal(t, nil).url, OneFactor))
		o.Upstreams[0].SignOutPath = page
		if _, err := New(o); err == nil {
			t.Errorf("%q is taken", page)
		}
	}
}

func TestOnlyTheAnswerOfTheSignOutEndsTheGatewaysSession(t *testing.T) {
	j := newJournal(t, nil)
	o := options(whole(j.url, OneFactor))
	o.Upstreams[0].SignOutPath = "/*?do=logout"
	o.SignOut = func(*http.Request) ([]string, error) { return []string{"sallyport=; Max-Age=0"}, nil }
	addr := start(t, o)
	for target, want := range map[string]string{"/doku.php?do=show": "", "/doku.php?id=a&do=logout": "sallyport=; Max-Age=0"} {
		if res, _ := send(t, addr, get(target, aliceOne)); res.StatusCode != 200 || res.Header.Get("Set-Cookie") != want {
			t.Errorf("%s: status %d, Set-Cookie %q, want %q", target, res.StatusCode, res.Header.Get("Set-Cookie"), want)
		}
	}
	// Where nobody is signed in there is nothing to end, and the app is not asked.
	if res, _ := send(t, addr, get("/doku.php?do=logout")); res.StatusCode != 401 || len(j.all()) != 2 {
		t.Errorf("signed out: status %d, and the app saw %d requests", res.StatusCode, len(j.all()))
	}
}
