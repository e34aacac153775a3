// Package password hashes and checks passwords: argon2id and bcrypt in the PHC string format, a few at a time, so
// that a flood of sign-ins does not take the machine's memory and processors.
//
// It does not know users, and it does not count failures: who tries how often is the throttle's to say.
package password

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// MaxLength bounds a password, in bytes. What is longer is refused before any work is done for it.
const MaxLength = 1024

// bcrypt looks at 72 bytes of a password and no further.
const bcryptMaxLength = 72

// ErrTooLong says that a password is longer than [MaxLength], or than what the kind of hash takes in.
var ErrTooLong = errors.New("the password is too long")

// Hash is a parsed password hash. It is a value: its fields never change, and any number of goroutines may use it.
type Hash struct {
	argon2 argon2Cost // zero for bcrypt
	cost   int        // of bcrypt
	salt   []byte
	key    []byte
	bcrypt []byte // the whole string; nil for argon2id
}

type argon2Cost struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// The cost of new hashes: the least that the OWASP Password Storage Cheat Sheet recommends for argon2id, and for
// bcrypt what takes about as long.
var newArgon2 = argon2Cost{memory: 19456, passes: 2, threads: 1}

const newBcryptCost = 12

const (
	saltLength = 16 // bytes; RFC 9106 section 3.1 recommends it for password hashing
	keyLength  = 32
)

// HashArgon2id returns the PHC string of a password under a new salt, for the users file.
func HashArgon2id(plain string) (phc string, err error) {
	if len(plain) > MaxLength {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(plain), MaxLength)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	key := newArgon2.key(plain, salt, keyLength)
	return fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, newArgon2, encoding.EncodeToString(salt), encoding.EncodeToString(key)), nil
}

// HashBcrypt returns the bcrypt string of a password, for files that other programs read too.
func HashBcrypt(plain string) (phc string, err error) {
	if len(plain) > bcryptMaxLength {
		return "", fmt.Errorf("%w: %d bytes, and bcrypt takes at most %d; use argon2id", ErrTooLong, len(plain), bcryptMaxLength)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(plain), newBcryptCost)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return string(hash), nil
}

// Verify says whether the password is the one that was hashed, in a time that does not depend on how much of it
// is right. The empty password and one longer than [MaxLength] are never right.
func (h Hash) Verify(plain string) bool {
	if plain == "" || len(plain) > MaxLength {
		return false
	}
	if h.bcrypt != nil {
		// Other programs cut a longer password at 72 bytes when they hashed it, and so does this comparison.
		return bcrypt.CompareHashAndPassword(h.bcrypt, []byte(plain)) == nil
	}
	if len(h.key) == 0 {
		return false
	}
	return subtle.ConstantTimeCompare(h.argon2.key(plain, h.salt, len(h.key)), h.key) == 1
}

// String names the kind and the cost, never the hash itself: "argon2id m=19456,t=2,p=1", "bcrypt cost 12". Hashes
// of which it says the same take the same time.
func (h Hash) String() string {
	if h.bcrypt != nil {
		return "bcrypt cost " + strconv.Itoa(h.cost)
	}
	return "argon2id " + h.argon2.String()
}

func (c argon2Cost) key(plain string, salt []byte, length int) []byte {
	return argon2.IDKey([]byte(plain), salt, c.passes, c.memory, c.threads, uint32(length))
}

func (c argon2Cost) String() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", c.memory, c.passes, c.threads)
}

var encoding = base64.RawStdEncoding.Strict()

var (
	argon2Format = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$([A-Za-z0-9+/]{1,128})\$([A-Za-z0-9+/]{1,128})$`)
	bcryptFormat = regexp.MustCompile(`^\$2[aby]\$([0-3]\d)\$[./A-Za-z0-9]{53}$`)
	kindFormat   = regexp.MustCompile(`^\$([a-z0-9-]{1,32})\$`)
)

// Parse reads a PHC string of argon2id, as Authelia writes it, or a bcrypt string ($2a$, $2b$, $2y$). What is read is
// bounded: at most 1 GiB of memory, 100 passes and 4 GiB filled in all for argon2id, cost 16 for bcrypt. An error
// names the kind and says what to do; it never shows the string, which may be a password.
func Parse(phc string) (Hash, error) {
	switch {
	case strings.HasPrefix(phc, "$argon2id$"):
		return parseArgon2id(phc)
	case strings.HasPrefix(phc, "$2a$") || strings.HasPrefix(phc, "$2b$") || strings.HasPrefix(phc, "$2y$"):
		return parseBcrypt(phc)
	}
	const remedy = "set a new one with: sallyport users set-password NAME"
	kind := kindFormat.FindStringSubmatch(phc)
	if kind == nil {
		return Hash{}, fmt.Errorf("is not a password hash, argon2id or bcrypt; %s", remedy)
	}
	name, known := unsupportedKinds[kind[1]]
	if !known {
		name = kind[1]
	}
	return Hash{}, fmt.Errorf("is a hash of the kind %s, which is not supported, only argon2id and bcrypt are; %s", name, remedy)
}

// The names of kinds that a PHC string names by a number.
var unsupportedKinds = map[string]string{"1": "md5crypt", "2x": "bcrypt 2x", "5": "sha256crypt", "6": "sha512crypt", "7": "scrypt", "y": "yescrypt"}

func parseArgon2id(phc string) (Hash, error) {
	fields := argon2Format.FindStringSubmatch(phc)
	if fields == nil {
		return Hash{}, errors.New("is an argon2id hash that is cut or misspelt; its form is $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY in unpadded base64")
	}
	var cost [3]uint64
	for i := range cost {
		cost[i], _ = strconv.ParseUint(fields[i+1], 10, 64) // at most ten digits
	}
	memory, passes, threads := cost[0], cost[1], cost[2]
	const gibibyte = 1 << 20 // in KiB
	switch {
	case memory > gibibyte || passes > 100 || memory*passes > 4*gibibyte || threads > 64:
		return Hash{}, errors.New("is an argon2id hash that costs more than m=1048576 (1 GiB), t=100, p=64 or m times t of 4194304; set the password anew")
	case memory < 8*threads: // RFC 9106 section 3.1
		return Hash{}, errors.New("is an argon2id hash with less memory (m) than 8 times its threads (p)")
	}
	salt, saltErr := encoding.DecodeString(fields[4])
	key, keyErr := encoding.DecodeString(fields[5])
	if saltErr != nil || keyErr != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return Hash{}, errors.New("is an argon2id hash whose salt is not 8 to 64 bytes or whose key is not 16 to 64 bytes in unpadded base64")
	}
	return Hash{argon2: argon2Cost{uint32(memory), uint32(passes), uint8(threads)}, salt: salt, key: key}, nil
}

func parseBcrypt(phc string) (Hash, error) {
	fields := bcryptFormat.FindStringSubmatch(phc)
	if fields == nil {
		return Hash{}, errors.New("is a bcrypt hash that is cut or misspelt; its form is $2b$12$ and 53 more characters")
	}
	cost, _ := strconv.Atoi(fields[1]) // two digits
	if cost < bcrypt.MinCost || cost > 16 {
		return Hash{}, fmt.Errorf("is a bcrypt hash of cost %d; from %d to 16 is possible", cost, bcrypt.MinCost)
	}
	return Hash{cost: cost, bcrypt: []byte(phc)}, nil
}

// decoy returns a hash of the same cost that no password fits: its salt and key are random.
func (h Hash) decoy() Hash {
	d := Hash{argon2: h.argon2, cost: h.cost, salt: bytes.Clone(h.salt), key: bytes.Clone(h.key)}
	rand.Read(d.salt)
	rand.Read(d.key)
	if h.bcrypt != nil {
		const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		text := make([]byte, 53)
		rand.Read(text)
		for i := range text {
			text[i] = alphabet[text[i]%64]
		}
		d.bcrypt = fmt.Appendf(nil, "$2b$%02d$%s", h.cost, text)
	}
	return d
}
