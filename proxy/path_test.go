package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// ambiguous are paths that servers read in different ways.
var ambiguous = []string{
	"/public/../admin/x", "/public/%2e%2e/admin/x", "/public/%2E./admin/x", "/public/.%2e/admin/x", "/public/..%2fadmin/x", "/public/..%5cadmin/x",
	"/public/%252e%252e/admin/x", "/public/%252fadmin", "/public/%25u002e", "/public/..;/admin/x", "/public/..;a=b/admin/x", "/public;x/../admin/x", "/public/;/x",
	"/public/x%3b/y", `/public/..\admin/x`, `/public\..\admin`, "/public/%5cadmin", "/public/x%00", "/public/x%0a", "/public/x%0d%0aRemote-User:%20root", "/public/x%7f",
	"/public/%c0%ae%c0%ae/admin/x", "/public/%c0%af", "/public/%ff", "/public/%ed%a0%80", "//admin/x", "/public//admin/x", "/public/x//", "/./admin/x", "/public/./x", "/public/.", "/public/..",
	"/public/%2e", "/admin%2fx", "/public%2f..%2fadmin", "/public/%EF%BC%8Fadmin", "/public/%EF%BC%8E%EF%BC%8E/admin/x", "/public/%E2%80%A5/admin", "/public/%E2%88%95admin", "/public/%EF%BC%BCadmin",
	"/public/%EF%BC%9B/x", "/public/%CD%BE/x", "/public/%EF%BC%852e", "/public/.../x", "/public/..%20/admin", "/public/%20/x", "/public/%C2%85x",
	"/public/..%E2%80%8B/admin/x", "/public/.%E2%81%A0./admin/x", "/public/%EF%B8%8F/x", "/public/..%23", "/public/..%3fx/y", "/public/%2e%23/x",
}

func TestAPathThatServersReadInDifferentWaysIsRefused(t *testing.T) {
	j := newJournal(t, nil)
	for name, upstreams := range map[string][]Upstream{
		"rules on paths":      fixture(j.url),
		"a folder":            {{Name: "root", URL: j.url, Policy: Bypass}, {Name: "admin", URL: j.url, Path: "/admin", Policy: Deny}},
		"a base path to keep": whole(j.url.JoinPath("base"), Bypass),
	} {
		addr := start(t, options(upstreams))
		for _, path := range ambiguous {
			if res, _ := send(t, addr, get(path, rootTwo)); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s: got %s, want 400", name, path, describe(res))
			}
		}
	}
	j.empty(t)
}

func TestWhatIsJudgedIsWhatIsForwarded(t *testing.T) {
	cases := []struct{ path, forwarded string }{ // for alice, who is no admin; "" is not forwarded
		{"/public/x", "/public/x"},
		{"/public/%61%62c", "/public/abc"},
		{"/public/a%2Bb+c", "/public/a%2Bb+c"},
		{"/public/a%2bb", "/public/a%2Bb"},
		{"/public/caf%c3%a9", "/public/caf%C3%A9"},
		{"/public/caf\xc3\xa9", "/public/caf%C3%A9"},
		{"/public/100%25", "/public/100%25"},
		{"/public/what%3F", "/public/what%3F"},
		{"/public/c%23", "/public/c%23"},
		{`/public/"<>^|{}`, "/public/%22%3C%3E%5E%7C%7B%7D"},
		{"/public/(a)!'*,@:$&=~", "/public/(a)!'*,@:$&=~"},
		{"/public/a..b/...c/.d", "/public/a..b/...c/.d"},
		{"/public/x/", "/public/x/"},
		{"/%61dmin/x", ""},
		{"/Admin/x", ""},
		{"/admin", ""},
		{"/adm%E2%80%8Din/x", ""},
		{"/public/a%E2%80%8Db", "/public/a%E2%80%8Db"},
		{"/publi%63/../admin", ""},
		{"/publicx", ""},
		{"/secret/x%3f/public/", ""},
		{"/secret/x%23/public/", ""},
		{"/secret/x?/public/", ""},
		{"/secret/x#/public/", ""},
	}
	for _, c := range cases {
		t.Run(c.path, func(t *testing.T) {
			j := newJournal(t, nil)
			res, _ := send(t, start(t, options(fixture(j.url))), get(c.path, aliceOne))
			if c.forwarded == "" {
				j.empty(t)
				if res.StatusCode < 400 {
					t.Errorf("got %s, want a refusal", describe(res))
				}
				return
			}
			if got := j.only(t).path(); got != c.forwarded {
				t.Errorf("the upstream saw %s, want %s", got, c.forwarded)
			}
		})
	}
}

func TestAPathThatNothingHangsOnPassesAsItCame(t *testing.T) {
	for _, path := range []string{"/a%2Fb", "//x", "/x//y/", "/a;v=1/b;c", "/%61", "/a%2fb/../c/./d", `/%5c`, "/%00", "/%c0%ae", "/%25%32%65", "/", "/a%2Fb%7C(c)[d]"} {
		j := newJournal(t, nil)
		send(t, start(t, options(whole(j.url, Bypass))), get(path))
		if got := j.only(t).path(); got != path {
			t.Errorf("%s: the upstream saw %s", path, got)
		}
	}
	j := newJournal(t, nil)
	send(t, start(t, options(whole(j.url, Bypass))), get("/a%2Fb\"\xff|c"))
	if got := j.only(t).path(); got != "/a%2Fb%22%FF%7Cc" {
		t.Errorf("the upstream saw %s, want what no path may hold escaped and the rest kept", got)
	}
}

func TestTheGatewaysOwnFolderIsNeverForwarded(t *testing.T) {
	spellings := []string{"/auth", "/auth/", "/auth/login", "/AUTH/login", "/Auth/x", "/%61uth/login", "/%2561uth/login", "//auth/login", "/x/../auth/login", "/x/%2e%2e/auth/login", "/./auth",
		"/auth;x/login", "/auth%2flogin", `/\auth\login`, "/%5cauth", "/auth./x", "/auth%20/x", "/;a/auth/x", "/%EF%BD%81uth/x"}
	j := newJournal(t, nil)
	for _, upstreams := range [][]Upstream{whole(j.url, Bypass), append(whole(j.url, Bypass), Upstream{Name: "w", Path: "/w", URL: j.url, Policy: Bypass})} {
		addr := start(t, options(upstreams))
		for _, path := range spellings {
			if res, _ := send(t, addr, get(path)); res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %s, want 404 or 400", path, describe(res))
			}
		}
	}
	j.empty(t)
	for _, path := range []string{"/authors", "/x/auth", "/oauth/", "/auth-x"} {
		if res, _ := send(t, start(t, options(whole(j.url, Bypass))), get(path)); res.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s, want 200", path, describe(res))
		}
	}
}

func TestAQueryReachesTheUpstreamAsItWasSent(t *testing.T) {
	many := strings.Repeat("a=1&", 10_001)
	for _, query := range []string{"a=1;b=2", "a=%zz", "%", "", "a=b?c=/public/../x", "x=%00", "&&==", many} {
		j := newJournal(t, nil)
		send(t, start(t, options(fixture(j.url))), get("/public/x?"+query))
		if want := "GET /public/x?" + query + " HTTP/1.1"; j.only(t).line != want {
			t.Errorf("the upstream saw %.80q, want %.80q", j.only(t).line, want)
		}
	}
}

func TestAnEscapeThatIsNoneIsRefused(t *testing.T) {
	for _, raw := range []string{"/%", "/%4", "/%zz", "/a%2", "/%+1"} {
		if p, err := canonicalPath(raw); err == nil {
			t.Errorf("%q: got %+v, want an error", raw, p)
		}
	}
}

func TestAPatternThatCouldNeverMatchIsAnError(t *testing.T) {
	for _, text := range []string{"", "*", "admin", "/a*b", "/a/**", "/a/../b", "/a//b", `/a\b`, "/a;b", "/a%2fb", "/a\x00b", "/a/./*", "/\xff"} {
		if _, err := newPattern(text); err == nil || !strings.Contains(err.Error(), "path ") {
			t.Errorf("%q: got %v, want an error that names it", text, err)
		}
	}
}

func FuzzCanonicalPathAndRoute(f *testing.F) {
	for _, path := range ambiguous {
		f.Add(path)
	}
	for _, path := range []string{"/", "/public/x", "/ADMIN", "/admin%20/x", "/public/%41", "/public/a%2Bb", "/\u212aey", "/public/…"} {
		f.Add(path)
	}
	g := newGateway(f, options(fixture(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})))
	f.Fuzz(func(t *testing.T, raw string) {
		v, no := g.judge(question{host: authority{host: "app"}, method: "GET"}, raw)
		if no != nil {
			return
		}
		p := v.path
		decoded, err := url.PathUnescape(p.escaped)
		if err != nil || decoded != p.plain || !utf8.ValidString(p.plain) {
			t.Fatalf("%q: %q is forwarded and %q was judged", raw, p.escaped, p.plain)
		}
		if again, err := canonicalPath(p.escaped); err != nil || again != p {
			t.Fatalf("%q: canonical %+v becomes %+v, %v", raw, p, again, err)
		}
		if strings.Contains(p.plain, "//") || strings.Contains(p.plain+"/", "/../") || strings.Contains(p.plain+"/", "/./") || strings.ContainsAny(p.plain, "\\;\x00") {
			t.Fatalf("%q is taken for canonical", p.plain)
		}
		if v.demand.policy == Bypass && !strings.HasPrefix(p.plain, "/public/") {
			t.Fatalf("%q bypasses", raw)
		}
		if strings.HasPrefix(strings.ToLower(p.plain)+"/", "/admin/") && v.demand.decide(people["alice-2"]) == allowed {
			t.Fatalf("%q opens /admin/ to somebody who is no admin", raw)
		}
	})
}

func FuzzReservedFolder(f *testing.F) {
	f.Add("/auth/x")
	f.Add("/%2561uth;a/./x")
	f.Fuzz(func(t *testing.T, raw string) {
		got := resembles(raw, "/auth")
		if u, err := url.ParseRequestURI(raw); err == nil && u.Scheme == "" && under(strings.ToLower(u.Path), "/auth") && !strings.Contains(raw, "..") && !strings.Contains(u.Path, "%") && !got {
			t.Errorf("%q is not seen as reserved", raw)
		}
	})
}

func FuzzAnOrdinaryPathIsFoldedAsAnyOther(f *testing.F) {
	for _, p := range []string{"/", "/a", "/A/b.c/", "/a./b", "/a//b", "/.", "/a/.", "/a.", "//", "/~x/(y)", "/a;b", "/ä", "a/b", ""} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, plain string) {
		quick, err := fold(plain)
		slow, errSlow := foldOdd(plain)
		if quick != slow || (err == nil) != (errSlow == nil) {
			t.Errorf("%q is folded to %q, %v, and as an odd one to %q, %v", plain, quick, err, slow, errSlow)
		}
	})
}
