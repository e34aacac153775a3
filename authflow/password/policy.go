package password

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MinLength is how many characters a new password needs: NIST SP 800-63B-4 section 3.1.1.2 asks for eight where
// the password is one of two factors.
const MinLength = 8

// The passwords of eight characters and more that leaked lists show most often. Shorter ones are refused anyway.
var common = []string{
	"00000000", "11111111", "11223344", "1234567890", "12345678", "123456789", "123123123", "1q2w3e4r", "1q2w3e4r5t", "1qaz2wsx",
	"87654321", "88888888", "987654321", "aa12345678", "abc12345", "abcd1234", "abcdefgh", "admin123", "administrator", "asdfasdf",
	"asdfghjk", "asdfghjkl", "baseball", "changeme", "computer", "football", "iloveyou", "letmein1", "password", "password1",
	"password12", "password123", "password1234", "passw0rd", "p@ssw0rd", "p@ssword", "princess", "q1w2e3r4", "q1w2e3r4t5", "qwer1234",
	"qwerty12", "qwerty123", "qwertyui", "qwertyuiop", "sallyport", "starwars", "sunshine", "superman", "trustno1", "welcome1",
	"welcome123", "whatever", "zaq12wsx", "zxcvbnm1", "zxcvbnm123",
}

// CheckNew says in words what keeps a password from being a user's new one: its length, and what anybody would try
// first (NIST SP 800-63B-4 section 3.1.1.2). It asks for no mixture of kinds of characters, as the same section
// advises. A password that is checked at sign-in does not go through here.
func CheckNew(plain, username string) error {
	switch {
	case len(plain) > MaxLength:
		return fmt.Errorf("%w: at most %d bytes", ErrTooLong, MaxLength)
	case !utf8.ValidString(plain) || strings.ContainsFunc(plain, unicode.IsControl):
		return errors.New("the password holds a character that cannot be typed everywhere")
	case utf8.RuneCountInString(plain) < MinLength:
		return fmt.Errorf("the password is too short: at least %d characters", MinLength)
	case strings.EqualFold(plain, username):
		return errors.New("the password is the user name")
	case slices.Contains(common, strings.ToLower(plain)), oneCharacter(plain):
		return errors.New("the password is one of those that are tried first")
	}
	return nil
}

func oneCharacter(plain string) bool {
	first, _ := utf8.DecodeRuneInString(plain)
	return strings.Trim(plain, string(first)) == ""
}
