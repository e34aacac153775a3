package web

import (
	"errors"
	"net/http"
	"strings"

	"sallyport/authflow"
	"sallyport/authflow/session"
	"sallyport/templates"
)

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request) {
	cur, err := s.current(r)
	if nobody(err) {
		s.startOver(w, r, s.AuthPath+"/account", err)
		return
	}
	var page templates.Account
	if err == nil {
		page, err = s.accountPage(r, cur)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	page.Notice = notices[r.URL.Query().Get("done")]
	s.render(w, http.StatusOK, templates.AccountPage, page)
}

// notices say what has been done. The query names one of them; its text is never the client's.
var notices = map[string]string{
	"disabled": "Two-step sign-in is turned off.",
	"revoked":  "Signed out there.",
	"others":   "Signed out everywhere else.",
	"password": "Your password is changed. Everywhere else you are signed out.",
}

func (s *Server) accountPage(r *http.Request, cur *authflow.Current) (templates.Account, error) {
	st, err := s.Flow.Status(r.Context(), cur)
	if err != nil {
		return templates.Account{}, err
	}
	list, err := s.Flow.Sessions.List(r.Context(), cur.User.Subject)
	if err != nil {
		return templates.Account{}, err
	}
	page := templates.Account{
		Base:     signedBase(s.base(r, "Your account"), cur),
		Username: cur.User.Username, Name: cur.User.Name, Email: cur.User.Email, Groups: cur.User.Groups,
		TOTP: st.TOTP, RecoveryLeft: st.RecoveryLeft, Required: st.Required,
		Fresh:             cur.Session.FreshWithin(s.Flow.Settings.FreshFor, s.Flow.Now()),
		CanChangePassword: cur.User.Source == "" && (!st.TOTP || cur.Session.TwoFactor()),
	}
	for _, ses := range list {
		page.Sessions = append(page.Sessions, sessionRow(ses, cur.Session))
	}
	return page, nil
}

func sessionRow(ses, current *session.Session) templates.SessionRow {
	kind := "browser"
	if ses.Bearer {
		kind = "app"
	}
	return templates.SessionRow{
		Handle: ses.Handle(), Device: describeDevice(ses.UserAgent), IP: ses.Address, Kind: kind,
		CreatedAt: day(ses.SignedInAt), LastActiveAt: day(ses.SeenAt), ExpiresAt: day(ses.EndsAt),
		Current: ses.Key == current.Key,
	}
}

// change runs an action of the account page for who is signed in, and shows the page again with the reason
// where it fails. A second factor that is too old leads to confirming it first.
func (s *Server) change(w http.ResponseWriter, r *http.Request, action func(*authflow.Current, authflow.Client) error, notice string) {
	cur, err := s.current(r)
	if nobody(err) {
		s.startOver(w, r, s.AuthPath+"/account", err)
		return
	}
	if err == nil {
		err = action(cur, s.sender(r))
	}
	switch {
	case err == nil:
		http.Redirect(w, r, s.AuthPath+"/account?done="+notice, http.StatusSeeOther)
	case errors.Is(err, errAnswered):
	case errors.Is(err, authflow.ErrReauthenticate):
		http.Redirect(w, r, withReturn(s.AuthPath+"/2fa", s.AuthPath+"/account"), http.StatusSeeOther)
	case cur == nil:
		s.fail(w, r, err)
	default:
		s.accountAgain(w, r, cur, err)
	}
}

// errAnswered says that an action has written its own answer.
var errAnswered = errors.New("web: answered")

func (s *Server) accountAgain(w http.ResponseWriter, r *http.Request, cur *authflow.Current, err error) {
	a := s.explain(w, r, err)
	page, errPage := s.accountPage(r, cur)
	if errPage != nil {
		s.fail(w, r, errPage)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/account/password") {
		if errors.Is(err, authflow.ErrInvalidCredentials) {
			a.words = "The current password is not right."
		}
		page.PasswordError = a.words
	} else {
		page.Error = a.words
	}
	s.render(w, a.status, templates.AccountPage, page)
}

func (s *Server) postNewCodes(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(cur *authflow.Current, client authflow.Client) error {
		codes, err := s.Flow.NewRecoveryCodes(r.Context(), cur, nil, client)
		if err != nil {
			return err
		}
		s.handOutCodes(w, r, cur, authflow.ShownCodes{Codes: codes, Return: s.AuthPath + "/account"})
		return errAnswered
	}, "")
}

func (s *Server) postDisable(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(cur *authflow.Current, client authflow.Client) error {
		return s.Flow.Disable(r.Context(), cur, nil, client)
	}, "disabled")
}

func (s *Server) postRevoke(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(cur *authflow.Current, client authflow.Client) error {
		return s.Flow.Revoke(r.Context(), cur, r.PostForm.Get("handle"), client)
	}, "revoked")
}

func (s *Server) postRevokeOthers(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(cur *authflow.Current, client authflow.Client) error {
		return s.Flow.RevokeOthers(r.Context(), cur, client)
	}, "others")
}

func (s *Server) postPassword(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(cur *authflow.Current, client authflow.Client) error {
		return s.Flow.ChangePassword(r.Context(), cur, r.PostForm.Get("currentPassword"), r.PostForm.Get("newPassword"), client)
	}, "password")
}

// toAccountAfterPost is toAccount for a form.
func (s *Server) toAccountAfterPost(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, s.AuthPath+"/account", http.StatusSeeOther)
}

// describeDevice makes a few words of a User-Agent, for people who look for the session that is not theirs.
// The first name that it holds decides: browsers name those they descend from after themselves.
func describeDevice(userAgent string) string {
	first := func(pairs [][2]string) string {
		for _, p := range pairs {
			if strings.Contains(userAgent, p[0]) {
				return p[1]
			}
		}
		return ""
	}
	browser := first([][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"FxiOS", "Firefox"}, {"CriOS", "Chrome"},
		{"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}, {"Go-http-client", "A Go program"}, {"python", "A Python program"},
	})
	system := first([][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"Mac OS X", "Mac"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	switch {
	case browser == "":
		return system
	case system == "":
		return browser
	}
	return browser + " on " + system
}
