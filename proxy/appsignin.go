package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"time"

	"sallyport/authflow/session"
)

// AppSignIn signs people in to one app. Its methods are called from many goroutines, at the same time for one person too.
// What they see of a request is what the client sent, with the gateway's cookies; the body is not theirs to read.
type AppSignIn interface {
	// Describe says in a few words, without any secret, how the app is signed in to. It is for [Gateway.Explain].
	Describe() string

	// Headers names the headers that Credentials may give, the same at all times. What a client sends under these names, or
	// under one that folds to them, does not reach the app with somebody's identity.
	Headers() []string

	// Credentials gives the headers by which the app knows who asks, once for each request that is to be forwarded for id;
	// none: nil. ask: the person's password is needed and not known; [AppSignIn.Ask] then answers instead of the app.
	Credentials(r *http.Request, id *session.Identity) (h http.Header, ask bool, err error)

	// SignedOut says whether an answer is one that the app gives to somebody it does not know. The URL of r is absolute, as
	// the browser knows it, and res has the header that the browser would get, and any status but 101. What is read of
	// its body has to be bounded and put back; answers whose head already says enough may be streams without an end.
	SignedOut(r *http.Request, res *http.Response) bool

	// SignIn signs id in at the app once more, at most once for a request, and gives the Set-Cookie lines for the browser
	// that sent r, in that browser's terms. None: not now, the app's answer passes. ask: as for Credentials, but Ask answers
	// page loads alone, and for all else the app's answer passes. The URL of r is absolute, and its context ends with the session.
	SignIn(r *http.Request, id *session.Identity) (lines []string, ask bool, err error)

	// Ask answers a request by asking for the person's password: a page load by sending it to a page that does, any other
	// with 401.
	Ask(w http.ResponseWriter, r *http.Request, id *session.Identity)
}

// maxHeldBody bounds the body of a request that is held in memory so that it can be sent once more, in bytes.
const maxHeldBody = 256 << 10

// errAsk says that an answer of the app's is held back because the person has to be asked for the app's password.
var errAsk = errors.New("the app's password has to be asked for")

// notCredentials are headers, folded, that an app is not signed in to by: they address, frame or steer the message, or
// hold more than the credentials.
var notCredentials = []string{"", "connection", "content-length", "content-type", "cookie", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

// setSignIn takes an upstream's AppSignIn over.
func (rt *route) setSignIn(s AppSignIn) error {
	if s == nil {
		return nil
	}
	rt.signIn = s
	for _, name := range s.Headers() {
		folded := foldWhole(name)
		if kindOf(name) != passed || slices.Contains(notCredentials, folded) {
			return fmt.Errorf("sign-in to the app by the header %q, which means something else: name another", name)
		}
		rt.credentials = append(rt.credentials, folded)
	}
	return nil
}

func foldWhole(name string) string {
	return string(appendFolded(make([]byte, 0, len(name)+2), name))
}

// dropCredentials takes off what a client says under a name of the credentials.
func (rt *route) dropCredentials(h http.Header) {
	for name := range h {
		if slices.Contains(rt.credentials, foldWhole(name)) {
			delete(h, name)
		}
	}
}

// setCredentials puts the person's credentials on, in place of the client's own.
func (p *passage) setCredentials(out *http.Request) {
	rt := p.verdict.route
	if p.id == nil || rt.signIn == nil {
		return
	}
	rt.dropCredentials(out.Header)
	rt.dropCredentials(out.Trailer)
	for name, values := range p.credentials {
		if slices.Contains(rt.credentials, foldWhole(name)) {
			out.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// findCredentials asks for the credentials of the person, and answers the request itself where it cannot have them.
func (p *passage) findCredentials() bool {
	rt := p.verdict.route
	if p.id == nil || rt.signIn == nil {
		return true
	}
	var ask bool
	var err error
	p.credentials, ask, err = rt.signIn.Credentials(p.in, p.id)
	switch {
	case err != nil:
		requestID, level := newRequestID(), slog.LevelWarn
		if p.in.Context().Err() != nil {
			level = slog.LevelDebug // the client has gone
		}
		g := p.gateway
		g.options.Log.Log(p.in.Context(), level, "the credentials for the app could not be found out", "request_id", requestID, "upstream", rt.name, "user", p.username(), "cause", err)
		g.options.Answers.Refuse(p.w, p.in, http.StatusServiceUnavailable, requestID)
	case ask:
		rt.signIn.Ask(p.w, p.in, p.id)
	}
	return err == nil && !ask
}

// dropChallenge takes the app's question for credentials off: what a person would type into the browser's own window the
// gateway would replace with what the app has refused.
func (p *passage) dropChallenge(h http.Header) {
	if p.id != nil && slices.Contains(p.verdict.route.credentials, "authorization") {
		h.Del("Www-Authenticate")
	}
}

// appTransport signs a person in to the app once more when the app answers as to somebody whom it does not know, and then
// sends the request again.
type appTransport struct {
	next       http.RoundTripper
	exchanging bool // next writes the passage's lines by itself for each request that is exchangeable
}

func newAppTransport(next http.RoundTripper) appTransport {
	_, exchanging := next.(*exchange)
	return appTransport{next, exchanging}
}

// RoundTrip is for the requests of a passage.
func (t appTransport) RoundTrip(out *http.Request) (*http.Response, error) {
	p := passageOf(out)
	if !t.exchanging || !exchangeable(out) {
		p.lines.moveTo(out.Header)
	}
	if !p.maySignIn() {
		return t.next.RoundTrip(out)
	}
	held, repeatable, err := hold(out)
	if err != nil {
		return nil, err
	}
	res, err := t.next.RoundTrip(held())
	if err != nil || !p.signedOut(res) {
		return res, err
	}
	lines, err := p.signIn(out)
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	if p.appCookies = lines; len(lines) == 0 {
		return res, nil
	}
	if !repeatable {
		namesSet(lines).takeOffSet(res.Header) // the app's are of somebody it does not know
		return res, nil
	}
	res.Body.Close()
	again := held()
	p.addCookies(again.Header, lines)
	return t.next.RoundTrip(again)
}

// maySignIn says whether the request is one to sign a person in for. A preflight comes without cookies, so that any app
// could take it for nobody's, and a sign-out is answered as to somebody who has just become nobody.
func (p *passage) maySignIn() bool {
	preflight := p.in.Method == http.MethodOptions && p.in.Header.Get("Access-Control-Request-Method") != ""
	return p.id != nil && p.verdict.route.signIn != nil && !preflight && !p.verdict.signsOut(p.in)
}

// hold reads a request's body if it is short, and gives copies of the request to send: any number of them where it is
// repeatable, and one otherwise.
func hold(out *http.Request) (held func() *http.Request, repeatable bool, err error) {
	var body []byte
	switch {
	case out.Body == nil || out.Body == http.NoBody:
	case out.ContentLength < 0 || out.ContentLength > maxHeldBody:
		return func() *http.Request { return out }, false, nil
	default:
		if body, err = io.ReadAll(io.LimitReader(out.Body, maxHeldBody+1)); err != nil {
			return nil, false, fmt.Errorf("read the body of the request: %w", err)
		}
	}
	return func() *http.Request {
		again := out.Clone(out.Context())
		if body != nil {
			again.Body = io.NopCloser(bytes.NewReader(body))
		}
		return again
	}, true, nil
}

// signedOut asks whether an answer is one to somebody whom the app does not know, as the browser would see it.
func (p *passage) signedOut(res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return false // it has no body but the connection
	}
	seen := *res
	seen.Request, seen.Header = p.asked(res.Request.Context()), res.Header.Clone()
	p.takeHeaderHome(seen.Header)
	signedOut := p.verdict.route.signIn.SignedOut(seen.Request, &seen)
	res.Body = seen.Body
	return signedOut
}

// asked is the request as the browser knows it, without the body.
func (p *passage) asked(ctx context.Context) *http.Request {
	r, u := p.in.WithContext(ctx), *p.in.URL
	u.Scheme, u.Host = p.origin.proto(), p.origin.host.String()
	r.URL, r.Body = &u, http.NoBody
	return r
}

// signIn gives the Set-Cookie lines of a new sign-in; nil: there is none, and the app's answer passes. An error means that
// it does not pass either.
func (p *passage) signIn(out *http.Request) ([]string, error) {
	g, rt := p.gateway, p.verdict.route
	lines, ask, err := rt.signIn.SignIn(p.asked(out.Context()), p.id)
	switch ended := out.Context().Err(); {
	case ended != nil: // and with it the session, perhaps
		return nil, ended
	case err != nil:
		g.options.Log.Warn("somebody could not be signed in to the app", "upstream", rt.name, "user", p.username(), "cause", err)
		return nil, nil
	case ask && PageLoad(p.in):
		return nil, errAsk
	}
	return lines, nil
}

// addCookies makes a request one that the browser would send after it has taken the lines.
func (p *passage) addCookies(h http.Header, lines []string) {
	u := p.asked(p.in.Context()).URL
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // without options there is nothing to fail
	}
	var replaced cookieNames
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			continue
		}
		if c.MaxAge < 0 || !c.Expires.IsZero() && !c.Expires.After(time.Now()) {
			replaced = append(replaced, c.Name)
		}
		jar.SetCookies(u, []*http.Cookie{c})
	}
	var pairs []string
	for _, c := range jar.Cookies(u) {
		replaced = append(replaced, c.Name)
		pairs = append(pairs, c.String())
	}
	replaced.takeOff(h)
	if all := slices.Concat(h["Cookie"], pairs); len(all) > 0 {
		h["Cookie"] = []string{strings.Join(all, "; ")}
	}
}

// namesSet are the names of the cookies that the lines set.
func namesSet(lines []string) (names cookieNames) {
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, trimCookieName(name))
	}
	return names
}

// setAppCookies puts the cookies of a sign-in on an answer, before the app's own. No cache is to keep them with it.
func (p *passage) setAppCookies(h http.Header) {
	if len(p.appCookies) == 0 {
		return
	}
	h["Set-Cookie"] = slices.Concat(p.appCookies, h["Set-Cookie"])
	h.Set("Cache-Control", "no-store")
	p.gateway.cookies.takeOffSet(h)
}
