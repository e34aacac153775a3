package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"sallyport/config"
	"sallyport/internal/filewatch"
)

// keyPair is a certificate and its key in PEM files. Both are empty or both are set.
type keyPair struct{ certFile, keyFile string }

// ownCertificate is the gateway's own certificate from files, which it follows.
type ownCertificate struct {
	files keyPair
	log   *slog.Logger
	good  atomic.Pointer[tls.Certificate]

	seen  filewatch.State // of the files, when they were last read; of one goroutine at a time
	retry bool            // a file could not be opened, which may mend without a change of its state
	said  string          // the last error that was logged
}

// openCertificate reads the gateway's own certificate; nil where the configuration names none.
func openCertificate(c config.ServerTLS, log *slog.Logger) (*ownCertificate, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	o := &ownCertificate{files: keyPair{c.CertFile, c.KeyFile}, log: log}
	if err := o.load(); err != nil {
		return nil, fmt.Errorf("server.tls: %w", err)
	}
	return o, nil
}

// load reads the files, and takes over what they hold where the two belong together.
func (o *ownCertificate) load() error {
	o.seen = filewatch.Look(o.files.certFile, o.files.keyFile) // before the reading: a change during it is seen by the next look
	pair, err := tls.LoadX509KeyPair(o.files.certFile, o.files.keyFile)
	_, o.retry = errors.AsType[*fs.PathError](err)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", o.files.certFile, o.files.keyFile, err)
	}
	o.said = ""
	o.good.Store(&pair)
	return nil
}

// warning says that browsers will refuse the certificate for its age; "": they will not. It is served all the same, since
// a clock may be wrong and people can decide to go on.
func (o *ownCertificate) warning() string {
	leaf := o.good.Load().Leaf
	if now := time.Now(); !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter) {
		return ""
	}
	return fmt.Sprintf("server.tls.cert_file: %s is valid from %s to %s, and not now: browsers will refuse it",
		o.files.certFile, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
}

// watch takes changes of the files over, well within a second, until ctx ends.
func (o *ownCertificate) watch(ctx context.Context) {
	filewatch.Watch(ctx, o.follow, o.files.certFile, o.files.keyFile)
}

// follow reads the files where they are no longer in the state in which they were read. What comes of it is one line
// of the log for each change.
func (o *ownCertificate) follow(now filewatch.State) {
	changed := !now.Same(o.seen)
	if !changed && !o.retry {
		return
	}
	err := o.load()
	if err == nil {
		o.log.Info("certificate taken over", "file", o.files.certFile, "not_after", o.good.Load().Leaf.NotAfter)
		o.warn()
		return
	}
	if !changed && err.Error() == o.said {
		return
	}
	o.said = err.Error()
	o.log.Error("certificate not taken over; the old one stays in force", "error", err)
}

func (o *ownCertificate) warn() {
	if w := o.warning(); w != "" {
		o.log.Warn("certificate", "warning", w)
	}
}

// suites are those of TLS 1.2 that give forward secrecy and encrypt with authentication (RFC 9325 section 4.2); those
// of TLS 1.3 are all such.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// speakTLS makes srv the end of TLS on the public listener, with the certificates that are in force at each handshake.
func (s *server) speakTLS(srv *http.Server) {
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: suites}
	if s.acme == nil {
		// The one certificate answers any name, and none: a health check and an old client send none, and it says
		// nothing that the authority has not published.
		srv.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate.Load().good.Load(), nil
		}
		return
	}
	srv.TLSConfig.GetCertificate = s.acme.certificate
	srv.TLSConfig.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
	// The handshake is the whole proof, and the connection then carries nothing (RFC 8737 section 3).
	srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		acme.ALPNProto: func(*http.Server, *tls.Conn, http.Handler) {},
	}
}

// redisTLS makes the client side of TLS to Redis; nil where it is off.
func redisTLS(c config.RedisTLS) (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil
	}
	return clientTLS("store.redis.tls", c.CAFile, keyPair{c.CertFile, c.KeyFile}, c.ServerName)
}

// clientTLS makes the client side of TLS of the files that stand under key.
func clientTLS(key, caFile string, own keyPair, serverName string) (*tls.Config, error) {
	t := &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", key, err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.ca_file: %s holds no PEM certificate", key, caFile)
		}
	}
	if own.certFile != "" {
		pair, err := tls.LoadX509KeyPair(own.certFile, own.keyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.cert_file: %w", key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
