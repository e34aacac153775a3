package session

import (
	"slices"
	"time"
)

// Identity is who makes a request: what the session says of how the person signed in, and what the user
// directory says of them at this moment. It is a value: nobody changes it after it was made.
type Identity struct {
	Subject  string   // stable and unique over all sources of users, e.g. "file:alice"
	Source   string   // empty: the users file; else the name of the upstream whose own person this is
	Username string   // as the directory spells it; one name for one person only within a source
	Email    string   // empty where unknown
	Name     string   // the display name; empty where unknown
	Groups   []string // in the directory's order

	// AMR names the authentication methods that the session rests on (RFC 8176): "pwd", and "otp" once
	// a second factor was given.
	AMR            []string
	SignedInAt     time.Time
	SecondFactorAt time.Time // zero where there was none
	ExpiresAt      time.Time // absolute end of the session
	Key            string    // names its record in the store; for [Keeper.Peek]

	// Password opens the person's own password, for apps that ask for it; nil where the session keeps none. Use
	// [Identity.OwnPassword].
	Password func() (string, bool)
}

// OwnPassword returns the person's own password, where the session keeps it. It is a secret.
func (id *Identity) OwnPassword() (string, bool) {
	if id == nil || id.Password == nil {
		return "", false
	}
	return id.Password()
}

// Handle names the session in lists and logs. It opens nothing.
func (id *Identity) Handle() string { return handleOf(id.Key) }

// UsernameAt gives the name by which an upstream knows the person: the user name for people of the users file and for
// the upstream that is the person's source, else the source, a slash and the user name, so that admin of one app is
// nobody's admin elsewhere. No upstream is named "": that gives the name for logs.
func (id *Identity) UsernameAt(upstream string) string {
	if id.Source == "" || id.Source == upstream {
		return id.Username
	}
	return id.Source + "/" + id.Username
}

// TwoFactor says whether the session rests on two factors (AAL2 in the terms of NIST SP 800-63B).
func (id *Identity) TwoFactor() bool {
	return id != nil && slices.Contains(id.AMR, "otp")
}

// InAnyGroup says whether the person is in one of the groups. No groups asked for: true for anybody.
func (id *Identity) InAnyGroup(groups []string) bool {
	if len(groups) == 0 {
		return true
	}
	return id != nil && slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(id.Groups, g) })
}

// NewIdentity joins a live session with what the directory says of its owner now.
func NewIdentity(s *Session, username, email, name string, groups []string) *Identity {
	id := &Identity{
		Subject: s.Subject, Username: username, Email: email, Name: name, Groups: groups, AMR: s.AMR,
		SignedInAt: time.Unix(s.SignedInAt, 0), ExpiresAt: time.Unix(s.EndsAt, 0), Key: s.Key,
	}
	if s.SecondFactorAt != 0 {
		id.SecondFactorAt = time.Unix(s.SecondFactorAt, 0)
	}
	return id
}
