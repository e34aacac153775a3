// Package cookie carries tokens in a browser: it wraps them in signed envelopes, so that junk is told from
// a token without a look into the store, and writes and reads the gateway's cookies.
//
// It does not know what a token opens. An envelope of one kind never decodes as another.
package cookie

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// Kind says what an envelope carries.
type Kind string

// The kinds of token. Each has a MAC of its own: the kind is part of what is signed.
const (
	Session Kind = "session" // a browser's session
	Pending Kind = "pending" // a sign-in that waits for its second factor
	Device  Kind = "device"  // a browser that somebody has signed in with before
	Access  Kind = "access"  // a bearer client's access token
	Refresh Kind = "refresh" // a bearer client's refresh token
	Kept    Kind = "kept"    // no token: form posts of this browser wait for a sign-in, or did lately
)

// ErrInvalid says that a value is no envelope of the kind asked for.
var ErrInvalid = errors.New("cookie: not a valid envelope")

// maxEnvelope bounds what is looked at, in bytes. The longest of ours has about 200.
const maxEnvelope = 1024

// Codec signs and checks envelopes. It is safe for concurrent use.
type Codec struct {
	signers []*securecookie.SecureCookie // the current key's first
}

// NewCodec makes a codec that signs with the first key and accepts all of them. Keys have 32 bytes.
func NewCodec(keys [][]byte) *Codec {
	c := &Codec{}
	for _, key := range keys {
		s := securecookie.New(key, nil)
		s.SetSerializer(securecookie.NopEncoder{})
		s.MaxAge(0) // an envelope does not age: the record that it opens carries its own end
		s.MaxLength(maxEnvelope)
		c.signers = append(c.signers, s)
	}
	return c
}

// Encode wraps a payload of at most 256 bytes.
func (c *Codec) Encode(kind Kind, payload []byte) (string, error) {
	envelope, err := c.signers[0].Encode(string(kind), payload)
	if err != nil {
		return "", fmt.Errorf("cookie: sign %s envelope: %w", kind, err)
	}
	return envelope, nil
}

// Decode returns the payload of an envelope that one of the keys has signed for this kind, or [ErrInvalid].
func (c *Codec) Decode(kind Kind, envelope string) ([]byte, error) {
	if envelope == "" || len(envelope) > maxEnvelope || !canonical(envelope) {
		return nil, ErrInvalid
	}
	for _, s := range c.signers {
		var payload []byte
		if s.Decode(string(kind), envelope, &payload) == nil {
			return payload, nil
		}
	}
	return nil, ErrInvalid
}

// canonical says whether an envelope is written in the one way in which [Codec.Encode] writes it. Base64 leaves
// bits over at its end, and decoders skip line breaks: one envelope would have many spellings.
func canonical(envelope string) bool {
	raw, err := base64.URLEncoding.DecodeString(envelope)
	return err == nil && base64.URLEncoding.EncodeToString(raw) == envelope
}

// Jar names the gateway's cookies and writes them. It is a value and safe for concurrent use.
type Jar struct {
	name   string
	secure bool
	domain string
	names  map[Kind]string // as browsers send them
}

// NewJar makes a jar. secure says that browsers reach the gateway over https; the cookies are then Secure,
// and with no domain they get the __Host- prefix, so that no neighbouring host can set them
// (RFC 6265bis section 4.1.3.2).
func NewJar(name string, secure bool, domain string) Jar {
	j := Jar{name: name, secure: secure, domain: domain, names: map[Kind]string{}}
	for _, kind := range kinds {
		j.names[kind] = j.bare(kind)
		if secure && domain == "" {
			j.names[kind] = "__Host-" + j.bare(kind)
		}
	}
	return j
}

// kinds are those that travel in cookies.
var kinds = []Kind{Session, Pending, Device, Kept}

// Name returns the name of the cookie that carries kind.
func (j Jar) Name(kind Kind) string { return j.names[kind] }

func (j Jar) bare(kind Kind) string {
	if kind == Session {
		return j.name
	}
	return j.name + "_" + string(kind)
}

// Names returns every name that a cookie of the gateway's has or may have had under another
// configuration: what an upstream must neither see nor set.
func (j Jar) Names() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, j.bare(k), "__Host-"+j.bare(k))
	}
	return names
}

// Reaches says whether browsers send the cookies, wherever under the domain they were set, to that host too. With no
// domain they go to the host that set them and to no other.
func (j Jar) Reaches(host string) bool {
	host = strings.ToLower(host)
	return j.domain != "" && (host == j.domain || strings.HasSuffix(host, "."+j.domain))
}

// Read returns the value of the cookie that carries kind. A name that came twice is nobody's: the value
// is empty then, because a neighbouring host may have planted one of the two. So is a value of other characters than
// ours have, such as one in quotes.
func (j Jar) Read(r *http.Request, kind Kind) string {
	name, value, found := j.Name(kind), "", 0
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if given, v, _ := strings.Cut(pair, "="); textproto.TrimString(given) == name {
				value, found = textproto.TrimString(v), found+1
			}
		}
	}
	if found != 1 || !isOurs(value) {
		return ""
	}
	return value
}

func isOurs(value string) bool {
	for i := range len(value) {
		if !ours[value[i]] {
			return false
		}
	}
	return true
}

// ours are the characters of our values: base64 in the alphabet of URLs.
var ours = func() (ours [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=" {
		ours[c] = true
	}
	return ours
}()

// ReadAll returns every value that came under the name of the cookie that carries kind: for ending what they
// open, never for opening it.
func (j Jar) ReadAll(r *http.Request, kind Kind) []string {
	var values []string
	for _, c := range r.CookiesNamed(j.Name(kind)) {
		values = append(values, c.Value)
	}
	return values
}

// Write sets the cookie that carries kind. A life of 0 ends it with the browser's session.
func (j Jar) Write(w http.ResponseWriter, kind Kind, value string, life time.Duration) {
	http.SetCookie(w, j.cookie(kind, value, int((life+time.Second-1)/time.Second)))
}

// Clear takes the cookie out of the browser, and with it one of the same name that was set for this host
// alone while a domain was configured.
func (j Jar) Clear(w http.ResponseWriter, kind Kind) {
	for _, line := range j.Expired(kind) {
		w.Header().Add("Set-Cookie", line)
	}
}

// Expired returns the Set-Cookie lines with which [Jar.Clear] does that.
func (j Jar) Expired(kind Kind) []string {
	c := j.cookie(kind, "", -1)
	lines := []string{c.String()}
	if c.Domain != "" {
		c.Domain = ""
		lines = append(lines, c.String())
	}
	return lines
}

func (j Jar) cookie(kind Kind, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: j.Name(kind), Value: value, Path: "/", Domain: j.domain, MaxAge: maxAge,
		Secure: j.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// Bearer returns the token of an "Authorization: Bearer" header (RFC 6750 section 2.1). Two such headers
// are none.
func Bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
