package proxy

import (
	"slices"
	"strings"
)

// policiesAllow says whether each Content-Security-Policy that came with a page lets it run a script of its own origin
// and lets that script speak to it (W3C CSP Level 3). In doubt it says no: the page then passes as it is.
func policiesAllow(lines []string, here *origin) bool {
	for _, line := range lines {
		for text := range strings.SplitSeq(line, ",") {
			if !readPolicy(text).allowsGuard(here) {
				return false
			}
		}
	}
	return true
}

// policy is the values of one policy by directive. Of a directive that stands twice the first counts.
type policy map[string][]string

func readPolicy(text string) policy {
	p := policy{}
	for directive := range strings.SplitSeq(text, ";") {
		words := strings.Fields(strings.ToLower(directive))
		if len(words) == 0 {
			continue
		}
		if _, given := p[words[0]]; !given {
			p[words[0]] = words[1:]
		}
	}
	return p
}

func (p policy) allowsGuard(here *origin) bool {
	if flags, given := p["sandbox"]; given && (!slices.Contains(flags, "allow-scripts") || !slices.Contains(flags, "allow-same-origin")) {
		return false
	}
	scripts, limited := p.first("script-src-elem", "script-src", "default-src")
	if limited && (slices.Contains(scripts, "'strict-dynamic'") || !allowOrigin(scripts, here)) {
		return false
	}
	connections, limited := p.first("connect-src", "default-src")
	return !limited || allowOrigin(connections, here)
}

// first gives the values of the first directive that is there: each is the fallback of the one before.
func (p policy) first(directives ...string) (values []string, given bool) {
	for _, name := range directives {
		if values, given = p[name]; given {
			return values, true
		}
	}
	return nil, false
}

// allowOrigin says whether a list of sources, in lower case, allows all of an origin. Nonces and hashes allow only what
// the page names by them, and a source with a path only what lies there.
func allowOrigin(sources []string, here *origin) bool {
	for _, source := range sources {
		switch source {
		case "'self'", "*", "http:", here.proto() + ":":
			return true
		}
		scheme, host, given := strings.Cut(source, "://")
		if !given {
			scheme, host = here.proto(), source
		}
		a, ok := parseAuthority(strings.TrimSuffix(host, "/"))
		if !ok || scheme != here.proto() || a.host != here.host.host {
			continue
		}
		if a.port == here.port() || a.port == "" && here.port() == defaultPort(here.secure) {
			return true
		}
	}
	return false
}
