package attack

import (
	"slices"
	"strings"
	"testing"
)

// forged is the value that stands in every header that the gateway alone may set. It must reach no upstream.
const forged = "mallory"

// separators are the bytes of a token that are neither letters nor digits (RFC 9110 section 5.6.2): a server that makes
// environment variables of headers turns some or all of them into one underscore.
const separators = "!#$%&'*+-.^_`|~"

// disguises are spellings of a header's name that one server or another takes for it.
func disguises(name string) []string {
	all := []string{name, strings.ToLower(name), strings.ToUpper(name)}
	for _, c := range separators {
		all = append(all,
			strings.ReplaceAll(name, "-", string(c)),                     // Remote_User
			strings.ToLower(name)+string(c),                              // remote-user_
			string(c)+name,                                               // _Remote-User
			strings.Replace(name, "-", "-"+string(c), 1),                 // Remote-_User
			strings.Replace(name, "-", string(c)+"-", 1),                 // Remote_-User
			strings.Replace(name, "-", strings.Repeat(string(c), 40), 1), // longer than a table of names may have room for
		)
	}
	return all
}

// underEveryDisguise gives lines with the forged value; each name twice, since a server may take the first or the last.
func underEveryDisguise(names ...string) []string {
	var lines []string
	for _, name := range names {
		for _, d := range disguises(name) {
			lines = append(lines, d+": "+forged, d+": "+forged)
		}
	}
	return lines
}

// unreadable are lines that are no headers by RFC 9112 section 5, and that lenient servers read all the same.
var unreadable = []struct{ line, why string }{
	{"Remote-User : mallory", "space before the colon"},
	{"Remote-User\t: mallory", "tab before the colon"},
	{" Remote-User: mallory", "a line that goes on from the one before, and may be joined to it (section 5.2)"},
	{"\tRemote-User: mallory", "the same with a tab"},
	{"Remote-\r\n User: mallory", "a name over two lines"},
	{": mallory", "an empty name"},
	{"Remote-User", "no colon"},
	{"Remote-User\x00: mallory", "NUL in the name"},
	{"Remote-User: a\x00mallory", "NUL in the value"},
	{"Remote-User: a\rRemote-User: mallory", "a bare CR, which some take for the end of a line"},
	{"X-A: b\rRemote-User: mallory", "the same behind another header"},
	{"X-A: b\x00\r\nRemote-User: mallory", "NUL at the end of the line before"},
	{"Remote User: mallory", "space in the name"},
	{"Remote/User: mallory", "a slash, which is no part of a token"},
	{"\"Remote-User\": mallory", "a quoted name"},
	{"(Remote-User): mallory", "a name as a comment"},
	{"Remote\u2010User: mallory", "the hyphen of typography"},
	{"Remote-U\u017fer: mallory", "a letter whose upper case is S"},
	{"\uff32\uff45\uff4d\uff4f\uff54\uff45-User: mallory", "full-width letters"},
	{"Remote-User\xa0: mallory", "a no-break space of Latin-1"},
	{"\x0bRemote-User: mallory", "a vertical tab, which is space to some"},
	{"Remote-User\x7f: mallory", "DEL"},
	{"X-A: b\r\n\r: mallory", "a line of CR alone"},
}

func TestT22NoSpellingOfAnIdentityHeaderPasses(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	cookie := "Cookie: " + cookies(p.signedIn(s.one))
	for _, g := range s.both() {
		for _, name := range identityNames {
			s.up.Forget()
			lines := append(underEveryDisguise(name), "Host: "+g.Address, cookie)
			if r := speak(t, g.Address, "GET", "/app/x", lines...); r.status != 200 {
				t.Fatalf("with %s under every disguise: %d, want 200: %s", name, r.status, r.body)
			}
			seen := s.up.Only(t)
			wantOwn(t, seen, p)
		}
		for _, test := range unreadable {
			s.up.Forget()
			r := speak(t, g.Address, "GET", "/app/x", "Host: "+g.Address, cookie, "X-Before: b", test.line)
			seen := s.up.Requests()
			for _, r := range seen {
				wantClean(t, r, p)
				wantOneReading(t, r)
			}
			if len(seen) == 0 && r.status != 400 {
				t.Errorf("%s (%q): %d, want 400 or a request without it", test.why, test.line, r.status)
			}
			if t.Failed() {
				t.Fatalf("that was %s: %q", test.why, test.line)
			}
		}
	}
}

func TestT23NobodyBringsAnIdentityToAnOpenPath(t *testing.T) {
	s := enter(t)
	for _, g := range s.both() {
		for _, name := range identityNames {
			s.up.Forget()
			speak(t, g.Address, "GET", "/public/x", append(underEveryDisguise(name), "Host: "+g.Address)...)
			seen := s.up.Only(t)
			wantNobody(t, seen)
		}
		for _, test := range unreadable {
			s.up.Forget()
			r := speak(t, g.Address, "GET", "/public/x", "Host: "+g.Address, "X-Before: b", test.line)
			seen := s.up.Requests()
			for _, r := range seen {
				wantClean(t, r, nil)
				wantOneReading(t, r)
			}
			if len(seen) == 0 && r.status != 400 || t.Failed() {
				t.Fatalf("%s (%q): %d", test.why, test.line, r.status)
			}
		}
	}
}

// nominations are what a client may put into Connection (RFC 9110 section 7.6.1) to have a proxy take a header off
// behind its back.
var nominations = [][]string{
	{"Connection: Remote-User, Remote-Groups, X-Forwarded-User"},
	{"Connection: close, remote-user,REMOTE-EMAIL ,  remote-name\t"},
	{"Connection: Remote-User", "Connection: Remote-Groups", "connection: Remote-Name"},
	{"Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port"},
	{"Connection: x-forwarded-for", "Connection: ,,x-forwarded-host,"},
	{"Connection: Cookie"},
	{"Connection: cookie, authorization, host"},
	{"Connection: Content-Length, Transfer-Encoding"},
	{"Connection: Connection, Remote-User"},
	{"Connection: Upgrade, Remote-User", "Upgrade: websocket"},
	{"Connection: Upgrade, HTTP2-Settings, Remote-User", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
	{"Connection: keep-alive\t;Remote-User"},
	{"Connection: \"Remote-User\""},
	{"Proxy-Connection: Remote-User, X-Forwarded-For"},
	{"Keep-Alive: Remote-User", "Connection: Keep-Alive, Remote-User"},
	{"TE: trailers, Remote-User", "Connection: TE, Remote-User"},
}

func TestT25ConnectionTakesNothingOffThatTheGatewaySets(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	g := s.two
	cookie := "Cookie: " + cookies(p.signedIn(s.one))
	for _, lines := range nominations {
		s.up.Forget()
		all := append(slices.Clone(lines), "Remote-User: "+forged, "Remote_Groups: "+forged, "X-Forwarded-For: "+forged, "Host: "+g.Address, cookie)
		if r := speak(t, g.Address, "GET", "/app/x", all...); r.status != 200 {
			t.Fatalf("%q: %d, want 200: %s", lines, r.status, r.body)
		}
		seen := s.up.Only(t)
		wantOwn(t, seen, p)
		wantForwarding(t, seen, g.Address)
		for _, l := range seen.lines() {
			if strings.EqualFold(l.name, "Upgrade") && !strings.EqualFold(l.value, "websocket") || strings.EqualFold(l.name, "HTTP2-Settings") {
				t.Errorf("%s: %s reaches the upstream", l.name, l.value)
			}
		}
		// Whoever is not signed in does not become so by what is taken off.
		if r := speak(t, g.Address, "GET", "/app/x", append(slices.Clone(lines), "Host: "+g.Address)...); r.status != 401 {
			t.Errorf("of nobody's: %d, want 401", r.status)
		}
		s.wantUntouched()
		if t.Failed() {
			t.Fatalf("that was %q", lines)
		}
	}
}

// routing are headers by which other gateways have been told another address, client or method than the real one.
var routing = []string{
	"X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Method",
	"X-Forwarded-For", "X-Forwarded-Server", "X-Forwarded-Path", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-By",
	"X-Original-URL", "X-Original-URI", "X-Original-Host", "X-Original-Method", "X-Original-Forwarded-For",
	"X-Rewrite-URL", "X-Host", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "Forwarded", "Proxy",
}

func TestT34NobodyUntrustedSaysWhereARequestComesFrom(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	g := s.two
	cookie := "Cookie: " + cookies(p.signedIn(s.one))
	open := func(name string) []string {
		// Values that would open the door where they were believed.
		value := map[string]string{
			"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "Forwarded": "for=10.0.0.1;host=public;proto=https",
			"X-Forwarded-Host": "public.example", "X-Forwarded-Method": "OPTIONS", "X-Original-Method": "OPTIONS",
		}[name]
		if value == "" {
			value = "/public/x"
		}
		return []string{name + ": " + value}
	}
	for _, name := range routing {
		s.up.Forget()
		for _, target := range []string{"/secret/x", "/admin/x", "/elsewhere"} {
			if r := speak(t, g.Address, "GET", target, append(open(name), "Host: "+g.Address)...); !r.denies() {
				t.Errorf("%s opens %s: %d", name, target, r.status)
			}
		}
		s.wantUntouched()
		lines := append(underEveryDisguise(name), "Host: "+g.Address)
		speak(t, g.Address, "GET", "/public/x", lines...)
		seen := s.up.Only(t)
		wantNobody(t, seen)
		wantForwarding(t, seen, g.Address)
		speak(t, g.Address, "GET", "/app/x", append(lines, cookie)...)
		seen = s.up.Only(t)
		wantOwn(t, seen, p)
		wantForwarding(t, seen, g.Address)
		if t.Failed() {
			t.Fatalf("that was %s", name)
		}
	}
}

// wantForwarding fails the test where the upstream is told another way than the one the request took.
func wantForwarding(t *testing.T, r received, address string) {
	t.Helper()
	_, port, _ := strings.Cut(address, ":")
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": address, "X-Forwarded-Port": port, "Host": address,
	} {
		if got := r.values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("the upstream sees %s %q, want %q", name, got, want)
		}
	}
}

// wantNobody fails the test where an upstream could take the request for somebody's, or anything forged has come through.
func wantNobody(t *testing.T, r received) {
	t.Helper()
	wantClean(t, r, nil)
	wantUnforged(t, r)
}

// wantOwn fails the test where the request is not CLEAN and the person's, or anything forged has come through.
func wantOwn(t *testing.T, r received, p *person) {
	t.Helper()
	wantClean(t, r, p)
	wantUnforged(t, r)
}

// wantUnforged fails the test where a value that a client may not give has come through, under whatever name.
func wantUnforged(t *testing.T, r received) {
	t.Helper()
	if strings.Contains(strings.ToLower(r.Head+r.Trailer), forged) {
		t.Errorf("what was forged reaches the upstream:\n%s", r.Head+r.Trailer)
	}
}

// wantOneReading fails the test where the head holds what servers would read in different ways: a line end that is
// none, or another control character.
func wantOneReading(t *testing.T, r received) {
	t.Helper()
	bare := strings.ReplaceAll(r.Head, "\r\n", "")
	if strings.ContainsFunc(bare, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		t.Errorf("the upstream may read this in two ways: %q", r.Head)
	}
}

// wantUntouched fails the test where anything has reached the upstream.
func (s *site) wantUntouched() {
	s.t.Helper()
	if seen := s.up.Requests(); len(seen) != 0 {
		s.t.Errorf("the upstream saw %+v, want nothing", seen)
	}
	s.up.Forget()
}
