package users

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// ErrBadName says that a text cannot be a user name or an e-mail address.
var ErrBadName = errors.New("not a possible user name")

const maxName = 256 // bytes

// Fold returns the one spelling under which a login is looked up and counted: without space around it, in NFKC
// (Unicode Standard Annex #15) and case-folded, so that full-width letters, composed and decomposed accents and letter case make no
// difference. Folding twice changes nothing. What cannot be seen, line breaks around it too, or is longer than 256 bytes, is
// [ErrBadName].
func Fold(login string) (string, error) {
	if len(login) > maxName {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrBadName, maxName)
	}
	if !utf8.ValidString(login) {
		return "", fmt.Errorf("%w: not UTF-8", ErrBadName)
	}
	login = strings.TrimFunc(login, func(r rune) bool { return r == '\t' || unicode.Is(unicode.Zs, r) })
	if strings.ContainsFunc(login, unseen) {
		return "", fmt.Errorf("%w: holds a character that cannot be seen", ErrBadName)
	}
	// One round is not always enough: folding can leave what NFKC changes again, and NFKC what folds again.
	for range 4 {
		folded := strings.TrimSpace(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(login))))
		if folded == login {
			break
		}
		login = folded
	}
	switch {
	case login == "":
		return "", fmt.Errorf("%w: empty", ErrBadName)
	case len(login) > maxName:
		return "", fmt.Errorf("%w: longer than %d bytes", ErrBadName, maxName)
	case strings.ContainsFunc(login, unseen):
		return "", fmt.Errorf("%w: holds a character that cannot be seen", ErrBadName)
	}
	return login, nil
}

// unseen says whether a character leaves no mark: controls, formats such as zero-width joiners and changes of
// direction, private use, line separators, fillers and variation selectors.
func unseen(r rune) bool {
	return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
