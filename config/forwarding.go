package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/config/strictyaml"
)

// forwarding checks how an upstream is spoken to, and fills in what the file leaves out.
func (c checker) forwarding(key string, u *Upstream) {
	if u.URL != nil && !slices.Contains([]string{"http", "https", "h2c", "unix"}, u.URL.Scheme) {
		c.Report(key+".url", "want http://, https:// or h2c:// and a host, or unix: and a path; found %q", u.URL)
	}
	u.PreserveHost = u.PreserveHost || !c.Has(key+".preserve_host")
	if u.StripPath && u.Path == "/" {
		c.Report(key+".strip_path", "is true, but the upstream's path is /, so there is nothing to take off")
	}
	c.upstreamTLS(key+".tls", u)
	c.headerChange(key+".request_headers", &u.RequestHeaders)
	c.headerChange(key+".response_headers", &u.ResponseHeaders)
	c.timeouts(key+".timeouts", &u.Timeouts)
}

// signOut checks how an app's sign-out and the gateway's are joined. cookieName is the gateway's own.
func (c checker) signOut(key string, u *Upstream, cookieName string) {
	if u.SignOut.Path != "" {
		c.signOutPath(key+".path", u.SignOut.Path, u.Path)
	}
	for i, pattern := range u.SignOut.Cookies {
		name, open := strings.CutSuffix(pattern, "*")
		own := strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), cookieName) || open && strings.HasPrefix("__Host-"+cookieName, name) || open && strings.HasPrefix(cookieName, name)
		switch key := at(key+".cookies", i); {
		case !token.MatchString(name):
			c.Report(key, "%q is not the name of a cookie, nor the beginning of one with a * at its end", pattern)
		case own:
			c.Report(key, "%q names the gateway's own cookies, which its sign-out takes away by itself; name the app's", pattern)
		case open && keepsCookiesUnderPath(u) && !strings.HasPrefix(name, "__Host-"): // whose path is always /
			c.Report(key, "%q would find none: with strip_path browsers keep the app's cookies to %s, and do not send them to the sign-out; write each name in full", pattern, u.Path)
		}
	}
}

// keepsCookiesUnderPath says whether every path that the app can give a cookie becomes one under the entry's.
func keepsCookiesUnderPath(u *Upstream) bool {
	return u.StripPath && u.URL != nil && (u.URL.Scheme == "unix" || strings.Trim(u.URL.Path, "/") == "")
}

// signOutPath checks the page with which an app signs people out: a path like a rule's, and what its query holds.
func (c checker) signOutPath(key, page, upstreamPath string) {
	path, query, asks := strings.Cut(page, "?")
	c.pattern(key, path, upstreamPath)
	if !asks {
		if strings.HasSuffix(path, "*") {
			c.Report(key, "%q stands for more than one page; name the one that signs out, or what its query holds, such as /*?do=logout", page)
		}
		return
	}
	parameters, err := url.ParseQuery(query)
	if err != nil || len(parameters) == 0 || strings.ContainsAny(query, "#*") {
		c.Report(key, "%q: what follows the ? is no query as it stands in an address, such as do=logout (a # or * in a value is %%23 or %%2A)", page)
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if len(parameters[name]) > 1 {
			c.Report(key, "%q gives %s twice; a request has one value for it", page, name)
		}
	}
}

func (c checker) upstreamTLS(key string, u *Upstream) {
	if u.TLS != (UpstreamTLS{}) && (u.URL == nil || u.URL.Scheme != "https") {
		c.Report(key, "has values but the upstream's url is not https://; change the url, or take them out")
		return
	}
	if u.TLS.InsecureSkipVerify && u.TLS.CAFile != "" {
		c.Report(key+".insecure_skip_verify", "is true, so ca_file would mean nothing; keep one of the two")
	}
	c.clientTLS(key, u.TLS.CAFile, u.TLS.CertFile, u.TLS.KeyFile, &u.TLS.ServerName)
}

func (c checker) timeouts(key string, t *Timeouts) {
	if !c.Has(key + ".connect") {
		t.Connect = 5 * time.Second
	}
	if !c.Has(key + ".first_byte") {
		t.FirstByte = time.Minute
	}
	if t.Idle > 0 && t.Idle < t.FirstByte {
		c.Report(key+".idle", "is shorter than first_byte (%s), and would end the wait for the first byte as well; make it longer, or first_byte shorter", t.FirstByte)
	}
}

func (c checker) headerChange(key string, h *HeaderChange) {
	first := map[string]string{} // by folded name: as it was written
	name := func(key, written string) {
		folded := foldHeader(written)
		switch {
		case !token.MatchString(written):
			c.Report(key, "%q is not the name of a header", written)
		case reserved(folded):
			c.Report(key, "%s is said by the gateway, or passes untouched; take it out", written)
		case first[folded] != "":
			c.Report(key, "%s is named twice (as %s before)", written, first[folded])
		}
		first[folded] = written
	}
	for _, written := range slices.Sorted(maps.Keys(h.Set)) {
		name(strictyaml.Join(key+".set", written), written)
	}
	for i, written := range h.Remove {
		name(at(key+".remove", i), written)
	}
	if len(h.Set) == 0 {
		h.Set = nil
	}
}

// foldHeader spells a name as the most lenient server would read it.
func foldHeader(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}

// reserved names headers that carry identity, forwarding, cookies or the framing of a message.
func reserved(folded string) bool {
	switch folded {
	case "forwarded", "proxy", "host", "cookie", "set-cookie",
		"connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "content-length", "upgrade", "http2-settings",
		"x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-host", "x-rewrite-url",
		"x-http-method-override", "x-http-method", "x-method-override":
		return true
	}
	for _, family := range []string{"remote-", "x-forwarded-", "x-original-", "sec-websocket-"} {
		if strings.HasPrefix(folded, family) {
			return true
		}
	}
	return false
}
