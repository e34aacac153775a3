package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func (c checker) upstreams(cfg *Config) {
	if len(cfg.Upstreams) == 0 {
		c.Report("upstreams", "missing; name one application at least, such as: upstreams: [{url: http://127.0.0.1:3000}]")
	}
	for i := range cfg.Upstreams {
		key, u := at("upstreams", i), &cfg.Upstreams[i]
		u.Line = c.Line(key)
		c.hosts(key, u)
		c.path(key, u, cfg.Server.AuthPath)
		if u.URL == nil && len(u.Hosts) == 0 {
			c.Report(key+".url", "missing")
		}
		c.forwarding(key, u)
		c.access(key+".access", u)
		c.signOut(key+".sign_out", u, cfg.Session.CookieName)
		c.sessionGuard(key+".session_guard", u)
		c.loginHint(key+".login_hint", u)
	}
	c.names(cfg.Upstreams)
	c.collisions(cfg.Upstreams)
}

func (c checker) hosts(key string, u *Upstream) {
	for i, text := range u.Hosts {
		host, err := parseHost(text)
		if err != nil {
			c.must(at(key+".hosts", i), err)
			continue
		}
		if slices.Contains(u.Hosts[:i], host) {
			c.Report(at(key+".hosts", i), "%s is named twice", host)
		}
		u.Hosts[i] = host
	}
}

func (c checker) path(key string, u *Upstream, authPath string) {
	if u.Path == "" {
		u.Path = "/"
	}
	key += ".path"
	if err := checkPath(u.Path); err != nil {
		c.must(key, err)
	} else if strings.Contains(u.Path, "*") {
		c.Report(key, "%q holds a *; a path is a prefix by itself: take the * out", u.Path)
	}
	if u.Path != "/" {
		u.Path = strings.TrimSuffix(u.Path, "/")
	}
	if u.Path != "/" && under(u.Path, authPath) {
		c.Report(key, "%q lies under server.auth_path (%s), where the gateway's own pages are", u.Path, authPath)
	}
}

func (c checker) access(key string, u *Upstream) {
	a := &u.Access
	if a.Policy == "" {
		a.Policy = "two_factor"
	}
	c.groups(key, a.Groups)
	if len(a.Rules) == 0 {
		c.groupsWork(key, a.Policy, a.Groups)
	}
	for i := range a.Rules {
		key, r := at(key+".rules", i), &a.Rules[i]
		r.Line = c.Line(key)
		if r.Policy == "" {
			r.Policy = "two_factor"
		}
		for j, pattern := range r.Paths {
			c.pattern(at(key+".paths", j), pattern, u.Path)
		}
		for j, method := range r.Methods {
			if !token.MatchString(method) || method != strings.ToUpper(method) {
				c.Report(at(key+".methods", j), "%q is not a method in capitals, such as GET", method)
			}
		}
		c.groups(key, r.Groups)
		c.groupsWork(key, r.Policy, r.Groups)
	}
}

// pattern checks the path of a rule or a sign-out: exact, or everything that begins with what stands before a * at its end.
func (c checker) pattern(key, pattern, upstreamPath string) {
	base, open := strings.CutSuffix(pattern, "*")
	if err := checkPath(base); err != nil {
		c.must(key, err)
		return
	}
	switch {
	case strings.Contains(base, "*"):
		c.Report(key, "%q: a * can stand only at the end", pattern)
	case !under(base, upstreamPath) && !(open && strings.HasPrefix(upstreamPath+"/", base)):
		c.Report(key, "%q is not under the upstream's path %s, so it would never match", pattern, upstreamPath)
	}
}

// groups keeps out what could not be told apart in a header that separates the names with commas.
func (c checker) groups(key string, groups []string) {
	for i, group := range groups {
		if group == "" || strings.TrimSpace(group) != group || strings.ContainsFunc(group, func(r rune) bool { return r == ',' || unicode.IsControl(r) }) {
			c.Report(at(key+".groups", i), "%q is not a group name; one is not empty and has no comma, control character or space around it", group)
		}
	}
}

func (c checker) groupsWork(key, policy string, groups []string) {
	if len(groups) == 0 {
		return
	}
	switch policy {
	case "bypass":
		c.Report(key+".groups", "bypass asks nobody who they are, so groups would keep nobody out; use one_factor or two_factor")
	case "deny":
		c.Report(key+".groups", "deny turns everybody away, so groups would let nobody in; use one_factor or two_factor")
	}
}

// sessionGuard finds a guard that could never guard anything.
func (c checker) sessionGuard(key string, u *Upstream) {
	switch {
	case !u.SessionGuard:
	case u.URL == nil:
		c.Report(key, "is added to pages on their way through the gateway, and without a url none come through; take it out")
	case u.Access.Policy == "bypass" && len(u.Access.Rules) == 0:
		c.Report(key, "bypass asks nobody who they are, so there is no session to guard; take it out")
	}
}

// loginHint keeps the hint one line that a page can show.
func (c checker) loginHint(key string, u *Upstream) {
	if len(u.LoginHint) > 200 || strings.ContainsFunc(u.LoginHint, unicode.IsControl) {
		c.Report(key, "want one line of 200 bytes at most")
	}
}

var upstreamName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// names checks the names that are given, and derives the others from host and path, or else from the position.
func (c checker) names(upstreams []Upstream) {
	lines := map[string]int{}
	for i, u := range upstreams {
		key := at("upstreams", i) + ".name"
		switch {
		case u.Name == "":
		case !upstreamName.MatchString(u.Name):
			c.Report(key, "%q is not 1 to 64 letters, digits and . _ -", u.Name)
		case lines[u.Name] > 0:
			c.Report(key, "%s is also the name on line %d; names must differ", u.Name, lines[u.Name])
		default:
			lines[u.Name] = c.Line(key)
		}
	}
	for i := range upstreams {
		u := &upstreams[i]
		if u.Name != "" {
			continue
		}
		if len(u.Hosts) > 0 {
			u.Name = strings.NewReplacer(":", "-", "/", "-", "[", "", "]", "").Replace(strings.TrimRight(u.Hosts[0]+u.Path, "/"))
		}
		for n := i + 1; !upstreamName.MatchString(u.Name) || lines[u.Name] > 0; n++ {
			u.Name = "upstream" + strconv.Itoa(n)
		}
		lines[u.Name] = u.Line
	}
}

// collisions finds two upstreams that one request would meet equally well.
func (c checker) collisions(upstreams []Upstream) {
	lines := map[string]int{}
	for i, u := range upstreams {
		hosts := u.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, host := range slices.Compact(slices.Sorted(slices.Values(hosts))) {
			where := host + u.Path
			if other := lines[where]; other > 0 {
				if host == "" {
					host = "any host"
				}
				c.Report(at("upstreams", i), "%s with the path %s is also the upstream on line %d; change the host or the path of one", host, u.Path, other)
				break
			}
			lines[where] = u.Line
		}
	}
}
