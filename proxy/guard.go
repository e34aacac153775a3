package proxy

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Guard is the script that pages of an upstream with SessionGuard get: it keeps the session alive while the person
// works, and gets it back without leaving the page.
type Guard struct {
	Script      string        // its path on the gateway, e.g. "/auth/static/guard.0123456789ab.js"
	IdleTimeout time.Duration // the shortest that a session lasts without a request
}

// guardLookAhead is how many bytes of a page are searched for the place of the script. A page that has begun no
// element by then passes as it is.
const guardLookAhead = 8 << 10

// tag is the markup that is added to a page of somebody's. It holds ASCII alone, and so is right in whatever encoding
// of bytes the page has.
func (g Guard) tag(subject string) []byte {
	var sub strings.Builder
	for _, c := range subject {
		if c < 0x80 {
			sub.WriteString(html.EscapeString(string(c)))
		} else {
			fmt.Fprintf(&sub, "&#x%X;", c)
		}
	}
	idle := max(1, int(g.IdleTimeout/time.Second))
	return fmt.Appendf(nil, `<script src="%s" data-idle="%d" data-sub="%s"></script>`, html.EscapeString(g.Script), idle, sub.String())
}

// guarded says whether a person who is signed in waits for a page of an upstream that has the guard. That may be the
// answer to a form: who corrects one there is as sorry to lose it.
func (p *passage) guarded() bool {
	if !p.verdict.route.guard || p.id == nil {
		return false
	}
	if p.in.Method == http.MethodPost {
		return p.in.Header.Get("Sec-Fetch-Mode") == "navigate"
	}
	return p.in.Method == http.MethodGet && PageLoad(p.in)
}

// askForGuard asks the upstream for a page that the script can be added to: one that is not compressed, and the page
// itself and not word that the browser's copy, which may be from before the guard, is still good.
func (p *passage) askForGuard(out http.Header) {
	if !p.guarded() {
		return
	}
	out.Set("Accept-Encoding", "identity")
	out.Del("If-None-Match")
	out.Del("If-Modified-Since")
}

// addGuard adds the script to a page, unless the upstream does not want that or it cannot be done. What the headers say of
// the bytes that the upstream sent is taken off.
func (p *passage) addGuard(res *http.Response) {
	if !p.guarded() || !isPlainPage(res) || !policiesAllow(res.Header["Content-Security-Policy"], &p.origin) {
		return
	}
	for _, name := range []string{"Content-Length", "Etag", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		res.Header.Del(name)
	}
	res.ContentLength = -1 // so that what comes is sent on at once
	res.Body = &guardedPage{ReadCloser: res.Body, tag: p.gateway.options.Guard.tag(p.id.Subject)}
}

// isPlainPage says whether an answer is a whole HTML page in an encoding that holds ASCII as it is, to be shown and
// not to be saved, and may be changed on its way (no-transform, RFC 9111 section 5.2.2.6).
func isPlainPage(res *http.Response) bool {
	h := res.Header
	mediaType, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := strings.ToLower(parameters["charset"])
	if res.StatusCode != http.StatusOK || err != nil || mediaType != "text/html" ||
		strings.Contains(charset, "16") || strings.Contains(charset, "32") || strings.Contains(charset, "ucs-2") || strings.Contains(charset, "unicode") {
		return false
	}
	encoding := h.Get("Content-Encoding")
	if len(h["Content-Type"]) > 1 || h.Get("Content-Range") != "" || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	if given := h.Get("Content-Disposition"); given != "" {
		if disposition, _, err := mime.ParseMediaType(given); err != nil || disposition != "inline" {
			return false
		}
	}
	return !slices.ContainsFunc(h["Cache-Control"], func(line string) bool { return strings.Contains(strings.ToLower(line), "no-transform") })
}

// guardedPage is a page with the script in it, handed on as it comes: no more is held back than an element that has
// only begun. What makes the page break off is handed on too.
type guardedPage struct {
	io.ReadCloser
	tag   []byte
	seen  int    // bytes of the page searched
	first []byte // of the page, two at most
	held  []byte // read, and not to be handed on yet
	out   []byte // to be handed on
	done  bool   // the rest of the page passes
	err   error
}

func (g *guardedPage) Read(p []byte) (int, error) {
	for len(p) > 0 && len(g.out) == 0 && !g.done && g.err == nil {
		g.search(p)
	}
	if len(g.out) > 0 {
		n := copy(p, g.out)
		g.out = g.out[n:]
		return n, nil
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.ReadCloser.Read(p)
}

// search reads on, by way of p, and moves to out what can be handed on.
func (g *guardedPage) search(p []byte) {
	var n int
	n, g.err = g.ReadCloser.Read(p[:min(len(p), guardLookAhead-g.seen)])
	g.seen += n
	g.held = append(g.held, p[:n]...)
	g.first = append(g.first, p[:min(n, 2-len(g.first))]...)
	settled, found := guardPlace(g.held)
	switch {
	case string(g.first) == "\xfe\xff", string(g.first) == "\xff\xfe": // UTF-16
		found, settled, g.done = false, len(g.held), true
	case found:
		g.done = true
		g.out, g.held = slices.Concat(g.held[:settled], g.tag, g.held[settled:]), nil
		return
	case g.err != nil, g.seen >= guardLookAhead:
		settled, g.done = len(g.held), true
	}
	g.out, g.held = g.held[:settled], g.held[settled:]
}

// guardPlace finds where the script goes in a page, or in what is left of one after whole tags: behind the start tag of head,
// or before that of the first element where there is no head, which comes to the same. Where that is not found, the
// first settled bytes cannot hold it.
func guardPlace(page []byte) (settled int, found bool) {
	for i := 0; ; {
		next := bytes.IndexByte(page[i:], '<')
		if next < 0 {
			return len(page), false
		}
		i += next
		name, end := readTag(page[i:])
		switch {
		case end < 0 && (name == "" || name == "html" || name == "head"):
			return i, false
		case name == "head":
			return i + end, true
		case name != "" && name != "html":
			return i, true
		}
		i += end
	}
}

// readTag reads what begins at a "<" (WHATWG HTML section 13.2.5): the name of a start tag in lower case, or "" for an end tag,
// a comment, a doctype, or text; and the length of it. A length of -1 says that there is more to come, and the name is
// then given only where it is whole.
func readTag(b []byte) (name string, length int) {
	if len(b) < 2 {
		return "", -1
	}
	switch c := b[1] | 0x20; {
	case b[1] == '!' && len(b) < 4 && bytes.HasPrefix([]byte("<!--"), b):
		return "", -1
	case bytes.HasPrefix(b, []byte("<!--")):
		return "", after(b, 2, "-->")
	case b[1] == '!', b[1] == '?', b[1] == '/':
		return "", after(b, 2, ">")
	case c < 'a' || c > 'z':
		return "", 1
	}
	end := bytes.IndexAny(b, "\t\n\f\r />")
	if end < 0 {
		return "", -1
	}
	return strings.ToLower(string(b[1:end])), tagLength(b, end)
}

// after gives the length of b up to and with the first mark from an index on, or -1.
func after(b []byte, from int, mark string) int {
	i := bytes.Index(b[from:], []byte(mark))
	if i < 0 {
		return -1
	}
	return from + i + len(mark)
}

// tagLength gives the length of a start tag whose name ends at an index, or -1. A ">" within a quoted value is no end.
func tagLength(b []byte, from int) int {
	var quote byte
	value := false // a value begins, so that a quotation mark is one
	for i := from; i < len(b); i++ {
		switch c := b[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return i + 1
		case c == '=':
			value = true
		case value && (c == '"' || c == '\''):
			quote, value = c, false
		case value && !strings.ContainsRune("\t\n\f\r ", rune(c)):
			value = false
		}
	}
	return -1
}
