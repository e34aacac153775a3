package proxy

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"sallyport/authflow/session"
)

// How long an upstream may take, and how many connections to one are kept for the next request.
const (
	dialTimeout           = 5 * time.Second
	responseHeaderTimeout = 60 * time.Second
	idleConnTimeout       = 90 * time.Second
	idleConnsPerUpstream  = 256
	maxResponseHeader     = 1 << 20 // bytes
)

// outbound is what all forwarded requests share.
type outbound struct {
	transport *http.Transport
	buffers   bufferPool
	errorLog  *log.Logger // what ReverseProxy says of answers that broke off
}

func newOutbound(l *slog.Logger) *outbound {
	return &outbound{
		transport: &http.Transport{
			Proxy:                  nil, // an upstream is reached directly, whatever HTTP_PROXY says
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  responseHeaderTimeout,
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        idleConnTimeout,
			MaxIdleConnsPerHost:    idleConnsPerUpstream,
			MaxResponseHeaderBytes: maxResponseHeader,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // bodies pass as they are
		},
		errorLog: slog.NewLogLogger(l.Handler(), slog.LevelDebug),
	}
}

const bufferSize = 32 << 10

// bufferPool lends the buffers through which bodies are copied.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[bufferSize]byte)(b)) }

// passage is one request on its way through.
type passage struct {
	gateway *Gateway
	verdict verdict
	origin  origin
	host    authority         // the one that was judged
	id      *session.Identity // nil where the policy is bypass
	w       http.ResponseWriter
	in      *http.Request
}

// serve forwards the request and copies the answer back. ctx is the request's own, or one that ends with the session.
func (p *passage) serve(ctx context.Context) {
	out := p.gateway.out
	forward := httputil.ReverseProxy{
		Rewrite:   p.rewrite,
		Transport: out.transport,
		ModifyResponse: func(res *http.Response) error {
			p.gateway.cookies.takeOffSet(res.Header)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { p.fail(ctx, err) },
		BufferPool:   &out.buffers,
		ErrorLog:     out.errorLog,
	}
	forward.ServeHTTP(&answer{ResponseWriter: p.w, cookies: p.gateway.cookies}, p.in.WithContext(ctx))
	p.gateway.cookies.takeOffSet(p.w.Header()) // what is there now is sent as trailers
}

// rewrite makes the outgoing request. ReverseProxy has taken the hop-by-hop headers off by now, those that the
// client's Connection header names among them, so what is put on here stays on.
func (p *passage) rewrite(pr *httputil.ProxyRequest) {
	out, g := pr.Out, p.gateway
	out.URL = p.outgoingURL()
	out.Host = p.host.String()
	out.Trailer = nil // names in it would be headers to some upstreams; RFC 9110 section 6.5.1 lets us discard it
	dropForeignHeaders(out.Header, !p.verdict.route.byMethod)
	if !isWebSocket(pr.In) {
		out.Header.Del("Connection") // put back by ReverseProxy; h2c would be a tunnel past every rule
		out.Header.Del("Upgrade")
		out.Header.Del("Http2-Settings")
	}
	g.cookies.takeOff(out.Header)
	if g.ownBearer(pr.In) {
		out.Header.Del("Authorization")
	}
	p.origin.setForwarded(out.Header)
	if p.id != nil {
		setIdentity(out.Header, p.id)
	}
}

// outgoingURL puts the upstream's base path before the path that was judged, or, where nothing hangs on the path,
// before the path as it came. The query stays byte for byte.
func (p *passage) outgoingURL() *url.URL {
	target, in := p.verdict.route.target, p.in.URL
	plain, escaped := p.verdict.path.plain, p.verdict.path.escaped
	if escaped == "" {
		plain, escaped = in.Path, escapeStray(rawPath(in))
	}
	u := &url.URL{Scheme: target.Scheme, Host: target.Host, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	u.Path = strings.TrimSuffix(target.Path, "/") + plain
	u.RawPath = strings.TrimSuffix(target.EscapedPath(), "/") + escaped
	return u
}

// fail ends a request that no upstream has answered: nothing for a client that has gone, the sign-in for one whose
// session has ended meanwhile, 504 for an upstream that is too slow, and 502 for all else. The cause, which may
// hold addresses, goes to the log alone.
func (p *passage) fail(ctx context.Context, err error) {
	g := p.gateway
	if p.in.Context().Err() != nil {
		g.options.Log.Debug("the client has gone", "upstream", p.verdict.route.name, "cause", err)
		panic(http.ErrAbortHandler) // returning would make net/http answer 200
	}
	if ctx.Err() != nil {
		p.cutShort(context.Cause(ctx))
		return
	}
	status := http.StatusBadGateway
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
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
		g.refuse(p.w, p.in, refusal{status: http.StatusForbidden, why: cause.Error(), user: p.id.Username})
	default:
		requestID := newRequestID()
		g.options.Log.Warn("whether the session lives could not be found out", "request_id", requestID, "upstream", p.verdict.route.name, "cause", cause)
		g.options.Answers.Refuse(p.w, p.in, http.StatusServiceUnavailable, requestID)
	}
}

// answer is the way back to the client. It sees the 1xx answers, which ReverseProxy passes on without ModifyResponse.
type answer struct {
	http.ResponseWriter
	cookies ownCookies
}

// Unwrap lets http.ResponseController flush and hijack, as event streams and WebSockets need.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	h := a.Header()
	if status < http.StatusOK {
		a.cookies.takeOffSet(h)
	} else if _, given := h["Content-Type"]; !given {
		h["Content-Type"] = nil // an upstream that names no type gets none made up
	}
	a.ResponseWriter.WriteHeader(status)
}
