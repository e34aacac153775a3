package web

import (
	"errors"
	"html/template"
	"net/http"

	"sallyport/authflow"
	"sallyport/authflow/store"
	"sallyport/templates"
)

// pageEnroller says who sets an authenticator up in this browser: a sign-in that waits for it, or who is
// signed in.
func (s *Server) pageEnroller(r *http.Request) (authflow.Enroller, error) {
	token, err := s.pending(r)
	if err == nil {
		var p *authflow.Pending
		if p, err = s.Flow.Pending(r.Context(), token); err == nil && p.Step == authflow.StepEnrol {
			return authflow.Enroller{Challenge: &token}, nil
		}
	}
	if err != nil && !errors.Is(err, authflow.ErrNoChallenge) {
		return authflow.Enroller{}, err
	}
	cur, err := s.current(r)
	if err != nil {
		return authflow.Enroller{}, err
	}
	return authflow.Enroller{Current: cur}, nil
}

// showEnroll shows the secret to scan. Recovery codes that nobody has seen yet come first.
func (s *Server) showEnroll(w http.ResponseWriter, r *http.Request) {
	returnTo := s.returnTo(r, r.URL.Query().Get("rd"))
	e, err := s.pageEnroller(r)
	if nobody(err) {
		s.startOver(w, r, returnTo, err)
		return
	}
	if err == nil && e.Current != nil {
		if _, errCodes := s.Flow.Codes(r.Context(), e.Current.Session); errCodes == nil {
			http.Redirect(w, r, s.AuthPath+"/recovery-codes", http.StatusFound)
			return
		}
	}
	var page templates.Enroll
	if err == nil {
		page, err = s.enrollPage(r, e, returnTo)
	}
	switch {
	case errors.Is(err, authflow.ErrReauthenticate):
		s.proveFirst(w, r, returnTo, http.StatusFound)
	case err != nil:
		s.fail(w, r, err)
	default:
		s.renderStep(w, http.StatusOK, templates.EnrollPage, page, page.ReturnTo)
	}
}

// proveFirst asks for a fresh second factor before an authenticator is replaced, and leads back from there.
func (s *Server) proveFirst(w http.ResponseWriter, r *http.Request, returnTo string, status int) {
	http.Redirect(w, r, withReturn(s.AuthPath+"/2fa", withReturn(s.AuthPath+"/enroll", returnTo)), status)
}

func (s *Server) enrollPage(r *http.Request, e authflow.Enroller, returnTo string) (templates.Enroll, error) {
	begun, err := s.Flow.BeginEnrolment(r.Context(), e, nil, returnTo, false, s.sender(r))
	if err != nil {
		return templates.Enroll{}, err
	}
	qr, width, err := qrCode(begun.URL)
	if err != nil {
		return templates.Enroll{}, err
	}
	base := s.base(r, "")
	if e.Current != nil {
		base = signedBase(base, e.Current)
	}
	return templates.Enroll{
		Base: base, QRCode: template.URL(qr), QRSize: width, Secret: inFours(begun.Secret), SecretPlain: begun.Secret,
		OtpauthURL: template.URL(begun.URL), Account: begun.Account, Issuer: s.Flow.Settings.Issuer,
		Forced: begun.Forced, Replacing: begun.Replacing, NeedInvite: begun.Invite, ReturnTo: begun.Return,
	}, nil
}

func (s *Server) postEnroll(w http.ResponseWriter, r *http.Request) {
	e, err := s.pageEnroller(r)
	if nobody(err) {
		s.startOver(w, r, s.returnTo(r, r.PostForm.Get("rd")), err)
		return
	}
	var client authflow.Client
	if err == nil {
		client, err = s.client(r)
		client.Bearer = false
	}
	var out *authflow.Outcome
	if err == nil {
		out, err = s.Flow.ConfirmEnrolment(r.Context(), e, authflow.Confirmation{
			Code: r.PostForm.Get("code"), Invite: r.PostForm.Get("invite"),
		}, client)
	}
	if err != nil {
		s.enrollAgain(w, r, e, err)
		return
	}
	if err := s.setSession(w, r, out); err != nil {
		s.fail(w, r, err)
		return
	}
	s.handOutCodes(w, r, &authflow.Current{Session: out.Session, User: out.User}, authflow.ShownCodes{Codes: out.RecoveryCodes, Return: out.Return})
}

// enrollAgain shows the enrolment once more after a failure, where it can go on.
func (s *Server) enrollAgain(w http.ResponseWriter, r *http.Request, e authflow.Enroller, err error) {
	if errors.Is(err, authflow.ErrNoChallenge) || errors.Is(err, authflow.ErrAlreadyEnrolled) {
		s.startOver(w, r, s.returnTo(r, r.PostForm.Get("rd")), err)
		return
	}
	if errors.Is(err, authflow.ErrReauthenticate) {
		s.proveFirst(w, r, s.returnTo(r, r.PostForm.Get("rd")), http.StatusSeeOther)
		return
	}
	a := s.explain(w, r, err)
	if a.status >= 500 || e == (authflow.Enroller{}) {
		s.errorPage(w, r, a, "")
		return
	}
	page, again := s.enrollPage(r, e, "")
	if again != nil {
		s.errorPage(w, r, a, "")
		return
	}
	if errors.Is(err, authflow.ErrWrongCode) {
		a.status, a.words = http.StatusBadRequest, "That code is not right. Check that the app shows this account and that the phone's clock is set automatically, then enter the code it shows now."
	}
	page.Error, page.Invite = a.words, r.PostForm.Get("invite")
	s.renderStep(w, a.status, templates.EnrollPage, page, page.ReturnTo)
}

// handOutCodes keeps new recovery codes for the page that shows them and leads there.
func (s *Server) handOutCodes(w http.ResponseWriter, r *http.Request, cur *authflow.Current, shown authflow.ShownCodes) {
	if err := s.Flow.KeepCodes(r.Context(), cur.Session, shown); err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, s.AuthPath+"/recovery-codes", http.StatusSeeOther)
}

func (s *Server) showCodes(w http.ResponseWriter, r *http.Request) {
	cur, err := s.current(r)
	var shown authflow.ShownCodes
	if err == nil {
		shown, err = s.Flow.Codes(r.Context(), cur.Session)
	}
	switch {
	case nobody(err):
		s.startOver(w, r, s.AuthPath+"/account", err)
	case errors.Is(err, store.ErrNotFound):
		s.toAccount(w, r)
	case err != nil:
		s.fail(w, r, err)
	default:
		s.renderStep(w, http.StatusOK, templates.RecoveryCodesPage, templates.RecoveryCodes{
			Base: signedBase(s.base(r, ""), cur), Codes: shown.Codes, Username: cur.User.Username,
		}, shown.Return)
	}
}

// postCodes says that the codes are saved: they are forgotten, and the person goes on.
func (s *Server) postCodes(w http.ResponseWriter, r *http.Request) {
	cur, err := s.current(r)
	if err != nil {
		s.startOver(w, r, "", err)
		return
	}
	shown, err := s.Flow.Codes(r.Context(), cur.Session)
	if errors.Is(err, store.ErrNotFound) {
		s.toAccountAfterPost(w, r)
		return
	}
	if err == nil {
		err = s.Flow.DropCodes(r.Context(), cur.Session)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.goOn(w, r, shown.Return)
}
