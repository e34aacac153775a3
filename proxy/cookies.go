package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// cookieNames are names of cookies, the gateway's own above all. An upstream neither sees nor sets those: what it could
// see it could use, and what it could set would sign a person in as somebody else.
type cookieNames []string

// takeOff removes the cookies from a request, whose header nobody else has. Every other cookie stays byte for byte, in its
// order.
func (names cookieNames) takeOff(h http.Header) {
	lines := h["Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if rest := names.without(line); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
	} else {
		h["Cookie"] = kept
	}
}

// without gives what is left of a line: the line itself where none of the cookies is in it.
func (names cookieNames) without(line string) string {
	var rest []string // what stands between the cookies
	from := 0
	for at := 0; at <= len(line); {
		end := at + len(line[at:])
		if i := strings.IndexByte(line[at:], ';'); i >= 0 {
			end = at + i
		}
		if name, _, _ := strings.Cut(line[at:end], "="); slices.Contains(names, trimCookieName(name)) {
			if at > from {
				rest = append(rest, line[from:at-1])
			}
			from = end + 1
		}
		at = end + 1
	}
	switch {
	case from == 0:
		return line
	case from <= len(line):
		rest = append(rest, line[from:])
	}
	return strings.TrimLeft(strings.Join(rest, ";"), " \t")
}

// takeOffSet removes from an answer whatever would set one of the cookies, in headers and trailers.
func (names cookieNames) takeOffSet(h http.Header) {
	for _, key := range [...]string{"Set-Cookie", http.TrailerPrefix + "Set-Cookie"} {
		if !slices.ContainsFunc(h[key], names.sets) {
			continue
		}
		if h[key] = slices.DeleteFunc(slices.Clone(h[key]), names.sets); len(h[key]) == 0 {
			delete(h, key)
		}
	}
}

// sets overlooks letter case, and an equals sign in front: browsers keep "=name=value" as a cookie without a
// name and send it back as "name=value" (RFC 6265bis section 5.6).
func (names cookieNames) sets(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	name = trimCookieName(name)
	return slices.ContainsFunc(names, func(own string) bool { return strings.EqualFold(own, name) })
}

// trimCookieName takes off what lenient parsers take off a cookie's name.
func trimCookieName(name string) string {
	if name != "" && name[0] > '"' && name[0] < 0x7f && name[len(name)-1] > '"' && name[len(name)-1] < 0x7f {
		return name
	}
	return strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f })
}
