package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// ownCookies are the names of the gateway's cookies. An upstream neither sees nor sets them: what it could see
// it could use, and what it could set would sign a person in as somebody else.
type ownCookies []string

// takeOff removes the gateway's cookies from a request. Every other cookie stays byte for byte, in its order.
func (own ownCookies) takeOff(h http.Header) {
	lines := h["Cookie"]
	if !slices.ContainsFunc(lines, own.mentioned) {
		return
	}
	var kept []string
	for _, line := range lines {
		pairs := slices.DeleteFunc(strings.Split(line, ";"), func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return slices.Contains(own, trimCookieName(name))
		})
		if rest := strings.TrimLeft(strings.Join(pairs, ";"), " \t"); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = kept
}

func (own ownCookies) mentioned(line string) bool {
	return slices.ContainsFunc(own, func(name string) bool { return strings.Contains(line, name) })
}

// takeOffSet removes from an answer whatever would set one of the gateway's cookies, in headers and trailers.
func (own ownCookies) takeOffSet(h http.Header) {
	for _, key := range [...]string{"Set-Cookie", http.TrailerPrefix + "Set-Cookie"} {
		if !slices.ContainsFunc(h[key], own.sets) {
			continue
		}
		if h[key] = slices.DeleteFunc(slices.Clone(h[key]), own.sets); len(h[key]) == 0 {
			delete(h, key)
		}
	}
}

// sets overlooks letter case, and an equals sign in front: browsers keep "=name=value" as a cookie without a
// name and send it back as "name=value" (RFC 6265bis section 5.6).
func (own ownCookies) sets(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	name = trimCookieName(name)
	return slices.ContainsFunc(own, func(own string) bool { return strings.EqualFold(own, name) })
}

// trimCookieName takes off what lenient parsers take off a cookie's name.
func trimCookieName(name string) string {
	return strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f })
}
