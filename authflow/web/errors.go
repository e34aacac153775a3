package web

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/password"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/throttle"
	"sallyport/templates"
)

var (
	errNotFound    = errors.New("web: no such page")
	errMethod      = errors.New("web: method not allowed")
	errCrossOrigin = errors.New("web: request from another origin")
	errMediaType   = errors.New("web: media type not supported")
	errTooLarge    = errors.New("web: body too large")
	errTimeout     = errors.New("web: upstream too slow")
	errGateway     = errors.New("web: upstream unreachable")
	errForbidden   = errors.New("web: not allowed")
	errAppPassword = errors.New("web: the app's password is needed")
	errBadTarget   = errors.New("web: request target refused")
)

// requestError is a call that cannot be read, in words of our own that help who wrote it.
type requestError string

func (e requestError) Error() string { return string(e) }

// answer is what a client is told of an error: the words are for a person, the code is for a program.
type answer struct {
	err    error
	status int
	code   string
	head   string // the heading of the page
	words  string
}

// answers is the one table from errors to what clients see. The first row that an error matches decides;
// an error that matches none is a fault of ours.
var answers = []answer{
	{authflow.ErrInvalidCredentials, 401, "INVALID_CREDENTIALS", "Sign-in failed", "The user name or the password is not right."},
	{authflow.ErrWrongCode, 401, "INVALID_TOTP_CODE", "Wrong code", "That code is not right, or was used before. Wait for the next one and try again."},
	{authflow.ErrNoChallenge, 401, "INVALID_TEMP_TOKEN", "Please sign in again", "This sign-in took too long or was used up. Please sign in again."},
	{authflow.ErrUnauthenticated, 401, "UNAUTHENTICATED", "Please sign in", "You are not signed in."},
	{authflow.ErrSessionEnded, 401, "SESSION_REVOKED", "Please sign in again", "Your session has ended. Please sign in again."},
	{session.ErrNone, 401, "SESSION_REVOKED", "Please sign in again", "Your session has ended. Please sign in again."},
	{authflow.ErrReauthenticate, 403, "REAUTH_REQUIRED", "Please confirm with a code", "Your last code was a while ago. Give a code of your authenticator app to do this."},
	{authflow.ErrTwoFactorRequired, 403, "2FA_REQUIRED", "Two-step sign-in is required", "Your account needs two-step sign-in, so it cannot be turned off."},
	{authflow.ErrInvite, 403, "INVITE_REQUIRED", "An invitation is needed", "To set up two-step sign-in you need an invitation code from your administrator. The one given is not valid."},
	{authflow.ErrAlreadyEnrolled, 403, "ALREADY_ENROLLED", "Already set up", "An authenticator app was set up for this account meanwhile. Please sign in again with it."},
	{authflow.ErrNotEnrolled, 400, "INVALID_REQUEST", "Not set up", "Two-step sign-in is not set up for this account."},
	{authflow.ErrNoEnrolment, 400, "INVALID_REQUEST", "Please start again", "No set-up is under way. Ask for a new secret first."},
	{authflow.ErrNoSession, 404, "NOT_FOUND", "Not found", "There is no such session."},
	{authflow.ErrBadRequest, 400, "INVALID_REQUEST", "That did not work", "Something in the request is missing or malformed."},
	{password.ErrTooLong, 400, "INVALID_REQUEST", "That did not work", "The password is too long."},
	{password.ErrBusy, 503, "BUSY", "Too many sign-ins at once", "Many people are signing in right now. Please try again in a moment."},
	{throttle.ErrTooMany, 429, "RATE_LIMITED", "Too many attempts", "Too many attempts. Please wait a while and try again."},
	{fs.ErrPermission, 403, "FORBIDDEN", "Not possible here", readOnly}, // the users file belongs to somebody else
	{syscall.EROFS, 403, "FORBIDDEN", "Not possible here", readOnly},    // or is mounted read-only
	{seal.ErrUnsealable, 503, "STORE_UNAVAILABLE", "Sign-in is out of order", "Your second factor cannot be read at the moment. Please tell your administrator."},
	{store.ErrUnavailable, 503, "STORE_UNAVAILABLE", "Sign-in is out of order", "The gateway cannot check sign-ins at the moment. Please try again shortly."},
	{authflow.ErrSourceAway, 503, "SOURCE_UNAVAILABLE", "Your password cannot be checked", "The app that knows your password does not answer at the moment. Please try again shortly."},
	{authflow.ErrPasswordElsewhere, 403, "FORBIDDEN", "Not possible here", "Your password is kept by the app itself. Change it there."},
	{errAppPassword, 401, "APP_PASSWORD_NEEDED", "Your password is needed", "The app does not take the password that you signed in with."},
	{errNotFound, 404, "NOT_FOUND", "Page not found", "There is nothing at this address."},
	{errMethod, 405, "METHOD_NOT_ALLOWED", "Not possible", "This address does not answer requests of this kind."},
	{errCrossOrigin, 403, "CROSS_ORIGIN", "Request refused", "The request came from another site. Go back and try again from here."},
	{errMediaType, 415, "INVALID_REQUEST", "Not readable", "The body must be application/json."},
	{errTooLarge, 413, "INVALID_REQUEST", "Too large", "The body is too large."},
	{errForbidden, 403, "FORBIDDEN", "No access", "Your account is not allowed to open this page."},
	{errBadTarget, 400, "INVALID_REQUEST", "Address not understood", "The address of this page is not one that the gateway can pass on safely."},
	{errGateway, 502, "BAD_GATEWAY", "The app cannot be reached", "The gateway works, but the app behind it does not answer properly. Please try again in a moment."},
	{errTimeout, 504, "GATEWAY_TIMEOUT", "The app takes too long", "The app behind the gateway did not answer in time. Please try again in a moment."},
}

const readOnly = "Passwords cannot be changed here. Please ask your administrator."

var internal = answer{nil, 500, "INTERNAL", "Something went wrong", "Something went wrong in the gateway. Please try again."}

// answerFor returns what to say of err.
func answerFor(err error) answer {
	var refused requestError
	var weak *authflow.WeakPasswordError
	switch {
	case errors.As(err, &refused):
		return answer{err, 400, "INVALID_REQUEST", "That did not work", string(refused)}
	case errors.As(err, &weak):
		return answer{err, 400, "INVALID_REQUEST", "Choose another password", sentence(weak.Reason)}
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a
		}
	}
	return internal
}

// sentence makes one of a reason that begins in lower case.
func sentence(reason error) string {
	words := reason.Error()
	return strings.ToUpper(words[:1]) + words[1:] + "."
}

// retryAfter sets the header (RFC 9110 section 10.2.3) where the error says when to come back, and returns
// it in words.
func retryAfter(w http.ResponseWriter, err error) string {
	var limited *throttle.LimitedError
	switch {
	case errors.As(err, &limited):
		seconds := int(math.Ceil(limited.RetryAfter.Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return inWords(limited.RetryAfter)
	case errors.Is(err, password.ErrBusy):
		w.Header().Set("Retry-After", "5")
	}
	return ""
}

func inWords(d time.Duration) string {
	if d <= time.Minute {
		return fmt.Sprintf("%d seconds", int(math.Ceil(d.Seconds())))
	}
	return fmt.Sprintf("%d minutes", int(math.Ceil(d.Minutes())))
}

// explain returns the answer to err with the time to wait in its words, sets what headers go with it, and
// logs a fault.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, err error) answer {
	a := answerFor(err)
	if wait := retryAfter(w, err); wait != "" {
		a.words = "Too many attempts. Please try again in " + wait + "."
	}
	level := slog.LevelError
	if r.Context().Err() != nil {
		level = slog.LevelDebug // the client has gone, and anybody can go
	}
	if a.status >= 500 {
		s.Log.Log(r.Context(), level, "request failed", "path", r.URL.Path, "status", a.status, "error", err)
	}
	return a
}

// fail answers an error as a page where a browser asked for one or sent a form, and as JSON otherwise.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	a := s.explain(w, r, err)
	if s.PageLoad(r) || isForm(r) {
		s.allowFrame(w, cmp.Or(r.URL.Query().Get("rd"), r.PostForm.Get("rd")))
		s.errorPage(w, r, a, "")
		return
	}
	writeJSON(w, a.status, failure{Error: a.words, Code: a.code})
}

// failure is the body of every JSON error.
type failure struct {
	Error     string `json:"error"`
	Code      string `json:"code"`
	LoginURL  string `json:"loginUrl,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, a answer, requestID string) {
	page := templates.Error{
		Base: s.base(r, a.head), Status: a.status, Heading: a.head, Message: a.words, RequestID: requestID,
	}
	switch a.status {
	case 401:
		page.Actions = []templates.Action{{Text: "Sign in", Href: s.AuthPath + "/login"}}
	case 403:
		page.Actions = []templates.Action{{Text: "Your account", Href: s.AuthPath + "/account"}, {Text: "Sign out", Href: s.AuthPath + "/logout"}}
	case 404, 405, 400:
		page.Actions = []templates.Action{{Text: "Back to the start", Href: "/"}}
	case 502, 503, 504:
		if r.Method == http.MethodGet {
			page.Actions = []templates.Action{{Text: "Try again", Href: s.here(r)}}
		}
	}
	s.render(w, a.status, templates.ErrorPage, page)
}
