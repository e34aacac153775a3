package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sallyport/config/strictyaml"
)

// types reads the values that are more than text, each once and for every key that holds one.
var types = map[reflect.Type]func(string) (any, error){
	reflect.TypeFor[*url.URL]():       func(text string) (any, error) { return parseURL(text) },
	reflect.TypeFor[netip.Prefix]():   func(text string) (any, error) { return parseNetwork(text) },
	reflect.TypeFor[[]byte]():         func(text string) (any, error) { return parseKey(text) },
	reflect.TypeFor[slog.Level]():     func(text string) (any, error) { return parseLevel(text) },
	reflect.TypeFor[Size]():           func(text string) (any, error) { return parseSize(text) },
	reflect.TypeFor[FlushInterval]():  func(text string) (any, error) { return parseFlushInterval(text) },
	reflect.TypeFor[*regexp.Regexp](): func(text string) (any, error) { return parseWhole(text) },
	reflect.TypeFor[AppAccount]():     func(text string) (any, error) { return parseAppAccount(text) },
}

// Size is a number of bytes, written with a unit: 512KiB, 10MiB, 4GiB.
type Size int64

func parseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "BGKMTi")
	shift, known := map[string]uint{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[text[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 63)
	switch {
	case err == nil && n == 0 && (known || digits == text):
		return 0, nil
	case err != nil || !known:
		return 0, fmt.Errorf("%q is not a size; write for example 512KiB, 10MiB or 4GiB", text)
	case n > math.MaxInt64>>shift:
		return 0, fmt.Errorf("%s is more than can be counted", text)
	}
	return Size(n << shift), nil
}

// FlushInterval is how long what an upstream has sent may lie in a buffer; -1: not at all.
type FlushInterval time.Duration

func parseFlushInterval(text string) (FlushInterval, error) {
	if text == "-1" {
		return -1, nil
	}
	d, err := strictyaml.ParseDuration(text)
	return FlushInterval(d), err
}

// parseURL reads a URL: nil for an empty text, scheme in lower case. It has a host and perhaps a path, or, with the
// scheme unix, the path of a socket alone. Which schemes will do is for the key to say.
func parseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	if strings.Contains(text, "@") { // refused before any message could show the password
		return nil, errors.New("a user name or password in a URL is not sent; take it out")
	}
	u, err := url.Parse(text)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // the outer one repeats the text
		}
		return nil, fmt.Errorf("not a URL such as http://127.0.0.1:3000: %w", err)
	}
	switch {
	case u.Scheme == "unix":
		return u, checkSocket(u)
	case u.Scheme == "" || u.Opaque != "":
		return nil, fmt.Errorf("want http:// or https:// and a host, found %q", text)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s has no host", text)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(text, "#"):
		return nil, fmt.Errorf("%s has a query or a fragment; take it out", text)
	}
	if _, err := parseHost(u.Host); err != nil {
		return nil, err
	}
	if u.Path != "" {
		if err := checkPath(u.EscapedPath()); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func checkSocket(u *url.URL) error {
	if u.Host != "" || u.Opaque != "" || strings.HasSuffix(u.Path, "/") {
		return errors.New("want unix: and the absolute path of a socket, such as unix:/run/app.sock")
	}
	return checkPath(u.EscapedPath())
}

func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not a network; write for example 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32", text)
	}
	if network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its mask; write %s", network, network.Masked())
	}
	return network, nil
}

// parseKey reads 32 bytes or more in base64 of either alphabet, with or without padding; nil for an empty text.
func parseKey(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawStdEncoding.DecodeString(standard)
	if err != nil {
		return nil, errors.New("is not base64; make a key with: openssl rand -base64 32")
	}
	if len(key) < 32 {
		return nil, fmt.Errorf("holds %d bytes, needs 32 or more; make a key with: openssl rand -base64 32", len(key))
	}
	return key, nil
}

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	return level, err
}

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// parseHost reads a host, or a host and a port: lower case, without the dot that may end a full name. An IPv6
// address stands in brackets. The underscore is no part of a host name (RFC 952) but of many container names.
func parseHost(text string) (string, error) {
	host, port, hasPort := strings.ToLower(text), "", false
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port, hasPort = host[:i], host[i+1:], true
	}
	if hasPort && !validPort(port) {
		return "", fmt.Errorf("%q: %q is not a port from 1 to 65535", text, port)
	}
	bare, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		address, err := netip.ParseAddr(strings.TrimSuffix(bare, "]"))
		if err != nil || !address.Is6() || address.Zone() != "" || !strings.HasSuffix(bare, "]") {
			return "", fmt.Errorf("%q is not an IPv6 address in brackets", text)
		}
		host = "[" + address.String() + "]"
	} else {
		host = strings.TrimSuffix(host, ".")
		switch {
		case strings.Contains(host, ":"):
			return "", fmt.Errorf("%q: write an IPv6 address in brackets", text)
		case strings.Contains(host, "*"):
			return "", fmt.Errorf("%q: a host cannot hold a *; name each host, or leave hosts out for any host", text)
		case strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }):
			return "", fmt.Errorf("%q: write the host in its ASCII form (xn--...)", text)
		case !hostName.MatchString(host) || len(host) > 253:
			return "", fmt.Errorf("%q is not a host or host:port", text)
		}
	}
	if hasPort {
		return host + ":" + port, nil
	}
	return host, nil
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// checkAddress says what keeps text from being host:port. Where listening is set, the host may be empty (every
// address) and the port 0 (a free one).
func checkAddress(text string, listening bool) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not host:port, such as 127.0.0.1:8080", text)
	}
	if !validPort(port) && (!listening || port != "0") {
		return fmt.Errorf("%q: %q is not a port number from 1 to 65535", text, port)
	}
	if host == "" && listening {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if strings.Contains(host, ":") {
		return fmt.Errorf("%q: %q is not a host", text, host)
	}
	if host == "" {
		return fmt.Errorf("%q has no host", text)
	}
	_, err = parseHost(host)
	return err
}

// checkPath says what keeps a path from being canonical: what servers read in different ways must not stand in
// a path that requests are judged by. A slash at the end is for the caller to judge.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q does not begin with /", path)
	case strings.Contains(path, "//"):
		return fmt.Errorf("%q holds //, which servers read in different ways", path)
	case strings.ContainsAny(path, `%\;?#`) || strings.ContainsFunc(path, unicode.IsControl):
		return fmt.Errorf(`%q holds one of %% \ ; ? # or a control character; write the plain, decoded path`, path)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("%q holds a segment %s, which servers take away", path, segment)
		}
	}
	return nil
}

// under says whether path is prefix itself or lies below it.
func under(path, prefix string) bool {
	return prefix == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
}
