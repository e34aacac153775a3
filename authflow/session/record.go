package session

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// A session's record is a few dozen bytes in this order, so that a million of them are some hundred megabytes:
//
//	SeenAt          8 bytes, Unix seconds, big-endian; first, so that [Keeper.Renew] writes it alone
//	version         1 byte, recordVersion
//	flags           1 byte, below
//	SignedInAt, EndsAt, SecondFactorAt (where there was one), IdleFor, Generation (of a bearer session)
//	                varints; the second and third as their distance from the first
//	Subject, Stamp, Address, UserAgent, Password (where there is one)
//	                each its length as a uvarint, and so many bytes
//	AMR             where it is not what the second factor says: its number of items, and each like the above
//
// Nothing may follow. A change of any of this, of [fragments] too, needs another version.
const recordVersion = 1

const (
	flagRemembered = 1 << iota
	flagBearer
	flagSecondFactor
	flagPassword
	flagStampBytes   // Stamp is the base64 of what is stored
	flagAddressBytes // Address is the text of what is stored
	flagAMR
	flagsEnd
)

// maxUserAgent bounds the user agent of a session in bytes, and maxAMR its methods.
const (
	maxUserAgent = 256
	maxAMR       = 8
)

// errRecord says that a record is not one that this version writes. It opens nothing.
var errRecord = errors.New("a damaged record, or one of another version")

// usualAMR is what a session of one or two factors names as its methods.
func usualAMR(secondFactor bool) []string {
	if secondFactor {
		return twoFactors
	}
	return twoFactors[:1:1]
}

// twoFactors is shared by all sessions, and nobody changes it.
var twoFactors = []string{"pwd", "otp"}[:2:2]

// encodeRecord writes everything but the key.
func encodeRecord(s *Session) []byte {
	stamp, address := []byte(s.Stamp), []byte(s.Address)
	usual := slices.Equal(s.AMR, usualAMR(s.TwoFactor()))
	flags := bit(flagRemembered, s.Remembered) | bit(flagBearer, s.Bearer) | bit(flagSecondFactor, s.TwoFactor()) |
		bit(flagPassword, len(s.Password) > 0) | bit(flagAMR, !usual)
	// The stamp of a person of the users file, and any address, take fewer bytes than their text.
	if raw, err := base64.RawURLEncoding.DecodeString(s.Stamp); err == nil && base64.RawURLEncoding.EncodeToString(raw) == s.Stamp {
		stamp, flags = raw, flags|flagStampBytes
	}
	if ip, err := netip.ParseAddr(s.Address); err == nil && ip.Zone() == "" && ip.String() == s.Address {
		address, flags = ip.AsSlice(), flags|flagAddressBytes
	}

	b := append(make([]byte, 0, 192+len(s.Password)), encodeSeenAt(s.SeenAt)...)
	b = append(b, recordVersion, flags)
	b = binary.AppendVarint(b, s.SignedInAt)
	b = binary.AppendVarint(b, s.EndsAt-s.SignedInAt)
	if s.TwoFactor() {
		b = binary.AppendVarint(b, s.SecondFactorAt-s.SignedInAt)
	}
	b = binary.AppendVarint(b, s.IdleFor)
	if s.Bearer {
		b = binary.AppendVarint(b, s.Generation)
	}
	for _, field := range [][]byte{[]byte(s.Subject), stamp, address, packUserAgent(s.UserAgent)} {
		b = appendField(b, field)
	}
	if len(s.Password) > 0 {
		b = appendField(b, s.Password)
	}
	if !usual {
		b = binary.AppendUvarint(b, uint64(len(s.AMR)))
		for _, method := range s.AMR {
			b = appendField(b, []byte(method))
		}
	}
	return b
}

// bit is the flag where it is on, and 0 where not.
func bit(flag byte, on bool) byte {
	if on {
		return flag
	}
	return 0
}

func appendField(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// decodeRecord reads what the store holds, which may be damaged: anything but a whole record of somebody is
// errRecord. Key is left empty.
func decodeRecord(b []byte) (*Session, error) {
	r := &reader{left: b}
	s := &Session{SeenAt: int64(r.uint64())}
	version, flags := r.byte(), r.byte()
	if r.bad || version != recordVersion || flags >= flagsEnd {
		return nil, errRecord
	}
	s.Remembered, s.Bearer = flags&flagRemembered != 0, flags&flagBearer != 0
	s.SignedInAt = r.varint()
	s.EndsAt = s.SignedInAt + r.varint()
	if flags&flagSecondFactor != 0 {
		s.SecondFactorAt = s.SignedInAt + r.varint()
		r.bad = r.bad || s.SecondFactorAt == 0
	}
	s.IdleFor = r.varint()
	if s.Bearer {
		s.Generation = r.varint()
	}
	s.Subject = string(r.field())
	s.Stamp = r.stamp(flags&flagStampBytes != 0)
	s.Address = r.address(flags&flagAddressBytes != 0)
	s.UserAgent = r.userAgent()
	if flags&flagPassword != 0 {
		s.Password = slices.Clone(r.field())
		r.bad = r.bad || len(s.Password) == 0
	}
	s.AMR = r.methods(flags&flagAMR != 0, s.TwoFactor())
	if r.bad || len(r.left) > 0 || s.Subject == "" {
		return nil, errRecord
	}
	return s, nil
}

// reader takes a record apart. It never reads past the end, and never makes room for more than lies before it: what
// does not fit turns it bad, and from then on it returns zeros.
type reader struct {
	left []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.left) {
		r.bad, r.left = true, nil
		return nil
	}
	taken := r.left[:n:n]
	r.left = r.left[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.left)
	r.skipNumber(n)
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.left)
	r.skipNumber(n)
	return v
}

// skipNumber goes past a number of n bytes; 0 or less: there was none.
func (r *reader) skipNumber(n int) {
	if n <= 0 {
		r.bad = true
	}
	r.take(max(n, 0))
}

func (r *reader) field() []byte {
	size := r.uvarint()
	if size > uint64(len(r.left)) {
		r.bad = true
		return nil
	}
	return r.take(int(size))
}

func (r *reader) stamp(asBytes bool) string {
	field := r.field()
	if asBytes {
		return base64.RawURLEncoding.EncodeToString(field)
	}
	return string(field)
}

func (r *reader) address(asBytes bool) string {
	field := r.field()
	if !asBytes {
		return string(field)
	}
	ip, ok := netip.AddrFromSlice(field)
	r.bad = r.bad || !ok
	return ip.String()
}

func (r *reader) userAgent() string {
	text, ok := unpackUserAgent(r.field())
	r.bad = r.bad || !ok
	return text
}

func (r *reader) methods(listed, secondFactor bool) []string {
	if !listed {
		return usualAMR(secondFactor)
	}
	n := r.uvarint()
	if n > maxAMR {
		r.bad = true
		return nil
	}
	var methods []string
	for range n {
		methods = append(methods, string(r.field()))
	}
	return methods
}
