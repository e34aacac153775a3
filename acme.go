package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"sallyport/config"
)

// acmeCertificates gets certificates from an authority (RFC 8555), and keeps them in a folder of data_dir. They are asked
// for by the gateway's own goroutines, one for each host, and never because somebody shakes hands: so nobody can
// spend the little that an authority gives, and no handshake waits for it.
type acmeCertificates struct {
	manager *autocert.Manager
	log     *slog.Logger

	mu    sync.Mutex
	hosts map[string]*acmeHost
}

// acmeHost is a host that certificates are kept for.
type acmeHost struct {
	stop context.CancelFunc // ends the goroutine that keeps them
	here atomic.Bool        // there is one to be shown
}

// openACME makes the folder, and asks nobody yet; nil where the configuration has ACME off.
func openACME(cfg *config.Config, log *slog.Logger) (*acmeCertificates, error) {
	c := cfg.Server.TLS.ACME
	if !c.Enabled {
		return nil, nil
	}
	folder := filepath.Join(cfg.DataDir, "acme")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for certificates in data_dir: %w", err)
	}
	trust, err := clientTLS("server.tls.acme", c.CAFile, keyPair{}, "")
	if err != nil {
		return nil, err
	}
	a := &acmeCertificates{log: log, hosts: map[string]*acmeHost{}}
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: c.Email, Cache: acmeCache{autocert.DirCache(folder), log}, HostPolicy: a.known,
		Client: &acme.Client{DirectoryURL: c.Directory.String(), UserAgent: "sallyport/" + version, HTTPClient: &http.Client{
			Timeout: 30 * time.Second,
			Transport: boundedAnswers{&http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
			}},
		}},
	}
	return a, nil
}

// follow keeps certificates for these hosts from now on, until ctx ends. One that was kept for a host that is not among
// them is shown no more; autocert renews it until the process ends, and offers nothing to stop that.
func (a *acmeCertificates) follow(ctx context.Context, hosts []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.hosts
	a.hosts = map[string]*acmeHost{}
	for _, name := range hosts {
		if kept := old[name]; kept != nil {
			a.hosts[name] = kept
			delete(old, name)
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		h := &acmeHost{stop: stop}
		a.hosts[name] = h
		go a.keep(ctx, name, h)
	}
	for _, h := range old {
		h.stop()
	}
}

func (a *acmeCertificates) host(name string) *acmeHost {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hosts[strings.ToLower(name)]
}

// keep gets the first certificate for a host, and then looks whether autocert has renewed it in time.
func (a *acmeCertificates) keep(ctx context.Context, name string, h *acmeHost) {
	var failures int
	var last time.Time // until when the last certificate that was logged is valid
	for {
		pause := time.Hour
		certificate, err := a.obtain(name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			pause = pauseAfter(failures)
			a.log.Error("no certificate: is the name this machine's in the DNS, and do the ports 80 and 443 lead here from outside?",
				"host", name, "error", err, "next_try_in", pause)
		default:
			failures = 0
			h.here.Store(true)
			if leaf := certificate.Leaf; !leaf.NotAfter.Equal(last) {
				last = leaf.NotAfter
				a.log.Info("certificate in force", "host", name, "not_after", last)
			} else if left := time.Until(last); left < leaf.NotAfter.Sub(leaf.NotBefore)/6 {
				a.log.Warn("the certificate ends soon, and the authority does not renew it", "host", name, "not_after", last)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// pauseAfter is how long to wait after so many failures in a row: 5 minutes at first and an hour at most, since
// authorities stop listening to those who fail often.
func pauseAfter(failures int) time.Duration {
	return min(5*time.Minute<<min(failures-1, 8), time.Hour)
}

// obtain returns the certificate for a host, and asks the authority where there is none. That may take the five minutes
// that autocert allows, which nothing but the end of the process cuts short.
func (a *acmeCertificates) obtain(name string) (*tls.Certificate, error) {
	// A hello of our own and not the client's, because autocert would ask for a second, RSA certificate for a client that
	// says it has no ECDSA.
	return a.manager.GetCertificate(&tls.ClientHelloInfo{ServerName: name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
}

// certificate is for [tls.Config]. Who asks for no host, for one that is not ours or for one without a certificate yet
// is refused (unrecognized_name, RFC 6066 section 3) and learns no name.
func (a *acmeCertificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h := a.host(hello.ServerName)
	switch {
	case h == nil:
		return nil, nil
	case len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto:
		return a.manager.GetCertificate(hello) // the proof that an authority asks for (RFC 8737)
	case !h.here.Load():
		return nil, nil
	}
	return a.obtain(hello.ServerName)
}

// known is the policy of autocert: only our hosts. The authority's own question may come with a port.
func (a *acmeCertificates) known(_ context.Context, host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if a.host(host) == nil {
		return errors.New("no host of this gateway")
	}
	return nil
}

// challengePath is where an authority looks for a proof; what ends it is a token (RFC 8555 section 8.3).
const challengePath = "/.well-known/acme-challenge/"

var challengeToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// challenges answers an authority that asks for a proof over plain HTTP, and leaves everything else to next. It makes
// the authority's http-01 one of the ways to a certificate.
func (a *acmeCertificates) challenges(next http.Handler) http.Handler {
	proofs := a.manager.HTTPHandler(nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.URL.Path, challengePath)
		switch {
		case !found:
			next.ServeHTTP(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead || !challengeToken.MatchString(token):
			http.NotFound(w, r)
		default:
			proofs.ServeHTTP(w, r)
		}
	})
}

// acmeCache keeps what went wrong with the folder, and so its path, from clients: autocert answers with the errors.
type acmeCache struct {
	autocert.DirCache
	log *slog.Logger
}

func (c acmeCache) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := c.DirCache.Get(ctx, name)
	if err == nil || errors.Is(err, autocert.ErrCacheMiss) {
		return data, err
	}
	c.log.Error("a certificate cannot be read", "error", err)
	return nil, errors.New("the folder of the certificates cannot be read")
}

func (c acmeCache) Put(ctx context.Context, name string, data []byte) error {
	err := c.DirCache.Put(ctx, name, data)
	if err != nil { // which autocert passes over
		c.log.Error("a certificate cannot be kept, so that the next start asks for another one", "error", err)
	}
	return err
}

// boundedAnswers cuts off the answers of an authority that sends without end; a chain of certificates has some KiB.
type boundedAnswers struct{ http.RoundTripper }

func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, 1<<20), resp.Body}
	}
	return resp, err
}
