package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	_ "image/png" // QR codes and screenshots are PNG
	"strings"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// authenticator is an app on a phone: it knows one secret and never gives the same code twice.
type authenticator struct {
	t        *testing.T
	key      *otp.Key
	last     int64    // the step of the last code given
	recovery []string // the recovery codes that came with it
}

const step = 30 // seconds, RFC 6238

func newAuthenticator(t *testing.T, otpauthURL string) *authenticator {
	t.Helper()
	key, err := otp.NewKeyFromURL(otpauthURL)
	if err != nil {
		t.Fatalf("reading %q: %v", otpauthURL, err)
	}
	if key.Type() != "totp" || key.Period() != step || key.Digits() != otp.DigitsSix {
		t.Fatalf("%q is no TOTP key of six digits each %d s", otpauthURL, step)
	}
	return &authenticator{t: t, key: key}
}

// code returns a code that has not been given yet: of this step, or of the next one, which the gateway takes
// as well. Only a third code within one step has to wait for time to pass.
func (a *authenticator) code() string {
	a.t.Helper()
	for a.last > now() {
		time.Sleep(100 * time.Millisecond)
	}
	a.last = max(a.last+1, now())
	return a.at(a.last)
}

// at returns the code of a step, whether or not it has been given.
func (a *authenticator) at(n int64) string {
	a.t.Helper()
	code, err := totp.GenerateCode(a.key.Secret(), time.Unix(n*step, 0))
	if err != nil {
		a.t.Fatal(err)
	}
	return code
}

// wrong returns the nth of many codes that are not right at any step around now.
func (a *authenticator) wrong(n int) string {
	a.t.Helper()
	right := map[string]bool{}
	for s := now() - 3; s <= now()+3; s++ {
		right[a.at(s)] = true
	}
	for i := n * 10; ; i++ {
		if code := fmt.Sprintf("%06d", i); !right[code] {
			return code
		}
	}
}

// now is the current step.
func now() int64 { return time.Now().Unix() / step }

// recoveryCode takes one recovery code off the sheet.
func (a *authenticator) recoveryCode() string {
	a.t.Helper()
	if len(a.recovery) == 0 {
		a.t.Fatal("no recovery code is left")
	}
	code := a.recovery[0]
	a.recovery = a.recovery[1:]
	return code
}

// readQR reads the QR code in a PNG picture, as a phone's camera would.
func readQR(t *testing.T, picture []byte) string {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatalf("the picture of the QR code: %v", err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatalf("the picture of the QR code: %v", err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{
		gozxing.DecodeHintType_TRY_HARDER: true,
	})
	if err != nil {
		t.Fatalf("no QR code can be read in the picture: %v", err)
	}
	return result.GetText()
}

// picture returns the bytes of a data:image/png;base64 URI.
func picture(t *testing.T, uri string) []byte {
	t.Helper()
	encoded, ok := strings.CutPrefix(uri, "data:image/png;base64,")
	if !ok {
		t.Fatalf("%.40q is no data:image/png;base64 URI", uri)
	}
	png, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return png
}
