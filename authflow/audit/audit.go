// Package audit records what happened to accounts and sessions, as typed events in the log.
//
// It never holds a secret: no password, code, token or key, and no user name that nobody has, since people
// type passwords into the wrong field.
package audit

import (
	"context"
	"log/slog"
	"net/netip"
)

// Kind names an event.
type Kind string

// The events. Those that speak of a failure or of a change to how somebody signs in are warnings, so that
// they stand out and can be alerted on.
const (
	SignedIn              Kind = "signed_in"
	SignInFailed          Kind = "sign_in_failed"
	SignInThrottled       Kind = "sign_in_throttled"
	SecondFactorFailed    Kind = "second_factor_failed"
	SecondFactorThrottled Kind = "second_factor_throttled"
	SecondFactorConfirmed Kind = "second_factor_confirmed"
	AuthenticatorAdded    Kind = "authenticator_added"
	AuthenticatorReplaced Kind = "authenticator_replaced"
	AuthenticatorRemoved  Kind = "authenticator_removed"
	RecoveryCodeUsed      Kind = "recovery_code_used"
	RecoveryCodesReplaced Kind = "recovery_codes_replaced"
	PasswordChanged       Kind = "password_changed"
	SessionRevoked        Kind = "session_revoked"
	RefreshTokenReused    Kind = "refresh_token_reused"
	Invited               Kind = "invited"
	SignedOut             Kind = "signed_out"
	FormKept              Kind = "form_kept"
	FormSent              Kind = "form_sent"
	FormDropped           Kind = "form_dropped"
)

var routine = map[Kind]bool{
	SignedIn: true, SecondFactorConfirmed: true, SignedOut: true, SessionRevoked: true, Invited: true,
	FormKept: true, FormSent: true, FormDropped: true,
}

// Event is one thing that happened. Empty fields are left out.
type Event struct {
	Kind    Kind
	Subject string     // whose account; empty where there is none of the name, or nobody is signed in
	Address netip.Addr // where the request came from
	Reason  string     // one of our own words, never a client's
}

// Trail writes events. It is safe for concurrent use.
type Trail struct {
	Log *slog.Logger
}

// Record writes one event.
func (t *Trail) Record(ctx context.Context, e Event) {
	level := slog.LevelWarn
	if routine[e.Kind] {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{slog.String("event", string(e.Kind))}
	if e.Subject != "" {
		attrs = append(attrs, slog.String("subject", e.Subject))
	}
	if e.Address.IsValid() {
		attrs = append(attrs, slog.String("address", e.Address.String()))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	t.Log.LogAttrs(ctx, level, "audit", attrs...)
}
