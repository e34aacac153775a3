package proxy

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// forged are the ways in which a client claims another origin.
var forged = []string{
	"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 444", "X-Forwarded-Uri: /public/x", "X-Forwarded-Prefix: /evil",
	"X-Forwarded-Method: GET", "X-Forwarded-Server: evil", "X-Forwarded-Ssl: on", "X-Forwarded: for=10.0.0.1", "Forwarded: for=10.0.0.1;host=evil.example;proto=https",
	"X-Original-URL: /public/x", "X-Original-URI: /public/x", "X-Original-Method: GET", "X-Original-Host: evil", "X-Rewrite-URL: /public/x", "X-Real-IP: 10.0.0.1", "X-Client-IP: 10.0.0.1", "True-Client-IP: 10.0.0.1",
	"X-Cluster-Client-IP: 10.0.0.1", "X-Host: evil.example", "Proxy: http://evil.example",
}

func TestForwardingHeadersOfAnUntrustedPeerHaveNoEffect(t *testing.T) {
	for _, header := range forged {
		name, value, _ := strings.Cut(header, ": ")
		for _, spelling := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."), strings.ToLower(name)} {
			j := newJournal(t, nil)
			upstreams := []Upstream{{Name: "app", URL: j.url, Policy: OneFactor, Rules: []Rule{{Paths: []string{"/inner"}, Networks: prefixes("10.0.0.0/8"), Policy: Bypass}}}}
			addr := start(t, options(upstreams))
			spoof := spelling + ": " + value
			if res, _ := send(t, addr, get("/inner", spoof)); res.StatusCode != 401 {
				t.Errorf("%s: got %s, want 401", spoof, describe(res))
			}
			j.empty(t)
			send(t, addr, get("/x", aliceOne, spoof))
			q := j.only(t)
			for _, line := range q.headers {
				if strings.Contains(line, value) && !strings.HasPrefix(line, "X-Forwarded-") || strings.Contains(line, "evil") {
					t.Errorf("%s: the upstream saw %q", spoof, line)
				}
			}
			wantForwarded(t, q, "127.0.0.1", "http", "app.example.com", "80")
		}
	}
}

func wantForwarded(t *testing.T, q received, client, proto, host, port string) {
	t.Helper()
	for name, want := range map[string]string{"X-Forwarded-For": client, "X-Forwarded-Proto": proto, "X-Forwarded-Host": host, "X-Forwarded-Port": port} {
		if got := q.values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestATrustedProxyIsBelieved(t *testing.T) {
	const trusted = "127.0.0.0/8"
	cases := []struct {
		name                      string
		headers                   []string
		client, proto, host, port string // "" client: 400
	}{
		{"it says nothing", nil, "127.0.0.1", "http", "app.example.com", "80"},
		{"all of them", []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: pub.example.com", "X-Forwarded-Port: 8443"}, "203.0.113.9, 127.0.0.1", "https", "pub.example.com", "8443"},
		{"only the scheme", []string{"X-Forwarded-Proto: https"}, "127.0.0.1", "https", "app.example.com", "443"},
		{"a host with a port", []string{"X-Forwarded-Host: pub.example.com:99"}, "127.0.0.1", "http", "pub.example.com:99", "99"},
		{"a WebSocket scheme", []string{"X-Forwarded-Proto: wss"}, "127.0.0.1", "https", "app.example.com", "443"},
		{"what the client said stands further left", []string{"X-Forwarded-For: 10.0.0.1, nonsense, 203.0.113.9"}, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80"},
		{"a second trusted proxy", []string{"X-Forwarded-For: 10.0.0.1, 203.0.113.9", "X-Forwarded-For: 127.0.0.2"}, "203.0.113.9, 127.0.0.2, 127.0.0.1", "http", "app.example.com", "80"},
		{"nothing but trusted proxies", []string{"X-Forwarded-For: 127.0.0.3,127.0.0.2"}, "127.0.0.3, 127.0.0.2, 127.0.0.1", "http", "app.example.com", "80"},
		{"an address with a port", []string{"X-Forwarded-For: 203.0.113.9:4711"}, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80"},
		{"IPv6 in every dress", []string{"X-Forwarded-For: [2001:db8::0001]:80"}, "2001:db8::1, 127.0.0.1", "http", "app.example.com", "80"},
		{"a mapped IPv4 address", []string{"X-Forwarded-For: ::ffff:203.0.113.9"}, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80"},
		{"Forwarded", []string{`Forwarded: for=10.0.0.1, For="[2001:db8::1]:99";proto=https;by=_x;host="pub.example.com:8443"`}, "2001:db8::1, 127.0.0.1", "https", "pub.example.com:8443", "8443"},
		{"Forwarded with quoted separators", []string{`Forwarded: for=203.0.113.9;ext="a,b;\"c"`}, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80"},
		{"both families, agreeing", []string{"X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9"}, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80"},
		{"both families, at odds on the client", []string{"X-Forwarded-For: 203.0.113.9", "Forwarded: for=10.0.0.1"}, "", "", "", ""},
		{"both families, at odds on the host", []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: evil.example", "Forwarded: for=203.0.113.9"}, "", "", "", ""},
		{"a chain that cannot be read", []string{"X-Forwarded-For: 10.0.0.1, unknown"}, "", "", "", ""},
		{"an empty chain", []string{"X-Forwarded-For: "}, "", "", "", ""},
		{"a hidden client", []string{"Forwarded: for=_hidden"}, "", "", "", ""},
		{"a Forwarded that is none", []string{"Forwarded: 203.0.113.9"}, "", "", "", ""},
		{"another scheme", []string{"X-Forwarded-Proto: javascript"}, "", "", "", ""},
		{"a host that is none", []string{"X-Forwarded-Host: a/b"}, "", "", "", ""},
		{"a port that is none", []string{"X-Forwarded-Port: 80abc"}, "", "", "", ""},
		{"a loop", []string{"X-Forwarded-For: " + strings.Repeat("127.0.0.2,", 40) + "127.0.0.2"}, "", "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, nil)
			o := options(whole(j.url, Bypass))
			o.TrustedProxies = prefixes(trusted)
			res, _ := send(t, start(t, o), get("/x", c.headers...))
			if c.client == "" {
				j.empty(t)
				if res.StatusCode != 400 {
					t.Errorf("got %s, want 400", describe(res))
				}
				return
			}
			q := j.only(t)
			wantForwarded(t, q, c.client, c.proto, c.host, c.port)
			if got := q.values("Forwarded"); len(got) != 0 {
				t.Errorf("the upstream saw Forwarded: %q", got)
			}
		})
	}
}

func TestOtherSpellingsAreDroppedEvenFromATrustedProxy(t *testing.T) {
	j := newJournal(t, nil)
	o := options(whole(j.url, Bypass))
	o.TrustedProxies = prefixes("127.0.0.0/8")
	send(t, start(t, o), get("/x", "X-Forwarded-For: 203.0.113.9", "X_Forwarded_For: 10.0.0.1", "X.Forwarded.Host: evil", "X-Forwarded-Uri: /evil", "Remote-User: mallory"))
	q := j.only(t)
	wantForwarded(t, q, "203.0.113.9, 127.0.0.1", "http", "app.example.com", "80")
	wantNobody(t, q)
	for _, line := range q.headers {
		if strings.Contains(line, "10.0.0.1") || strings.Contains(line, "evil") {
			t.Errorf("the upstream saw %q", line)
		}
	}
}

func TestTheClientsAddressIsThePeersWhereNobodyElseCanBeBelieved(t *testing.T) {
	o := options(whole(nil, Bypass))
	o.TrustedProxies = prefixes("192.0.2.0/24", "fe80::/10")
	g := newGateway(t, o)
	cases := []struct{ peer, chain, want string }{
		{"192.0.2.1:1", "203.0.113.9", "203.0.113.9"},
		{"[fe80::1%eth0]:1", "203.0.113.9", "203.0.113.9"},
		{"[::ffff:192.0.2.1]:1", "203.0.113.9", "203.0.113.9"},
		{"198.51.100.1:1", "203.0.113.9", "198.51.100.1"},
		{"192.0.2.1:1", "203.0.113.9, nonsense", "192.0.2.1"},
		{"192.0.2.1:1", "", "192.0.2.1"},
	}
	for _, c := range cases {
		r := httptest.NewRequest("GET", "http://app.example.com/", nil)
		r.RemoteAddr = c.peer
		if c.chain != "" {
			r.Header.Set("X-Forwarded-For", c.chain)
		}
		if got := g.ClientAddr(r); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s from %s: got %s, want %s", c.chain, c.peer, got, c.want)
		}
	}
	r := httptest.NewRequest("GET", "http://app.example.com/", nil)
	r.RemoteAddr = "@"
	if got := g.ClientAddr(r); got.IsValid() {
		t.Errorf("a peer without an address: got %s", got)
	}
	w := httptest.NewRecorder()
	if g.ServeHTTP(w, r); w.Code != 400 {
		t.Errorf("a peer without an address is served: %d", w.Code)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add(`for=10.0.0.1, For="[2001:db8::1]:99";proto=https;host="a:1"`, "203.0.113.9, 127.0.0.1")
	f.Add(`for="a\",b";;=`, ",")
	o := options(whole(nil, Bypass))
	o.TrustedProxies = prefixes("192.0.2.0/24")
	g := newGateway(f, o)
	f.Fuzz(func(t *testing.T, forwarded, chain string) {
		r := httptest.NewRequest("GET", "http://app.example.com/", nil)
		r.Header["Forwarded"] = []string{forwarded}
		r.Header["X-Forwarded-For"] = []string{chain}
		from, err := g.origin(r, authority{host: "app.example.com"})
		if !from.client.IsValid() || strings.ContainsAny(from.via+from.host.String()+from.port(), "\r\n\"") {
			t.Errorf("%q and %q: got %+v, %v", forwarded, chain, from, err)
		}
		if err != nil && from.client.String() != "192.0.2.1" {
			t.Errorf("%q and %q: %v, and still %s is believed", forwarded, chain, err, from.client)
		}
	})
}
