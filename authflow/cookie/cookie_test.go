package cookie

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

var key = bytes.Repeat([]byte{7}, 32)

func TestAnEnvelopeOpensOnlyAsItsOwnKindAndUnderItsKey(t *testing.T) {
	c := NewCodec([][]byte{key})
	token := bytes.Repeat([]byte{0xff}, 32)
	envelope, err := c.Encode(Session, token)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(Session, envelope); err != nil || !bytes.Equal(got, token) {
		t.Fatalf("Decode = %x, %v", got, err)
	}
	for _, kind := range []Kind{Pending, Device, Access, Refresh} {
		if _, err := c.Decode(kind, envelope); err == nil {
			t.Errorf("a session's envelope opened as %s", kind)
		}
	}
	other := bytes.Repeat([]byte{8}, 32)
	if _, err := NewCodec([][]byte{other}).Decode(Session, envelope); err == nil {
		t.Error("opened under another key")
	}
	if _, err := NewCodec([][]byte{other, key}).Decode(Session, envelope); err != nil {
		t.Errorf("refused after a rotation: %v", err)
	}
}

func TestNoChangedCharacterOrLengthOpens(t *testing.T) {
	c := NewCodec([][]byte{key})
	envelope, _ := c.Encode(Session, []byte("token"))
	for i := range envelope {
		for _, with := range []byte{'A', 'B', '=', ' ', '"'} {
			bad := envelope[:i] + string(with) + envelope[i+1:]
			if got, err := c.Decode(Session, bad); err == nil && bad != envelope {
				t.Fatalf("position %d: opened as %q", i, got)
			}
		}
		if _, err := c.Decode(Session, envelope[:i]); err == nil {
			t.Fatalf("cut to %d characters it opened", i)
		}
	}
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		end := len(strings.TrimRight(envelope, "=")) - 1 // the bits that base64 leaves over are in this character
		if bad := envelope[:end] + string(last) + envelope[end+1:]; bad != envelope {
			if _, err := c.Decode(Session, bad); err == nil {
				t.Errorf("another spelling opened: %s", bad)
			}
		}
	}
	for _, bad := range []string{envelope + "A", envelope + "\n", envelope[:8] + "\r\n" + envelope[8:], envelope + envelope, strings.Repeat("A", 8192), `"` + envelope + `"`} {
		if _, err := c.Decode(Session, bad); err == nil {
			t.Errorf("opened: %.80s", bad)
		}
	}
}

func TestFlagsFollowTheScheme(t *testing.T) {
	for _, c := range []struct {
		jar  Jar
		want string
	}{
		{NewJar("sallyport", false, ""), "sallyport=v; Path=/; HttpOnly; SameSite=Lax"},
		{NewJar("sallyport", true, ""), "__Host-sallyport=v; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{NewJar("sallyport", true, "example.com"), "sallyport=v; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"},
	} {
		w := httptest.NewRecorder()
		c.jar.Write(w, Session, "v", 0)
		if got := w.Header().Get("Set-Cookie"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	w := httptest.NewRecorder()
	NewJar("s", true, "").Write(w, Session, "v", 30*24*time.Hour)
	if got := w.Header().Get("Set-Cookie"); !strings.Contains(got, "Max-Age=2592000") {
		t.Error(got)
	}
}

func TestADoubledCookieIsNobodys(t *testing.T) {
	jar := NewJar("sallyport", false, "")
	for header, want := range map[string]string{
		"sallyport=a": "a", "x=1; sallyport=a; y=2": "a",
		"sallyport=a; sallyport=b": "", "sallyport=b; sallyport=a": "", "Sallyport=a": "", "": "", `sallyport="a"`: "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", header)
		if got := jar.Read(r, Session); got != want {
			t.Errorf("%q read as %q, want %q", header, got, want)
		}
	}
}

func TestBearerTakesOneHeaderOfItsScheme(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{[]string{"Bearer abc"}, "abc"}, {[]string{"bearer abc"}, "abc"}, {[]string{"Basic abc"}, ""},
		{[]string{"Bearer"}, ""}, {[]string{"Bearer a", "Bearer b"}, ""}, {nil, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = c.values
		if got := Bearer(r); got != c.want {
			t.Errorf("%q read as %q, want %q", c.values, got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := NewCodec([][]byte{key})
	good, _ := c.Encode(Session, []byte("token"))
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, envelope string) {
		if payload, err := c.Decode(Session, envelope); err == nil && string(payload) != "token" {
			t.Fatalf("%q opened as %q, which was never signed", envelope, payload)
		}
	})
}

func TestCookiesReachTheirDomainAndNothingBeside(t *testing.T) {
	shared, own := NewJar("sallyport", true, "example.com"), NewJar("sallyport", true, "")
	for host, want := range map[string]bool{
		"example.com": true, "app.example.com": true, "A.B.EXAMPLE.com": true,
		"badexample.com": false, "example.com.evil.example": false, "com": false, "": false,
	} {
		if got := shared.Reaches(host); got != want {
			t.Errorf("a cookie of example.com reaches %q: %t, want %t", host, got, want)
		}
		if own.Reaches(host) {
			t.Errorf("a cookie without a domain reaches %q", host)
		}
	}
}

// FuzzRead writes a Cookie header in any way. What is read is the one value that stands there under the very name.
func FuzzRead(f *testing.F) {
	for _, header := range []string{"sallyport=a", "x=1; sallyport=a", "sallyport=a; sallyport=b", `sallyport="a"`, "Sallyport=a", "sallyport=a=b", " sallyport = a ", "sallyport=a,sallyport=b", "sallyport=\x00"} {
		f.Add(header)
	}
	jar := NewJar("sallyport", false, "")
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Cookie": {header}}}
		got := jar.Read(r, Session)
		if got == "" {
			return
		}
		var values []string
		for pair := range strings.SplitSeq(header, ";") {
			if name, value, _ := strings.Cut(pair, "="); strings.TrimSpace(name) == "sallyport" {
				values = append(values, strings.TrimSpace(value))
			}
		}
		if !slices.Contains(values, strings.TrimSpace(got)) || strings.ContainsFunc(got, func(c rune) bool { return c == ';' || c < ' ' }) {
			t.Fatalf("%q is read as %q, and what stands there is %q", header, got, values)
		}
		if both := jar.Read(&http.Request{Header: http.Header{"Cookie": {header, header}}}, Session); both != "" {
			t.Fatalf("%q twice is read as %q", header, both)
		}
	})
}

// FuzzBearer writes an Authorization header in any way. What is read is what stands behind the scheme, and nothing of two.
func FuzzBearer(f *testing.F) {
	for _, value := range []string{"Bearer a", "bearer  a ", "Basic a", "Bearer", "Bearer a, Bearer b", "Bearer\ta", "Bearer \x00"} {
		f.Add(value)
	}
	c := NewCodec([][]byte{key})
	f.Fuzz(func(t *testing.T, value string) {
		got := Bearer(&http.Request{Header: http.Header{"Authorization": {value}}})
		if got != "" && (!strings.EqualFold(value[:min(7, len(value))], "bearer ") || strings.TrimSpace(value[7:]) != got) {
			t.Fatalf("%q is read as %q", value, got)
		}
		if two := Bearer(&http.Request{Header: http.Header{"Authorization": {value, value}}}); two != "" {
			t.Fatalf("%q twice is read as %q", value, two)
		}
		for _, kind := range []Kind{Access, Refresh, Pending, Session} {
			if payload, err := c.Decode(kind, got); err == nil {
				t.Fatalf("%q opens a token as %q", value, payload)
			}
		}
	})
}
