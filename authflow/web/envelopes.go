package web

import (
	"crypto/sha256"
	"hash"
	"sync"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/session"
)

// envelopesMost bounds the envelopes that are remembered, in each generation of each part.
const (
	envelopesMost  = 1 << 13
	envelopesParts = 16
	envelopeLength = 256 // bytes; a longer one is none of ours, or is checked each time
)

// envelopes remembers what envelopes carry whose signature was found right. An envelope says the same each time, for as
// long as the keys are the same, so that it is checked once and not on each request; whether what it carries still opens
// something is asked each time. What was not asked for lately is forgotten. One that is not right is never remembered.
//
// It knows envelopes by their SHA-256: so the collector has nothing to visit in it, however many there are, if V holds no
// pointers either. The envelopes of one kind alone go into one: what is right as a cookie is not right as an access token.
type envelopes[V any] struct {
	parts [envelopesParts]struct {
		sync.RWMutex
		young, old map[[sha256.Size]byte]V
	}
}

// open returns what an envelope carries, and checks it where that was not done before.
func (e *envelopes[V]) open(envelope string, check func(string) (V, error)) (V, error) {
	if envelope == "" || len(envelope) > envelopeLength {
		return check(envelope)
	}
	digest := digestOf(envelope)
	part := &e.parts[digest[0]%envelopesParts]
	part.RLock()
	v, young := part.young[digest]
	old := false
	if !young {
		v, old = part.old[digest]
	}
	part.RUnlock()
	if young {
		return v, nil
	}
	if !old {
		var err error
		if v, err = check(envelope); err != nil {
			return v, err
		}
	}
	part.Lock()
	defer part.Unlock()
	if part.young == nil || len(part.young) >= envelopesMost {
		part.young, part.old = map[[sha256.Size]byte]V{}, part.young
	}
	part.young[digest] = v
	return v, nil
}

// hasher is a hash with room for what goes in and what comes out. What sha256.Sum256 keeps on the stack of a caller goes to
// the heap in a build with a profile, which inlines it.
type hasher struct {
	hash.Hash
	in  [envelopeLength]byte
	out [sha256.Size]byte
}

var hashers = sync.Pool{New: func() any { return &hasher{Hash: sha256.New()} }}

// digestOf returns the SHA-256 of an envelope of envelopeLength or less.
func digestOf(envelope string) [sha256.Size]byte {
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	h.Reset()
	h.Write(h.in[:copy(h.in[:], envelope)])
	h.Sum(h.out[:0])
	return h.out
}

// opener returns the token of a session cookie.
func (s *Server) opener(envelope string) (session.Opener, error) {
	return s.cookies.open(envelope, func(envelope string) (session.Opener, error) {
		raw, err := s.Codec.Decode(cookie.Session, envelope)
		if err != nil {
			return session.Opener{}, err
		}
		token, err := session.TokenFrom(raw)
		return token.Opener(), err
	})
}

// accessToken is what an access token carries, and the key of its session's token.
type accessToken struct {
	bearer
	opener session.Opener
}

// access returns what an access token carries: cookie.ErrInvalid where it is none of ours, and
// authflow.ErrUnauthenticated where it is, and holds nothing to be understood.
func (s *Server) access(envelope string) (accessToken, error) {
	return s.accesses.open(envelope, func(envelope string) (accessToken, error) {
		raw, err := s.Codec.Decode(cookie.Access, envelope)
		if err != nil {
			return accessToken{}, err
		}
		b, err := readBearer(raw)
		if err != nil {
			return accessToken{}, authflow.ErrUnauthenticated
		}
		return accessToken{b, b.token.Opener()}, nil
	})
}
