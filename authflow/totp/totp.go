// Package totp is the time-based one-time password of RFC 6238 as authenticator apps use it: SHA-1, six
// digits, steps of thirty seconds. It makes secrets, their otpauth:// address and QR code, and says which
// step a code belongs to.
//
// It does not remember which steps were accepted; the caller keeps LastStep and moves it forward in one
// atomic update of the store (RFC 6238 section 5.2: a code is accepted once).
package totp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	qrcode "github.com/skip2/go-qrcode"
)

const (
	period     = 30 // seconds in a step
	skew       = 1  // steps accepted before and after the present one, for clocks that differ
	digits     = otp.DigitsSix
	secretSize = 20 // bytes: the length of an HMAC-SHA-1 key that RFC 4226 section 4 recommends
)

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSecret returns the base32 of 20 random bytes, without padding, as authenticator apps take it.
func NewSecret() string {
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails (crypto/rand)
	return encoding.EncodeToString(secret)
}

// URL returns the otpauth:// address that enrols secret in an authenticator app, under the name of the
// issuer and the account. It is written here because the library leaves a "&" in the issuer as it is,
// which apps read as the next parameter. A colon, which parts issuer and account, is left out of both.
func URL(secret, issuer, account string) string {
	issuer, account = strings.ReplaceAll(issuer, ":", ""), strings.ReplaceAll(account, ":", "")
	parameters := url.Values{
		"secret": {secret}, "issuer": {issuer}, "algorithm": {"SHA1"},
		"digits": {strconv.Itoa(digits.Length())}, "period": {strconv.Itoa(period)},
	}
	// Apps read "+" as itself, not as a space.
	return "otpauth://totp/" + url.PathEscape(issuer+":"+account) + "?" + strings.ReplaceAll(parameters.Encode(), "+", "%20")
}

// QRCode returns a PNG of url, with the quiet zone that readers need, and the width to show it in, in CSS
// pixels: half its own, so that it is sharp on fine screens too, and each module a whole number of pixels, since
// readers stumble over modules of unequal width.
func QRCode(url string) (png []byte, width int, err error) {
	const modulePixels = 8
	q, err := qrcode.New(url, qrcode.Medium)
	if err == nil {
		png, err = q.PNG(-modulePixels) // negative: pixels a module
	}
	if err != nil {
		return nil, 0, fmt.Errorf("totp: draw QR code: %w", err)
	}
	return png, len(q.Bitmap()) * modulePixels / 2, nil
}

// Code takes the spaces and dashes out of what a person typed, and says whether the rest has the form of
// a code: six ASCII digits. Nothing else is forgiven, so that one code has one spelling.
func Code(typed string) (code string, ok bool) {
	code = strings.NewReplacer(" ", "", "-", "").Replace(typed)
	if len(code) != digits.Length() {
		return "", false
	}
	for _, c := range []byte(code) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return code, true
}

// Match returns the step that code belongs to, where that step lies within one step of now and after
// lastStep. Every candidate is compared, in constant time each. The code is taken in the form that [Code]
// returns.
func Match(secret, code string, lastStep int64, now time.Time) (step int64, ok bool) {
	present := now.Unix() / period
	for s := present - skew; s <= present+skew; s++ {
		want, err := totp.GenerateCodeCustom(secret, time.Unix(s*period, 0), totp.ValidateOpts{
			Period: period, Digits: digits, Algorithm: otp.AlgorithmSHA1,
		})
		if err != nil {
			return 0, false
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && s > lastStep {
			step, ok = s, true
		}
	}
	return step, ok
}
