package templates

import "html/template"

// The names under which Parse defines the pages. Each takes a pointer to, or a
// value of, the struct of the same name below:
//
//	t.ExecuteTemplate(w, templates.LoginPage, &templates.Login{…})
const (
	LoginPage         = "login.html"
	ChallengePage     = "challenge.html"
	EnrollPage        = "enroll.html"
	RecoveryCodesPage = "recovery_codes.html"
	AccountPage       = "account.html"
	LogoutPage        = "logout.html"
	SignedInPage      = "signed_in.html"
	KeptPage          = "kept.html"
	AppPasswordPage   = "app_password.html"
	ErrorPage         = "error.html"
)

// Base is what every page shows. All of its strings are plain text or paths;
// html/template escapes them where they land.
type Base struct {
	// Lang is the BCP 47 tag of the page's language; empty means "en".
	Lang string
	// Title is the name of this page alone ("Sign in"). The layout appends
	// Product to it. Empty means the page's own default title.
	Title string
	// Product is the name of the service, as in authenticator apps.
	Product string
	// AuthPath is the prefix of every form action and link, with no slash at
	// its end: "/auth".
	AuthPath string
	// CSS, JS and Icon are the URLs of the assets. An empty one is left out
	// of the page.
	CSS, JS, Icon string
	// Notice is a calm message ("Your password has been changed."), announced
	// politely to screen readers.
	Notice string
	// Error says what went wrong and what to do, in words, and is announced
	// at once. It must not hold an address or a secret.
	Error string
	// Signed is who is signed in, for the header; nil before sign-in is done.
	Signed *Signed
}

// Signed is the person whose session the page belongs to.
type Signed struct {
	// Username is the account's name.
	Username string
	// Name is the display name; empty means that Username is shown.
	Name string
}

// Login asks for the first factor. Its form posts username, password, rd and,
// where it is offered, remember=1 to AuthPath/login.
type Login struct {
	Base
	// Username fills the field in again after a failure.
	Username string
	// Hint says which password to use, in the operator's words; empty leaves it out.
	Hint string
	// ReturnTo is sent back as rd; empty leaves the field out.
	ReturnTo string
	// OfferRemember shows the "keep me signed in" choice, RememberFor says for
	// how long in words ("30 days"), Remember ticks it.
	OfferRemember bool
	RememberFor   string
	Remember      bool
}

// Challenge asks for the second factor. Its two forms (authenticator code,
// recovery code) post code and rd to AuthPath/2fa.
type Challenge struct {
	Base
	// Username says whose code is asked for.
	Username string
	// ReturnTo is sent back as rd; empty leaves the field out.
	ReturnTo string
	// StepUp says that a person who is signed in confirms once more.
	StepUp bool
	// Recovery opens the page with the recovery code form unfolded: set it
	// when what was sent last looked like a recovery code.
	Recovery bool
}

// Enroll shows a new authenticator secret and asks for the first code made
// from it. Its form posts code, rd and, where needed, invite to AuthPath/enroll.
type Enroll struct {
	Base
	// QRCode is a data:image/png;base64 URI; empty leaves the picture out.
	QRCode template.URL
	// QRSize is the width and the height to show it in, in CSS pixels.
	QRSize int
	// Secret is the base32 secret in groups of four, SecretPlain the same
	// without spaces, for the copy button.
	Secret, SecretPlain string
	// OtpauthURL is the otpauth:// link that opens an authenticator app on the
	// same phone; empty leaves it out.
	OtpauthURL template.URL
	// Account and Issuer are what the authenticator app will show.
	Account, Issuer string
	// Forced says that access needs a second factor and the person has none.
	// Replacing says that an authenticator is set up already and stays in
	// force until the new one is confirmed.
	Forced, Replacing bool
	// NeedInvite asks for an enrolment code from an administrator; Invite
	// fills the field in again.
	NeedInvite bool
	Invite     string
	// ReturnTo is sent back as rd; empty leaves the field out.
	ReturnTo string
}

// RecoveryCodes shows a new set of recovery codes, the only time they are shown. Its
// form posts nothing to AuthPath/recovery-codes: the codes are saved, go on.
type RecoveryCodes struct {
	Base
	// Codes are shown, copied, printed and downloaded in this order.
	Codes []string
	// Username says which account they open.
	Username string
	// FileName is the name of the downloaded file, without a path; empty means
	// "recovery-codes.txt".
	FileName string
}

// Account shows a person their account. Its forms post to AuthPath/account/…:
// recovery-codes, disable-2fa, revoke (handle), revoke-others and password
// (currentPassword, newPassword).
type Account struct {
	Base
	Username, Name, Email string
	Groups                []string
	// TOTP says that an authenticator is set up, RecoveryLeft how many
	// recovery codes are unused.
	TOTP         bool
	RecoveryLeft int
	// Required says that policy demands a second factor of this person, so
	// that it cannot be turned off.
	Required bool
	// Fresh says that a second factor was given recently enough to change a
	// second factor. Where it is false, a link to confirm stands in for the
	// buttons that would be refused.
	Fresh bool
	// CanChangePassword shows the password form. PasswordError is what was
	// wrong with the last attempt, shown beside the form.
	CanChangePassword bool
	PasswordError     string
	// Sessions are listed in this order.
	Sessions []SessionRow
}

// SessionRow is one session in the account's list.
type SessionRow struct {
	// Handle names the session in the revoke form. It is not its token.
	Handle string
	// Device is a short description ("Firefox on Linux"); empty means unknown.
	Device string
	// IP is the address of the last use; empty leaves it out.
	IP string
	// The times of the session's start, last use and latest end.
	CreatedAt, LastActiveAt, ExpiresAt Moment
	// Current marks the session that this page was asked for with.
	Current bool
	// Kind is "browser" or "app" (a bearer client).
	Kind string
}

// Moment is a time as the page shows it.
type Moment struct {
	// Text is for people: "23 Nov 2025, 14:40 UTC".
	Text string
	// ISO is RFC 3339, for programs: the script turns it into the reader's
	// own time zone. Empty means that only Text is shown.
	ISO string
}

// Logout asks whether to sign out. Its form posts to AuthPath/logout.
type Logout struct {
	Base
	Username string
}

// SignedIn ends a sign-in that was laid over a page of an app. Its script tells that page, and closes the
// window where it may.
type SignedIn struct {
	Base
}

// Kept offers forms that were sent when the session had ended. Each is sent by a form that posts sallyport_kept to the
// address of its Action, and dropped by one that posts token to AuthPath/kept.
type Kept struct {
	Base
	// Posts are listed in this order. None: the page says that nothing is waiting.
	Posts []KeptPost
	// Start is where to go where nothing is waiting: a path, or an absolute http or https URL; empty means "/".
	Start string
}

// KeptPost is one form that waits, without what was typed into it.
type KeptPost struct {
	// Token names it once.
	Token string
	// Action is the attribute action="…" of the form that sends it, escaped by whoever fills it in.
	Action template.HTMLAttr
	// Address is where it goes, for people: host and path.
	Address string
	// Size is in words ("2 KiB").
	Size string
	// KeptAt is when it was sent, EndsAt until when it can be sent again.
	KeptAt, EndsAt Moment
}

// AppPassword asks a person who is signed in for their password at an app that refuses the one they signed in with.
// Its form posts app, password and rd to AuthPath/app-password.
type AppPassword struct {
	Base
	// App is the name of the app, Username the person's there.
	App, Username string
	// Hint says which password to use, in the operator's words; empty leaves it out.
	Hint string
	// ReturnTo is sent back as rd; empty leaves the field out.
	ReturnTo string
}

// Error says that a request could not be answered, and what to do about it.
type Error struct {
	Base
	// Status is the HTTP status, shown small.
	Status int
	// Heading is the short sentence in large type, Message the explanation.
	Heading, Message string
	// RequestID is what to quote to an administrator; empty leaves it out.
	RequestID string
	// Actions are the ways on. The first is the main one.
	Actions []Action
}

// Action is a link that leads on from an error page.
type Action struct {
	// Text is what the link says, Href where it leads: a path, or an absolute
	// http or https URL. html/template defuses every other scheme.
	Text, Href string
}
