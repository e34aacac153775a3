package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// browsers are what real ones of 2026 send, and what no browser does.
var browsers = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
	"curl/8.14.1", "", "Ünïcode/1.0 \x80\x81\xff and \x00 control", strings.Repeat("x", maxUserAgent),
}

// fullSession has every field set, and each to something that no other field has.
func fullSession() Session {
	return Session{
		Subject: "file:alice.liddell", Stamp: "q1Wm7_cPZ0aB-9xY", AMR: []string{"pwd", "otp"},
		SignedInAt: 1_800_000_000, SecondFactorAt: 1_800_000_017, SeenAt: 1_800_001_234, EndsAt: 1_800_043_200, IdleFor: 3600,
		Remembered: true, Bearer: true, Generation: 5, Address: "2001:db8:85a3:1234:5678:8a2e:370:7334",
		UserAgent: browsers[1], Password: []byte("sealed \x00\xff bytes"),
	}
}

// variants are sessions of all kinds.
func variants() map[string]Session {
	all := map[string]Session{"full": fullSession(), "least": {Subject: "s"}}
	vary := func(name string, change func(*Session)) {
		s := fullSession()
		change(&s)
		all[name] = s
	}
	vary("one factor", func(s *Session) { s.SecondFactorAt, s.AMR = 0, []string{"pwd"} })
	vary("other methods", func(s *Session) { s.AMR = []string{"pwd", "hwk", ""} })
	vary("methods that the factors belie", func(s *Session) { s.AMR = []string{"pwd"} })
	vary("no methods", func(s *Session) { s.AMR = nil })
	vary("a cookie's", func(s *Session) { s.Bearer, s.Generation = false, 0 })
	vary("no password", func(s *Session) { s.Password = nil })
	vary("second factor before the sign-in", func(s *Session) { s.SecondFactorAt = s.SignedInAt - 60 })
	vary("times far off", func(s *Session) {
		s.SeenAt, s.SignedInAt, s.EndsAt, s.IdleFor, s.Generation = -1<<63, -1<<63, 1<<63-1, 1<<63-1, -5
	})
	for _, address := range []string{"", "192.0.2.7", "::ffff:192.0.2.7", "fe80::1%eth0", "invalid IP", "192.0.2.007", "2001:DB8::1"} {
		vary("address "+address, func(s *Session) { s.Address = address })
	}
	for _, stamp := range []string{"", "wiki", "wi\nki", "not base64!", "A", "AB"} {
		vary("stamp "+stamp, func(s *Session) { s.Stamp = stamp })
	}
	for _, browser := range browsers {
		vary("browser "+browser, func(s *Session) { s.UserAgent = browser })
	}
	return all
}

func TestEveryFieldOfASessionComesBackFromItsRecord(t *testing.T) {
	for name, want := range variants() {
		got, err := decodeRecord(encodeRecord(&want))
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
	full := reflect.ValueOf(fullSession())
	for i := range full.NumField() {
		if name := full.Type().Field(i).Name; name != "Key" && full.Field(i).IsZero() {
			t.Errorf("the full session lacks %s, so nothing says that its record has it", name)
		}
	}
}

func TestARecordBeginsWithTheTimeOfTheLastUse(t *testing.T) {
	s := fullSession()
	raw := encodeRecord(&s)
	copy(raw, encodeSeenAt(s.SeenAt+77))
	got, err := decodeRecord(raw)
	if s.SeenAt += 77; err != nil || !reflect.DeepEqual(*got, s) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestADamagedRecordIsAnErrorAndNoSession(t *testing.T) {
	for name, s := range variants() {
		raw := encodeRecord(&s)
		for n := range raw {
			if got, err := decodeRecord(raw[:n]); !errors.Is(err, errRecord) || got != nil {
				t.Errorf("%s, the first %d bytes of %d: %+v, %v", name, n, len(raw), got, err)
			}
		}
		if got, err := decodeRecord(append(bytes.Clone(raw), 0)); !errors.Is(err, errRecord) || got != nil {
			t.Errorf("%s, with a byte too many: %+v, %v", name, got, err)
		}
	}
	s := Session{Subject: "file:alice", AMR: []string{"pwd"}, EndsAt: 1_800_000_000}
	at := func(i int, b ...byte) []byte {
		raw := encodeRecord(&s)
		return append(raw[:i:i], append(b, raw[min(len(raw), i+len(b)):]...)...)
	}
	nobody := s
	nobody.Subject = ""
	endless := binary.AppendUvarint(nil, 1<<63)
	for name, raw := range map[string][]byte{
		"none":                       nil,
		"zeros":                      make([]byte, 100),
		"version 0":                  at(8, 0),
		"the next version":           at(8, recordVersion+1),
		"a flag too many":            at(9, flagsEnd),
		"JSON of before":             []byte(`{"sub":"file:alice","stamp":"x","amr":["pwd"],"iat":1,"seen":1,"end":9999999999,"idle":3600}`),
		"nobody's":                   encodeRecord(&nobody),
		"an endless subject":         append(encodeRecord(&s)[:17:17], endless...),
		"a number of 11 bytes":       at(10, bytes.Repeat([]byte{0xff}, 11)...),
		"an endless list of methods": append(append(at(9, flagAMR), endless...), 1),
	} {
		if got, err := decodeRecord(raw); !errors.Is(err, errRecord) || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestAUserAgentIsCutAtACharactersEnd(t *testing.T) {
	k, _ := keeper(t)
	token, started := begin(t, k, func(s *Session) { s.UserAgent = strings.Repeat("x", maxUserAgent-1) + strings.Repeat("é", 30_000) })
	got, err := k.Lookup(t.Context(), token.Opener())
	if err != nil || got.UserAgent != started.UserAgent || len(got.UserAgent) != maxUserAgent-1 || !utf8.ValidString(got.UserAgent) {
		t.Errorf("%d bytes of 60,255 are stored, %v", len(got.UserAgent), err)
	}
}

func TestNoUserAgentTakesMuchMoreRoomThanItselfNorUnpacksToMoreThanMay(t *testing.T) {
	for _, text := range append(browsers, strings.Repeat(fragments[0], 5), strings.Repeat("é", 128)) {
		packed := packUserAgent(text)
		if got, ok := unpackUserAgent(packed); ok != (len(text) <= maxUserAgent) || ok && got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		if len(packed) > 2*len(text) {
			t.Errorf("%q takes %d bytes", text, len(packed))
		}
	}
	for _, packed := range []string{"\x80", "\x80a", "x\x80\x7f", string([]byte{escape + 1 + byte(len(fragments))}), strings.Repeat("\x81", 1<<20)} {
		if got, ok := unpackUserAgent([]byte(packed)); ok {
			t.Errorf("%.20q is %q", packed, got)
		}
	}
	if len(fragments) > 255-escape {
		t.Errorf("%d fragments do not fit a byte", len(fragments))
	}
}

func TestAnIndexComesBackAndADamagedOneIsAnError(t *testing.T) {
	k, _ := keeper(t)
	var want []indexEntry
	for i := range MaxPerUser {
		want = append(want, indexEntry{Key: NewToken().Key(), EndsAt: 1_900_000_000 + int64(i), Ended: i%3 == 0})
	}
	raw, _ := k.encodeIndex(want)
	if got, err := decodeIndex(raw); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	one, _ := k.encodeIndex(want[:1])
	for n := range one {
		if got, err := decodeIndex(one[:n]); !errors.Is(err, errRecord) || got != nil {
			t.Errorf("the first %d bytes of %d: %+v, %v", n, len(one), got, err)
		}
	}
	tooMany, _ := k.encodeIndex(append(want, want[0]))
	for name, damaged := range map[string][]byte{
		"a byte too many": append(bytes.Clone(one), 0), "another version": append([]byte{indexVersion + 1}, one[1:]...),
		"JSON of before": []byte(`[{"k":"x","e":1}]`), "an entry too many": tooMany,
	} {
		if got, err := decodeIndex(damaged); !errors.Is(err, errRecord) || got != nil {
			t.Errorf("%s: %d entries, %v", name, len(got), err)
		}
	}
}

func FuzzAnyBytesAreASessionOrAnError(f *testing.F) {
	for _, s := range variants() {
		f.Add(encodeRecord(&s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := decodeRecord(raw)
		if err != nil {
			if s != nil || !errors.Is(err, errRecord) {
				t.Fatalf("%+v, %v", s, err)
			}
			return
		}
		if s.Subject == "" || len(s.UserAgent) > maxUserAgent || len(s.AMR) > maxAMR {
			t.Fatalf("%x is %+v", raw, s)
		}
		again, err := decodeRecord(encodeRecord(s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%x is %+v, and then %+v, %v", raw, s, again, err)
		}
	})
}

func FuzzAnyBytesAreAnIndexOrAnError(f *testing.F) {
	k := &Keeper{Now: (&clock{}).Now}
	for n := range 3 {
		var entries []indexEntry
		for i := range n + 1 {
			entries = append(entries, indexEntry{Key: NewToken().Key(), EndsAt: int64(i) << 31, Ended: i == 1})
		}
		raw, _ := k.encodeIndex(entries)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := decodeIndex(raw)
		if err != nil {
			if entries != nil || !errors.Is(err, errRecord) {
				t.Fatalf("%+v, %v", entries, err)
			}
			return
		}
		next, _ := k.encodeIndex(entries)
		again, err := decodeIndex(next)
		if err != nil || !reflect.DeepEqual(again, entries) {
			t.Fatalf("%x is %+v, and then %+v, %v", raw, entries, again, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	s := fullSession()
	s.Password, s.Bearer, s.Generation, s.Remembered = nil, false, 0, false
	raw := encodeRecord(&s)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodeRecord(&s)
		}
		b.ReportMetric(float64(len(raw)), "bytes")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeRecord(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
