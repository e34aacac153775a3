package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// certificateFor makes a certificate for apps.example.com and its key in PEM, valid for an hour after begin.
func certificateFor(t *testing.T, serial int64, begin time.Time) (certificate, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"apps.example.com"}, NotBefore: begin, NotAfter: begin.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// startTLSApp starts a gateway with a certificate of the serial number 1, before an app that says hello.
func startTLSApp(t *testing.T) *app {
	t.Helper()
	folder := t.TempDir()
	certificate, private := certificateFor(t, 1, time.Now())
	for name, data := range map[string][]byte{"cert.pem": certificate, "key.pem": private} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startAppIn(t, folder, "listen: 127.0.0.1:0, redirect_listen: 127.0.0.1:0, public_url: https://apps.example.com, tls: { cert_file: cert.pem, key_file: key.pem }",
		", hosts: [apps.example.com, wiki.example.com, \"[2001:db8::1]:8443\"], access: { policy: two_factor, rules: [{ paths: [\"/open\"], policy: bypass }] }", "",
		func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
}

func (a *app) shake(c *tls.Config) (*tls.Conn, error) {
	a.Helper()
	c.InsecureSkipVerify = true // what it shows is looked at by the tests
	return tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", a.server.listener.Addr().String(), c)
}

// serial is that of the certificate that a new connection is shown.
func (a *app) serial() int64 {
	a.Helper()
	conn, err := a.shake(&tls.Config{ServerName: "apps.example.com"})
	if err != nil {
		a.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func (a *app) eventually(what string, holds func() bool) {
	a.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	a.Fatalf("not within 30 seconds: %s; the log:\n%s", what, a.log)
}

func TestOnlyTLSWithForwardSecrecyAndAuthenticatedEncryptionIsSpoken(t *testing.T) {
	a := startTLSApp(t)
	cases := []struct {
		name string
		c    *tls.Config
		want uint16 // 0: refused
	}{
		{"TLS 1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, 0},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12},
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, tls.VersionTLS13},
		{"no server name, as a health check", &tls.Config{}, tls.VersionTLS13},
		{"AES in CBC mode", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
		}}, 0},
		{"RC4", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}}, 0},
		{"RSA key exchange", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384}}, 0},
		{"ChaCha20", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}, tls.VersionTLS12},
		{"an unknown protocol", &tls.Config{NextProtos: []string{"acme-tls/1"}}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn, err := a.shake(c.c)
			switch {
			case c.want == 0 && err == nil:
				t.Errorf("was spoken: %s, %s", tls.VersionName(conn.ConnectionState().Version), tls.CipherSuiteName(conn.ConnectionState().CipherSuite))
			case c.want != 0 && err != nil:
				t.Errorf("was not spoken: %v", err)
			case c.want != 0 && conn.ConnectionState().Version != c.want:
				t.Errorf("spoke %s", tls.VersionName(conn.ConnectionState().Version))
			}
			if err == nil {
				conn.Close()
			}
		})
	}
}

func TestAClientThatWantsToNegotiateAgainIsCutOff(t *testing.T) {
	a := startTLSApp(t)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	client := exec.CommandContext(ctx, "openssl", "s_client", "-tls1_2", "-connect", a.server.listener.Addr().String())
	said := &logBuffer{}
	client.Stdout, client.Stderr = said, said
	commands, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	a.eventually("the first handshake is done", func() bool { return strings.Contains(said.String(), "Verify return code") })
	if _, err := io.WriteString(commands, "R\n"); err != nil { // s_client's word for it
		t.Fatal(err)
	}
	if err := client.Wait(); err == nil || ctx.Err() != nil || !strings.Contains(said.String(), "RENEGOTIATING") || !strings.Contains(said.String(), "alert unexpected message") {
		t.Errorf("%v, and the client said:\n%s", err, said)
	}
}

func TestAnHTTP2ConnectionHas250StreamsAtMost(t *testing.T) {
	conn, err := startTLSApp(t).shake(&tls.Config{NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v, want SETTINGS", frame)
	}
	if streams, said := settings.Value(http2.SettingMaxConcurrentStreams); !said || streams != 250 {
		t.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS %d, said %t", streams, said)
	}
}

func TestEveryAnswerOfTheGatewaysOwnOverTLSKeepsBrowsersOnHTTPS(t *testing.T) {
	a := startTLSApp(t)
	for request, want := range map[string]struct {
		status int
		hsts   bool
	}{
		"GET /auth/login":              {200, true},
		"GET /auth/none":               {404, true},
		"GET /auth/healthz":            {200, true},
		"GET /auth/authz/forward-auth": {400, true},
		"GET /x":                       {401, true},
		"TRACE /x":                     {405, true},
		"get /x":                       {400, true},
		"GET /open":                    {200, false}, // the app's own business
	} {
		t.Run(request, func(t *testing.T) {
			conn, err := a.shake(&tls.Config{ServerName: "apps.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			head, _ := a.exchange(conn, request+" HTTP/1.1\r\nHost: apps.example.com\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", want.status)) || strings.Contains(head, "\r\nStrict-Transport-Security: max-age=31536000\r\n") != want.hsts {
				t.Errorf("want %d, with Strict-Transport-Security %t:\n%s", want.status, want.hsts, head)
			}
		})
	}
}

// exchange writes a request and reads all of the answer.
func (a *app) exchange(conn net.Conn, request string) (head, body string) {
	a.Helper()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		a.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		a.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		a.Fatal(err)
	}
	head, body, _ = strings.Cut(string(raw), "\r\n\r\n")
	return head + "\r\n", body
}

func TestACertificateIsTakenOverWhenItsFilesChangeAndOnlyWhereTheyAreGood(t *testing.T) {
	a := startTLSApp(t)
	old, err := a.shake(&tls.Config{ServerName: "apps.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	second, secondKey := certificateFor(t, 2, time.Now())
	for _, broken := range []struct{ name, text string }{
		{"nonsense", "nonsense"}, {"the certificate of another key", string(second)}, // in this order: the second stays
	} {
		before := len(a.log.String())
		a.write("cert.pem", broken.text)
		a.eventually(broken.name+" is said to be broken", func() bool {
			return strings.Contains(a.log.String()[before:], "certificate not taken over; the old one stays in force")
		})
		if got := a.serial(); got != 1 {
			t.Errorf("%s: the certificate %d is shown", broken.name, got)
		}
	}
	if err := os.Remove(a.file("key.pem")); err != nil {
		t.Fatal(err)
	}
	a.eventually("a missing key is said", func() bool { return strings.Contains(a.log.String(), "key.pem: no such file") })
	a.write("key.pem", string(secondKey))
	a.eventually("the new certificate is shown", func() bool { return a.serial() == 2 })
	if head, _ := a.exchange(old, "GET /auth/healthz HTTP/1.1\r\nHost: apps.example.com\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("a connection from before the change: %s", head)
	}

	third, thirdKey := certificateFor(t, 3, time.Now().Add(-2*time.Hour))
	a.write("third.pem", string(third))
	a.write("third.key", string(thirdKey))
	for link, target := range map[string]string{"cert.pem": "third.pem", "key.pem": "third.key"} { // as certbot and Kubernetes do
		if err := os.Symlink(target, a.file("new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(a.file("new"), a.file(link)); err != nil {
			t.Fatal(err)
		}
	}
	a.eventually("one that a link leads to is shown", func() bool { return a.serial() == 3 })
	a.eventually("its age is said", func() bool { return strings.Contains(a.log.String(), "browsers will refuse it") })
}

func TestSIGHUPTakesOtherCertificateFilesOverAndFollowsThem(t *testing.T) {
	a := startTLSApp(t)
	second, secondKey := certificateFor(t, 2, time.Now())
	a.write("other.pem", string(second))
	a.write("other.key", string(secondKey))
	raw, err := os.ReadFile(a.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a.write("config.yaml", strings.NewReplacer("cert.pem", "other.pem", "key.pem", "other.key").Replace(string(raw)))
	a.server.reload(t.Context())
	if got := a.serial(); got != 2 {
		t.Fatalf("the certificate %d is shown", got)
	}
	third, thirdKey := certificateFor(t, 3, time.Now())
	a.write("other.pem", string(third))
	a.write("other.key", string(thirdKey))
	a.eventually("a change of the other files is seen", func() bool { return a.serial() == 3 })
}

func TestCheckWarnsOfACertificateThatHasEnded(t *testing.T) {
	a := startTLSApp(t)
	certificate, private := certificateFor(t, 4, time.Now().Add(-2*time.Hour))
	a.write("cert.pem", string(certificate))
	a.write("key.pem", string(private))
	var out, errs strings.Builder
	code := run(t.Context(), []string{"check", "--config", a.file("config.yaml")}, terminal{strings.NewReader(""), &out, &errs})
	if code != exitDone || !strings.Contains(errs.String(), "cert.pem is valid from ") {
		t.Errorf("%d: %s%s", code, out.String(), errs.String())
	}
}
