// Package seal keeps secrets unreadable in the store: it derives every key that the gateway uses from
// secret_key, and seals small values under them, bound to whose they are and what they are.
//
// It is not for passwords, which are hashed (package password), nor for tokens, of which the store knows
// only a digest (package session).
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// MinKey is the least length of a secret key, in bytes.
const MinKey = 32

// ErrUnsealable says that none of the keys opens a sealed value: it was damaged, it belongs to somebody or
// something else, or its key was taken out of the configuration.
var ErrUnsealable = errors.New("seal: no key opens the value")

const idSize = 4

// Keyring holds what was derived from the current secret key and from those before it. Values are sealed
// under the current key and opened under any. It is safe for concurrent use.
type Keyring struct {
	keys []key // the current one first
}

type key struct {
	secret []byte
	id     [idSize]byte // names the key in a sealed value, so that opening does not try them all
	aead   cipher.AEAD
	mac    []byte
}

// New derives a keyring. Each key must have [MinKey] bytes or more.
func New(current []byte, previous ...[]byte) (*Keyring, error) {
	ring := &Keyring{}
	for i, secret := range append([][]byte{current}, previous...) {
		if len(secret) < MinKey {
			return nil, fmt.Errorf("seal: secret key %d has %d bytes, want %d or more", i, len(secret), MinKey)
		}
		k := key{secret: secret, mac: derive(secret, "sallyport digest")}
		copy(k.id[:], derive(secret, "sallyport key id"))
		aead, err := chacha20poly1305.NewX(derive(secret, "sallyport seal"))
		if err != nil {
			return nil, fmt.Errorf("seal: derive cipher: %w", err)
		}
		k.aead = aead
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}

// derive makes a 32-byte key of its own for one purpose (HKDF, RFC 5869).
func derive(secret []byte, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		panic(err) // only a length over 255 hashes fails, and ours is 32 bytes
	}
	return out
}

// Derive returns a 32-byte key for purpose from each secret key, the current one first.
func (r *Keyring) Derive(purpose string) [][]byte {
	out := make([][]byte, len(r.keys))
	for i, k := range r.keys {
		out[i] = derive(k.secret, "sallyport "+purpose)
	}
	return out
}

// Seal encrypts and authenticates plain with XChaCha20-Poly1305. The value opens only for the same owner
// (a user's subject) and field, so that a sealed value copied to another record is worth nothing.
func (r *Keyring) Seal(plain []byte, owner, field string) []byte {
	k := r.keys[0]
	out := make([]byte, idSize+chacha20poly1305.NonceSizeX, idSize+chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	copy(out, k.id[:])
	nonce := out[idSize:]
	rand.Read(nonce) // never fails (crypto/rand)
	return k.aead.Seal(out, nonce, plain, bind(owner, field))
}

// Open returns what [Keyring.Seal] was given, or [ErrUnsealable].
func (r *Keyring) Open(sealed []byte, owner, field string) ([]byte, error) {
	if len(sealed) < idSize+chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrUnsealable, len(sealed))
	}
	for _, k := range r.keys {
		if k.id != [idSize]byte(sealed[:idSize]) {
			continue
		}
		nonce, box := sealed[idSize:idSize+chacha20poly1305.NonceSizeX], sealed[idSize+chacha20poly1305.NonceSizeX:]
		if plain, err := k.aead.Open(nil, nonce, box, bind(owner, field)); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("%w: %s of %s; was secret_key changed without previous_secret_keys?", ErrUnsealable, field, owner)
}

// Under encrypts plain as [Keyring.Seal] does, but under a key derived from a token that the store knows only as a
// digest: neither the store nor the secret key opens it, only who brings the token. The token must have 32 random
// bytes.
func Under(token, plain []byte, owner, field string) []byte {
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	rand.Read(out) // never fails (crypto/rand)
	return tokenCipher(token).Seal(out, out, plain, bind(owner, field))
}

// OpenUnder returns what [Under] was given for the same token, owner and field, or [ErrUnsealable].
func OpenUnder(token, sealed []byte, owner, field string) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrUnsealable, len(sealed))
	}
	plain, err := tokenCipher(token).Open(nil, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], bind(owner, field))
	if err != nil {
		return nil, fmt.Errorf("%w: %s of %s, with the token that came", ErrUnsealable, field, owner)
	}
	return plain, nil
}

func tokenCipher(token []byte) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(derive(token, "sallyport sealed under a token"))
	if err != nil {
		panic(err) // only a key that has not 32 bytes fails, and derive makes one that has
	}
	return aead
}

// Stale says whether a value was sealed under a key other than the current one, so that it should be sealed
// anew before that key is taken out of the configuration.
func (r *Keyring) Stale(sealed []byte) bool {
	return len(sealed) < idSize || r.keys[0].id != [idSize]byte(sealed[:idSize])
}

// Digest returns the HMAC-SHA256 of value for owner and field under the current key: what the store may
// know of a value that has to be recognised but never read again.
func (r *Keyring) Digest(value []byte, owner, field string) []byte {
	return digest(r.keys[0], value, owner, field)
}

// Digests returns the digest under every key, the current one first, to recognise a value whose digest
// was made before a rotation.
func (r *Keyring) Digests(value []byte, owner, field string) [][]byte {
	out := make([][]byte, len(r.keys))
	for i, k := range r.keys {
		out[i] = digest(k, value, owner, field)
	}
	return out
}

func digest(k key, value []byte, owner, field string) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write(bind(owner, field))
	h.Write(value)
	return h.Sum(nil)
}

// bind joins owner and field so that no two pairs give the same bytes.
func bind(owner, field string) []byte {
	out := binary.AppendUvarint(nil, uint64(len(owner)))
	out = append(out, owner...)
	out = binary.AppendUvarint(out, uint64(len(field)))
	return append(out, field...)
}
