package authflow

import "errors"

// What a caller decides by. The faults of the store, the throttle and the password checker come through as
// they are: store.ErrUnavailable, throttle.ErrTooMany, password.ErrBusy, password.ErrTooLong.
var (
	// ErrBadRequest says that a call cannot be read as what it should be: a missing or malformed field.
	ErrBadRequest = errors.New("authflow: bad request")
	// ErrInvalidCredentials says that name and password are not those of a user who may sign in. It is the
	// same for an unknown name, a disabled user and a wrong password.
	ErrInvalidCredentials = errors.New("authflow: invalid credentials")
	// ErrNoChallenge says that a temp token opens nothing: unknown, spent, expired, of the other kind, or
	// of a user who was disabled or whose password changed meanwhile.
	ErrNoChallenge = errors.New("authflow: no such challenge")
	// ErrWrongCode says that a code is not right, or was used before.
	ErrWrongCode = errors.New("authflow: wrong code")
	// ErrUnauthenticated says that nobody is signed in.
	ErrUnauthenticated = errors.New("authflow: not signed in")
	// ErrSessionEnded says that a genuine token opens nothing any more.
	ErrSessionEnded = errors.New("authflow: session has ended")
	// ErrReauthenticate says that the last second factor is too old for what was asked.
	ErrReauthenticate = errors.New("authflow: a fresh second factor is needed")
	// ErrTwoFactorRequired says that policy demands a second factor of this person.
	ErrTwoFactorRequired = errors.New("authflow: two factors are required")
	// ErrNotEnrolled says that the person has no authenticator.
	ErrNotEnrolled = errors.New("authflow: no authenticator is enrolled")
	// ErrAlreadyEnrolled says that an authenticator was enrolled while another enrolment was under way.
	ErrAlreadyEnrolled = errors.New("authflow: an authenticator is enrolled already")
	// ErrNoEnrolment says that a code came to confirm a secret that was not handed out.
	ErrNoEnrolment = errors.New("authflow: no enrolment is under way")
	// ErrPasswordElsewhere says that a password is not the gateway's to change.
	ErrPasswordElsewhere = errors.New("authflow: the password is kept elsewhere")
	// ErrInvite says that a first enrolment needs an invitation, and the one given is not good.
	ErrInvite = errors.New("authflow: not a valid invitation")
)

// WeakPasswordError says in words why a new password is refused.
type WeakPasswordError struct{ Reason error }

func (e *WeakPasswordError) Error() string { return "authflow: new password: " + e.Reason.Error() }

func (e *WeakPasswordError) Unwrap() error { return e.Reason }
