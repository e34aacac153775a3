package recovery

import (
	"regexp"
	"strings"
	"testing"
)

func TestASetHasTenDifferentCodesOfEightyBits(t *testing.T) {
	form := regexp.MustCompile(`^([0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}$`)
	seen := map[string]bool{}
	for range 50 {
		set := New()
		if len(set) != 10 {
			t.Fatalf("%d codes", len(set))
		}
		for _, c := range set {
			if !form.MatchString(c) || seen[c] {
				t.Fatalf("code %q (seen before: %v)", c, seen[c])
			}
			seen[c] = true
		}
	}
}

func TestACodeIsReadHoweverItIsTyped(t *testing.T) {
	const want = "k7mf2qxd9hrt01zp"
	for _, typed := range []string{
		"k7mf-2qxd-9hrt-01zp", "K7MF2QXD9HRT01ZP", " k7mf 2qxd 9hrt 01zp ", "k7mf-2qxd-9hrt-olzp", "K7MF-2QXD-9HRT-OIZP",
	} {
		if got, ok := Code(typed); !ok || got != want {
			t.Errorf("Code(%q) = %q, %v", typed, got, ok)
		}
	}
}

func TestWhatIsNoCodeIsRefused(t *testing.T) {
	for _, typed := range []string{"", "123456", "k7mf-2qxd-9hrt", "k7mf-2qxd-9hrt-01zp0", "k7mf-2qxd-9hrt-01z!", "k7mf-2qxd-9hrt-01zp\n", "ｋ7mf-2qxd-9hrt-01zp", strings.Repeat("-", 1<<20)} {
		if got, ok := Code(typed); ok || got != "" {
			t.Errorf("Code(%.40q) = %q, %v", typed, got, ok)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add("k7mf-2qxd-9hrt-01zp")
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := Code(typed)
		if again, okAgain := Code(code); ok && (!okAgain || again != code) {
			t.Fatalf("%q gave %q, which is not its own spelling", typed, code)
		}
	})
}
