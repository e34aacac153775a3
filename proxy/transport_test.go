package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// behind is one upstream for every request, without sign-in.
func behind(to *url.URL, f Forwarding) []Upstream {
	return []Upstream{{Name: "app", URL: to, Policy: Bypass, Forwarding: f}}
}

func mustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// authorityOf is a certificate authority for one test.
type authorityOf struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authorityOf {
	t.Helper()
	a := authorityOf{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority of " + t.Name()}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, a.key = a.sign(t, template)
	return a
}

// sign makes a certificate after a template: signed by a, or, before a has one, by itself.
func (a authorityOf) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (a authorityOf) issue(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	certificate, key := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "issued"}, DNSNames: names, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

func (a authorityOf) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func TestAnUpstreamOverTLSIsBelievedOnlyWithACertificateThatTheSettingsName(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+" by "+r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	backend.TLS = &tls.Config{
		Certificates: []tls.Certificate{ours.issue(t, "app.internal")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(),
	}
	backend.StartTLS()
	t.Cleanup(backend.Close)
	us := []tls.Certificate{ours.issue(t)}
	cases := []struct {
		name string
		tls  *tls.Config
		want int
	}{
		{"own authority, fixed name, client certificate", &tls.Config{RootCAs: ours.pool(), ServerName: "app.internal", Certificates: us}, 200},
		{"verification skipped", &tls.Config{InsecureSkipVerify: true, Certificates: us}, 200},
		{"the system's authorities", nil, 502},
		{"another authority", &tls.Config{RootCAs: foreign.pool(), ServerName: "app.internal", Certificates: us}, 502},
		{"the name of the URL, which the certificate does not have", &tls.Config{RootCAs: ours.pool(), Certificates: us}, 502},
		{"no client certificate", &tls.Config{RootCAs: ours.pool(), ServerName: "app.internal"}, 502},
		{"a client certificate of somebody else", &tls.Config{RootCAs: ours.pool(), ServerName: "app.internal", Certificates: []tls.Certificate{foreign.issue(t)}}, 502},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			res, body := send(t, start(t, options(behind(mustURL(t, backend.URL), Forwarding{TLS: c.tls}))), get("/x"))
			if res.StatusCode != c.want || c.want == 200 && body != "app.example.com by issued" {
				t.Errorf("got %s %q, want %d", describe(res), body, c.want)
			}
		})
	}
}

func TestUpstreamsOfOneGatewayDoNotShareTheirTLS(t *testing.T) {
	ours := newAuthority(t)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "app.internal")}}
	backend.StartTLS()
	t.Cleanup(backend.Close)
	to := mustURL(t, backend.URL)
	addr := start(t, options([]Upstream{
		{Name: "loose", Path: "/loose", URL: to, Policy: Bypass, Forwarding: Forwarding{TLS: &tls.Config{InsecureSkipVerify: true}}},
		{Name: "strict", Path: "/strict", URL: to, Policy: Bypass},
	}))
	for path, want := range map[string]int{"/loose": 200, "/strict": 502} {
		if res, _ := send(t, addr, get(path)); res.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, describe(res), want)
		}
	}
}

func TestAnUpstreamOnAUnixSocketIsReached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "app.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	backend := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+r.URL.String())
	})}}
	backend.Start()
	t.Cleanup(backend.Close)
	for ownHost, want := range map[bool]string{false: "app.example.com/x?y", true: "localhost/x?y"} {
		for _, address := range []string{"unix:" + socket, "unix://" + socket} {
			res, body := send(t, start(t, options(behind(mustURL(t, address), Forwarding{OwnHost: ownHost}))), get("/x?y"))
			if res.StatusCode != 200 || body != want {
				t.Errorf("%s: got %s %q, want %q", address, describe(res), body, want)
			}
		}
	}
	res, body := send(t, start(t, options(behind(mustURL(t, "unix:"+socket+".gone"), Forwarding{}))), get("/x"))
	if res.StatusCode != 502 || strings.Contains(body, "app.sock") {
		t.Errorf("nobody listens: got %s %q, want 502", describe(res), body)
	}
}

func TestAnURLThatCannotBeForwardedToIsRefused(t *testing.T) {
	for _, u := range []*url.URL{
		mustURL(t, "ftp://127.0.0.1"), mustURL(t, "http://"), mustURL(t, "h2c:///x"), mustURL(t, "unix:app.sock"),
		mustURL(t, "unix://host/app.sock"), {Scheme: "http", Host: "a b"},
	} {
		if _, err := New(options(behind(u, Forwarding{}))); err == nil || !strings.Contains(err.Error(), `upstream "app": url`) {
			t.Errorf("%s: got %v", u, err)
		}
	}
	if _, err := New(options(behind(mustURL(t, "http://a"), Forwarding{StripPath: true}))); err == nil {
		t.Error("a path to strip where there is none: got no error")
	}
}

// once answers one request on each connection, and closes it without a word when the next has come.
func once(requests *atomic.Int32) func(net.Conn, *bufio.Reader, received) {
	var seen sync.Map
	return func(conn net.Conn, _ *bufio.Reader, _ received) {
		requests.Add(1)
		if _, again := seen.LoadOrStore(conn, true); again {
			conn.Close()
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func TestARequestOnAConnectionThatWasJustClosedIsRetriedOnlyWhereThatIsSafe(t *testing.T) {
	cases := []struct {
		name, raw string
		want      int
		requests  int32 // that the upstream sees, the first one included
	}{
		{"GET", get("/x"), 200, 3},
		{"HEAD", request("HEAD", "/x"), 200, 3},
		{"POST with a body", request("POST", "/x", "Content-Length: 4") + "once", 502, 2},
		{"POST with a body in chunks", request("POST", "/x", "Transfer-Encoding: chunked") + "4\r\nonce\r\n0\r\n\r\n", 502, 2},
		{"POST without a body", request("POST", "/x", "Content-Length: 0"), 502, 2},
		{"PUT with a body", request("PUT", "/x", "Content-Length: 4") + "once", 502, 2},
		{"GET with a body", request("GET", "/x", "Content-Length: 4") + "once", 502, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var requests atomic.Int32
			j := newJournal(t, once(&requests))
			addr := start(t, options(behind(j.url, Forwarding{})))
			send(t, addr, c.raw) // of its kind, since not all kinds share connections
			res, _ := send(t, addr, c.raw)
			if res.StatusCode != c.want || requests.Load() != c.requests {
				t.Errorf("got %s after %d requests, want %d after %d", describe(res), requests.Load(), c.want, c.requests)
			}
		})
	}
}

func TestAWebSocketPassesToAnUpstreamThatWouldRatherSpeakHTTP2(t *testing.T) {
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, r.Proto)
			return
		}
		conn, br, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, br)
	}))
	backend.EnableHTTP2 = true
	backend.StartTLS()
	t.Cleanup(backend.Close)
	pool := x509.NewCertPool()
	pool.AddCert(backend.Certificate())
	addr := start(t, options(behind(mustURL(t, backend.URL), Forwarding{TLS: &tls.Config{RootCAs: pool}})))
	if _, body := send(t, addr, get("/x")); body != "HTTP/2.0" {
		t.Errorf("a page was asked for by %s, want HTTP/2.0", body)
	}
	conn, br, res := open(t, addr, webSocket("/ws"))
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s", describe(res))
	}
	io.WriteString(conn, "ping")
	back := make([]byte, 4)
	if _, err := io.ReadFull(br, back); err != nil || string(back) != "ping" {
		t.Errorf("echo: got %q, %v", back, err)
	}
}

func TestLargeBuffersAreLentToAFewAtATime(t *testing.T) {
	var p bufferPool
	var lent [][]byte
	for range largeBuffersMost {
		lent = append(lent, p.Get())
		if n := len(lent[len(lent)-1]); n != largeBufferSize {
			t.Fatalf("buffer %d has %d bytes, want %d", len(lent), n, largeBufferSize)
		}
	}
	if n := len(p.Get()); n != bufferSize {
		t.Errorf("with %d large ones lent, the next has %d bytes, want %d", len(lent), n, bufferSize)
	}
	p.Put(lent[0])
	if n := len(p.Get()); n != largeBufferSize {
		t.Errorf("after one was given back, the next has %d bytes, want %d", n, largeBufferSize)
	}
}
