package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
)

// maxDirectAnswer bounds the body of an answer that the gateway asked for itself, in bytes: it is held in memory.
const maxDirectAnswer = 2 << 20

// DirectTransport carries requests of the gateway's own to one upstream, as a browser's would be carried there, and brings
// the answers home. Any number of goroutines may use it.
type DirectTransport struct {
	gateway *Gateway
	route   *route
	origin  origin
}

// Transport gives the way to an upstream for requests that the gateway makes itself as a browser would that sees the app
// at public (scheme and host, the rest is not looked at) and has the address client. Nobody's access is decided on, and
// the app is told of no person. It fails where no upstream of that name is forwarded to, and where a browser could not be there.
func (g *Gateway) Transport(upstream string, public *url.URL, client netip.Addr) (*DirectTransport, error) {
	rt := g.table.named(upstream)
	if rt == nil || rt.target == nil {
		return nil, fmt.Errorf("proxy: no upstream %q with a url", upstream)
	}
	host, ok := parseAuthority(public.Host)
	if !ok || public.Scheme != "http" && public.Scheme != "https" {
		return nil, fmt.Errorf("proxy: upstream %q: no browser sees it at %q: want http or https and a host", upstream, public.Redacted())
	}
	if !client.IsValid() {
		return nil, fmt.Errorf("proxy: upstream %q: a request without a client's address", upstream)
	}
	client = client.Unmap().WithZone("")
	from := origin{client: client, via: client.String(), secure: public.Scheme == "https", host: host}
	return &DirectTransport{gateway: g, route: rt, origin: from}, nil
}

// named gives the route of an upstream, or nil.
func (t table) named(upstream string) *route {
	for _, s := range t {
		for _, rt := range s.routes {
			if rt.name == upstream {
				return rt
			}
		}
	}
	return nil
}

// Home gives a URL that the app has written, absolute or a path, as the browser is to ask for it. One that is somebody
// else's, or relative to its page, stays as it is.
func (t *DirectTransport) Home(u string) string {
	return t.passage(nil).home(u)
}

// passage is that of a request by nobody.
func (t *DirectTransport) passage(in *http.Request) *passage {
	return &passage{gateway: t.gateway, verdict: verdict{route: t.route}, origin: t.origin, host: t.origin.host, in: in}
}

// RoundTrip carries one request whose URL is as browsers know it: at the public address, in the upstream's path, which
// is to be canonical; anything else is an error, and nothing is sent. What [Front] refuses is refused here too. An
// answer of more than 2 MiB is an [*http.MaxBytesError]; its body is in memory, and nothing of the request is under way any more.
func (t *DirectTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	p, err := t.prepare(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	if p.lacksSlash() {
		return p.folderAnswer(r), nil
	}
	out := p.in.Clone(r.Context())
	p.rewrite(&httputil.ProxyRequest{In: p.in, Out: out})
	p.lines.moveTo(out.Header)
	res, err := t.gateway.transports[t.route.wire].RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDirectAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	if len(body) > maxDirectAnswer {
		return nil, fmt.Errorf("the answer of the upstream: %w", &http.MaxBytesError{Limit: maxDirectAnswer})
	}
	p.takeHeaderHome(res.Header)
	res.Request, res.Body = r, io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// prepare makes the passage of a request, or says why it has none.
func (t *DirectTransport) prepare(r *http.Request) (*passage, error) {
	p := t.passage(r.Clone(r.Context()))
	host, ok := parseAuthority(r.URL.Host)
	if !ok || !strings.EqualFold(r.URL.Scheme, p.origin.proto()) || !p.isBrowsers(host) {
		return nil, fmt.Errorf("%s://%s is not where the upstream is seen, which is %s://%s", r.URL.Scheme, r.URL.Host, p.origin.proto(), p.host)
	}
	in := p.in
	in.Host, in.RequestURI = p.host.String(), r.URL.RequestURI()
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	if in.Header == nil {
		in.Header = http.Header{}
	}
	if _, given := in.Header["User-Agent"]; !given {
		in.Header.Set("User-Agent", "") // none, and not that of Go's client
	}
	if wantsUpgrade(in.Header) {
		return nil, errors.New("the gateway itself asks for no other protocol")
	}
	if status, words := inspect(in); status != 0 {
		return nil, errors.New(words)
	}
	path, err := canonicalPath(rawPath(r.URL))
	if err != nil {
		return nil, fmt.Errorf("the path holds %w", err)
	}
	switch {
	case !under(path.plain, t.route.prefix):
		return nil, fmt.Errorf("the path does not lie in %s, which is the upstream's", t.route.prefix)
	case under(path.folded, t.gateway.authPath):
		return nil, fmt.Errorf("the path lies in %s, where the gateway's own pages are", t.gateway.options.AuthPath)
	}
	p.verdict.path = path
	return p, nil
}

// folderAnswer is what [passage.redirectToFolder] answers.
func (p *passage) folderAnswer(r *http.Request) *http.Response {
	if r.Body != nil {
		r.Body.Close()
	}
	return &http.Response{
		Status: "302 Found", StatusCode: http.StatusFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Location": {p.folder()}}, Body: http.NoBody, Request: r,
	}
}
