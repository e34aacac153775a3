package proxy

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// requestPath is the path of one request.
type requestPath struct {
	plain   string // decoded once: what is held against routes and rules
	escaped string // what is forwarded; decodes to plain
	folded  string // see fold; empty on hosts where no decision hangs on a path
}

// likeness is how well a path fits a pattern.
type likeness int

const (
	unlike likeness = iota
	alike           // only where what fold makes one is overlooked: letter case, invisible characters, a final slash …
	same
)

const hexDigits = "0123456789ABCDEF"

const lookalikes = "\u2044\u2215\u2216" // slashes of mathematics, which Windows code pages turn into / and \

// rawPath is the path of a URL as it was sent. (url.URL keeps RawPath where Path alone would not tell.)
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	if u.Path == "" {
		return "/" // absolute-form without a path, RFC 9112 section 3.2.1
	}
	return u.EscapedPath()
}

// canonicalPath reads the path of a request-target, or says why servers would disagree on what it means. The
// spelling to forward is the normal form of RFC 3986 section 6.2.2.2: what need not be escaped is not, and the
// rest stays as it came, so that %2B and + do not become one.
func canonicalPath(raw string) (requestPath, error) {
	p := requestPath{plain: raw, escaped: raw}
	if !plainlyWritten(raw) {
		var err error
		if p.plain, p.escaped, err = normalise(raw); err != nil {
			return requestPath{}, err
		}
	}
	var err error
	p.folded, err = fold(p.plain)
	return p, err
}

// plainlyWritten says whether a path holds only what RFC 3986 allows in one unescaped, so that decoding and
// encoding change nothing.
func plainlyWritten(raw string) bool {
	for i := range len(raw) {
		if !isPathByte[raw[i]] {
			return false
		}
	}
	return true
}

// isPathByte says which bytes RFC 3986 section 3.3 allows in a path as they are.
var isPathByte = func() (allowed [256]bool) {
	for c := range allowed {
		allowed[c] = unreserved(byte(c)) || strings.IndexByte("/!$&'()*+,;=:@", byte(c)) >= 0
	}
	return allowed
}()

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func normalise(raw string) (plain, escaped string, err error) {
	var p, e strings.Builder
	for i := 0; i < len(raw); i++ {
		c, wasEscaped := raw[i], raw[i] == '%'
		if wasEscaped {
			var ok bool
			if c, ok = escapedByte(raw[i:]); !ok {
				return "", "", errors.New("a % without two hexadecimal digits")
			}
			if c == '/' {
				return "", "", errors.New("an encoded slash")
			}
			i += 2
		}
		p.WriteByte(c)
		if unreserved(c) || !wasEscaped && isPathByte[c] {
			e.WriteByte(c)
		} else {
			e.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return p.String(), e.String(), nil
}

// escapeStray escapes what cannot stand in a request-target, and leaves every other byte as it came. Brackets
// stay: RFC 3986 has them escaped, browsers send them as they are.
func escapeStray(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		if c := raw[i]; isPathByte[c] || strings.IndexByte("%[]", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// escapedByte decodes the escape that s begins with.
func escapedByte(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(n), err == nil
}

// fold gives the spelling that a lenient server would take a path for: one letter case, Unicode compatibility
// forms (NFKC) resolved, invisible characters gone, dots and spaces at the end of a segment gone as on Windows, no final
// slash. It refuses a path that, so read, has another structure than the one written.
func fold(plain string) (string, error) {
	if ordinary(plain) {
		return strings.ToLower(strings.TrimSuffix(plain, "/")), nil
	}
	return foldOdd(plain)
}

// foldOdd is fold for any path.
func foldOdd(plain string) (string, error) {
	switch {
	case !strings.HasPrefix(plain, "/"):
		return "", errors.New("no slash at the start")
	case !utf8.ValidString(plain):
		return "", errors.New("invalid UTF-8")
	case strings.IndexFunc(plain, unicode.IsControl) >= 0:
		return "", errors.New("a control character")
	case strings.ContainsAny(plain, lookalikes):
		return "", errors.New("a character that resembles a slash")
	}
	folded := overlookCase(plain)
	switch {
	case strings.Count(folded, "/") != strings.Count(plain, "/"):
		return "", errors.New("a character that resembles a slash")
	case strings.ContainsAny(folded, `\;`):
		return "", errors.New("a backslash or semicolon")
	case encodedTwice(folded):
		return "", errors.New("double encoding")
	}
	folded = strings.TrimSuffix(folded, "/")
	if strings.Contains(folded, "//") || strings.HasSuffix(folded, "/") {
		return "", errors.New("an empty segment")
	}
	if !strings.Contains(folded, "./") && !strings.Contains(folded, " /") && !strings.HasSuffix(folded, ".") && !strings.HasSuffix(folded, " ") && !strings.ContainsAny(folded, "?#") {
		return folded, nil
	}
	segments := strings.Split(folded, "/")
	for i, s := range segments[1:] {
		segments[i+1] = strings.TrimRight(s, ". ")
		if isDots(s) {
			return "", errors.New("a dot segment")
		}
	}
	return strings.Join(segments, "/"), nil
}

// ordinary says whether a path is of the kind that nearly all are, for which fold has nothing to look for: characters of
// which each means itself alone, no empty segment, and no dot at a segment's end.
func ordinary(plain string) bool {
	if plain == "" || plain[0] != '/' {
		return false
	}
	for i := 1; i < len(plain); i++ {
		c, before := plain[i], plain[i-1]
		if !isPathByte[c] || c == ';' || c == '/' && (before == '/' || before == '.') {
			return false
		}
	}
	return plain[len(plain)-1] != '.'
}

// isDots says whether nothing but dots and spaces stands in a segment, or before a ? or # that was encoded and that a
// server which decodes before it parses takes for the end of the path.
func isDots(segment string) bool {
	if i := strings.IndexAny(segment, "?#"); i > 0 {
		segment = segment[:i]
	}
	return strings.Trim(segment, ". ") == ""
}

// overlookCase goes by way of upper case, because some letters (dotless i, long s) meet others only there.
func overlookCase(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(norm.NFKC.String(strings.Map(visible, s))))
		}
	}
	return strings.ToLower(s)
}

// visible drops characters that show nothing (Default_Ignorable_Code_Point): HFS+ takes a file for the same with and
// without some of them, as CVE-2014-9390 shows.
func visible(c rune) rune {
	if unicode.In(c, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
		return -1
	}
	return c
}

// encodedTwice finds an escape that is left after decoding, %2e or Microsoft's %u002e.
func encodedTwice(plain string) bool {
	for i := range len(plain) {
		if _, ok := escapedByte(plain[i:]); ok || strings.HasPrefix(plain[i:], "%u") {
			return true
		}
	}
	return false
}

// cutEscaped takes the first n decoded bytes off an escaped path.
func cutEscaped(escaped string, n int) string {
	for ; n > 0; n-- {
		if escaped[0] == '%' {
			escaped = escaped[2:]
		}
		escaped = escaped[1:]
	}
	return escaped
}

// under says whether a path is the folder or lies in it. The root folder is "".
func under(p, folder string) bool {
	return strings.HasPrefix(p, folder) && (len(p) == len(folder) || p[len(folder)] == '/')
}

// resembles says whether any server could read a raw path as the folder (which is folded) or as something in
// it. It is for hosts whose paths are forwarded as they come.
func resembles(raw, folder string) bool {
	for range 3 {
		raw = decodeLeniently(raw)
	}
	raw = strings.ReplaceAll(overlookCase(raw), `\`, "/")
	if !strings.Contains(raw, path.Base(folder)) {
		return false // nothing below makes letters that are not there
	}
	segments := strings.Split(raw, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";") // path parameters, as servlet containers cut them off
		if trimmed := strings.TrimRight(segments[i], ". "); trimmed != "" {
			segments[i] = trimmed
		}
	}
	return under(path.Clean("/"+strings.Join(segments, "/")), folder)
}

// decodeLeniently decodes what can be decoded and leaves the rest.
func decodeLeniently(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := escapedByte(s[i:]); ok {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// pattern is one path of a rule.
type pattern struct {
	text   string // without the star
	folded string // folded text; of a prefix that ends in a slash, without that slash
	prefix bool
}

// differ says that a path cannot begin with text, by the first letter behind the slash: most rules are for other paths.
func differ(text, path string) bool {
	return len(text) > 1 && (len(path) < 2 || path[1] != text[1])
}

func newPattern(text string) (pattern, error) {
	p := pattern{}
	p.text, p.prefix = strings.CutSuffix(text, "*")
	if strings.Contains(p.text, "*") || !strings.HasPrefix(p.text, "/") {
		return pattern{}, fmt.Errorf("path %q: begin with / and put a * nowhere but at the end", text)
	}
	// The last segment of a prefix may be cut anywhere, so it is not one to judge by itself: "/.*" is fine.
	last := len(p.text)
	if p.prefix {
		last = strings.LastIndexByte(p.text, '/')
	}
	folded, err := fold(p.text[:last] + "/")
	if !p.prefix {
		folded, err = fold(p.text)
	}
	if err != nil {
		return pattern{}, fmt.Errorf("path %q holds %w, which no forwarded path does: write it decoded and without that", text, err)
	}
	p.folded = folded
	if rest := p.text[last:]; len(rest) > 1 {
		p.folded += overlookCase(rest)
	}
	return p, nil
}

func (p *pattern) match(x *requestPath) likeness {
	if differ(p.text, x.plain) && differ(p.folded, x.folded) {
		return unlike
	}
	switch {
	case !p.prefix && x.plain == p.text, p.prefix && strings.HasPrefix(x.plain, p.text):
		return same
	case !p.prefix && x.folded == p.folded:
		return alike
	case p.prefix && strings.HasSuffix(p.text, "/") && under(x.folded, p.folded):
		return alike
	case p.prefix && !strings.HasSuffix(p.text, "/") && strings.HasPrefix(x.folded, p.folded):
		return alike
	}
	return unlike
}
