package attack

import (
	"net/http"
	"testing"
)

func TestTheFixtureLetsThroughWhatMayPass(t *testing.T) {
	s := enter(t)
	p, boss := newPerson(t, plain), newPerson(t, admin)
	stranger := p.browser(s.one)
	for _, folder := range []string{"", "/stripped"} {
		stranger.Get(folder + "/public/x").Want(200)
		wantClean(t, s.up.Only(t), nil)
		for _, path := range []string{"/app/x", "/secret/x", "/admin/x", "/else"} {
			s.wantDenied(stranger.Get(folder + path))
			s.wantDenied(stranger.Page(folder + path))
		}
		one := p.oneFactor(s.two)
		one.Get(folder + "/app/x").Want(200)
		seen := s.up.Only(t)
		if wantClean(t, seen, p); seen.target() != "/app/x" {
			t.Errorf("the upstream sees %s", seen.target())
		}
		s.wantDenied(one.Get(folder + "/secret/x"))
	}
	for _, g := range s.both() {
		one, two := p.signedIn(g), boss.signedIn(g)
		one.Get("/secret/x").Want(200)
		wantClean(t, s.up.Only(t), p)
		s.wantDenied(one.Get("/admin/x"))
		two.Get("/admin/x").Want(200)
		wantClean(t, s.up.Only(t), boss)
		for endpoint := range endpoints {
			a := ask(t, g, endpoint, "GET", "/admin/x", http.Header{"Cookie": {cookies(two)}}).Want(200)
			for name, want := range boss.identity() {
				if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s: %s is %q, want %q", a.What, name, got, want)
				}
			}
			s.wantDenied(ask(t, g, endpoint, "GET", "/admin/x", http.Header{"Cookie": {cookies(one)}}))
			s.wantDenied(ask(t, g, endpoint, "GET", "/admin/x", nil))
		}
	}
	off := newPerson(t, disabled)
	off.browser(s.one).Login(off.Name).Want(401)
}
