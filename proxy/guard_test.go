package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sallyport/authflow/session"
)

const (
	testTag = `<script src="/auth/static/guard.js" data-idle="3600" data-sub="file:&#34;zo&#xEB;&#34;"></script>`
	page    = "Sec-Fetch-Mode: navigate"
)

// guardedOptions is a gateway for an upstream with the guard, and somebody who is signed in as file:"zoë".
func guardedOptions(j *journal) Options {
	o := options(whole(j.url, OneFactor))
	o.Upstreams[0].SessionGuard = true
	o.Upstreams[0].Rules = []Rule{{Paths: []string{"/open/*"}, Policy: Bypass}}
	o.Guard = Guard{Script: "/auth/static/guard.js", IdleTimeout: time.Hour}
	o.Identify = func(*http.Request) (*session.Identity, error) {
		return &session.Identity{Subject: `file:"zoë"`, Username: "zoë", AMR: []string{"pwd"}}, nil
	}
	return o
}

// sending gives every request the same head lines and body, and its length.
func sending(body string, head ...string) func(net.Conn, *bufio.Reader, received) {
	return func(conn net.Conn, _ *bufio.Reader, _ received) {
		fmt.Fprintf(conn, "%s\r\nContent-Length: %d\r\n\r\n%s", strings.Join(head, "\r\n"), len(body), body)
	}
}

const (
	okay     = "HTTP/1.1 200 OK"
	htmlType = "Content-Type: text/html; charset=utf-8"
	markup   = "<!doctype html><html><head><title>Wiki</title></head><body>Hello</body></html>"
)

var guardPlaces = map[string]string{ // | is where the script goes; none: nowhere
	"behind head":                    "<!DOCTYPE html>\n<html lang=en>\n<head>|<meta charset=utf-8>",
	"behind head in capitals":        `<HTML><HEAD profile="x>y">|<TITLE>a</TITLE>`,
	"a quotation mark in a name":     `<html><head a"b>|<title>"></title>`,
	"single quotes, spaces":          "<html><head a = '>\"' b>|<title>",
	"an unquoted value":              `<head data-x=a"b>|<title>"`,
	"no head":                        "<!doctype html><html>|<body>text</body></html>",
	"no html and no head":            "<!doctype html>|<title>a</title><p>",
	"text first":                     "a < b, 1<2 and |<b>so on</b>",
	"a header is no head":            "<html>|<header>",
	"a frameset":                     "<html>\n|<frameset cols='*'><frame src=a></frameset>",
	"a script first":                 "|<script>if (a<b) document.write('<head>')</script>",
	"comments and the like":          "\ufeff<?xml version='1.0'?><!-- <head> -- > --><!--><!DOCTYPE a><!-->-->\n</p><html><!--[if IE]><head><![endif]--><head>|<base href=x>",
	"only text":                      "nothing to see",
	"a comment that does not end":    "<!-- <html><head>",
	"a tag that does not end":        "<html><head class='",
	"nothing":                        "",
	"UTF-16, little endian":          "\xff\xfe<h<h<h\x68\x3c<head>",
	"UTF-16, big endian":             "\xfe\xff<html><head>",
	"nothing but text for too long":  strings.Repeat("a", guardLookAhead) + "<head>",
	"a comment that is too long":     "<!--" + strings.Repeat("a", guardLookAhead) + "--><head>",
	"a page that is long after head": "<head>|" + strings.Repeat("<p>text ", 20_000),
}

func TestTheScriptGoesBehindHeadOrBeforeTheFirstElementHoweverThePageComes(t *testing.T) {
	for name, marked := range guardPlaces {
		plain := strings.Replace(marked, "|", "", 1)
		want := strings.Replace(marked, "|", "<GUARD>", 1)
		readers := map[string]func() io.Reader{
			"at once":      func() io.Reader { return strings.NewReader(plain) },
			"byte by byte": func() io.Reader { return iotest.OneByteReader(strings.NewReader(plain)) },
			"with its end": func() io.Reader { return iotest.DataErrReader(strings.NewReader(plain)) },
		}
		for cut := range min(len(plain), 200) { // in two pieces, cut at every byte
			readers[fmt.Sprint("cut at ", cut)] = func() io.Reader {
				return io.MultiReader(strings.NewReader(plain[:cut]), strings.NewReader(plain[cut:]))
			}
		}
		for how, reader := range readers {
			got, err := io.ReadAll(&guardedPage{ReadCloser: io.NopCloser(reader()), tag: []byte("<GUARD>")})
			if err != nil || string(got) != want {
				t.Errorf("%s, %s: got %.200q, %v; want %.200q", name, how, got, err, want)
			}
		}
	}
}

func FuzzAPageGetsTheScriptOnceAtMostAndAtTheSamePlaceHoweverItComes(f *testing.F) {
	for _, marked := range guardPlaces {
		f.Add(strings.Replace(marked, "|", "", 1))
	}
	const tag = "<GUARD>"
	f.Fuzz(func(t *testing.T, plain string) {
		if strings.Contains(plain, tag) {
			return // nothing could be told apart
		}
		read := func(r io.Reader) string {
			got, err := io.ReadAll(&guardedPage{ReadCloser: io.NopCloser(r), tag: []byte(tag)})
			if err != nil {
				t.Fatal(err)
			}
			return string(got)
		}
		whole, piecemeal := read(strings.NewReader(plain)), read(iotest.OneByteReader(strings.NewReader(plain)))
		if whole != piecemeal {
			t.Errorf("%q: at once %q, byte by byte %q", plain, whole, piecemeal)
		}
		if strings.Replace(whole, tag, "", 1) != plain {
			t.Errorf("%q became %q", plain, whole)
		}
	})
}

func TestAPageThatBreaksOffBreaksOffWithTheScriptInIt(t *testing.T) {
	broken := errors.New("broken off")
	for _, plain := range []string{"", "<ht", "<html><head>", "<html><head><title>"} {
		reader := io.MultiReader(strings.NewReader(plain), iotest.ErrReader(broken))
		got, err := io.ReadAll(&guardedPage{ReadCloser: io.NopCloser(reader), tag: []byte("<GUARD>")})
		if want := strings.Replace(plain, "<head>", "<head><GUARD>", 1); string(got) != want || !errors.Is(err, broken) {
			t.Errorf("%q: got %q, %v; want %q and the error", plain, got, err, want)
		}
	}
}

func TestAPageOfAGuardedUpstreamGetsTheScript(t *testing.T) {
	want := strings.Replace(markup, "<head>", "<head>"+testTag, 1)
	for name, head := range map[string][]string{
		"plain":                        {okay, htmlType},
		"no charset":                   {okay, "Content-Type: text/html"},
		"another encoding of bytes":    {okay, "Content-Type: text/html; charset=ISO-8859-1"},
		"capitals":                     {okay, "Content-Type: Text/HTML"},
		"said to be as it is":          {okay, htmlType, "Content-Encoding: identity"},
		"to be shown":                  {okay, htmlType, "Content-Disposition: inline; filename=a.html"},
		"with a policy that allows it": {okay, htmlType, "Content-Security-Policy: default-src 'self'"},
	} {
		j := newJournal(t, sending(markup, append(head, `ETag: "1"`, "Accept-Ranges: bytes", "Content-MD5: x", "Last-Modified: Mon, 23 Nov 2026 10:00:00 GMT")...))
		addr := start(t, guardedOptions(j))
		res, body := send(t, addr, get("/x", page, "Accept-Encoding: gzip, br", `If-None-Match: "1"`, "If-Modified-Since: Mon, 23 Nov 2026 10:00:00 GMT"))
		if body != want {
			t.Errorf("%s: got %q", name, body)
		}
		if res.ContentLength != -1 || res.Header.Get("Etag")+res.Header.Get("Accept-Ranges")+res.Header.Get("Content-Md5") != "" {
			t.Errorf("%s: the answer still says of other bytes: %v", name, res.Header)
		}
		if res.Header.Get("Last-Modified") == "" {
			t.Errorf("%s: the page lost its date", name)
		}
		q := j.only(t)
		if got := q.values("Accept-Encoding"); !slices.Equal(got, []string{"identity"}) {
			t.Errorf("%s: the upstream was asked for %q", name, got)
		}
		if got := append(q.values("If-None-Match"), q.values("If-Modified-Since")...); len(got) != 0 {
			t.Errorf("%s: the upstream was asked for news only: %q", name, got)
		}
	}
}

func TestWhatIsNoPageOfAPersonsPassesByteForByte(t *testing.T) {
	ask := get("/x", page)
	for _, c := range []struct {
		name, ask string
		head      []string
	}{
		{"a background request", get("/x", "Sec-Fetch-Mode: cors", "Accept: text/html"), []string{okay, htmlType}},
		{"a background request of an old browser", get("/x", "Accept: text/html", "X-Requested-With: XMLHttpRequest"), []string{okay, htmlType}},
		{"a form sent in the background", request("POST", "/x", "Sec-Fetch-Mode: cors", "Content-Length: 0"), []string{okay, htmlType}},
		{"a page for everybody", get("/open/x", page), []string{okay, htmlType}},
		{"another type", ask, []string{okay, "Content-Type: application/xhtml+xml"}},
		{"no type", ask, []string{okay}},
		{"two types", ask, []string{okay, htmlType, "Content-Type: text/plain"}},
		{"a type that cannot be read", ask, []string{okay, "Content-Type: text/html; charset"}},
		{"UTF-16", ask, []string{okay, "Content-Type: text/html; charset=UTF-16LE"}},
		{"a part", ask, []string{"HTTP/1.1 206 Partial Content", htmlType, "Content-Range: bytes 0-1/2"}},
		{"an error", ask, []string{"HTTP/1.1 404 Not Found", htmlType}},
		{"compressed all the same", ask, []string{okay, htmlType, "Content-Encoding: gzip"}},
		{"to be saved", ask, []string{okay, htmlType, "Content-Disposition: attachment; filename=a.html"}},
		{"to be saved, as it seems", ask, []string{okay, htmlType, `Content-Disposition: "`}},
		{"not to be changed", ask, []string{okay, htmlType, "Cache-Control: max-age=1", "Cache-Control: No-Transform"}},
		{"a policy against it", ask, []string{okay, htmlType, "Content-Security-Policy: script-src 'nonce-abc'"}},
		{"two policies, the second against it", ask, []string{okay, htmlType, "Content-Security-Policy: script-src 'self'", "Content-Security-Policy: script-src 'none'"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal(t, sending(markup, append(c.head, `ETag: "1"`)...))
			res, body := send(t, start(t, guardedOptions(j)), c.ask)
			if body != markup || res.ContentLength != int64(len(markup)) || res.Header.Get("Etag") != `"1"` {
				t.Errorf("got %d bytes %q, ETag %q", res.ContentLength, body, res.Header.Get("Etag"))
			}
		})
	}
}

func TestAnUpstreamWithoutTheGuardIsAskedAndAnsweredAsEver(t *testing.T) {
	j := newJournal(t, sending(markup, okay, htmlType))
	o := guardedOptions(j)
	o.Upstreams[0].SessionGuard = false
	_, body := send(t, start(t, o), get("/x", page, "Accept-Encoding: br", `If-None-Match: "1"`))
	q := j.only(t)
	if body != markup || !slices.Equal(q.values("Accept-Encoding"), []string{"br"}) || len(q.values("If-None-Match")) != 1 {
		t.Errorf("got %q for %q", body, q.headers)
	}
}

func TestHeadOfAGuardedPageAnswersAsTheUpstreamDoes(t *testing.T) {
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, okay+"\r\n"+htmlType+"\r\nContent-Length: 78\r\nETag: \"1\"\r\n\r\n")
	})
	res, body := send(t, start(t, guardedOptions(j)), request("HEAD", "/x", page))
	if body != "" || res.ContentLength != 78 || res.Header.Get("Etag") != `"1"` {
		t.Errorf("got %v", res.Header)
	}
}

func TestThePageThatAnswersAFormIsGuardedToo(t *testing.T) {
	j := newJournal(t, sending(markup, okay, htmlType))
	_, body := send(t, start(t, guardedOptions(j)), request("POST", "/x", page, "Content-Length: 0"))
	if !strings.Contains(body, testTag) {
		t.Errorf("got %q", body)
	}
}

func TestAGuardedPageArrivesWhileItIsUnderWay(t *testing.T) {
	next := make(chan string)
	j := newJournal(t, func(conn net.Conn, _ *bufio.Reader, _ received) {
		io.WriteString(conn, okay+"\r\n"+htmlType+"\r\n\r\n")
		for piece := range next {
			io.WriteString(conn, piece)
		}
		conn.Close()
	})
	_, _, res := open(t, start(t, guardedOptions(j)), get("/x", page))
	for _, c := range []struct{ piece, want string }{
		{"<!doctype html>\n<html", "<!doctype html>\n"},
		{">", "<html>"},
		{"<head>", "<head>" + testTag},
		{"<p", "<p"},
		{">half a ta", ">half a ta"},
	} {
		next <- c.piece
		got := make([]byte, len(c.want)) // only now is it there to be read
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != c.want {
			t.Fatalf("after %q came %q, %v; want %q", c.piece, got, err, c.want)
		}
	}
	close(next)
}

func TestTheScriptNeedsAPolicyThatAllowsItAndItsRequests(t *testing.T) {
	here := origin{secure: true, host: authority{host: "apps.example.com"}}
	odd := origin{host: authority{host: "apps.example.com", port: "8080"}}
	for _, c := range []struct {
		policy string
		from   origin
		want   bool
	}{
		{"", here, true},
		{"img-src 'none'; object-src 'none'", here, true},
		{"default-src 'self'", here, true},
		{"default-src *", here, true},
		{"default-src https:", here, true},
		{"default-src https:", odd, false},
		{"default-src http:", here, true},
		{"DEFAULT-SRC 'SELF'", here, true},
		{"default-src 'none'", here, false},
		{"default-src", here, false},
		{"script-src apps.example.com", here, true},
		{"script-src https://apps.example.com", here, true},
		{"script-src https://apps.example.com:443/", here, true},
		{"script-src https://Apps.Example.com", here, true},
		{"script-src apps.example.com:8080", odd, true},
		{"script-src apps.example.com", odd, false},
		{"script-src https://apps.example.com:8080", odd, false},
		{"script-src https://apps.example.com/wiki/", here, false},
		{"script-src https://cdn.example.com", here, false},
		{"script-src 'unsafe-inline' 'unsafe-eval' data:", here, false},
		{"script-src 'nonce-abc'", here, false},
		{"script-src 'sha256-abc='", here, false},
		{"script-src 'self' 'nonce-abc'", here, true},
		{"script-src 'self' 'nonce-abc' 'strict-dynamic' https:", here, false},
		{"script-src 'none'; script-src-elem 'self'", here, true},
		{"script-src 'self'; script-src-elem 'none'", here, false},
		{"script-src 'none'; script-src 'self'", here, false},
		{"default-src 'none'; script-src 'self'", here, false},
		{"default-src 'none'; script-src 'self'; connect-src 'self'", here, true},
		{"connect-src https://api.example.com", here, false},
		{"sandbox allow-scripts", here, false},
		{"sandbox allow-scripts allow-same-origin", here, true},
		{"script-src 'self', script-src 'none'", here, false},
	} {
		if got := policiesAllow([]string{c.policy}, &c.from); got != c.want {
			t.Errorf("%q at %v: %t, want %t", c.policy, c.from.host, got, c.want)
		}
	}
}

func TestAGuardWithoutAScriptIsAnError(t *testing.T) {
	o := guardedOptions(newJournal(t, nil))
	o.Guard = Guard{}
	if _, err := New(o); err == nil {
		t.Error("got no error")
	}
}
