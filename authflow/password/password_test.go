package password

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// Hashes that other programs made: the reference implementation of argon2 (its tests), PHP's
// password_hash as its manual shows it, and the example of Authelia's documentation.
var foreign = []struct{ phc, plain string }{
	{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
	{"$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a", "rasmuslerdorf"},
	{"$argon2id$v=19$m=65536,t=3,p=2$BpLnfgDsc2WD8F2q$o/vzA4myCqZZ36bUGsDY//8mKUYNZZaR0t4MFFSs+iM", "password"},
}

func mustParse(t testing.TB, phc string) Hash {
	t.Helper()
	h, err := Parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashesOfOtherProgramsVerify(t *testing.T) {
	for _, f := range foreign {
		h := mustParse(t, f.phc)
		if !h.Verify(f.plain) {
			t.Errorf("%s: the right password does not fit", f.phc)
		}
		if h.Verify(f.plain+"x") || h.Verify("") {
			t.Errorf("%s: a wrong password fits", f.phc)
		}
	}
}

func TestANewHashFitsItsPasswordAlone(t *testing.T) {
	for name, hash := range map[string]func(string) (string, error){"argon2id m=19456,t=2,p=1": HashArgon2id, "bcrypt cost 12": HashBcrypt} {
		phc, err := hash("correct horse")
		if err != nil {
			t.Fatal(err)
		}
		h := mustParse(t, phc)
		if h.String() != name {
			t.Errorf("%s: cost %s, want %s", phc, h, name)
		}
		if !h.Verify("correct horse") || h.Verify("Correct horse") {
			t.Errorf("%s: does not tell the right password from a wrong one", name)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %s", h, &h, h), phc[len(phc)-20:]) {
			t.Errorf("%s: the hash shows itself when it is printed", name)
		}
	}
}

func TestTheSamePasswordNeverGivesTheSameHash(t *testing.T) {
	first, err := HashArgon2id("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := HashArgon2id("correct horse"); err != nil || second == first {
		t.Errorf("twice %s (%v): the salt is not new", second, err)
	}
}

func TestAPasswordThatIsTooLongIsRefused(t *testing.T) {
	if _, err := HashArgon2id(strings.Repeat("x", MaxLength+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("argon2id: %v", err)
	}
	if _, err := HashBcrypt(strings.Repeat("x", 73)); !errors.Is(err, ErrTooLong) {
		t.Errorf("bcrypt: %v", err)
	}
}

func TestABcryptHashOfALongPasswordFitsAsItsMakerCutIt(t *testing.T) {
	long := strings.Repeat("x", 80)
	hash, err := bcrypt.GenerateFromPassword([]byte(long[:72]), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if h := mustParse(t, string(hash)); !h.Verify(long) || h.Verify(long[:71]) {
		t.Error("80 characters do not fit the hash of their first 72")
	}
}

func TestTheZeroHashFitsNothing(t *testing.T) {
	if (Hash{}).Verify("x") {
		t.Error("it fits")
	}
}

func TestWhatIsNotSupportedIsNamedAndNeverShown(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for phc, want := range map[string]string{
		"":                                     "is not a password hash",
		"hunter2hunter2":                       "is not a password hash, argon2id or bcrypt; set a new one with: sallyport users set-password NAME",
		"$hunter2hunter2":                      "is not a password hash",
		"{SSHA}hunter2hunter2":                 "is not a password hash",
		"$6$hunter2hunter2$" + key:             "of the kind sha512crypt, which is not supported",
		"$5$rounds=5000$hunter2hunter2$" + key: "of the kind sha256crypt",
		"$1$hunter2hunter2$" + key:             "of the kind md5crypt",
		"$y$hunter2hunter2$" + key:             "of the kind yescrypt",
		"$2x$10$hunter2hunter2":                "of the kind bcrypt 2x",
		"$pbkdf2-sha512$310000$hunter2hunter2$" + key:                      "of the kind pbkdf2-sha512",
		"$scrypt$ln=16,r=8,p=1$hunter2hunter2$" + key:                      "of the kind scrypt",
		"$argon2i$v=19$m=65536,t=2,p=1$hunter2hunter2$" + key:              "of the kind argon2i",
		"$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key:               "cut or misspelt",
		"$argon2id$m=65536,t=2,p=1$" + salt + "$" + key:                    "cut or misspelt",
		"$argon2id$v=19$t=2,m=65536,p=1$" + salt + "$" + key:               "cut or misspelt",
		"$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + key:              "cut or misspelt",
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key:               "cut or misspelt",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt:                           "cut or misspelt",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "=$" + key:              "cut or misspelt",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "\n":        "cut or misspelt",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "\n$" + key:             "cut or misspelt",
		"$argon2id$v=19$m=65536,t=2,p=1$c2FsdA$" + key:                     "salt is not 8 to 64 bytes",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$c2FsdA":               "key is not 16 to 64 bytes",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHR$" + key:                "in unpadded base64",
		"$argon2id$v=19$m=1048577,t=1,p=1$" + salt + "$" + key:             "costs more than",
		"$argon2id$v=19$m=9999999999,t=9999999999,p=1$" + salt + "$" + key: "costs more than",
		"$argon2id$v=19$m=1048576,t=5,p=1$" + salt + "$" + key:             "costs more than",
		"$argon2id$v=19$m=64,t=101,p=1$" + salt + "$" + key:                "costs more than",
		"$argon2id$v=19$m=65536,t=1,p=65$" + salt + "$" + key:              "costs more than",
		"$argon2id$v=19$m=15,t=1,p=2$" + salt + "$" + key:                  "less memory (m) than 8 times its threads",
		"$2b$12$hunter2hunter2":                                            "bcrypt hash that is cut or misspelt",
		"$2b$17$" + strings.Repeat("x", 53):                                "bcrypt hash of cost 17",
		"$2b$03$" + strings.Repeat("x", 53):                                "bcrypt hash of cost 3",
		"$2b$12$" + strings.Repeat("x", 54):                                "cut or misspelt",
	} {
		_, err := Parse(phc)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", phc, err, want)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error shows it: %v", phc, err)
		}
	}
}

func TestADecoyCostsTheSameAndFitsNothing(t *testing.T) {
	for _, f := range foreign {
		h := mustParse(t, f.phc)
		d := h.decoy()
		if d.String() != h.String() {
			t.Errorf("the decoy of %s costs %s", h, d)
		}
		if d.Verify(f.plain) {
			t.Errorf("the password fits the decoy of %s", h)
		}
		// A decoy that bcrypt could not read would be refused at once, and so show that there is no such user.
		if d.bcrypt != nil && !errors.Is(bcrypt.CompareHashAndPassword(d.bcrypt, []byte(f.plain)), bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("the decoy of %s is not compared", h)
		}
	}
}

func TestANewPasswordIsLongEnoughAndNotTheFirstThatIsTried(t *testing.T) {
	for _, good := range []string{"kV7#pq2m", "correct horse battery", "пароль-мой", strings.Repeat("ab", 512), "alice is here"} {
		if err := CheckNew(good, "alice"); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                        "too short",
		"1234567":                 "too short",
		"пароль7":                 "too short",
		"Alice.Liddell":           "is the user name",
		"Password1":               "tried first",
		"zzzzzzzzzzzz":            "tried first",
		"tab\tand more":           "cannot be typed",
		"not utf-8 \xff":          "cannot be typed",
		strings.Repeat("a", 1025): "too long: at most 1024 bytes",
	} {
		if err := CheckNew(bad, "alice.liddell"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", bad, err, want)
		}
	}
}

func TestEveryCommonPasswordIsOneThatOtherRulesLetPass(t *testing.T) {
	for _, p := range common {
		if len(p) < MinLength || p != strings.ToLower(p) {
			t.Errorf("%q can never match", p)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, h := range foreign {
		f.Add(h.phc)
	}
	f.Add("$6$x$y")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$2b$04$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, phc string) {
		h, err := Parse(phc)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: the error is not one line: %q", phc, err)
			}
			return
		}
		// Only what is cheap is computed here.
		if h.bcrypt == nil && uint64(h.argon2.memory)*uint64(h.argon2.passes) > 4<<20 || h.cost > 16 {
			t.Fatalf("%q is over the bounds", phc)
		}
		if h.bcrypt == nil && h.argon2.memory*h.argon2.passes <= 64 || h.bcrypt != nil && h.cost == bcrypt.MinCost {
			if h.Verify("hunter2") {
				t.Fatalf("%q fits a password that it was not made from", phc)
			}
		}
	})
}
