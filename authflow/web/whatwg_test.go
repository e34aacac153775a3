package web

import (
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// place is where a browser at an https page goes.
type place struct{ scheme, host, port string }

// browse reads a Location as browsers do (WHATWG URL standard, section 4.4, for special schemes and a base of https), and
// says where it leads. It forgives what they forgive, which is much. false: it leads nowhere.
func browse(location, baseHost string) (place, bool) {
	location = strings.TrimFunc(location, func(c rune) bool { return c <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	scheme, rest, ok := cutScheme(location)
	switch {
	case !ok:
		scheme, rest = "https", location
		if !beginsAuthority(rest) {
			return place{"https", baseHost, ""}, true
		}
	case scheme == "https" && !beginsAuthority(rest):
		return place{"https", baseHost, ""}, true // "https:path" is relative to a page of the same scheme
	case scheme != "http" && scheme != "https":
		return place{scheme: scheme}, true
	}
	rest = strings.TrimLeft(rest, `/\`)
	if i := strings.IndexAny(rest, `/\?#`); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	host, ok = browsersHost(host)
	if port == map[string]string{"http": "80", "https": "443"}[scheme] {
		port = ""
	}
	return place{scheme, host, port}, ok && strings.Trim(port, "0123456789") == ""
}

func cutScheme(s string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(s, ":")
	for i, c := range scheme {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", c)) {
			return "", "", false
		}
	}
	return strings.ToLower(scheme), rest, ok && scheme != ""
}

// beginsAuthority says whether a host follows: two slashes, of either kind.
func beginsAuthority(s string) bool {
	return len(s) >= 2 && strings.IndexByte(`/\`, s[0]) >= 0 && strings.IndexByte(`/\`, s[1]) >= 0
}

// browsersHost is the host that is asked for: decoded, in lower case and without compatibility forms and ignorable characters.
func browsersHost(s string) (string, bool) {
	if plain, err := url.PathUnescape(s); err == nil {
		s = plain
	}
	s = strings.Map(func(c rune) rune {
		if unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Variation_Selector, c) {
			return -1
		}
		return c
	}, s)
	s = strings.ToLower(norm.NFKC.String(s))
	return s, s != "" && !strings.ContainsAny(s, "\x00\t\n\r #/<>?@\\^|%")
}

func TestAnAddressIsReadAsBrowsersReadIt(t *testing.T) {
	for location, want := range map[string]place{
		"/x": {"https", "here", ""}, "x?y": {"https", "here", ""}, "//evil": {"https", "evil", ""}, `/\evil`: {"https", "evil", ""}, `\\evil`: {"https", "evil", ""},
		"/\t/evil": {"https", "evil", ""}, " \x01//evil": {"https", "evil", ""}, "///evil": {"https", "evil", ""}, "https:evil": {"https", "here", ""}, "https:/evil": {"https", "here", ""},
		"https:\\\\evil": {"https", "evil", ""}, "http:evil": {"http", "evil", ""}, "HTTPS://a@b@evil:443/x": {"https", "evil", ""}, `https://evil\@here`: {"https", "evil", ""},
		"https://ＥＶＩＬ/": {"https", "evil", ""}, "https://%65vil": {"https", "evil", ""}, "https://ev\u200bil": {"https", "evil", ""}, "javascript:x": {"javascript", "", ""},
		"https://[::1]:8080/": {"https", "[::1]", "8080"}, "ht\ntps://evil": {"https", "evil", ""}, "1:2": {"https", "here", ""},
	} {
		if got, ok := browse(location, "here"); !ok || got != want {
			t.Errorf("%q leads to %+v, %t; want %+v", location, got, ok, want)
		}
	}
	for _, location := range []string{"https://", "//", "https://a b/", "https://a:x/", "https://%2f/"} {
		if got, ok := browse(location, "here"); ok {
			t.Errorf("%q leads to %+v", location, got)
		}
	}
}
