package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReturn bounds a return URL, in bytes.
const maxReturn = 2048

// returnTo returns the address where a person may be sent back to, or "" where raw is not one: a path on
// this gateway, or an absolute URL whose host and port are those of the request, of public_url or of an
// upstream, and that does not lead from https down to http. Browsers forgive much in an address that
// looks foreign to this check, so whatever is written oddly (backslashes, spaces, control characters, user
// names, empty or doubled slashes) is refused and not mended.
func (s *Server) returnTo(r *http.Request, raw string) string {
	if raw == "" || len(raw) > maxReturn || !utf8.ValidString(raw) || strings.ContainsFunc(raw, odd) {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" {
		return ""
	}
	if u.Scheme == "" {
		// "//host" is another host, and a path below must be one for every browser. So is "/%2Fhost": where another
		// character makes the path be written anew, the slash is no longer escaped.
		if u.Host != "" || !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") || strings.HasPrefix(u.Path, "//") {
			return ""
		}
		return u.String()
	}
	if !strings.HasPrefix(strings.ToLower(raw), u.Scheme+"://") || !s.ownOrigin(r, u) {
		return ""
	}
	return u.String()
}

func odd(c rune) bool {
	return c == '\\' || unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c)
}

// ownOrigin says whether u lies on one of the gateway's own hosts.
func (s *Server) ownOrigin(r *http.Request, u *url.URL) bool {
	scheme := s.PublicURL.Scheme
	if s.Secure(r) {
		scheme = "https"
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Scheme == "http" && scheme == "https" {
		return false
	}
	target := hostPort(u.Host, u.Scheme)
	if target == "" {
		return false
	}
	if target == hostPort(r.Host, scheme) || target == hostPort(s.PublicURL.Host, s.PublicURL.Scheme) {
		return true
	}
	_, publicPort, _ := net.SplitHostPort(hostPort(s.PublicURL.Host, s.PublicURL.Scheme))
	for _, h := range s.Hosts {
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), publicPort)
		}
		if target == strings.ToLower(h) {
			return true
		}
	}
	return false
}

// hostPort returns the host in lower case with its port, the scheme's own where it names none, or "" where
// it is no host.
func hostPort(host, scheme string) string {
	u := url.URL{Host: strings.ToLower(host)}
	name, port := u.Hostname(), u.Port()
	if name == "" || strings.HasSuffix(host, ":") {
		return ""
	}
	if port == "" {
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(name, port)
}

// here is the address of the request itself, to come back to.
func (s *Server) here(r *http.Request) string {
	return s.returnTo(r, r.URL.RequestURI())
}
