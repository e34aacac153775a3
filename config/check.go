package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"sallyport/config/strictyaml"
)

// checker looks at what one value cannot say of itself: values against each other and against the world. It also
// brings values into the one form that the rest of the program relies on.
type checker struct{ *strictyaml.Document }

// must reports err, where there is one, under key.
func (c checker) must(key string, err error) {
	if err != nil {
		c.Report(key, "%s", err)
	}
}

func (c checker) server(s *Server) {
	c.must("server.listen", checkAddress(s.Listen, true))
	if s.AdminListen != "" {
		c.must("server.admin_listen", checkAddress(s.AdminListen, true))
		if s.AdminListen == s.Listen && !strings.HasSuffix(s.Listen, ":0") {
			c.Report("server.admin_listen", "is the address of server.listen; give it a port of its own")
		}
	}
	c.publicURL(s)
	c.redirectListen(s)
	if err := checkAuthPath(s.AuthPath); err != nil {
		c.must("server.auth_path", err)
		s.AuthPath = "/auth" // so that the upstreams are not measured against what is wrong
	}
	c.keyPair("server.tls", s.TLS.CertFile, s.TLS.KeyFile)
	c.positive("server.shutdown_timeout", s.ShutdownTimeout)
}

func checkAuthPath(path string) error {
	switch {
	case path == "/":
		return errors.New(`"/" leaves no path for the upstreams; write for example /auth`)
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("%q ends in a slash; take it off", path)
	case strings.Contains(path, "*"):
		return fmt.Errorf("%q holds a *, which means nothing here; take it out", path)
	}
	return checkPath(path)
}

func (c checker) publicURL(s *Server) {
	if s.PublicURL == nil {
		c.Report("server.public_url", "is empty; write the origin that browsers use, such as https://apps.example.com")
		s.PublicURL = &url.URL{Scheme: "http", Host: "localhost"} // for the checks that follow
		return
	}
	if s.PublicURL.Scheme != "http" && s.PublicURL.Scheme != "https" {
		c.Report("server.public_url", "want http:// or https:// and a host, found %q", s.PublicURL)
	}
	if s.PublicURL.Path != "" && s.PublicURL.Path != "/" {
		c.Report("server.public_url", "has the path %s; write scheme and host only", s.PublicURL.Path)
	}
	host, _ := parseHost(s.PublicURL.Host) // it is a host, or it would not have been read
	// Browsers leave a default port out of Origin and Host.
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[s.PublicURL.Scheme])
	s.PublicURL = &url.URL{Scheme: s.PublicURL.Scheme, Host: host}
}

func (c checker) positive(key string, d time.Duration) {
	if d <= 0 {
		c.Report(key, "must be longer than 0")
	}
}

// keyPair reads the pair, so that a file that is missing, not readable, not PEM or of another key is found here.
func (c checker) keyPair(key, certFile, keyFile string) {
	switch {
	case certFile == "" && keyFile == "":
	case certFile == "":
		c.Report(key+".cert_file", "missing: key_file is given, and TLS needs both")
	case keyFile == "":
		c.Report(key+".key_file", "missing: cert_file is given, and TLS needs both")
	default:
		certificate, err := readFile(certFile)
		c.must(key+".cert_file", err)
		private, keyErr := readFile(keyFile)
		c.must(key+".key_file", keyErr)
		if err == nil && keyErr == nil {
			_, err = tls.X509KeyPair(certificate, private)
			c.must(key+".cert_file", err)
		}
	}
}

// readFile is bounded as any file is: certificates with long chains have some ten KiB.
func readFile(path string) ([]byte, error) { return strictyaml.ReadFile(path, strictyaml.MaxSize) }

func (c checker) store(cfg *Config) {
	if cfg.Store.Driver == "redis" && cfg.SecretKey == nil && !c.Has("secret_key_file") {
		c.Report("secret_key", "missing: with store.driver redis every replica needs the same one; make a key with: openssl rand -base64 32")
	}
	for i, key := range cfg.PreviousSecretKeys {
		if key == nil {
			c.Report(at("previous_secret_keys", i), "is empty; take it out")
		}
	}
	r := &cfg.Store.Redis
	if len(r.Addresses) == 0 {
		c.Report("store.redis.addresses", "is empty; write for example [127.0.0.1:6379]")
	}
	for i, address := range r.Addresses {
		c.must(at("store.redis.addresses", i), checkAddress(address, false))
	}
	if r.MasterName != "" && r.Cluster {
		c.Report("store.redis.cluster", "is true together with master_name; a cluster has no Sentinels: keep one of the two")
	}
	r.Cluster = r.Cluster || len(r.Addresses) > 1 && r.MasterName == ""
	if r.DB < 0 || r.DB > 0 && r.Cluster {
		c.Report("store.redis.db", "%d is not possible; a single server has 0 and up, a cluster only 0", r.DB)
	}
	c.redisTLS(&r.TLS)
}

func (c checker) redisTLS(t *RedisTLS) {
	if !t.Enabled {
		if t.CAFile+t.CertFile+t.KeyFile+t.ServerName != "" {
			c.Report("store.redis.tls", "has values but enabled is false; set enabled: true, or take them out")
		}
		return
	}
	c.clientTLS("store.redis.tls", t.CAFile, t.CertFile, t.KeyFile, &t.ServerName)
}

func (c checker) clientTLS(key, caFile, certFile, keyFile string, serverName *string) {
	c.keyPair(key, certFile, keyFile)
	c.caFile(key+".ca_file", caFile)
	if *serverName != "" {
		name, err := parseHost(*serverName)
		c.must(key+".server_name", err)
		*serverName = name
	}
}

// maxKeepPost bounds what one request can make the gateway hold in memory.
const maxKeepPost = 16 << 20

func (c checker) session(cfg *Config) {
	s := &cfg.Session
	c.positive("session.lifetime", s.Lifetime)
	c.positive("session.idle_timeout", s.IdleTimeout)
	c.positive("session.access_token_lifetime", s.AccessTokenLifetime)
	c.within("session.idle_timeout", &s.IdleTimeout, s.Lifetime)
	c.within("session.access_token_lifetime", &s.AccessTokenLifetime, s.Lifetime)
	if s.RememberFor > 0 && s.RememberFor < s.Lifetime {
		if c.Has("session.remember_for") {
			c.Report("session.remember_for", "is shorter than session.lifetime (%s); make it longer, or 0 for no such choice", s.Lifetime)
		}
		s.RememberFor = s.Lifetime
	}
	if s.KeepPost > maxKeepPost {
		c.Report("session.keep_post", "is more than 16MiB, which is held in memory for each form that is sent")
	}
	c.cookieName(s.CookieName)
	c.cookieDomain(s, cfg.Server.PublicURL.Hostname())
}

// within keeps a duration no longer than the session: a default is cut, a value of the file is reported.
func (c checker) within(key string, d *time.Duration, lifetime time.Duration) {
	if lifetime <= 0 {
		return
	}
	if *d > lifetime && c.Has(key) {
		c.Report(key, "is longer than session.lifetime (%s)", lifetime)
	}
	*d = min(*d, lifetime)
}

// token is the cookie-name of RFC 6265 section 4.1.1, a token of RFC 9110 section 5.6.2; methods are tokens too.
var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

func (c checker) cookieName(name string) {
	lower := strings.ToLower(name)
	switch {
	case !token.MatchString(name):
		c.Report("session.cookie_name", "%q is not a cookie name: 1 to 64 letters, digits and !#$%%&'*+-.^_`|~", name)
	case strings.HasPrefix(lower, "__host-") || strings.HasPrefix(lower, "__secure-"):
		c.Report("session.cookie_name", "%q begins with a prefix that the gateway sets by itself on https; take it off", name)
	}
}

func (c checker) cookieDomain(s *Session, publicHost string) {
	const key = "session.cookie_domain"
	if s.CookieDomain == "" {
		return
	}
	domain, err := parseHost(strings.TrimPrefix(s.CookieDomain, "."))
	_, notIP := netip.ParseAddr(domain)
	switch {
	case err != nil || strings.ContainsAny(domain, ":["):
		c.Report(key, "%q is not a domain; write a host name without scheme and port, such as example.com", s.CookieDomain)
	case notIP == nil:
		c.Report(key, "%q is an address; cookies can be shared over a domain only", s.CookieDomain)
	case !strings.Contains(domain, "."):
		c.Report(key, "%q is a top-level domain, for which browsers take no cookies", s.CookieDomain)
	case publicHost != domain && !strings.HasSuffix(publicHost, "."+domain):
		c.Report(key, "%q does not cover the host of server.public_url, %s", s.CookieDomain, publicHost)
	}
	s.CookieDomain = domain
}

func (c checker) twoFactor(t *TwoFactor) {
	// The label of an otpauth URI ends the issuer with a colon, so it cannot hold one.
	if t.Issuer == "" || len(t.Issuer) > 64 || strings.Contains(t.Issuer, ":") {
		c.Report("two_factor.issuer", "%q is not 1 to 64 bytes without a colon", t.Issuer)
	}
	c.positive("two_factor.temp_token_lifetime", t.TempTokenLifetime)
	c.positive("two_factor.fresh_for", t.FreshFor)
	if t.TempTokenLifetime > time.Hour {
		c.Report("two_factor.temp_token_lifetime", "is longer than 1h, too long for a sign-in that is half done")
	}
	if t.MaxAttempts < 1 || t.MaxAttempts > 100 {
		c.Report("two_factor.max_attempts", "%d is not from 1 to 100", t.MaxAttempts)
	}
}
