package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"sallyport/authflow/session"
)

// newForward makes the reverse proxy of a route. What belongs to one request is in its context, so that one proxy
// serves all of them.
func newForward(t http.RoundTripper, flushInterval time.Duration, buffers *bufferPool, errorLog *log.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        func(pr *httputil.ProxyRequest) { passageOf(pr.In).rewrite(pr) },
		ModifyResponse: func(res *http.Response) error { return passageOf(res.Request).takeHome(res) },
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { passageOf(r).fail(endOf(r.Context()), err) },
		Transport:      newAppTransport(t),
		FlushInterval:  flushInterval,
		BufferPool:     buffers,
		ErrorLog:       errorLog,
	}
}

type passageKey struct{}

func passageOf(r *http.Request) *passage {
	return r.Context().Value(passageKey{}).(*passage)
}

// passage is one request on its way through.
type passage struct {
	gateway *Gateway
	verdict verdict
	origin  origin
	host    authority         // the one that was judged
	id      *session.Identity // nil where the policy is bypass
	w       http.ResponseWriter
	in      *http.Request
	body    *bodyWatch // nil where the request has none
	watched bool       // it ends with the session of id
	vigil   vigil      // over the request, from serve on
	answer  answer

	lines       headerLines // what the gateway says to the app, and nobody else may: no header of the request has these names
	credentials http.Header // by which the app knows the person; nil: it does not
	appCookies  []string    // Set-Cookie lines of a sign-in to the app that the answer is to bring
}

// serve forwards the request and copies the answer back. ctx is the request's own, or what the gateway's own is under.
func (p *passage) serve(ctx context.Context) {
	rt := p.verdict.route
	if p.lacksSlash() {
		p.redirectToFolder()
		return
	}
	if !p.limitBody(rt.forwarding.MaxBody) {
		return
	}
	if p.in.ContentLength != 0 {
		http.NewResponseController(p.w).EnableFullDuplex() // an answer may begin before the request has ended; where it cannot, it waits
		p.body = &bodyWatch{ReadCloser: p.in.Body}
		p.in.Body = p.body
	}
	p.vigil.keep(ctx, p, rt.forwarding.Idle, ctx == p.in.Context() && rt.short && bodiless(p.in) && !wantsUpgrade(p.in.Header))
	defer p.vigil.end()
	in := p.in.WithContext(&p.vigil)
	in.Body = p.vigil.body(in.Body)
	p.answer = answer{ResponseWriter: p.w, passage: p}
	rt.forward.ServeHTTP(&p.answer, in)
	p.gateway.cookies.takeOffSet(p.w.Header()) // what is there now is sent as trailers
}

// lacksSlash says whether a page is asked for that is the folder of an app that believes to live at /. Without the
// slash its links would miss the folder.
func (p *passage) lacksSlash() bool {
	rt := p.verdict.route
	return rt.forwarding.StripPath && p.verdict.path.plain == rt.prefix && (p.in.Method == http.MethodGet || p.in.Method == http.MethodHead)
}

// bodyWatch notes whether the body of a request could be read, since the transport does not tell a client that
// sends nonsense from an upstream that is out of order.
type bodyWatch struct {
	io.ReadCloser
	broken atomic.Bool // read by the handler, written by the transport
}

func (b *bodyWatch) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.broken.Store(true)
	}
	return n, err
}

// folder is the path that was asked for, with the slash.
func (p *passage) folder() string {
	to := p.verdict.path.escaped + "/"
	if p.in.URL.RawQuery != "" {
		to += "?" + p.in.URL.RawQuery
	}
	return to
}

func (p *passage) redirectToFolder() {
	p.w.Header().Set("Location", p.folder())
	p.w.Header().Set("Cache-Control", "no-store")
	p.w.WriteHeader(http.StatusFound)
}

// limitBody refuses a body that says it is too long, and lets one that does not say break off where it is.
func (p *passage) limitBody(bytes int64) bool {
	switch {
	case bytes == 0:
	case p.in.ContentLength > bytes:
		p.gateway.refuse(p.w, p.in, refusal{status: http.StatusRequestEntityTooLarge, why: "the body is longer than the upstream's max_body_size", user: p.username()})
		return false
	case p.in.ContentLength < 0:
		p.in.Body = http.MaxBytesReader(p.w, p.in.Body, bytes)
	}
	return true
}

func (p *passage) username() string {
	if p.id == nil {
		return ""
	}
	return p.id.UsernameAt("")
}

// rewrite makes the outgoing request, all but p.lines. ReverseProxy has taken the hop-by-hop headers off by now, those that the
// client's Connection header names among them, so what is put on here stays on.
func (p *passage) rewrite(pr *httputil.ProxyRequest) {
	out, g, rt := pr.Out, p.gateway, p.verdict.route
	rt.outgoing(out.URL, p.verdict.path, p.in.URL)
	out.Host = p.host.String()
	if rt.forwarding.OwnHost {
		out.Host = rt.target.Host
	}
	if rt.forwarding.OwnHost || rt.forwarding.StripPath {
		p.moveAway(out.Header)
	}
	passTrailers(pr)
	if g.ownBearer(pr.In) {
		delete(out.Header, "Authorization")
	}
	g.cookies.takeOff(out.Header)
	rt.forwarding.RequestHeaders.apply(out.Header) // before what only the gateway may say
	dropForeignHeaders(out.Header, !rt.byMethod)
	if !isWebSocket(pr.In) {
		delete(out.Header, "Connection") // put back by ReverseProxy; h2c would be a tunnel past every rule
		delete(out.Header, "Upgrade")
		delete(out.Header, "Http2-Settings")
	}
	p.askForGuard(out.Header)
	p.origin.setForwarded(&p.lines)
	if rt.forwarding.StripPath {
		p.lines.set("X-Forwarded-Prefix", rt.escapedPrefix)
	}
	if p.id != nil {
		setIdentity(&p.lines, p.id, rt.name)
		if rt.assertion {
			p.lines.set(headerAssertion, g.assertion(p.id, rt))
		}
	}
	p.setCredentials(out)
}

// outgoing makes u the upstream's URL: its base path before the path that was judged, or, where nothing hangs on the path,
// before the path as it came. The query stays byte for byte.
func (rt *route) outgoing(u *url.URL, judged requestPath, in *url.URL) {
	plain, escaped := judged.plain, judged.escaped
	if escaped == "" {
		plain, escaped = in.Path, escapeStray(rawPath(in))
	}
	if rt.forwarding.StripPath {
		plain, escaped = plain[len(rt.prefix):], cutEscaped(escaped, len(rt.prefix))
		if plain == "" {
			plain, escaped = "/", "/"
		}
	}
	*u = url.URL{
		Scheme: rt.target.Scheme, Host: rt.target.Host, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery,
		Path: rt.target.Path + plain, RawPath: rt.escapedTarget + escaped,
	}
}

// fail ends a request that no upstream has answered: nothing for a client that has gone, the sign-in for one whose
// session has ended meanwhile, 504 for an upstream that is too slow, and 502 for all else. end is why the gateway itself
// has ended the request; nil: it has not. The cause, which may hold addresses, goes to the log alone.
func (p *passage) fail(end, err error) {
	g := p.gateway
	switch {
	case errors.Is(end, errSilence):
		err = end
	case p.in.Context().Err() != nil:
		g.options.Log.Debug("the client has gone", "upstream", p.verdict.route.name, "cause", err)
		panic(http.ErrAbortHandler) // returning would make net/http answer 200
	case end != nil:
		p.cutShort(end)
		return
	}
	if errors.Is(err, errAsk) {
		p.verdict.route.signIn.Ask(p.w, p.in, p.id)
		return
	}
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		g.refuse(p.w, p.in, refusal{status: http.StatusRequestEntityTooLarge, why: "the body is longer than the upstream's max_body_size", user: p.username()})
		return
	}
	if errors.Is(err, errNotSignedOut) {
		requestID := newRequestID()
		g.options.Log.Warn("signed out of the app alone", "request_id", requestID, "upstream", p.verdict.route.name, "cause", err)
		g.options.Answers.Refuse(p.w, p.in, http.StatusServiceUnavailable, requestID)
		return
	}
	if p.body != nil && p.body.broken.Load() && !errors.Is(err, errSilence) {
		g.refuse(p.w, p.in, refusal{status: http.StatusBadRequest, why: "the body is malformed", user: p.username()})
		return
	}
	status := http.StatusBadGateway
	if tooSlow(err) {
		status = http.StatusGatewayTimeout
	}
	requestID := newRequestID()
	g.options.Log.Warn("the upstream has not answered", "request_id", requestID, "upstream", p.verdict.route.name, "status", status, "cause", err)
	g.options.Answers.Refuse(p.w, p.in, status, requestID)
}

// cutShort answers a request whose person lost the right to it before the upstream answered.
func (p *passage) cutShort(cause error) {
	g := p.gateway
	switch {
	case errors.Is(cause, session.ErrNone):
		g.options.Answers.SignIn(p.w, p.in, nil)
	case errors.Is(cause, errNoLonger):
		g.refuse(p.w, p.in, refusal{status: http.StatusForbidden, why: cause.Error(), user: p.username()})
	default:
		requestID := newRequestID()
		g.options.Log.Warn("whether the session lives could not be found out", "request_id", requestID, "upstream", p.verdict.route.name, "cause", cause)
		g.options.Answers.Refuse(p.w, p.in, http.StatusServiceUnavailable, requestID)
	}
}

// takeHome makes an answer one of the address that the browser knows, and takes off what an upstream may not say.
func (p *passage) takeHome(res *http.Response) error {
	p.takeHeaderHome(res.Header)
	p.dropChallenge(res.Header)
	p.setAppCookies(res.Header)
	p.addGuard(res) // after the headers have changed: the app's policy for scripts is among them
	res.Body = p.vigil.body(res.Body)
	return p.signOutToo(res)
}

func (p *passage) takeHeaderHome(h http.Header) {
	p.bringHome(h)
	p.verdict.route.forwarding.ResponseHeaders.apply(h)
	p.gateway.cookies.takeOffSet(h)
}

// answer is the way back to the client. It sees the 1xx answers, which ReverseProxy passes on without ModifyResponse.
type answer struct {
	http.ResponseWriter
	passage *passage
}

// Unwrap lets http.ResponseController flush and hijack, as event streams and WebSockets need.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	h := a.Header()
	if status < http.StatusOK {
		HeaderChange{Remove: a.passage.verdict.route.forwarding.ResponseHeaders.Remove}.apply(h)
		a.passage.gateway.cookies.takeOffSet(h)
	} else if _, given := h["Content-Type"]; !given {
		h["Content-Type"] = nil // an upstream that names no type gets none made up
	}
	if status >= http.StatusOK {
		a.passage.vigil.hasAnswered()
	}
	a.ResponseWriter.WriteHeader(status)
}
