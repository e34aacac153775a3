package appsignin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxCookies bounds the cookies of one sign-in. Browsers keep a few hundred of a site; login pages set a handful.
const maxCookies = 50

// setCookie is one Set-Cookie line of the app's.
type setCookie struct {
	*http.Cookie        // with a path, and its value as it stands, quotes included
	line         string // as the browser gets it, with the same path
	deletes      bool
}

// readSetCookies reads the lines with which an answer of this URL sets cookies. Those without a name are left out. Values
// may hold what Go's parser does not take and browsers do, such as JSON.
func readSetCookies(from *url.URL, h http.Header, now time.Time) []setCookie {
	var all []setCookie
	for _, line := range h["Set-Cookie"] {
		pair, rest, _ := strings.Cut(line, ";")
		name, value, named := strings.Cut(pair, "=")
		c, err := http.ParseSetCookie(name + "=;" + rest)
		if err != nil || !named {
			continue
		}
		s := setCookie{Cookie: c, line: line}
		s.Value = strings.Trim(value, " \t")
		s.Domain = strings.ToLower(strings.TrimPrefix(c.Domain, "."))
		s.deletes = c.MaxAge < 0 || c.MaxAge == 0 && !c.Expires.IsZero() && !c.Expires.After(now) // Max-Age goes first, RFC 6265 section 5.3
		if !strings.HasPrefix(c.Path, "/") {
			s.Path = defaultPath(from)
			s.line += "; Path=" + s.Path // of several the last one counts
		}
		all = append(all, s)
	}
	return all
}

// hasValue says whether a cookie is set rather than emptied or deleted.
func (c setCookie) hasValue() bool { return c.Value != "" && !c.deletes }

// same says whether two lines set one cookie to one value.
func (c setCookie) same(other setCookie) bool { return c.is(other) && c.Value == other.Value }

// is says whether two lines are of one cookie.
func (c setCookie) is(other setCookie) bool {
	return c.Name == other.Name && c.Domain == other.Domain && c.Path == other.Path
}

// defaultPath is where a cookie without a path belongs (RFC 6265 section 5.1.4).
func defaultPath(u *url.URL) string {
	p := u.EscapedPath()
	if end := strings.LastIndexByte(p, '/'); end > 0 {
		return p[:end]
	}
	return "/"
}

// keepLast puts newer lines in the place of older ones for the same cookie. It stops one above [maxCookies].
func keepLast(kept, newer []setCookie) []setCookie {
	for _, c := range newer {
		kept = slices.DeleteFunc(kept, c.is)
		if kept = append(kept, c); len(kept) > maxCookies {
			break
		}
	}
	return kept
}
