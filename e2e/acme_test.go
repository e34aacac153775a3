package e2e

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
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// authority is Pebble, which issues certificates as a public authority does, with a name server that knows every
// name as this machine's.
type authority struct {
	t         *testing.T
	process   *harness.Process
	directory string
	caFile    string // behind the certificate of the directory itself
	roots     string // URL of the root that it signs with
}

// startAuthority starts a Pebble that looks for proofs at these ports, and whose certificates are valid for so long.
func startAuthority(t *testing.T, httpPort, tlsPort string, validity time.Duration) *authority {
	t.Helper()
	dir := t.TempDir()
	names, address, management := harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	a := &authority{t: t, directory: "https://" + address + "/dir", caFile: filepath.Join(dir, "cert.pem"), roots: "https://" + management + "/roots/0"}
	writeLoopbackCertificate(t, dir)
	config := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": "cert.pem", "privateKey": "key.pem",
		"httpPort": %s, "tlsPort": %s, "retryAfter": {"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": {"default": {"description": "the only one", "validityPeriod": %d}}}}`,
		address, management, httpPort, tlsPort, int(validity.Seconds()))
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, dir, toolBinary(t, "pebble", "pebble-challtestsrv"), "-dnsserver", names, "-management", harness.FreeAddress(t),
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	a.process = harness.Start(t, dir, "env", "PEBBLE_VA_NOSLEEP=1", toolBinary(t, "pebble", "pebble"), "-config", "pebble.json", "-dnsserver", names)
	harness.Eventually(t, "the authority serves", func() bool {
		if a.process.Ended() {
			t.Fatalf("the authority ended at once:\n%s", a.process.Out.String())
		}
		_, err := a.get(a.directory)
		return err == nil
	})
	return a
}

// writeLoopbackCertificate writes cert.pem and key.pem for 127.0.0.1.
func writeLoopbackCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) get(url string) ([]byte, error) {
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool(a.t, a.caFile)}}}
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 1<<20))
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(raw)
	return p
}

// certified is a gateway that gets its certificates from an authority.
type certified struct {
	*harness.Gateway
	authority *authority
	redirect  string // address of redirect_listen; empty: off
	trust     *x509.CertPool
}

// startCertified starts a gateway for apps.example.com and wiki.example.com that can prove its names by one way alone.
func startCertified(t *testing.T, overHTTP bool, validity time.Duration) *certified {
	t.Helper()
	for range 5 {
		address, unused, redirect := harness.FreeAddress(t), harness.FreeAddress(t), ""
		httpPort, tlsPort := harness.Port(t, unused), harness.Port(t, address)
		if overHTTP {
			redirect = unused
			httpPort, tlsPort = harness.Port(t, redirect), harness.Port(t, harness.FreeAddress(t))
		}
		c := &certified{redirect: redirect, authority: startAuthority(t, httpPort, tlsPort, validity)}
		c.Gateway = &harness.Gateway{T: t, Address: address, URL: "https://apps.example.com:" + harness.Port(t, address), Dir: t.TempDir()}
		c.configure("wiki.example.com")
		c.Write("users.yaml", harness.UsersFile())
		if c.serve(); c.Process.Taken() {
			continue
		}
		root, err := c.authority.get(c.authority.roots)
		if err != nil {
			t.Fatal(err)
		}
		c.trust = x509.NewCertPool()
		c.trust.AppendCertsFromPEM(root)
		return c
	}
	t.Fatal("the gateway found no free port in five tries")
	return nil
}

func (c *certified) configure(appHost string) {
	c.T.Helper()
	c.Write("config.yaml", fmt.Sprintf(`
server:
  listen: %s
  redirect_listen: %q
  public_url: %s
  tls: { acme: { enabled: true, email: admin@example.com, directory: %q, ca_file: %q } }
upstreams:
  - { name: app, hosts: [%s], url: "http://127.0.0.1:9" }
`, c.Address, c.redirect, c.URL, c.authority.directory, c.authority.caFile, appHost))
}

// serve starts the gateway, which cannot say that it is healthy before it has a certificate.
func (c *certified) serve() {
	c.T.Helper()
	p := harness.Start(c.T, c.Dir, harness.Binary, "serve")
	c.Process = p
	harness.Eventually(c.T, "the gateway listens", func() bool { return strings.Contains(p.Out.String(), "serving") || p.Ended() })
	if p.Ended() && !p.Taken() {
		c.T.Fatalf("the gateway ended at once:\n%s", p.Out.String())
	}
	c.T.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		p.Wait()
		if c.T.Failed() {
			c.T.Logf("the gateway wrote:\n%s\nthe authority wrote:\n%s", p.Out.String(), c.authority.process.Out.String())
		}
	})
}

// certificate is what a client that asks for a host is shown and believes.
func (c *certified) certificate(host string) (*x509.Certificate, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: harness.Patience}, Config: &tls.Config{ServerName: host, RootCAs: c.trust}}
	conn, err := d.DialContext(c.T.Context(), "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// wait waits until a host has a certificate.
func (c *certified) wait(host string) (got *x509.Certificate) {
	c.T.Helper()
	harness.Eventually(c.T, host+" has a certificate", func() bool {
		var err error
		got, err = c.certificate(host)
		return err == nil
	})
	return got
}

func TestCertificatesComeFromAnAuthorityByEitherProofAndOutliveARestart(t *testing.T) {
	for name, overHTTP := range map[string]bool{"by TLS on the public port": false, "by HTTP on the redirecting port": true} {
		t.Run(name, func(t *testing.T) {
			c := startCertified(t, overHTTP, 90*24*time.Hour)
			first := c.wait("apps.example.com")
			if len(first.DNSNames) != 1 || first.DNSNames[0] != "apps.example.com" {
				t.Errorf("the certificate is for %q", first.DNSNames)
			}
			c.wait("wiki.example.com")
			c.client().Get("/auth/healthz").Want(200)
			c.client().Login("alice").Want(403, "2FA_SETUP_REQUIRED")
			c.speaksHTTP2()
			c.Run("healthcheck")
			c.unknownNamesAreRefused()
			c.keptForTheOwnerAlone()

			c.configure("shop.example.com")
			c.Process.Signal(syscall.SIGHUP)
			c.wait("shop.example.com")
			if _, err := c.certificate("wiki.example.com"); err == nil {
				t.Error("a host that is gone from the configuration is still served")
			}

			c.authority.process.Signal(syscall.SIGKILL)
			c.authority.process.Wait()
			c.Stop()
			c.serve()
			if again := c.wait("apps.example.com"); again.SerialNumber.Cmp(first.SerialNumber) != 0 {
				t.Error("after a restart there is another certificate")
			}
		})
	}
}

// client is a client that finds the gateway under its name and believes the authority.
func (c *certified) client() *harness.Client {
	client := c.Client()
	client.Http.Transport = &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: c.trust},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.Address)
		},
	}
	return client
}

func (c *certified) speaksHTTP2() {
	c.T.Helper()
	client := c.client()
	client.Http.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	response, err := client.Http.Get(c.URL + "/auth/healthz")
	if err != nil {
		c.T.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 || response.ProtoMajor != 2 {
		c.T.Errorf("got %s %s, want HTTP/2", response.Proto, response.Status)
	}
}

func (c *certified) unknownNamesAreRefused() {
	c.T.Helper()
	for _, name := range []string{"", "example.com", "other.example.com", "localhost"} {
		conn, err := tls.Dial("tcp", c.Address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			c.T.Errorf("%q: %v, want the alert unrecognized_name", name, err)
		}
	}
}

// keptForTheOwnerAlone looks at who may read the certificates' keys.
func (c *certified) keptForTheOwnerAlone() {
	c.T.Helper()
	files := 0
	err := filepath.WalkDir(filepath.Join(c.Dir, "data", "acme"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			c.T.Errorf("%s is open to others: %s", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 4 { // the folder, the account's key and two certificates
		c.T.Errorf("%d files are kept, %v", files, err)
	}
}

func TestACertificateIsRenewedByItself(t *testing.T) {
	c := startCertified(t, false, 15*time.Second)
	first := c.wait("apps.example.com")
	harness.Eventually(t, "another certificate is shown", func() bool {
		now, err := c.certificate("apps.example.com")
		return err == nil && now.SerialNumber.Cmp(first.SerialNumber) != 0
	})
}

func TestWithoutACertificateNobodyIsServedAndTheLogSaysWhy(t *testing.T) {
	c := startCertified(t, false, time.Hour)
	c.wait("apps.example.com")
	c.wait("wiki.example.com")
	c.authority.process.Signal(syscall.SIGKILL)
	c.authority.process.Wait()
	before := len(c.Log())
	c.configure("shop.example.com")
	c.Process.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the log says why", func() bool {
		return strings.Contains(c.Log()[before:], "no certificate") && strings.Contains(c.Log()[before:], "host=shop.example.com")
	})
	if _, err := c.certificate("shop.example.com"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a host without a certificate: %v", err)
	}
	c.client().Get("/auth/healthz").Want(200)
}
