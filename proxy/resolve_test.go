package proxy

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// resolvers are ways in which servers read a path, from the book to what has been seen in the wild.
var resolvers = map[string]func(escaped string) string{
	"RFC 3986":           func(p string) string { return decodeLeniently(removeDotSegments(p)) },
	"decoding first":     func(p string) string { return removeDotSegments(decodeLeniently(p)) },
	"decoding twice":     func(p string) string { return removeDotSegments(decodeLeniently(decodeLeniently(p))) },
	"a backslash is one": func(p string) string { return removeDotSegments(slashes(decodeLeniently(p))) },
	"a backslash before decoding": func(p string) string {
		return decodeLeniently(removeDotSegments(slashes(p)))
	},
	"without parameters":              func(p string) string { return removeDotSegments(withoutParameters(decodeLeniently(p))) },
	"without parameters, then decode": func(p string) string { return removeDotSegments(decodeLeniently(withoutParameters(p))) },
	"slashes merged":                  func(p string) string { return mergeSlashes(removeDotSegments(decodeLeniently(p))) },
	"everything": func(p string) string {
		return removeDotSegments(mergeSlashes(withoutParameters(slashes(decodeLeniently(decodeLeniently(p))))))
	},
}

// removeDotSegments is the algorithm of RFC 3986 section 5.2.4.
func removeDotSegments(in string) string {
	var out []string
	segments := strings.Split(strings.TrimPrefix(in, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "." || s == "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func slashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

func mergeSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

func TestResolversReadPathsAsTheirServersDo(t *testing.T) {
	for _, c := range [][3]string{
		{"RFC 3986", "/a/b/c/./../../g", "/a/g"},
		{"RFC 3986", "/a/%2e%2e/b", "/a/../b"},
		{"RFC 3986", "/a/..", "/"},
		{"decoding first", "/a/%2e%2e/b", "/b"},
		{"decoding twice", "/a/%252e%252e/b", "/b"},
		{"a backslash is one", "/a/..%5cb", "/b"},
		{"without parameters", "/a/..;x=1/b", "/b"},
		{"slashes merged", "//a", "/a"},
	} {
		if got := resolvers[c[0]](c[1]); got != c[2] {
			t.Errorf("%s reads %q as %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

// FuzzWhatTheUpstreamResolvesWasJudged forwards what may pass and has every resolver read it: the rules were held
// against just that.
func FuzzWhatTheUpstreamResolvesWasJudged(f *testing.F) {
	for _, path := range ambiguous {
		f.Add(path)
	}
	for _, path := range []string{"/public/x", "/public/..%2fadmin", "/public/%252e%252e/admin", `/public\..\admin`, "/public/..;/admin", "/PUBLIC/x", "/public/a%2Bb", "/public/%E2%81%84"} {
		f.Add(path)
	}
	g := newGateway(f, options(fixture(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})))
	f.Fuzz(func(t *testing.T, raw string) {
		v, no := g.judge(question{host: authority{host: "app"}, method: "GET"}, raw)
		if no != nil {
			return
		}
		out := &url.URL{}
		v.route.outgoing(out, v.path, &url.URL{Path: v.path.plain, RawPath: raw})
		sent := out.EscapedPath()
		for name, resolve := range resolvers {
			if got := resolve(sent); got != v.path.plain {
				t.Errorf("%q is forwarded as %q, was judged as %q, and a server of the kind %q reads %q", raw, sent, v.path.plain, name, got)
			}
		}
	})
}

// FuzzNoReadingOfAPathThatPassesAsItCameIsTheGatewaysFolder is for hosts on which nothing hangs on the path but that.
func FuzzNoReadingOfAPathThatPassesAsItCameIsTheGatewaysFolder(f *testing.F) {
	for _, path := range []string{"/auth/x", "/%61uth", "/x/../auth", "/x/..%2fauth", `/x\..\auth/`, "/auth;x/y", "/%2561uth", "/AUTH", "/x/..;/auth", "//auth", "/./auth"} {
		f.Add(path)
	}
	g := newGateway(f, options(whole(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Bypass)))
	f.Fuzz(func(t *testing.T, raw string) {
		if _, no := g.judge(question{host: authority{host: "app"}, method: "GET"}, raw); no != nil {
			return
		}
		for name, resolve := range resolvers {
			if got := path.Clean(strings.ToLower(resolve(raw))); under(got, "/auth") {
				t.Errorf("%q passes, and a server of the kind %q reads %q", raw, name, got)
			}
		}
	})
}
