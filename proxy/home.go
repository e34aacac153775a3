package proxy

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// An app knows itself by an address and a path that the browser may never have heard of. bringHome turns what an
// answer says of the app's address into what the browser sees, and moveAway what a request says of the browser's.
// Addresses that are neither are somebody else's and stay untouched.

func (p *passage) bringHome(h http.Header) {
	for _, name := range [...]string{"Location", "Content-Location"} {
		for i, u := range h[name] {
			h[name][i] = p.home(u)
		}
	}
	for i, value := range h["Refresh"] {
		h["Refresh"][i] = mapRefresh(value, p.home)
	}
	for i, line := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = p.homeCookie(line)
	}
}

func (p *passage) moveAway(h http.Header) {
	rt := p.verdict.route
	for _, name := range [...]string{"Origin", "Referer", "Destination"} { // the last is WebDAV's, RFC 4918 section 10.3
		for i, u := range h[name] {
			scheme, host, rest, ok := splitAddress(u)
			if !ok || !strings.EqualFold(scheme, p.origin.proto()) || !p.isBrowsers(host) {
				continue
			}
			if rest != "" {
				rest = rt.awayPath(rest)
			}
			if rt.forwarding.OwnHost {
				h[name][i] = rt.target.Scheme + "://" + rt.target.Host + rest
			} else {
				h[name][i] = u[:strings.Index(u, "//")+2] + host.String() + rest
			}
		}
	}
}

// isBrowsers is exact about the port: another one is another origin.
func (p *passage) isBrowsers(a authority) bool {
	usual := defaultPort(p.origin.secure)
	return a.host == p.origin.host.host && cmp.Or(a.port, usual) == cmp.Or(p.origin.host.port, usual)
}

// home gives the browser's spelling of a URL that the app has written.
func (p *passage) home(u string) string {
	rt, origin := p.verdict.route, p.origin.proto()+"://"+p.origin.host.String()
	scheme, host, rest, absolute := splitAddress(u)
	switch {
	case !absolute && (!strings.HasPrefix(u, "/") || strings.HasPrefix(u, "//")):
		return u // relative to the page, or not to be read
	case !absolute:
		to := rt.homePath(u)
		if to != u && len(to) > 1 && (to[1] == '/' || to[1] == '\\') {
			return origin + to // without its folder, //host would name another host
		}
		return to
	case rt.hasAddress(host):
		return origin + rt.homePath(rest)
	case !rt.forwarding.OwnHost && (samePlace(host, p.origin.host) || samePlace(host, p.host)):
		if strings.EqualFold(scheme, "https") && !p.origin.secure {
			return scheme + "://" + host.String() + rt.homePath(rest) // the app wants TLS: never back to http
		}
		return origin + rt.homePath(rest)
	}
	return u
}

// splitAddress takes an absolute http or https URL, or one without a scheme, apart: scheme, host, and the rest as it
// stands. It fails on anything that browsers and we could read in two ways.
func splitAddress(u string) (scheme string, host authority, rest string, ok bool) {
	scheme, after, found := strings.Cut(u, "//")
	if scheme = strings.TrimSuffix(scheme, ":"); !found || scheme != "" && !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", authority{}, "", false
	}
	if end := strings.IndexAny(after, `/?#\`); end >= 0 {
		after, rest = after[:end], after[end:]
	}
	host, ok = parseAuthority(after)
	return scheme, host, rest, ok
}

// samePlace overlooks the scheme: the default ports of both are one.
func samePlace(a, b authority) bool {
	usual := func(port string) bool { return port == "" || port == "80" || port == "443" }
	return a.host == b.host && (a.port == b.port || usual(a.port) && usual(b.port))
}

// hasAddress says whether the app is what answers at an address, as far as it can know. Names of the loopback
// interface are one: no app means the browser's own machine.
func (rt *route) hasAddress(a authority) bool {
	if isLoopback(a.host) && isLoopback(rt.addressed.host) {
		a.host = rt.addressed.host
	}
	return samePlace(a, rt.addressed)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// homePath maps a path of the app's, with whatever follows it, to the gateway's. An app that has heard of its folder
// (X-Forwarded-Prefix) has put it there itself.
func (rt *route) homePath(p string) string {
	p = rooted(p)
	if base := rt.target.EscapedPath(); base != "" {
		if !leads(base, p) {
			return p
		}
		p = rooted(p[len(base):])
	}
	if rt.forwarding.StripPath && !leads(rt.escapedPrefix, p) {
		p = rt.escapedPrefix + p
	}
	return p
}

// awayPath is the way back.
func (rt *route) awayPath(p string) string {
	p = rooted(p)
	if rt.forwarding.StripPath && leads(rt.escapedPrefix, p) {
		p = rooted(p[len(rt.escapedPrefix):])
	}
	return rt.target.EscapedPath() + p
}

// leads says whether a path, with whatever follows it, is the folder or lies in it.
func leads(folder, p string) bool {
	return strings.HasPrefix(p, folder) && (len(p) == len(folder) || strings.IndexByte("/?#", p[len(folder)]) >= 0)
}

func rooted(p string) string {
	p = strings.TrimPrefix(p, `\`)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return p
}

// mapRefresh maps the URL in a Refresh header: seconds, a semicolon or comma, "url=" and a URL that may be quoted.
func mapRefresh(value string, f func(string) string) string {
	at := strings.IndexAny(value, ";,")
	if at < 0 {
		return value
	}
	name, u, ok := strings.Cut(value[at+1:], "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(name), "url") {
		return value
	}
	u = strings.TrimSpace(u)
	quote := ""
	if u != "" && (u[0] == '"' || u[0] == '\'') {
		quote = u[:1]
		u, _, _ = strings.Cut(u[1:], quote)
	}
	return value[:at] + "; url=" + quote + f(u) + quote
}

// homeCookie makes a cookie of the app's one that the browser keeps: under the browser's host and path, and
// Secure exactly where the browser speaks https. What the prefixes __Host- and __Secure- demand stays (RFC 6265bis
// section 4.1.3).
func (p *passage) homeCookie(line string) string {
	rt := p.verdict.route
	parts := strings.Split(line, ";")
	name := strings.ToLower(trimCookieName(parts[0]))
	hostOnly := strings.HasPrefix(name, "__host-")
	keepSecure := p.origin.secure || hostOnly || strings.HasPrefix(name, "__secure-")
	secure := false
	attributes := slices.DeleteFunc(parts[1:], func(part string) bool {
		key, value, _ := strings.Cut(part, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "domain":
			return p.lost(value)
		case "secure":
			secure = true
			return !keepSecure
		case "samesite":
			return !keepSecure && strings.EqualFold(value, "none") // which browsers take from Secure cookies alone
		}
		return false
	})
	for i, part := range attributes {
		key, value, _ := strings.Cut(part, "=")
		if value = strings.TrimSpace(value); !hostOnly && strings.EqualFold(strings.TrimSpace(key), "path") && strings.HasPrefix(value, "/") {
			attributes[i] = " Path=" + rt.homeFolder(value)
		}
	}
	if p.origin.secure && !secure {
		attributes = append(attributes, " Secure")
	}
	return strings.Join(append(parts[:1:1], attributes...), ";")
}

// lost says whether a cookie's domain covers the app's own host and not the one that the browser talks to, which
// then would not keep it.
func (p *passage) lost(domain string) bool {
	domain = strings.ToLower(strings.TrimPrefix(domain, "."))
	covers := func(host string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }
	own := p.verdict.route.addressed.host
	return (covers(own) || isLoopback(domain) && isLoopback(own)) && !covers(p.origin.host.host)
}

// homeFolder is homePath for a cookie's path, where the folder itself is written without a slash, unless the app has
// written it: its scripts can change only a cookie whose path they know to the letter (RFC 6265 section 5.3).
func (rt *route) homeFolder(p string) string {
	to := rt.homePath(p)
	if to != p && rt.escapedPrefix != "" && to == rt.escapedPrefix+"/" {
		return rt.escapedPrefix
	}
	return to
}

// escapedFolder is a decoded folder as it stands in a URL.
func escapedFolder(plain string) string { return (&url.URL{Path: plain}).EscapedPath() }
