package proxy

import (
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
)

// passTrailers lets the trailers through that a client has announced and that mean nothing to those who merge them
// into the headers (RFC 9110 section 6.5.1): checksums, signatures, gRPC's own. The rest is dropped without a word.
func passTrailers(pr *httputil.ProxyRequest) {
	pr.Out.Trailer = nil
	if len(pr.In.Trailer) == 0 || pr.Out.Body == nil {
		return
	}
	harmless := maps.Clone(pr.In.Trailer)
	maps.DeleteFunc(harmless, func(name string, _ []string) bool { return !passesAsTrailer(name) })
	if len(harmless) > 0 {
		pr.Out.Trailer = harmless
		pr.Out.Body = &trailedBody{ReadCloser: pr.Out.Body, from: pr.In.Trailer, to: harmless}
	}
}

// trailedBody takes the values of the trailers over when they are there: at the end of the body.
type trailedBody struct {
	io.ReadCloser
	from, to http.Header
}

func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range b.to {
			b.to[name] = b.from[name]
		}
	}
	return n, err
}

// headersOnly are names, folded, that say how to read, route, judge or answer a request, and so come before its body.
var headersOnly = []string{
	"accept", "authorization", "cache-control", "connection", "cookie", "cookie2", "destination", "expect", "from", "host", "keep-alive",
	"max-forwards", "origin", "pragma", "range", "referer", "set-cookie", "te", "trailer", "upgrade", "user-agent", "via", "www-authenticate",
}

// headersOnlyFamilies are how other such names begin.
var headersOnlyFamilies = []string{"accept-", "access-control-", "content-", "if-", "proxy-", "remote-", "sec-", "x-forwarded-"}

func passesAsTrailer(name string) bool {
	var buf [longestFolded]byte
	folded := string(appendFolded(buf[:0], name))
	return isToken(name) && kindOf(name) == passed && !slices.Contains(headersOnly, folded) &&
		!slices.ContainsFunc(headersOnlyFamilies, func(family string) bool { return strings.HasPrefix(folded, family) })
}

// isToken says whether a name is one that a field can have (RFC 9110 section 5.6.2).
func isToken(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}
