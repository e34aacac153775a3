package proxy

import (
	"math"
	"net/http"
	"strings"

	"sallyport/authflow/session"
)

// The headers by which an upstream learns who is asking. No client may send one, under any spelling.
const (
	headerUser   = "Remote-User"
	headerEmail  = "Remote-Email"
	headerName   = "Remote-Name"
	headerGroups = "Remote-Groups"
	headerXUser  = "X-Forwarded-User"

	headerAssertion = "X-Sallyport-Assertion" // the same, signed
)

// headerKind says why a client's header is not passed on.
type headerKind int

const (
	passed         headerKind = iota
	gatewaysOwn               // says who asks or by which way: the gateway says it, or nobody
	framing                   // frames or addresses the message: fine under its own name, a disguise under any other
	methodOverride            // gives another method than the one that was judged
)

// headerKinds is by folded name. Names that begin with x-forwarded are the gateway's own beside these.
var headerKinds = map[string]headerKind{
	"remote-user": gatewaysOwn, "remote-email": gatewaysOwn, "remote-name": gatewaysOwn, "remote-groups": gatewaysOwn,
	"x-sallyport-assertion": gatewaysOwn,
	"forwarded":             gatewaysOwn, "proxy": gatewaysOwn, // Proxy: becomes HTTP_PROXY in a CGI environment (httpoxy)
	"x-original-url": gatewaysOwn, "x-original-uri": gatewaysOwn, "x-original-host": gatewaysOwn, "x-original-method": gatewaysOwn,
	"x-original-forwarded-for": gatewaysOwn, "x-rewrite-url": gatewaysOwn, "x-host": gatewaysOwn,
	"x-real-ip": gatewaysOwn, "x-client-ip": gatewaysOwn, "x-cluster-client-ip": gatewaysOwn, "true-client-ip": gatewaysOwn,
	"host": framing, "content-length": framing, "content-type": framing, "transfer-encoding": framing,
	"x-http-method-override": methodOverride, "x-http-method": methodOverride, "x-method-override": methodOverride,
}

const longestFolded = 32 // longer than any name above

// lookFrom is, by the first byte of a header's name, the length from which the name needs a closer look: that of the
// shortest name above which begins so, since folding makes none longer, and 0 for whatever folding drops.
var lookFrom = func() (from [256]int) {
	for c := range from {
		if len(appendFolded(make([]byte, 0, 3), string(rune(c)))) > 0 {
			from[c] = math.MaxInt
		}
	}
	for name := range headerKinds {
		for _, c := range []byte{name[0], name[0] - 'a' + 'A'} {
			from[c] = min(from[c], len(name))
		}
	}
	return from
}()

// kindOf classifies a header by its folded name.
func kindOf(name string) headerKind {
	if name != "" && len(name) < lookFrom[name[0]] {
		return passed
	}
	var buf [longestFolded]byte
	folded := appendFolded(buf[:0], name)
	if s := string(folded); s == "x-forwarded" || strings.HasPrefix(s, "x-forwarded-") {
		return gatewaysOwn
	}
	kind := headerKinds[string(folded)]
	if kind == framing && name == http.CanonicalHeaderKey(string(folded)) {
		return passed
	}
	return kind
}

// appendFolded appends a header's folded name, as much of it as folded has room for: lower case, every run of other than
// letters and digits as one dash, none at the ends. That is how CGI-style servers come to take Remote_User for Remote-User.
func appendFolded(folded []byte, name string) []byte {
	dash := false
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c < '0' || c > '9' && c < 'a' || c > 'z' {
			dash = len(folded) > 0
			continue
		}
		if dash {
			folded = append(folded, '-')
			dash = false
		}
		if folded = append(folded, c); len(folded) >= cap(folded)-1 {
			break
		}
	}
	return folded
}

// dropForeignHeaders takes off what a client must not say to an upstream. keepMethodOverride is for routes whose
// rules do not look at the method.
func dropForeignHeaders(h http.Header, keepMethodOverride bool) {
	for name := range h {
		if kind := kindOf(name); kind != passed && (kind != methodOverride || !keepMethodOverride) {
			delete(h, name)
		}
	}
}

// headerLines are what the gateway itself says to an upstream, by canonical names, each once. They do not go through a
// map where that can be helped: nine more headers are what makes most of them grow.
type headerLines struct {
	lines [11]headerLine // as many as there can be
	n     int
}

type headerLine struct{ name, value string }

func (l *headerLines) set(name, value string) {
	l.lines[l.n] = headerLine{name, value}
	l.n++
}

func (l *headerLines) all() []headerLine { return l.lines[:l.n] }

// moveTo puts the lines on as headers, in the place of what is there under their names. None is left.
func (l *headerLines) moveTo(h http.Header) {
	values := make([]string, l.n)
	for i, line := range l.all() {
		values[i] = line.value
		h[line.name] = values[i : i+1 : i+1]
	}
	l.n = 0
}

// setIdentity puts every identity header on for an upstream, empty where there is nothing to say, so that it never
// has to guess what a missing one means.
func setIdentity(l *headerLines, id *session.Identity, upstream string) {
	user := headerValue(id.UsernameAt(upstream))
	l.set(headerUser, user)
	l.set(headerXUser, user)
	l.set(headerEmail, headerValue(id.Email))
	l.set(headerName, headerValue(id.Name))
	l.set(headerGroups, groupList(id.Groups))
}

// assertion gives the signed form of the identity headers for a route that has it, and nothing for others. Where it
// cannot be made it is empty too, so that an app which asks for it takes nobody for anybody.
func (g *Gateway) assertion(id *session.Identity, rt *route) string {
	if !rt.assertion || id == nil || id.Subject == "" {
		return ""
	}
	token, err := g.options.Assert(id, rt.name)
	if err != nil {
		g.options.Log.Error("no assertion can be made", "upstream", rt.name, "cause", err)
		return ""
	}
	return token
}

// groupList leaves out a group that would read as two. The directory refuses such names; this is the second door.
func groupList(groups []string) string {
	if len(groups) == 1 && !strings.Contains(groups[0], ",") {
		return headerValue(groups[0])
	}
	var b strings.Builder
	for _, g := range groups {
		if strings.Contains(g, ",") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(headerValue(g))
	}
	return b.String()
}

// headerValue makes a text safe to stand in a header line: control characters become spaces. UTF-8 stays.
func headerValue(s string) string {
	if isPlainValue(s) {
		return s
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}

// isPlainValue says whether a text is ASCII that is safe as it stands, as most are.
func isPlainValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}
