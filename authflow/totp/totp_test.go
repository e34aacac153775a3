package totp

import (
	"bytes"
	"encoding/base32"
	"image/png"
	"net/url"
	"testing"
	"time"

	"github.com/pquerna/otp"
)

// rfcSecret is the SHA-1 seed of RFC 6238 appendix B.
var rfcSecret = base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))

// The codes are the last six digits of the eight in the RFC's table: truncation takes the same number
// modulo 10^6 instead of 10^8 (RFC 4226 section 5.3).
func TestTheVectorsOfRFC6238Match(t *testing.T) {
	for _, v := range []struct {
		at   int64
		code string
		step int64
	}{
		{59, "287082", 0x1},
		{1111111109, "081804", 0x23523EC},
		{1111111111, "050471", 0x23523ED},
		{1234567890, "005924", 0x273EF07},
		{2000000000, "279037", 0x3F940AA},
		{20000000000, "353130", 0x27BC86AA},
	} {
		step, ok := Match(rfcSecret, v.code, 0, time.Unix(v.at, 0))
		if !ok || step != v.step {
			t.Errorf("at %d: code %s gave step %#x, %v; want %#x", v.at, v.code, step, ok, v.step)
		}
	}
}

func TestOnlyTheStepBeforeThePresentAndTheNextMatch(t *testing.T) {
	const at = 1111111111 // step 0x23523ED, whose code is 050471
	for offset := int64(-3); offset <= 3; offset++ {
		_, ok := Match(rfcSecret, "050471", 0, time.Unix(at+offset*period, 0))
		if want := offset >= -1 && offset <= 1; ok != want {
			t.Errorf("the clock %d steps away: %v, want %v", offset, ok, want)
		}
	}
}

func TestAStepIsNotMatchedTwiceNorAnOlderOne(t *testing.T) {
	now := time.Unix(1111111111, 0)
	step, _ := Match(rfcSecret, "050471", 0, now)
	if _, ok := Match(rfcSecret, "050471", step, now); ok {
		t.Error("the accepted step matched again")
	}
	if _, ok := Match(rfcSecret, "081804", step, now); ok { // the step before it
		t.Error("an older step matched after a newer one")
	}
	if _, ok := Match(rfcSecret, "050471", step, now.Add(-90*time.Second)); ok {
		t.Error("a clock set back lets the step in again")
	}
}

func TestOnlySpacesAndDashesAreForgiven(t *testing.T) {
	for typed, want := range map[string]string{
		"123456": "123456", "123 456": "123456", "123-456": "123456", " 1 2 3-4 5 6 ": "123456",
		"": "", "12345": "", "1234567": "", "123456\n": "", "12345a": "", "１２３４５６": "", "+12345": "", "123\u00a0456": "",
	} {
		if got, ok := Code(typed); got != want || ok != (want != "") {
			t.Errorf("Code(%q) = %q, %v; want %q", typed, got, ok, want)
		}
	}
}

func TestANewSecretHasTwentyRandomBytesAndItsAddressCarriesIt(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if raw, err := encoding.DecodeString(a); err != nil || len(raw) != 20 || a == b {
		t.Fatalf("secrets %q %q (%d bytes, %v)", a, b, len(raw), err)
	}
	address := URL(a, "Ring & Co: café", "alice@example.com")
	key, err := otp.NewKeyFromURL(address)
	if err != nil || key.Secret() != a || key.AccountName() != "alice@example.com" || key.Issuer() != "Ring & Co café" {
		t.Errorf("%s reads as secret %s, account %s, issuer %s, %v", address, key.Secret(), key.AccountName(), key.Issuer(), err)
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "otpauth" || u.Host != "totp" {
		t.Errorf("address %s: %v", address, err)
	}
}

func TestTheQRCodeIsAPNGWithTwoPixelsForOneOnThePage(t *testing.T) {
	img, width, err := QRCode("otpauth://totp/x?secret=JBSWY3DPEHPK3PXP")
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := png.Decode(bytes.NewReader(img))
	if err != nil || decoded.Bounds().Dx() != 2*width || width < 100 || width%4 != 0 {
		t.Fatalf("%d pixels to be shown in %d, %v", decoded.Bounds().Dx(), width, err)
	}
}

func FuzzCode(f *testing.F) {
	f.Add("123 456")
	f.Add("１２３４５６")
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := Code(typed)
		if again, okAgain := Code(code); ok && (!okAgain || again != code) {
			t.Fatalf("%q gave %q, which is not its own spelling", typed, code)
		}
	})
}
