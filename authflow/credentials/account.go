// Package credentials holds the accounts by which the gateway signs people in to an app that knows them under other
// names: one account for all, or one for each person or group, out of a file.
//
// It does not know who is signed in, nor how an app is asked.
package credentials

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Account is a name and a password at an app. The zero value is no account. However an Account, or what holds one, is
// printed, logged or encoded, its password does not show: it is behind a pointer that nothing of the kind follows.
type Account struct {
	Username string
	password *string
}

// NewAccount returns the account of that name and password. An error says what of them HTTP Basic cannot carry (RFC 7617,
// section 2): control characters, text that is not UTF-8, a colon in the name. Neither may be empty.
func NewAccount(username, password string) (Account, error) {
	if err := checkUsername(username); err != nil {
		return Account{}, errors.New("the user name " + err.Error())
	}
	if err := checkPassword(password); err != nil {
		return Account{}, errors.New("the password " + err.Error())
	}
	return Account{username, &password}, nil
}

func checkUsername(username string) error {
	if strings.Contains(username, ":") {
		return errors.New("has a colon in it, at which an app would cut it off (RFC 7617); the app needs another name for this account")
	}
	return checkPassword(username)
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("is empty")
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("holds a control character or a line break, or is not UTF-8")
	}
	return nil
}

// Authorization returns the value of the Authorization header by which the account signs in with HTTP Basic, in UTF-8
// (RFC 7617). It is as secret as the password. Of the zero value it is empty.
func (a Account) Authorization() string {
	if a.password == nil {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+*a.password))
}

// Password returns the password, for a form that it is typed into.
func (a Account) Password() string {
	if a.password == nil {
		return ""
	}
	return *a.password
}

// String names the account without its password.
func (a Account) String() string { return "account " + strconv.Quote(a.Username) }

// GoString is [Account.String].
func (a Account) GoString() string { return a.String() }

// LogValue is the name alone.
func (a Account) LogValue() slog.Value { return slog.StringValue(a.Username) }
