package seal

import (
	"bytes"
	"errors"
	"testing"
)

func ring(t *testing.T, keys ...byte) *Keyring {
	t.Helper()
	all := make([][]byte, len(keys))
	for i, b := range keys {
		all[i] = bytes.Repeat([]byte{b}, MinKey)
	}
	r, err := New(all[0], all[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASealedValueOpensOnlyForItsOwnerAndField(t *testing.T) {
	r := ring(t, 1)
	plain := []byte("JBSWY3DPEHPK3PXP")
	sealed := r.Seal(plain, "file:alice", "totp")
	if bytes.Contains(sealed, plain) {
		t.Fatal("the plain text is readable in the sealed value")
	}
	if got, err := r.Open(sealed, "file:alice", "totp"); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	for _, other := range [][2]string{{"file:bob", "totp"}, {"file:alice", "codes"}, {"file:alicet", "otp"}} {
		if _, err := r.Open(sealed, other[0], other[1]); !errors.Is(err, ErrUnsealable) {
			t.Errorf("opened for %v: %v", other, err)
		}
	}
}

func TestAnyChangedByteOrCutKeepsItClosed(t *testing.T) {
	r := ring(t, 1)
	sealed := r.Seal([]byte("secret"), "a", "b")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := r.Open(bad, "a", "b"); !errors.Is(err, ErrUnsealable) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := r.Open(sealed[:i], "a", "b"); !errors.Is(err, ErrUnsealable) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestARotatedKeyStillOpensUntilItIsTakenOut(t *testing.T) {
	sealed := ring(t, 1).Seal([]byte("secret"), "a", "b")
	old := ring(t, 1).Digest([]byte("code"), "a", "b")
	both := ring(t, 2, 1)
	if !both.Stale(sealed) || both.Stale(both.Seal(nil, "a", "b")) {
		t.Error("which values are sealed under an old key is told wrong")
	}
	if _, err := both.Open(sealed, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if d := both.Digests([]byte("code"), "a", "b"); len(d) != 2 || !bytes.Equal(d[1], old) {
		t.Fatal("the old digest is not among those of both keys")
	}
	if _, err := ring(t, 2).Open(sealed, "a", "b"); !errors.Is(err, ErrUnsealable) {
		t.Fatalf("opened without its key: %v", err)
	}
}

func TestAShortSecretKeyIsRefused(t *testing.T) {
	if _, err := New(make([]byte, MinKey-1)); err == nil {
		t.Fatal("31 bytes were taken")
	}
}

func TestPurposesGetKeysOfTheirOwn(t *testing.T) {
	r := ring(t, 1)
	if bytes.Equal(r.Derive("a")[0], r.Derive("b")[0]) {
		t.Fatal("two purposes share a key")
	}
}
