package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

func TestTheGatewaysCookiesComeOffAndAllOthersStayByteForByte(t *testing.T) {
	cases := []struct {
		name     string
		in, want []string
	}{
		{"alone", []string{"sallyport=t"}, nil},
		{"first", []string{"sallyport=t; a=1"}, []string{"a=1"}},
		{"in the middle", []string{`a="x y"; sallyport=t;b=2`}, []string{`a="x y";b=2`}},
		{"last", []string{"a=1; sallyport=t"}, []string{"a=1"}},
		{"both names, one twice", []string{"__Host-sallyport=t; sallyport=u; a=1; sallyport=v"}, []string{"a=1"}},
		{"on several lines", []string{"a=1", "sallyport=t", "b=2; sallyport=u"}, []string{"a=1", "b=2"}},
		{"with blanks", []string{"a=1;  \tsallyport = t ; b=2"}, []string{"a=1; b=2"}},
		{"quoted", []string{`"sallyport"=t; sallyport="t"; b=2`}, []string{"b=2"}},
		{"without a value", []string{"sallyport; b=2"}, []string{"b=2"}},
		{"in another cookie's value", []string{"a=sallyport=t"}, []string{"a=sallyport=t"}},
		{"names that only begin or end like it", []string{"sallyport2=x; xsallyport=y; Sallyport=z"}, []string{"sallyport2=x; xsallyport=y; Sallyport=z"}},
		{"odd ones of others", []string{" ; =; a==1;;b", "é=ü; {\"a\":1}"}, []string{" ; =; a==1;;b", "é=ü; {\"a\":1}"}},
	}
	own := cookieNames{"sallyport", "__Host-sallyport"}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{"Cookie": slices.Clone(c.in)}
			own.takeOff(h)
			if got := h["Cookie"]; !slices.Equal(got, c.want) {
				t.Errorf("%q became %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestAnUpstreamCannotSetTheGatewaysCookies(t *testing.T) {
	own := cookieNames{"sallyport", "__Host-sallyport"}
	for _, line := range []string{
		"sallyport=evil", "sallyport=evil; Path=/; Domain=example.com", "sallyport=; Max-Age=0", "SALLYPORT=evil", " sallyport =evil", "=sallyport=evil",
		" = sallyport=evil", "sallyport", "__Host-sallyport=evil; Secure; Path=/", "__HOST-Sallyport=evil", "\"sallyport\"=evil", "\tsallyport\x01=evil",
	} {
		if !own.sets(line) {
			t.Errorf("%q passes", line)
		}
	}
	for _, line := range []string{"sid=1; Path=/", "sallyport2=x", "a=sallyport=x", "x; sallyport=y", "", "="} {
		if own.sets(line) {
			t.Errorf("%q is taken off", line)
		}
	}
}

func TestSetCookieComesOffEveryKindOfAnswer(t *testing.T) {
	const evil = "Set-Cookie: sallyport=evil; Path=/\r\nSet-Cookie: sid=1\r\n"
	answers := map[string]string{
		"a final answer":      "HTTP/1.1 200 OK\r\n" + evil + "Content-Length: 0\r\n\r\n",
		"an error":            "HTTP/1.1 500 Oops\r\n" + evil + "Content-Length: 0\r\n\r\n",
		"early hints":         "HTTP/1.1 103 Early Hints\r\n" + evil + "\r\nHTTP/1.1 200 OK\r\nSet-Cookie: sid=1\r\nContent-Length: 0\r\n\r\n",
		"announced trailers":  "HTTP/1.1 200 OK\r\nSet-Cookie: sid=1\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Sum\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: sallyport=evil\r\nX-Sum: 1\r\n\r\n",
		"unheralded trailers": "HTTP/1.1 200 OK\r\nSet-Cookie: sid=1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: sallyport=evil\r\nX-Sum: 1\r\n\r\n",
		"switched protocols":  "HTTP/1.1 101 Switching Protocols\r\n" + evil + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
				io.WriteString(conn, answer)
				conn.Close()
			})
			conn := dial(t, start(t, options(fixture(j.url))))
			io.WriteString(conn, get("/public/x", "Connection: Upgrade, close", "Upgrade: websocket", "TE: trailers"))
			all, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(all), "evil") {
				t.Errorf("the client saw %q", all)
			}
			if !strings.Contains(string(all), "Set-Cookie: sid=1\r\n") {
				t.Errorf("the upstream's own cookie is missing: %q", all)
			}
			if strings.HasSuffix(name, "trailers") && !strings.Contains(string(all), "X-Sum: 1\r\n") {
				t.Errorf("the upstream's own trailer is missing: %q", all)
			}
		})
	}
}

func TestEarlyHintsArePassedOn(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	})
	hints := ""
	trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		hints = h.Get("Link")
		return nil
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "http://"+start(t, options(fixture(j.url)))+"/public/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent || hints != "</a.css>; rel=preload" {
		t.Errorf("got %d and the hints %q", res.StatusCode, hints)
	}
}

func TestAnUpstreamNeverSeesTheGatewaysCookies(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	send(t, addr, get("/app/x", "Cookie: a=1; sallyport=alice-1; b=2"))
	send(t, addr, get("/public/x", "Cookie: sallyport=alice-1", "Cookie: __Host-sallyport=x"))
	all := j.all()
	if got := all[0].values("Cookie"); !slices.Equal(got, []string{"a=1; b=2"}) {
		t.Errorf("signed in: the upstream saw %q", got)
	}
	if got := all[1].values("Cookie"); got != nil {
		t.Errorf("bypass: the upstream saw %q", got)
	}
}

// FuzzNoCookieOfTheGatewaysPassesEitherWay writes a Cookie line and a Set-Cookie line in any way. Of what is left a
// browser and a server read no cookie of the gateway's.
func FuzzNoCookieOfTheGatewaysPassesEitherWay(f *testing.F) {
	for _, line := range []string{"sallyport=x", "a=b; sallyport=x", "a=b;sallyport=x; c", "sallyport =x", "=sallyport=x", `"sallyport"=x`, "a=b\t;\tsallyport=x", "__Host-sallyport=x; Path=/", "SALLYPORT=x", "sallyport", ";;=;"} {
		f.Add(line)
	}
	names := cookieNames{"sallyport", "__Host-sallyport"}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line, "a=b; " + line}, "Set-Cookie": {line}}
		names.takeOff(h)
		names.takeOffSet(h)
		for _, left := range h["Cookie"] {
			for pair := range strings.SplitSeq(left, ";") {
				name, _, _ := strings.Cut(pair, "=")
				if slices.Contains(names, strings.Trim(name, " \t\"")) {
					t.Errorf("of %q the upstream is sent %q", line, left)
				}
			}
			if c, err := http.ParseCookie(left); err == nil && slices.ContainsFunc(c, func(c *http.Cookie) bool { return slices.Contains(names, c.Name) }) {
				t.Errorf("of %q the upstream is sent %q", line, left)
			}
		}
		for _, left := range h["Set-Cookie"] {
			if name := nameAsKept(left); slices.ContainsFunc(names, func(own string) bool { return strings.EqualFold(own, name) }) {
				t.Errorf("of %q the browser is sent %q, which it keeps as %s", line, left, name)
			}
		}
	})
}

// nameAsKept is the name under which a browser sends a cookie back (RFC 6265bis section 5.6): one without a name is sent
// as its value alone, and may hold an equals sign.
func nameAsKept(line string) string {
	pair, _, _ := strings.Cut(line, ";")
	name, value, named := strings.Cut(pair, "=")
	if !named {
		name, value = "", pair
	}
	if name = strings.Trim(name, " \t"); name == "" {
		name, _, named = strings.Cut(strings.Trim(value, " \t"), "=")
		if !named {
			return ""
		}
	}
	return name
}
