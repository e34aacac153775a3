package audit

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func TestAnEventIsOneLineWhateverTheNameHolds(t *testing.T) {
	for _, handler := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		trail := Trail{Log: slog.New(handler(&out))}
		trail.Record(t.Context(), Event{Kind: SignInFailed, Subject: "file:a\r\nlevel=INFO event=signed_in", Address: netip.MustParseAddr("192.0.2.1")})
		if line := out.String(); strings.Count(line, "\n") != 1 || strings.Contains(line, "\r") || !strings.Contains(line, "192.0.2.1") {
			t.Errorf("logged %q", line)
		}
	}
}

func TestFailuresAndChangesOfHowSomebodySignsInStandOut(t *testing.T) {
	for kind, want := range map[Kind]string{
		SignedIn: "INFO", SignedOut: "INFO", SignInFailed: "WARN", AuthenticatorAdded: "WARN", RecoveryCodeUsed: "WARN", RefreshTokenReused: "WARN",
	} {
		var out bytes.Buffer
		(&Trail{Log: slog.New(slog.NewTextHandler(&out, nil))}).Record(t.Context(), Event{Kind: kind})
		if line := out.String(); !strings.Contains(line, "level="+want) || strings.Contains(line, "address") || strings.Contains(line, "subject") {
			t.Errorf("%s: %q", kind, line)
		}
	}
}
