package proxy

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// PageLoad says whether a person waits for a page in a browser, so that a sign-in page is an answer, and not
// a program that would choke on one. That is GET or HEAD with Sec-Fetch-Mode: navigate, or, from a browser that sends
// no Sec-Fetch-* header, an Accept that names text/html without X-Requested-With: XMLHttpRequest. A request to
// switch protocols never is one.
func PageLoad(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || wantsUpgrade(r.Header) {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return r.Header.Get("Sec-Fetch-Mode") == "navigate"
		}
	}
	return !strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest") && acceptsHTML(r.Header["Accept"])
}

// acceptsHTML says whether Accept (RFC 9110 section 12.5.1) names text/html with a weight above zero. A wildcard
// is no name: every program sends one.
func acceptsHTML(lines []string) bool {
	for _, line := range lines {
		for item := range splitQuoted(line, ',') {
			mediaType, parameters, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(mediaType), "text/html") && weight(parameters) > 0 {
				return true
			}
		}
	}
	return false
}

// weight is the q parameter: 1 where there is none, 0 where it is not a number from 0 to 1.
func weight(parameters string) float64 {
	for p := range splitQuoted(parameters, ';') {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

func wantsUpgrade(h http.Header) bool {
	return len(h["Upgrade"]) > 0
}

// isWebSocket says whether a request opens a WebSocket (RFC 6455 section 4.1), and asks for nothing else beside it.
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return r.Method == http.MethodGet && len(upgrade) == 1 && strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket")
}

// foreignOrigin says whether a page of another origin asks. Browsers put no same-origin policy on WebSockets, yet send
// cookies along, so a foreign page could speak through somebody's session (RFC 6455 section 10.2).
func foreignOrigin(r *http.Request, here *origin) bool {
	values := r.Header["Origin"]
	if len(values) == 0 {
		return false // not a browser
	}
	u, err := url.Parse(values[0])
	if err != nil || len(values) > 1 || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != values[0] {
		return true
	}
	if here.secure && u.Scheme == "http" {
		return true // whoever sits on the way can write a page that comes by http
	}
	there, ok := parseAuthority(u.Host)
	if !ok || there.host != here.host.host {
		return true
	}
	usual := defaultPort(u.Scheme == "https")
	if there.port == "" {
		there.port = usual
	}
	// Without a port in Host, the scheme may have been https on the way to a proxy that does not say so.
	return there.port != here.port() && (here.host.port != "" || there.port != usual)
}
