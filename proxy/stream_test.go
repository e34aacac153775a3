package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// unencrypted serves by HTTP/2 without TLS, as gRPC servers do, and tells its address.
func unencrypted(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// speaking is a client that follows nothing and adds nothing.
func speaking(t testing.TB, h2c bool) *http.Transport {
	client := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	client.Protocols.SetHTTP1(!h2c)
	client.Protocols.SetUnencryptedHTTP2(h2c)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestGRPCPassesBothWaysMessageByMessage(t *testing.T) {
	backend := unencrypted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("Remote-User") != "alice" {
			t.Errorf("the upstream saw %s %v", r.Proto, r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		http.NewResponseController(w).Flush()
		message := make([]byte, 5)
		for {
			if _, err := io.ReadFull(r.Body, message); err != nil {
				break
			}
			w.Write(bytes.ToUpper(message))
			http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "sallyport=stolen")
	}))
	gateway := unencrypted(t, Front(newGateway(t, options(whole(mustURL(t, "h2c://"+backend), OneFactor))), false))
	body, send := io.Pipe()
	t.Cleanup(func() { send.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+gateway+"/echo.Echo/Talk", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Cookie": {"sallyport=alice-1"}}
	res, err := speaking(t, true).RoundTrip(r) // answered while the request is still under way
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("got %s", describe(res))
	}
	for _, message := range []string{"hello", "world"} {
		io.WriteString(send, message)
		back := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, back); err != nil || string(back) != strings.ToUpper(message) {
			t.Fatalf("%q came back as %q, %v", message, back, err)
		}
	}
	send.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("after the last message: %q, %v", rest, err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "fine" || res.Trailer.Get("Set-Cookie") != "" {
		t.Errorf("trailers: %v", res.Trailer)
	}
}

func TestAnAnswerMayBeginBeforeTheRequestHasEnded(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := http.NewResponseController(w)
		client.EnableFullDuplex()
		client.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "%s back\n", lines.Text())
			client.Flush()
		}
	}))
	t.Cleanup(backend.Close)
	conn, br, res := open(t, start(t, options(behind(mustURL(t, backend.URL), Forwarding{}))), request("POST", "/x", "Content-Length: 8"))
	answers := bufio.NewReader(res.Body)
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(conn, line)
		if got, err := answers.ReadString('\n'); got != strings.TrimSpace(line)+" back\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	io.Copy(io.Discard, answers)
	io.WriteString(conn, get("/next")) // the connection is still good for another request
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("the next request: %v, %v", res, err)
	}
}

func TestAnUploadThatTheAppRefusesEarlyGetsItsAnswer(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "full", http.StatusInsufficientStorage) // without a look at the body
	}))
	t.Cleanup(backend.Close)
	addr := start(t, options(behind(mustURL(t, backend.URL), Forwarding{})))
	_, _, res := open(t, addr, request("POST", "/x", "Content-Length: 1000000"))
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusInsufficientStorage || string(body) != "full\n" || err != nil {
		t.Errorf("got %s %q, %v; want the app's own answer before the body was sent", describe(res), body, err)
	}
}

func TestABodyThatWaitsForAContinueIsSentOnlyWhenTheAppWantsIt(t *testing.T) {
	j := newJournal(t, nil)
	addr := start(t, options(fixture(j.url)))
	conn, _, res := open(t, addr, request("POST", "/app/x", "Expect: 100-continue", "Content-Length: 4"))
	if res.StatusCode != 401 {
		t.Errorf("signed out: got %s, want 401 and no 100", describe(res))
	}
	conn.Close()
	conn = dial(t, addr)
	io.WriteString(conn, request("POST", "/public/x", "Expect: 100-continue", "Content-Length: 4"))
	br := bufio.NewReader(conn)
	line, err := br.ReadString('\n')
	if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v; want 100", line, err)
	}
	br.ReadString('\n')
	io.WriteString(conn, "body")
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("got %v, %v", res, err)
	}
	if q := j.only(t); q.body != "body" {
		t.Errorf("the upstream saw the body %q", q.body)
	}
}

func TestHarmlessTrailersPassAndOthersDoNot(t *testing.T) {
	j := newJournal(t, nil)
	names := []string{"X-Checksum", "Grpc-Status", "Remote-User", "Remote_User", "X-Forwarded-For", "Authorization", "Cookie", "X-Http-Method-Override", "Content-Type", "If-Match", "Sec-Fetch-Site", "Upgrade"}
	var trailer strings.Builder
	for _, name := range append(names, "X-Unannounced") {
		trailer.WriteString(name + ": mallory\r\n")
	}
	raw := request("POST", "/x", "Transfer-Encoding: chunked", "Trailer: "+strings.Join(names, ", "), "Trailer: X-Never-Sent,, no token, (none)") + "2\r\nhi\r\n0\r\n" + trailer.String() + "\r\n"
	res, _ := send(t, start(t, options(behind(j.url, Forwarding{}))), raw)
	if res.StatusCode != 200 {
		t.Fatalf("got %s", describe(res))
	}
	q := j.only(t)
	slices.Sort(q.trailer)
	if want := []string{"Grpc-Status: mallory", "X-Checksum: mallory"}; q.body != "hi" || !slices.Equal(q.trailer, want) {
		t.Errorf("body %q, trailers %q, want %q", q.body, q.trailer, want)
	}
}

func TestTrailersOfAnAnswerPass(t *testing.T) {
	j := newJournal(t, fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n2\r\nhi\r\n0\r\nX-Checksum: abc\r\nX-Late: def\r\nSet-Cookie: sallyport=stolen\r\n\r\n"))
	res, body := send(t, start(t, options(behind(j.url, Forwarding{}))), get("/x", "TE: trailers", "Connection: TE"))
	if body != "hi" || res.Trailer.Get("X-Checksum") != "abc" || res.Trailer.Get("X-Late") != "def" || res.Trailer.Get("Set-Cookie") != "" {
		t.Errorf("body %q, trailers %v", body, res.Trailer)
	}
}

func TestEarlyHintsPassWithoutWhatTheUpstreamMayNotSay(t *testing.T) {
	j := newJournal(t, fixed("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nServer: cobol\r\nSet-Cookie: sallyport=stolen\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	var hints []textproto.MIMEHeader
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == http.StatusEarlyHints {
			hints = append(hints, h)
		}
		return nil
	}})
	o := options(behind(j.url, Forwarding{ResponseHeaders: HeaderChange{Remove: []string{"Server"}}}))
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+start(t, o)+"/x", nil)
	res, err := speaking(t, false).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if len(hints) != 1 || len(hints[0]) != 1 || hints[0].Get("Link") != "</style.css>; rel=preload" || res.Header.Get("Link") != "" {
		t.Errorf("hints %v, then %v", hints, res.Header)
	}
}

func TestARangeIsTheUpstreamsToAnswer(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "disc.img", time.Time{}, strings.NewReader(content))
	}))
	t.Cleanup(backend.Close)
	addr := start(t, options(behind(mustURL(t, backend.URL), Forwarding{})))
	for asked, want := range map[string]int{"bytes=5-9": 206, "bytes=-4": 206, "bytes=0-1,5-6": 206, "bytes=20000-": 416} {
		res, body := send(t, addr, get("/disc.img", "Range: "+asked))
		if res.StatusCode != want || asked == "bytes=5-9" && (body != "56789" || res.Header.Get("Content-Range") != "bytes 5-9/10000") {
			t.Errorf("%s: got %s %v %.40q", asked, describe(res), res.Header, body)
		}
	}
}

// zeros are as many bytes as they count.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	*z -= zeros(n)
	return int(n), nil
}

func TestMemoryStaysFlatHoweverLongABodyIs(t *testing.T) {
	const long, allowed = 256 << 20, 16 << 20
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != long || err != nil {
			t.Errorf("the upstream got %d bytes, %v", n, err)
		}
		down := zeros(long)
		io.Copy(w, &down)
	}))
	t.Cleanup(backend.Close)
	client := speaking(t, false)
	for _, length := range []int64{long, -1} {
		addr := start(t, options(behind(mustURL(t, backend.URL), Forwarding{MaxBody: long, Idle: time.Hour})))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		up := zeros(long)
		r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/x", &up)
		r.ContentLength = length
		res, err := client.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		runtime.ReadMemStats(&after)
		if n != long || err != nil {
			t.Errorf("%d bytes came back, %v", n, err)
		}
		// Everything that was ever allocated, collected or not: the bound cannot be met by a quick collector.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > allowed {
			t.Errorf("length %d: %d bytes were allocated on the way of %d", length, grown, long)
		}
	}
}
