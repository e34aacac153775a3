package config

import (
	"crypto/x509"
	"errors"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ServerTLS is where the gateway's own certificate comes from: two PEM files, of which both or none are set, or ACME.
// With neither the gateway speaks plain HTTP.
type ServerTLS struct {
	CertFile string `key:"cert_file,path"`
	KeyFile  string `key:"key_file,path"`
	ACME     ACME   `key:"acme"`
}

// On says whether the gateway speaks TLS.
func (t ServerTLS) On() bool { return t.CertFile != "" || t.ACME.Enabled }

// ACME says how the gateway asks an authority for its certificates (RFC 8555).
type ACME struct {
	Enabled   bool     `key:"enabled"`
	Email     string   `key:"email"`     // where the authority may write to; empty: nowhere
	Directory *url.URL `key:"directory"` // of the authority; https
	Hosts     []string `key:"hosts"`     // lower case, without ports; after loading one at least where Enabled
	CAFile    string   `key:"ca_file,path"`
}

// letsEncrypt is the directory of the authority that is asked where the configuration names none.
var letsEncrypt = url.URL{Scheme: "https", Host: "acme-v02.api.letsencrypt.org", Path: "/directory"}

// redirectListen checks the listener that leads from http to https.
func (c checker) redirectListen(s *Server) {
	const key = "server.redirect_listen"
	if s.RedirectListen == "" {
		return
	}
	c.must(key, checkAddress(s.RedirectListen, true))
	if (s.RedirectListen == s.Listen || s.RedirectListen == s.AdminListen) && !strings.HasSuffix(s.RedirectListen, ":0") {
		c.Report(key, "is the address of another listener; give it a port of its own")
	}
	if s.PublicURL.Scheme == "http" {
		c.Report(key, "leads to https, and server.public_url is %s; write that with https://, or take this out", s.PublicURL)
	}
}

// acme checks what is said of ACME, and fills in the hosts. It comes after the checks that bring hosts into their form.
func (c checker) acme(cfg *Config) {
	const key = "server.tls.acme"
	a := &cfg.Server.TLS.ACME
	if !a.Enabled {
		if a.Email+a.CAFile != "" || len(a.Hosts) > 0 || a.Directory == nil || *a.Directory != letsEncrypt {
			c.Report(key, "has values but enabled is false; set enabled: true, or take them out")
		}
		return
	}
	if cfg.Server.TLS.CertFile+cfg.Server.TLS.KeyFile != "" {
		c.Report(key+".enabled", "is true together with cert_file or key_file; keep one of the two")
	}
	if cfg.Server.PublicURL.Scheme != "https" {
		c.Report(key+".enabled", "is true, and server.public_url is %s; write that with https://", cfg.Server.PublicURL)
	}
	if cfg.Store.Driver == "redis" {
		c.Report(key+".enabled", "is true with store.driver redis: each replica would ask for certificates of its own, and be asked for the proof of another; get them outside and name them in cert_file and key_file")
	}
	if a.Directory == nil || a.Directory.Scheme != "https" {
		c.Report(key+".directory", "want the https:// address of an authority's directory, such as %s", &letsEncrypt)
	}
	if a.Email != "" {
		if parsed, err := mail.ParseAddress(a.Email); err != nil || parsed.Address != a.Email {
			c.Report(key+".email", "%q is not an e-mail address", a.Email)
		}
	}
	c.caFile(key+".ca_file", a.CAFile)
	c.acmeHosts(key+".hosts", cfg)
}

// acmeHosts checks the hosts that certificates are for: those of the file, or else every host that the gateway has.
func (c checker) acmeHosts(key string, cfg *Config) {
	a, public := &cfg.Server.TLS.ACME, cfg.Server.PublicURL.Hostname()
	for i, text := range a.Hosts {
		host, err := parseHost(text)
		if err == nil {
			err = checkCertifiable(host)
		}
		c.must(at(key, i), err)
		a.Hosts[i] = host
	}
	if len(a.Hosts) > 0 {
		if !slices.Contains(a.Hosts, public) {
			c.Report(key, "does not name the host of server.public_url, %s, where people sign in; add it", public)
		}
		return
	}
	a.Hosts = []string{public}
	for _, u := range cfg.Upstreams {
		for _, host := range u.Hosts {
			a.Hosts = append(a.Hosts, (&url.URL{Host: host}).Hostname())
		}
	}
	slices.Sort(a.Hosts)
	a.Hosts = slices.Compact(a.Hosts)
	for _, host := range a.Hosts {
		if err := checkCertifiable(host); err != nil {
			c.Report(key, "are those of server.public_url and the upstreams where none are given: %s; name them here", err)
		}
	}
}

// checkCertifiable says why an authority that asks over the network could not certify a host.
func checkCertifiable(host string) error {
	_, notAddress := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case host == "":
		return errors.New("there is an empty one")
	case notAddress == nil:
		return errors.New(host + " is an address, and certificates are for names")
	case strings.Contains(host, ":"):
		return errors.New(host + " has a port, and certificates are for whole hosts; take it off")
	case strings.Contains(host, "_"):
		return errors.New(host + " holds a _, which no authority certifies")
	case !strings.Contains(host, "."):
		return errors.New(host + " has no dot; authorities certify names that everybody can look up")
	}
	return nil
}

func (c checker) caFile(key, path string) {
	if path == "" {
		return
	}
	pem, err := readFile(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("holds no certificate in PEM form")
	}
	c.must(key, err)
}
