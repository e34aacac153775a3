package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport/config"
	"sallyport/proxy"
)

// redirect is what server.redirect_listen serves: the way from http to https, and to no other place. Requests that carry
// more than a wish to see a page are refused, so that nobody believes that a password sent in the open was taken. It
// sends no Strict-Transport-Security, which browsers ignore over http (RFC 6797 section 8.1).
func (s *server) redirect() http.Handler {
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		authority, ours := s.current.Load().authorities[hostOf(r.Host)]
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "Nothing was done: this address is served over https only. What was sent went over the network in the open; if a password was in it, change that.", http.StatusForbidden)
		case !ours:
			http.Error(w, "There is no such host here.", http.StatusNotFound)
		default:
			// 308 and not 301: it is as permanent, and says to the letter that the method stays.
			http.Redirect(w, r, "https://"+authority+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}
	})
	if s.acme != nil && s.redirectListener != nil {
		handler = s.acme.challenges(handler)
	}
	return proxy.Front(handler)
}

// newRedirectServer bounds each connection to one short exchange.
func newRedirectServer(h http.Handler, log *slog.Logger) *http.Server {
	srv := newHTTPServer(h, log)
	srv.ReadTimeout, srv.WriteTimeout = 10*time.Second, 10*time.Second
	srv.Protocols.SetHTTP2(false)
	srv.SetKeepAlivesEnabled(false)
	return srv
}

// httpsAuthorities says under which host and port each host of the gateway is reached over https. An upstream's host without a port
// has that of public_url; of a host with several ports the first counts.
func httpsAuthorities(cfg *config.Config) map[string]string {
	public := cfg.Server.PublicURL
	authorities := map[string]string{public.Hostname(): public.Host}
	for _, host := range upstreamHosts(cfg) {
		u := url.URL{Host: host}
		if authorities[u.Hostname()] != "" {
			continue
		}
		if u.Port() == "" && public.Port() != "" {
			host += ":" + public.Port()
		}
		authorities[u.Hostname()] = host
	}
	return authorities
}

// hostOf is the host of a Host header, as the configuration writes it.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		header = host
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(header, "[]")), ".")
}
