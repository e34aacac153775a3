package proxy

import (
	"net/http"
	"strings"
)

// forwardedMethods is what RFC 9110 section 15.5.6 wants said on a 405. Other upper-case methods (WebDAV's, say) pass too.
const forwardedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// Front refuses what no handler behind it should see: CONNECT, TRACE and TRACK (405), and with 400 methods that are
// not upper-case tokens, a missing or malformed host, targets without a path, with user information or a fragment,
// control characters, and doubled credentials. It closes the connection with each refusal, because what follows on
// it may belong to the refused request's body (CVE-2026-56866). secure says that browsers reach the gateway over https: a
// refusal then binds them to it as every other answer does (RFC 6797 section 7.1).
func Front(next http.Handler, secure bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, words := inspect(r)
		h := w.Header()
		if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
			// A chunked body may have come with a Content-Length too, and a request of HTTP/1.0 with a Transfer-Encoding,
			// which net/http has taken away by now. What follows must not be read as a request (RFC 9112 section 6.1).
			h.Set("Connection", "close")
		}
		if status == 0 {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Connection", "close")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if secure || r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if status == http.StatusMethodNotAllowed {
			h.Set("Allow", forwardedMethods)
		}
		http.Error(w, words, status)
	})
}

// inspect gives the status and the words of a refusal; 0: there is nothing to refuse.
func inspect(r *http.Request) (status int, words string) {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace, "TRACK":
		return http.StatusMethodNotAllowed, "This method is not served here."
	}
	if !isUpperCaseToken(r.Method) {
		return http.StatusBadRequest, "The method is not one that is served here."
	}
	if _, ok := parseAuthority(r.Host); !ok {
		return http.StatusBadRequest, "The Host header is missing or malformed."
	}
	absolute := r.URL.Scheme == "http" || r.URL.Scheme == "https"
	switch {
	case r.URL.Opaque != "", r.URL.User != nil, r.URL.Scheme != "" && !absolute,
		absolute && r.URL.Host == "", // an error by RFC 9110 section 4.2.1, and net/http would go by Host
		!strings.HasPrefix(r.URL.Path, "/") && (!absolute || r.URL.Path != ""),
		!isTarget(r.RequestURI):
		return http.StatusBadRequest, "The address is malformed."
	case len(r.Header["Authorization"]) > 1:
		return http.StatusBadRequest, "There is more than one Authorization header."
	}
	return 0, ""
}

// isTarget says whether a target holds neither a space, a control character nor the begin of a fragment.
func isTarget(target string) bool {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

func isUpperCaseToken(method string) bool {
	if method == "" || len(method) > 32 {
		return false
	}
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return true
}
