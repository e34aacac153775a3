package appsignin

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxPeek bounds what is read of a page to look for a text in it, in bytes, compressed and not.
const maxPeek = 256 << 10

// SignedOut tells the answers that an app gives to somebody whom it does not know from all others: redirects to its
// login page, and what Answer says, where that is given.
type SignedOut struct {
	Page   string // path and query of the login page
	Answer Answer
}

// Holds says whether an answer to r is one of them. The URL of r is absolute, and the answer's header is as the browser
// would get it. Of a page (HTML, plain or compressed with gzip) at most 256 KiB are read to look for Answer.Body, and put
// back.
func (s SignedOut) Holds(r *http.Request, res *http.Response) bool {
	app := App{Origin: r.URL}
	a := &seen{answer: &answer{Response: res, url: r.URL}, redirected: isRedirect(res.StatusCode)}
	if location := res.Header.Get("Location"); a.redirected && location != "" {
		if u, inside := app.resolve(r.URL, location); inside {
			a.location = u
			if page, err := r.URL.Parse(s.Page); err == nil && backTo(page, page, u) == toLogin {
				return true
			}
		}
	}
	if s.Answer.isZero() {
		return false
	}
	a.set = readSetCookies(r.URL, res.Header, time.Time{})
	head := s.Answer
	head.Body = ""
	if s.Answer.Body == "" || !head.holds(a) {
		return s.Answer.Body == "" && head.holds(a)
	}
	a.body = peek(res)
	return s.Answer.holds(a)
}

// peek reads the beginning of a page and puts it back.
func peek(res *http.Response) []byte {
	if !isHTML(res.Header) || res.Body == nil {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxPeek))
	rest := io.Reader(res.Body)
	if err != nil {
		rest = brokenReader{err}
	}
	res.Body = restored{io.MultiReader(bytes.NewReader(raw), rest), res.Body}
	switch strings.ToLower(res.Header.Get("Content-Encoding")) {
	case "", "identity":
		return raw
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil
		}
		plain, _ := io.ReadAll(io.LimitReader(z, maxPeek)) // it may break off where the peek did
		return plain
	}
	return nil
}

// restored is a body whose beginning was read and put back.
type restored struct {
	io.Reader
	io.Closer
}

// brokenReader goes on failing where a body has failed.
type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }
