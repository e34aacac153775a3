package harness

import (
	"bytes"
	"encoding/base64"
	"errors"
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

// Authenticator is an app on a phone: it knows one secret and never gives the same code twice.
type Authenticator struct {
	t        testing.TB
	Key      *otp.Key
	Last     int64    // the step of the last code given
	Recovery []string // the recovery codes that came with it
}

const step = 30 // seconds, RFC 6238

func NewAuthenticator(t testing.TB, otpauthURL string) *Authenticator {
	t.Helper()
	key, err := otp.NewKeyFromURL(otpauthURL)
	if err != nil {
		t.Fatalf("reading %q: %v", otpauthURL, err)
	}
	if key.Type() != "totp" || key.Period() != step || key.Digits() != otp.DigitsSix {
		t.Fatalf("%q is no TOTP key of six digits each %d s", otpauthURL, step)
	}
	return &Authenticator{t: t, Key: key}
}

// Code returns a code that has not been given yet: of this step, or of the next one, which the gateway takes
// as well. Only a third code within one step has to wait for time to pass.
func (a *Authenticator) Code() string {
	a.t.Helper()
	for a.Last > Now() {
		time.Sleep(100 * time.Millisecond)
	}
	a.Last = max(a.Last+1, Now())
	return a.At(a.Last)
}

// At returns the code of a step, whether or not it has been given.
func (a *Authenticator) At(n int64) string {
	a.t.Helper()
	code, err := totp.GenerateCode(a.Key.Secret(), time.Unix(n*step, 0))
	if err != nil {
		a.t.Fatal(err)
	}
	return code
}

// Wrong returns the nth of many codes that are not right at any step around now.
func (a *Authenticator) Wrong(n int) string {
	a.t.Helper()
	right := map[string]bool{}
	for s := Now() - 3; s <= Now()+3; s++ {
		right[a.At(s)] = true
	}
	for i := n * 10; ; i++ {
		if code := fmt.Sprintf("%06d", i); !right[code] {
			return code
		}
	}
}

// Now is the current step.
func Now() int64 { return time.Now().Unix() / step }

// RecoveryCode takes one recovery code off the sheet.
func (a *Authenticator) RecoveryCode() string {
	a.t.Helper()
	if len(a.Recovery) == 0 {
		a.t.Fatal("no recovery code is left")
	}
	code := a.Recovery[0]
	a.Recovery = a.Recovery[1:]
	return code
}

// ReadQR reads the QR code in a PNG picture, as a phone's camera would.
func ReadQR(t testing.TB, picture []byte) string {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatalf("the picture of the QR code: %v", err)
	}
	// A phone looks again from another angle where it cannot read a picture at once; so does this reader, which
	// misses a finder pattern now and then.
	source := gozxing.NewLuminanceSourceFromImage(img)
	inner, err := source.Crop(margin, margin, source.GetWidth()-2*margin, source.GetHeight()-2*margin)
	if err != nil {
		t.Fatalf("the picture of the QR code: %v", err)
	}
	var failed error
	for _, look := range []struct {
		at   gozxing.Binarizer
		hint gozxing.DecodeHintType
	}{
		{gozxing.NewHybridBinarizer(source), gozxing.DecodeHintType_TRY_HARDER},
		{gozxing.NewGlobalHistgramBinarizer(source), gozxing.DecodeHintType_TRY_HARDER},
		{gozxing.NewGlobalHistgramBinarizer(inner), gozxing.DecodeHintType_PURE_BARCODE},
	} {
		bitmap, err := gozxing.NewBinaryBitmap(look.at)
		if err != nil {
			t.Fatalf("the picture of the QR code: %v", err)
		}
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{look.hint: true})
		if err == nil {
			return result.GetText()
		}
		failed = errors.Join(failed, err)
	}
	t.Fatalf("no QR code can be read in the picture: %v", failed)
	return ""
}

// margin is what a picture of the code has around it that is not the code's: the frame of the page's, in pixels.
const margin = 4

// Picture returns the bytes of a data:image/png;base64 URI.
func Picture(t testing.TB, uri string) []byte {
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
