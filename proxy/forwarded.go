package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many proxies may stand in front; a longer chain is a loop or an attack.
const maxHops = 32

// origin is who asks, and what they believe they are talking to: the X-Forwarded-* of the forwarded request.
type origin struct {
	client netip.Addr
	via    string // X-Forwarded-For: the client, then the proxies that vouch for it, oldest first
	secure bool   // the client speaks https
	host   authority
	toPort string // the port the client connected to, where a proxy says it apart from the host; else ""
}

func (o *origin) proto() string {
	if o.secure {
		return "https"
	}
	return "http"
}

func (o *origin) port() string {
	return cmp.Or(o.toPort, o.host.port, defaultPort(o.secure))
}

// setForwarded says to the upstream where the request comes from.
func (o *origin) setForwarded(l *headerLines) {
	l.set("X-Forwarded-For", o.via)
	l.set("X-Forwarded-Proto", o.proto())
	l.set("X-Forwarded-Host", o.host.String())
	l.set("X-Forwarded-Port", o.port())
}

// hops is what proxies say in one family of headers. Empty: they say nothing of it.
type hops struct {
	clients           []string // as seen by each proxy, the nearest proxy's last
	proto, host, port string   // as said by the nearest proxy
}

// origin works out where a request comes from. Only a trusted proxy is listened to; one that says what cannot
// be read, or two things at once, is an error.
//
// A proxy sets one family, X-Forwarded-* or Forwarded, and may pass a client's other one on as it came. So where
// both are there they must agree, else nobody could tell which one is the client's.
func (g *Gateway) origin(r *http.Request, host authority) (origin, error) {
	peer := peerAddr(r)
	direct := origin{client: peer, via: peer.String(), secure: r.TLS != nil, host: host}
	if !peer.IsValid() {
		return direct, fmt.Errorf("peer address %q is not an IP address", r.RemoteAddr)
	}
	if !inAny(g.trusted, peer) {
		return direct, nil
	}
	said, err := forwardedHops(r.Header["Forwarded"])
	if err != nil {
		return direct, err
	}
	older := xForwardedHops(r.Header)
	if said == nil || older == nil {
		if said == nil {
			said = older
		}
		return g.believe(direct, said)
	}
	a, errA := g.believe(direct, older)
	b, errB := g.believe(direct, said)
	if err := errors.Join(errA, errB); err != nil {
		return direct, err
	}
	if a != b {
		return direct, errors.New("X-Forwarded-* and Forwarded of a trusted proxy say different things: let it set one and remove the other")
	}
	return a, nil
}

// believe takes over what a trusted peer says. Of the chain only the part that trusted proxies vouch for is
// kept: what stands left of the client's address was said by the client.
func (g *Gateway) believe(direct origin, said *hops) (origin, error) {
	if said == nil {
		return direct, nil
	}
	o := direct
	via := []string{direct.via}
	for _, s := range slices.Backward(said.clients) {
		if !inAny(g.trusted, o.client) {
			break
		}
		addr, ok := parseHop(s)
		if !ok || len(via) > maxHops {
			return direct, fmt.Errorf("a trusted proxy gives %.64q for a client's address, which is none, or names more than %d proxies", s, maxHops)
		}
		o.client = addr
		via = append(via, addr.String())
	}
	slices.Reverse(via)
	o.via = strings.Join(via, ", ")
	switch strings.ToLower(said.proto) {
	case "":
	case "http", "ws":
		o.secure = false
	case "https", "wss":
		o.secure = true
	default:
		return direct, fmt.Errorf("a trusted proxy gives %.64q for a scheme", said.proto)
	}
	var ok bool
	if o.host, ok = parseAuthority(cmp.Or(said.host, direct.host.String())); !ok {
		return direct, fmt.Errorf("a trusted proxy gives %.64q for a host", said.host)
	}
	if o.toPort = said.port; o.toPort != "" && !isPort(o.toPort) {
		return direct, fmt.Errorf("a trusted proxy gives %.64q for a port", said.port)
	}
	return o, nil
}

// peerAddr is the other end of the connection; the zero address where it has none.
func peerAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func inAny(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// parseHop reads an address with or without brackets and port.
func parseHop(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = ap.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// xForwardedHops reads X-Forwarded-For, -Proto, -Host and -Port; nil: there are none.
func xForwardedHops(h http.Header) *hops {
	said := hops{clients: elements(h["X-Forwarded-For"]), proto: lastOf(h["X-Forwarded-Proto"]), host: lastOf(h["X-Forwarded-Host"]), port: lastOf(h["X-Forwarded-Port"])}
	if said.clients == nil && said.proto == "" && said.host == "" && said.port == "" {
		return nil
	}
	return &said
}

func elements(lines []string) (all []string) {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(part))
		}
	}
	return all
}

func lastOf(lines []string) string {
	if all := elements(lines); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// forwardedHops reads Forwarded (RFC 7239 section 4); nil: there is none.
func forwardedHops(lines []string) (*hops, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	said := &hops{}
	for element := range splitQuoted(strings.Join(lines, ","), ',') {
		said.proto, said.host = "", ""
		client := ""
		for pair := range splitQuoted(element, ';') {
			name, value, ok := strings.Cut(pair, "=")
			if !ok && strings.TrimSpace(pair) != "" {
				return nil, fmt.Errorf("a trusted proxy sends a Forwarded header that is none: %.64q", pair)
			}
			value = unquote(strings.TrimSpace(value))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "for":
				client = value
			case "proto":
				said.proto = value
			case "host":
				said.host = value
			}
		}
		said.clients = append(said.clients, client)
	}
	return said, nil
}

// splitQuoted splits at a separator that does not stand in a quoted string (RFC 9110 section 5.6.4).
func splitQuoted(s string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == '"':
				quoted = !quoted
			case s[i] == '\\' && quoted:
				i++
			case s[i] == separator && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// unquote reads a token or quoted string; no value that means anything here needs a backslash.
func unquote(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
