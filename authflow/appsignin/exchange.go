package appsignin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// maxPage bounds what is read of one answer, in bytes.
const maxPage = 1 << 20

// maxRedirects bounds the way to a login page.
const maxRedirects = 10

// exchange is the requests of one sign-in, with the cookies that they share. It lives as long as the call.
type exchange struct {
	app    App
	jar    http.CookieJar
	kept   []setCookie // the last line of each cookie
	before []setCookie // kept, as it was before the last answer
	secret string      // the password, so that no error shows an address that holds it; "" before it is sent
}

func newExchange(app App) *exchange {
	jar, _ := cookiejar.New(nil) // never fails
	return &exchange{app: app, jar: jar}
}

// answer is one answer of the app's.
type answer struct {
	*http.Response
	to  string // the request, for errors: "POST /login"
	url *url.URL
	set []setCookie
}

// send sends one request and keeps the cookies of the answer. The caller closes its body.
func (x *exchange) send(ctx context.Context, method string, to *url.URL, header http.Header, body []byte) (*answer, error) {
	said := method + " " + x.show(to)
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, x.unclear(said, "is no request that can be sent")
	}
	req.Header = http.Header{"User-Agent": {"Sallyport"}}
	maps.Copy(req.Header, x.app.Header)
	maps.Copy(req.Header, header)
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.5")
	req.Header.Set("Accept-Encoding", "identity")
	var cookies []string
	for _, c := range x.jar.Cookies(to) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	if len(cookies) > 0 {
		req.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	resp, err := x.app.Transport.RoundTrip(req)
	if err != nil {
		return nil, x.unanswered(said, err)
	}
	a := &answer{Response: resp, to: said, url: to, set: readSetCookies(to, resp.Header, x.app.Now())}
	x.before = slices.Clone(x.kept)
	if x.kept = keepLast(x.kept, a.set); len(x.kept) > maxCookies {
		resp.Body.Close()
		return nil, x.unclear(said, "set more than %d cookies", maxCookies)
	}
	for _, c := range a.set {
		x.jar.SetCookies(to, []*http.Cookie{c.Cookie})
	}
	return a, nil
}

// read reads the body of an answer.
func (x *exchange) read(a *answer) ([]byte, error) {
	if e := a.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, x.unclear(a.to, "answered with a compressed page, which was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(a.Body, maxPage+1))
	if err != nil {
		return nil, x.unanswered(a.to, err)
	}
	if len(body) > maxPage {
		return nil, x.tooLong(a.to, maxPage)
	}
	return body, nil
}

// open fetches a page as a person does who follows a link to it, redirects included.
func (x *exchange) open(ctx context.Context, to *url.URL) (*answer, *document, error) {
	for range maxRedirects + 1 {
		a, err := x.send(ctx, http.MethodGet, to, http.Header{}, nil)
		if err != nil {
			return nil, nil, err
		}
		if !isRedirect(a.StatusCode) {
			doc, err := x.readPage(ctx, a)
			a.Body.Close()
			return a, doc, err
		}
		a.Body.Close()
		next, inside := x.app.resolve(to, a.Header.Get("Location"))
		if a.Header.Get("Location") == "" || !inside {
			return nil, nil, x.unclear(a.to, "answered %d, which leads out of the app; set page to the login page itself", a.StatusCode)
		}
		to = next
	}
	return nil, nil, x.unclear("GET "+x.show(to), "is the end of more than %d redirects; set page to the login page itself", maxRedirects)
}

// readPage reads a page that may hold a login form. Some apps send theirs with 401 or 403.
func (x *exchange) readPage(ctx context.Context, a *answer) (*document, error) {
	if a.StatusCode/100 != 2 && !isRefusal(a.StatusCode) {
		return nil, x.unclear(a.to, "answered %d and no login page", a.StatusCode)
	}
	if !isHTML(a.Header) {
		return nil, x.unclear(a.to, "answered %d with something other than HTML; set page to the login page", a.StatusCode)
	}
	body, err := x.read(a)
	if err != nil {
		return nil, err
	}
	doc, err := parse(ctx, body)
	if err != nil {
		return nil, x.unclear(a.to, "answered with a page that cannot be used: %v", err)
	}
	return doc, nil
}

// result hands the cookies over.
func (x *exchange) result() *Result {
	r := &Result{}
	for _, c := range x.kept {
		r.Cookies = append(r.Cookies, c.line)
	}
	return r
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func isRefusal(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

func isHTML(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && (kind == "text/html" || kind == "application/xhtml+xml")
}

// show gives a path as errors show it: without what often holds secrets, a query or a session's name after a semicolon,
// and not at all where the app has put the password in.
func (x *exchange) show(u *url.URL) string {
	p, _, _ := strings.Cut(u.EscapedPath(), ";")
	if x.secret != "" && (strings.Contains(u.Path, x.secret) || strings.Contains(p, x.secret)) {
		return "an address that is not shown here"
	}
	if len(p) > 100 {
		return p[:100] + "…"
	}
	return p
}

func (x *exchange) unclear(said, format string, values ...any) error {
	return fmt.Errorf("%s: %w: %s %s", x.app.Name, ErrUnclear, said, fmt.Sprintf(format, values...))
}

func (x *exchange) tooLong(said string, limit int64) error {
	return x.unclear(said, "answered with more than %d KiB, too long for a page to sign in on", limit>>10)
}

// unanswered says why there is no answer to read: the app gave none, or one that the transport finds too long.
func (x *exchange) unanswered(said string, cause error) error {
	var long *http.MaxBytesError
	if errors.As(cause, &long) {
		return x.tooLong(said, long.Limit)
	}
	return x.outOfReach(said, cause)
}

// reachError keeps the cause for errors.Is, and out of the text: it names the app's inner address.
type reachError struct {
	text  string
	cause error
}

func (e *reachError) Error() string   { return e.text }
func (e *reachError) Unwrap() []error { return []error{ErrOutOfReach, e.cause} }

func (x *exchange) outOfReach(said string, cause error) error {
	return &reachError{text: fmt.Sprintf("%s: %v: %s: %s", x.app.Name, ErrOutOfReach, said, reason(cause)), cause: cause}
}

// reason says why a request failed in words that name no address.
func reason(err error) string {
	var (
		timeout     net.Error
		number      syscall.Errno
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		host        x509.HostnameError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "given up by the caller"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no whole answer in time"
	case errors.As(err, &dns):
		return "its host name cannot be resolved"
	case errors.As(err, &certificate), errors.As(err, &host):
		return "its certificate is not trusted"
	case errors.As(err, &number):
		return number.Error()
	}
	return "the connection broke, or the answer is not HTTP"
}
