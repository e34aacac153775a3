package web

import (
	"errors"
	"net/http"
	"net/url"

	"sallyport/authflow"
	"sallyport/templates"
)

// appPasswordPath is the page, under AuthPath, that asks for a person's password at an app.
const appPasswordPath = "/app-password"

func (s *Server) appPasswordPage(app, returnTo string) string {
	query := url.Values{"app": {app}}
	if returnTo != "" {
		query.Set("rd", returnTo)
	}
	return s.AuthPath + appPasswordPath + "?" + query.Encode()
}

// appAsked returns the app that the page is about and who is signed in, by a browser's session. Without either it has
// answered.
func (s *Server) appAsked(w http.ResponseWriter, r *http.Request, name, returnTo string) (*App, *authflow.Current) {
	cur, err := s.signedIn(r)
	var a *App
	if known := s.apps[name]; known != nil && known.app.asks() && onHost(r.Host, known.app.Hosts) {
		a = known.app
	}
	switch {
	case err == nil && (cur == nil || cur.Session.Bearer):
		s.startOver(w, r, returnTo, authflow.ErrUnauthenticated)
		return nil, nil
	case err == nil && (a == nil || !a.Takes(cur.User.Source)):
		err = errNotFound
	}
	if err != nil {
		s.fail(w, r, err)
		return nil, nil
	}
	return a, cur
}

func (s *Server) showAppPassword(w http.ResponseWriter, r *http.Request) {
	returnTo := s.returnTo(r, r.URL.Query().Get("rd"))
	a, cur := s.appAsked(w, r, r.URL.Query().Get("app"), returnTo)
	if a == nil {
		return
	}
	s.renderStep(w, http.StatusOK, templates.AppPasswordPage, s.appPassword(r, a, cur, returnTo), returnTo)
}

func (s *Server) appPassword(r *http.Request, a *App, cur *authflow.Current, returnTo string) templates.AppPassword {
	return templates.AppPassword{
		Base: signedBase(s.base(r, ""), cur), App: a.Name, Username: cur.User.Username, Hint: a.Hint, ReturnTo: returnTo,
	}
}

// postAppPassword takes the present password of a person at an app, asks the app, and goes on.
func (s *Server) postAppPassword(w http.ResponseWriter, r *http.Request) {
	returnTo := s.returnTo(r, r.PostForm.Get("rd"))
	a, cur := s.appAsked(w, r, r.PostForm.Get("app"), returnTo)
	if a == nil {
		return
	}
	plain := r.PostForm.Get("password")
	var lines []string
	err := s.Flow.RenewPassword(r.Context(), cur, plain, s.sender(r), func() (bool, error) {
		var err error
		switch {
		case a.SignIn != nil:
			lines, err = a.SignIn(r, cur.User.Username, plain)
		case a.Verify != nil:
			return a.Verify(r, cur.User.Username, plain)
		}
		if errors.Is(err, authflow.ErrInvalidCredentials) {
			return false, nil
		}
		return true, err // an app that cannot be asked says on the next request what it thinks of it
	})
	if err != nil {
		answer := s.explain(w, r, err)
		if errors.Is(err, authflow.ErrInvalidCredentials) {
			answer.words = a.Name + " does not take that password either."
		}
		page := s.appPassword(r, a, cur, returnTo)
		page.Error = answer.words
		s.renderStep(w, answer.status, templates.AppPasswordPage, page, returnTo)
		return
	}
	for _, line := range lines {
		w.Header().Add("Set-Cookie", line)
	}
	s.goOn(w, r, returnTo)
}
