package attack

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// climbs are spellings of "one folder up" that one server or another has taken for it.
var climbs = []struct{ spelling, why string }{
	{"../", "as it is"},
	{"./../", "a folder that is this one before it"},
	{"x/../../", "down first"},
	{"/../", "an empty segment before it"},
	{"%2e%2e/", "encoded dots"},
	{"%2E%2E/", "the same in upper case"},
	{".%2e/", "one of them encoded"},
	{"%2e./", "the other"},
	{"..%2f", "an encoded slash"},
	{"..%2F", "the same in upper case"},
	{"%2e%2e%2f", "everything encoded"},
	{"%252e%252e/", "encoded twice"},
	{"%252e%252e%252f", "everything twice"},
	{"%25252e%25252e/", "three times"},
	{"%25%32%65%25%32%65/", "twice, each byte of it"},
	{"%2%65%2%65/", "an escape that only decoding makes"},
	{"..;/", "path parameters of servlet containers"},
	{"..;a=b/", "a named one"},
	{"..%3b/", "an encoded semicolon"},
	{"..%253b/", "the same twice"},
	{";/../", "a segment that is a parameter alone"},
	{`..\`, "a backslash"},
	{"..%5c", "an encoded backslash"},
	{"..%5C", "the same in upper case"},
	{"..%255c", "the same twice"},
	{`\..\`, "backslashes around it"},
	{"%5c..%5c", "the same encoded"},
	{`..\/`, "both slashes"},
	{"..%00/", "NUL, where strings end in C"},
	{"%00/../", "NUL before it"},
	{"..%00%2f", "NUL and an encoded slash"},
	{"..%0a/", "a line feed"},
	{"..%0d%0a/", "a line end"},
	{"..%09/", "a tab, which WHATWG takes out"},
	{".%0a./", "one in the middle"},
	{"..%20/", "a space, which Windows drops"},
	{".. /", "the same as it is"},
	{".../", "three dots"},
	{"..././", "what is left where ./ is taken out"},
	{"....//", "what is left where ../ is taken out"},
	{"..%2e/", "three dots, one encoded"},
	{"%c0%ae%c0%ae/", "overlong UTF-8 of a dot"},
	{"%c0%2e%c0%2e/", "the same, broken"},
	{"%e0%80%ae%e0%80%ae/", "overlong in three bytes"},
	{"%f0%80%80%ae%f0%80%80%ae/", "overlong in four bytes"},
	{"..%c0%af", "overlong UTF-8 of a slash"},
	{"..%e0%80%af", "the same in three bytes"},
	{"..%c1%9c", "overlong UTF-8 of a backslash"},
	{"..%ff/", "a byte that is no UTF-8"},
	{"%u002e%u002e/", "Microsoft's escapes"},
	{"..%u002f", "of a slash"},
	{"..%u2215", "of a slash of mathematics"},
	{"%uff0e%uff0e%u2215", "of full-width dots"},
	{"%ef%bc%8e%ef%bc%8e/", "full-width dots"},
	{"..%ef%bc%8f", "a full-width slash"},
	{"..%ef%bc%bc", "a full-width backslash"},
	{"..%ef%b9%a8", "a small backslash"},
	{"..%e2%88%95", "a slash of mathematics"},
	{"..%e2%81%84", "a slash of fractions"},
	{"..%e2%88%96", "a minus of sets, which Windows takes for a backslash"},
	{"%e2%80%a5/", "the leader of two dots"},
	{"%ef%b9%92%ef%b9%92/", "small dots"},
	{"%e3%80%82%e3%80%82/", "ideographic full stops, which are dots in host names alone"},
	{"..%e2%80%8b/", "a space of no width"},
	{"..%c2%ad/", "a soft hyphen"},
	{"..#/", "a fragment, which no request has"},
	{"..%23/", "an encoded #"},
	{"..%3f/", "an encoded ?"},
	{"..?/", "a query"},
	{"..%/", "a % without digits"},
	{"..%2/", "with one"},
	{"..%zz/", "with letters"},
}

// aims are other spellings of a folder that is not open to whoever asks.
var aims = []string{
	"//admin/x", "///admin/x", "/./admin/x", "/.//admin/x", "/%2fadmin/x", "/%2e/admin/x", "/;/admin/x", "/;x=y/admin/x", `/\admin/x`, "/%5cadmin/x",
	"/admin%2fx", "/admin%5cx", `/admin\x`, "/%61dmin/x", "/%61%64%6d%69%6e/x", "/%2561dmin/x", "/admin;x/y", "/admin;/x", "/admin/./x", "/admin//x",
	"/admin/%2e/x", "/admin%20/x", "/admin./x", "/admin%00/x", "/admin%0a/x", "/ADMIN/x", "/Admin/X", "/adm%c4%b1n/x", "/%ef%bd%81dmin/x", "/admin?/public/",
	"/publicx", "/public", "/public%2fx", "/public%5cx", `/public\x`, "/public.", "/public;/x", "/public%00/x", "/public%20/x", "/PUBLIC/x", "/public%3f/x", "/%2fpublic/x",
	"//public/x", "/./public/x", "/x/../public/x", "/public/..", "/public/.", "/public/..%00", "/public/../", "/public/../public/x", "/", "",
	"/stripped", "/stripped/", "/stripped/public", "/stripped/../admin/x", "/strippedx/public/x", "/stripped//admin/x", "/stripped/stripped/public/x",
	"/stripped%2fpublic/x", "/STRIPPED/public/x", "/stripped/public/..;/admin/x", "/stripped;/public/x", "/stripped/./public/x",
}

// readings are what servers make of a path before they act on it.
var readings = []struct {
	name string
	read func(string) string
}{
	{"RFC 3986", func(p string) string { return p }},
	{"decoded twice", decoded},
	{"decoded three times", func(p string) string { return decoded(decoded(p)) }},
	{"backslashes are slashes", func(p string) string { return strings.ReplaceAll(p, `\`, "/") }},
	{"parameters are cut off", withoutParameters},
	{"NUL is the end", func(p string) string { p, _, _ = strings.Cut(p, "\x00"); return p }},
	{"control characters are dropped", func(p string) string {
		return strings.Map(func(c rune) rune {
			if c < ' ' {
				return -1
			}
			return c
		}, p)
	}},
	{"overlong UTF-8", func(p string) string { return overlong.Replace(p) }},
	{"look-alikes", func(p string) string { return lookalikes.Replace(p) }},
	{"final dots and spaces are dropped", withoutEnds},
	{"a query is cut off", func(p string) string { p, _, _ = strings.Cut(p, "?"); return p }},
	{"a fragment is cut off", func(p string) string { p, _, _ = strings.Cut(p, "#"); return p }},
	{"all of it", func(p string) string {
		p, _, _ = strings.Cut(decoded(decoded(p)), "\x00")
		p = strings.ReplaceAll(lookalikes.Replace(overlong.Replace(p)), `\`, "/")
		return withoutEnds(withoutParameters(p))
	}},
}

var overlong = strings.NewReplacer("\xc0\xae", ".", "\xe0\x80\xae", ".", "\xf0\x80\x80\xae", ".", "\xc0\xaf", "/", "\xe0\x80\xaf", "/", "\xc1\x9c", `\`, "\xc0", "")

var lookalikes = strings.NewReplacer("\uff0e", ".", "\ufe52", ".", "\u2025", "..", "\uff0f", "/", "\u2215", "/", "\u2044", "/",
	"\uff3c", `\`, "\ufe68", `\`, "\u2216", `\`, "%u002e", ".", "%u002f", "/", "%u2215", "/", "%uff0e", ".", "\u200b", "", "\u00ad", "")

// decoded takes every escape out that is one.
func decoded(p string) string {
	var b strings.Builder
	for p != "" {
		n := 1
		if p[0] == '%' && len(p) > 2 {
			n = 3
		}
		if plain, err := url.PathUnescape(p[:n]); err == nil {
			b.WriteString(plain)
		} else {
			n = 1
			b.WriteByte(p[0])
		}
		p = p[n:]
	}
	return b.String()
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

// withoutEnds takes dots and spaces off the end of each segment, but leaves the two dots of a climb.
func withoutEnds(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		if t := strings.TrimRight(s, " "); t == ".." || t == "." {
			segments[i] = t
		} else {
			segments[i] = strings.TrimRight(s, ". ")
		}
	}
	return strings.Join(segments, "/")
}

// wantInside fails the test where some server could read what was forwarded as another place than the folder.
func wantInside(t *testing.T, r received, folder string) {
	t.Helper()
	raw := r.path()
	if strings.Contains(raw, "//") {
		t.Errorf("%s is forwarded: servers that merge slashes see another path than those that do not", raw)
	}
	for _, reading := range readings {
		if got := path.Clean(reading.read(decoded(raw))); !strings.HasPrefix(got, folder) {
			t.Errorf("%s is forwarded, which is %s where %s", raw, got, reading.name)
		}
	}
}

// try asks for a target and holds the answer to be a refusal, or what was forwarded to lie in the folder.
func (s *site) try(t *testing.T, target, folder string, lines ...string) {
	t.Helper()
	s.up.Forget()
	r := speak(t, s.one.Address, "GET", target, append(lines, "Host: "+s.one.Address)...)
	seen := s.up.Requests()
	switch {
	case len(seen) == 1 && r.status == 200:
		wantInside(t, seen[0], folder)
	case len(seen) > 0 || !r.denies():
		t.Errorf("%q: %d (to %q), and the upstream saw %d requests; want a refusal", target, r.status, r.header.Get("Location"), len(seen))
	}
}

func TestT29T30NoSpellingOfAPathLeavesItsFolder(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	onePassword := "Cookie: " + cookies(p.oneFactor(s.one))
	for _, prefix := range []string{"", "/stripped"} {
		for _, climb := range climbs {
			for _, to := range []string{"admin/x", "secret/x", "x", "public/../admin/x"} {
				s.try(t, prefix+"/public/"+climb.spelling+to, "/public/")
				s.try(t, prefix+"/public/x/"+climb.spelling+climb.spelling+to, "/public/")
				s.try(t, prefix+"/app/"+climb.spelling+to, "/app/", onePassword)
			}
			if t.Failed() {
				t.Fatalf("that was %s: %s", climb.spelling, climb.why)
			}
		}
		for _, aim := range aims {
			s.try(t, prefix+aim, "/public/")
		}
	}
}

func TestT29T30WhatStaysInsideIsServedAsItCame(t *testing.T) {
	s := enter(t)
	for sent, want := range map[string]string{
		"/public/x": "/public/x", "/public/": "/public/", "/public/%78": "/public/x", "/public/a%20b": "/public/a%20b", "/public/%C3%BC": "/public/%C3%BC",
		"/public/a+b%2Bc": "/public/a+b%2Bc", "/public/...x": "/public/...x", "/public/a..b/": "/public/a..b/", "/public/~x/@y:z=1,2'()!*$&": "/public/~x/@y:z=1,2'()!*$&",
	} {
		for _, prefix := range []string{"", "/stripped"} {
			s.up.Forget()
			if r := speak(t, s.one.Address, "GET", prefix+sent, "Host: "+s.one.Address); r.status != 200 {
				t.Errorf("%s%s: %d, want 200", prefix, sent, r.status)
				continue
			}
			if seen := s.up.Only(t); seen.target() != want {
				t.Errorf("%s%s: the upstream is asked for %s, want %s", prefix, sent, seen.target(), want)
			}
		}
	}
}

func TestT33WhatStandsBehindAPathOpensNothing(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	onePassword := "Cookie: " + cookies(p.oneFactor(s.one))
	for _, tail := range []string{
		"?/public/", "?/../public/", "#/public/", "#", "%23/public/", "%3f/public/", "%3F/public/", "%253f/public/", ";/public/", "%3b/public/", "&/public/",
		"%00/public/", "%0a/public/", "%20/public/", " /public/", "/public/", "/..%2fpublic/", "/../public/x", "/../../public/x", "?rd=/public/", "?path=/public/x", "??/public/", "?#/public/", `\public\`, "\t/public/",
		".css", "/x.css", ".js?x.png", "%2ecss", ";x.css", "/favicon.ico", "/robots.txt", "/.well-known/x", "/healthz", "/auth/healthz", "?/auth/login", "/auth/static/app.css", "/../auth/healthz",
	} {
		for _, prefix := range []string{"", "/stripped"} {
			s.wantRefused(t, "GET", prefix+"/secret/x"+tail)
			s.wantRefused(t, "GET", prefix+"/secret"+tail)
			s.wantRefused(t, "GET", prefix+"/secret/x"+tail, onePassword)
			s.wantRefused(t, "OPTIONS", prefix+"/secret/x"+tail, onePassword)
		}
	}
}

// wantRefused fails the test where the request is not refused, or anything of it reaches the upstream.
func (s *site) wantRefused(t *testing.T, method, target string, lines ...string) reply {
	t.Helper()
	s.up.Forget()
	r := speak(t, s.one.Address, method, target, append(lines, "Host: "+s.one.Address)...)
	if seen := s.up.Requests(); len(seen) > 0 || !r.denies() {
		t.Errorf("%s %q %.40q: %d, and the upstream saw %+v; want a refusal", method, target, lines, r.status, seen)
	}
	return r
}

func TestT36NoUserAgentOpensADoor(t *testing.T) {
	s := enter(t)
	for _, agent := range []string{
		"GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "Amazon-Route53-Health-Check-Service (ref x)", "Consul Health Check", "Envoy/HC",
		"GoogleStackdriverMonitoring-UptimeChecks(https://cloud.google.com/monitoring)", "Prometheus/2.45.0", "UptimeRobot/2.0", "Blackbox Exporter/0.24", "Edge Health Probe",
		"Load Balancer Agent", "Pingdom.com_bot_version_1.4", "HealthCheck", "Googlebot/2.1", "curl/8.5.0", "sallyport", "sallyport-healthcheck", "Go-http-client/1.1", "",
	} {
		for _, target := range []string{"/app/x", "/secret/x", "/admin/x", "/", "/healthz", "/stripped/app/x"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				s.wantRefused(t, method, target, "User-Agent: "+agent)
			}
		}
		for endpoint := range endpoints {
			s.wantDenied(ask(t, s.one, endpoint, "GET", "/app/x", map[string][]string{"User-Agent": {agent}}))
		}
	}
}

func TestT39AQueryReachesTheUpstreamAsItWasSent(t *testing.T) {
	s, p := enter(t), newPerson(t, plain)
	cookie := "Cookie: " + cookies(p.oneFactor(s.one))
	for _, query := range []string{
		"?", "??", "?a;b", "?a=1;b=2&c=%zz", "?%", "?%2", "?%zz=%", "?a=1&a=2&A=3&=&&", "?a=%00%0a%0d", "?a=b+c%20d%2B", "?/../../admin", "?x=..%2f..%5c", "?q='\"<>`{}|^\\[]",
		"?\xc3\xbc=\xff\xfe", "?a[]=1&a[b]=2", "?a=b?c=d", "?%3f%23%26", "?a=" + strings.Repeat("x", 20000), "?" + strings.Repeat("a=1&", 10001),
	} {
		for _, folder := range []string{"/public", "/app", "/stripped/public", "/stripped/app"} {
			s.up.Forget()
			if r := speak(t, s.one.Address, "GET", folder+"/x"+query, "Host: "+s.one.Address, cookie); r.status != 200 {
				t.Errorf("%s/x%.40q: %d, want 200", folder, query, r.status)
				continue
			}
			want := strings.TrimPrefix(folder, "/stripped") + "/x" + query
			if seen := s.up.Only(t); seen.target() != want {
				t.Errorf("the upstream is asked for %.60q, want %.60q", seen.target(), want)
			}
		}
	}
}
