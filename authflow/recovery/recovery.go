// Package recovery makes and reads one-time recovery codes, which stand in for an authenticator that is
// not at hand.
//
// It does not keep them: the caller stores a keyed digest of each, and strikes it out in one atomic update
// when it is used.
package recovery

import (
	"crypto/rand"
	"strings"
)

const (
	// Count is how many codes a set has.
	Count = 10

	// alphabet is Crockford's base32, which leaves out the letters that are taken for digits or for one
	// another. Five bits a character.
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	length   = 16 // 80 random bits, over the 64 that make offline guessing of a keyed digest pointless
	group    = 4
)

// New returns a set of [Count] codes, each written in groups: "k7mf-2qxd-9hrt-w3zp".
func New() []string {
	codes := make([]string, Count)
	for i := range codes {
		codes[i] = write()
	}
	return codes
}

func write() string {
	raw := make([]byte, length)
	rand.Read(raw) // never fails (crypto/rand)
	var b strings.Builder
	for i, v := range raw {
		if i > 0 && i%group == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[v%32]) // 256 is a multiple of 32: no bias
	}
	return b.String()
}

// Code brings what a person typed to the one spelling that is compared: no spaces or dashes, lower case,
// and the letters that Crockford's alphabet leaves out read as the digits that they look like. ok is
// false where it cannot be a code.
func Code(typed string) (code string, ok bool) {
	if len(typed) > 4*length {
		return "", false
	}
	b := make([]byte, 0, length)
	for _, c := range []byte(strings.ToLower(typed)) {
		switch c {
		case ' ', '-':
			continue
		case 'o':
			c = '0'
		case 'i', 'l':
			c = '1'
		}
		if strings.IndexByte(alphabet, c) < 0 {
			return "", false
		}
		b = append(b, c)
	}
	if len(b) != length {
		return "", false
	}
	return string(b), true
}
