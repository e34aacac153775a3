package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"sallyport/authflow"
	"sallyport/templates"
)

func (s *Server) loginPage(r *http.Request, returnTo string) templates.Login {
	keep := s.Flow.Settings.RememberFor
	page := templates.Login{Base: s.base(r, "Sign in"), ReturnTo: returnTo, OfferRemember: keep > 0}
	if a := s.apps[s.upstreamOf(r, s.destination(r, returnTo))]; a != nil {
		page.Hint = a.app.Hint
	}
	if keep > 0 {
		page.RememberFor = lifeInWords(keep)
	}
	return page
}

// showLogin asks for the first factor, unless the person is signed in as far as the place they are going to
// asks for, and does not want to begin a new session (again) before the end of this one.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) {
	returnTo := s.returnTo(r, r.URL.Query().Get("rd"))
	cur, err := s.signedIn(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if cur != nil && !r.URL.Query().Has("again") {
		if cur.Session.TwoFactor() || !s.demand(r, returnTo)(cur.User.Groups) {
			s.goOn(w, r, returnTo)
			return
		}
		s.toStep(w, r, cur, returnTo)
		return
	}
	page := s.loginPage(r, returnTo)
	if cur != nil {
		page.Username = cur.User.Username
	}
	if r.URL.Query().Has("signed-out") {
		page.Notice = "You are signed out."
	}
	s.renderStep(w, http.StatusOK, templates.LoginPage, page, returnTo)
}

// toStep leads somebody with one factor to the second.
func (s *Server) toStep(w http.ResponseWriter, r *http.Request, cur *authflow.Current, returnTo string) {
	step, err := s.Flow.Next(r.Context(), cur.Identity())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, withReturn(s.pathOf(step), returnTo), http.StatusFound)
}

// demand says whether the place where a person is going asks for two factors. Where that is no route of
// ours (the account page, or nowhere), every route that they may reach is asked. The page of kept forms needs no
// second factor: the route that a form goes to asks for it when it is sent.
func (s *Server) demand(r *http.Request, returnTo string) func(groups []string) bool {
	if below, laid := s.forPageBelow(returnTo); laid {
		returnTo = s.returnTo(r, below)
	}
	target, err := url.Parse(returnTo)
	if err == nil && target.Path == s.AuthPath+keptPath {
		return func([]string) bool { return false }
	}
	if err == nil && returnTo != "" && !s.reserved(target.Path) {
		if _, twoFactor, found := s.Route(r, target); found {
			return func([]string) bool { return twoFactor }
		}
	}
	return s.Flow.Policy.DemandsTwoFactor
}

func (s *Server) reserved(path string) bool {
	return path == s.AuthPath || strings.HasPrefix(path, s.AuthPath+"/")
}

func (s *Server) postLogin(w http.ResponseWriter, r *http.Request) {
	form := r.PostForm
	returnTo := s.returnTo(r, form.Get("rd"))
	client, err := s.client(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	client.Bearer = false
	out, err := s.Flow.Password(r.Context(), authflow.Attempt{
		Login: form.Get("username"), Password: form.Get("password"), Remember: form.Get("remember") != "",
		Return: returnTo, Demand: s.demand(r, returnTo), Client: client,
	})
	if err != nil {
		a := s.explain(w, r, err)
		page := s.loginPage(r, returnTo)
		page.Username, page.Remember, page.Error = form.Get("username"), form.Get("remember") != "", a.words
		s.renderStep(w, a.status, templates.LoginPage, page, returnTo)
		return
	}
	s.afterStep(w, r, out)
}

// afterStep gives the browser what a step has earned and leads it to the next.
func (s *Server) afterStep(w http.ResponseWriter, r *http.Request, out *authflow.Outcome) {
	if out.Step != authflow.StepDone {
		if err := s.setPending(w, out); err != nil {
			s.fail(w, r, err)
			return
		}
		http.Redirect(w, r, s.pathOf(out.Step), http.StatusSeeOther)
		return
	}
	if err := s.setSession(w, r, out); err != nil {
		s.fail(w, r, err)
		return
	}
	s.goOn(w, r, out.Return)
}

// showChallenge asks for the second factor: of a sign-in that waits, or of somebody who is signed in and
// has to prove more.
func (s *Server) showChallenge(w http.ResponseWriter, r *http.Request) {
	returnTo := s.returnTo(r, r.URL.Query().Get("rd"))
	token, err := s.pending(r)
	var pending *authflow.Pending
	if err == nil && returnTo == "" {
		pending, err = s.Flow.Pending(r.Context(), token)
	} else if err == nil {
		err = authflow.ErrNoChallenge // somebody was sent here with a place to go to: begin from the session
	}
	switch {
	case err == nil && pending.Step == authflow.StepEnrol:
		http.Redirect(w, r, s.AuthPath+"/enroll", http.StatusFound)
		return
	case errors.Is(err, authflow.ErrNoChallenge):
		s.beginStepUp(w, r, returnTo)
		return
	case err != nil:
		s.fail(w, r, err)
		return
	}
	s.renderStep(w, http.StatusOK, templates.ChallengePage, s.challengePage(r, pending), pending.Return)
}

func (s *Server) challengePage(r *http.Request, p *authflow.Pending) templates.Challenge {
	return templates.Challenge{
		Base: s.base(r, ""), Username: p.User.Username, ReturnTo: p.Return, StepUp: p.StepUp,
	}
}

// beginStepUp challenges somebody who is signed in. Nobody: to the login page; no authenticator: to its
// enrolment.
func (s *Server) beginStepUp(w http.ResponseWriter, r *http.Request, returnTo string) {
	cur, err := s.signedIn(r)
	if err == nil && cur == nil {
		s.startOver(w, r, returnTo, authflow.ErrNoChallenge)
		return
	}
	var out *authflow.Outcome
	if err == nil {
		out, err = s.Flow.ChallengeSession(r.Context(), cur, returnTo)
	}
	if errors.Is(err, authflow.ErrNotEnrolled) {
		http.Redirect(w, r, withReturn(s.AuthPath+"/enroll", returnTo), http.StatusFound)
		return
	}
	if err == nil {
		err = s.setPending(w, out)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.renderStep(w, http.StatusOK, templates.ChallengePage, s.challengePage(r, &authflow.Pending{
		User: out.User, StepUp: true, Return: out.Return,
	}), out.Return)
}

func (s *Server) postChallenge(w http.ResponseWriter, r *http.Request) {
	typed := r.PostForm.Get("code")
	proof, _ := authflow.ReadProof(typed)
	client, err := s.client(r)
	var token authflow.ChallengeToken
	if err == nil {
		client.Bearer = false
		token, err = s.pending(r)
	}
	var pending *authflow.Pending
	if err == nil {
		pending, err = s.Flow.Pending(r.Context(), token)
	}
	var out *authflow.Outcome
	if err == nil {
		out, err = s.Flow.SecondFactor(r.Context(), token, proof, client)
	}
	switch {
	case err == nil:
		s.afterStep(w, r, out)
	case errors.Is(err, authflow.ErrNoChallenge):
		s.challengeGone(w, r, client, err)
	case pending == nil:
		s.fail(w, r, err)
	default:
		a := s.explain(w, r, err)
		page := s.challengePage(r, pending)
		page.Error, page.Recovery = a.words, proof.Recovery != "" || len(typed) > 10
		s.renderStep(w, a.status, templates.ChallengePage, page, pending.Return)
	}
}

// challengeGone answers a code for a sign-in that is over. A form sent twice (a double click) finds the
// person signed in by the first, and goes on.
func (s *Server) challengeGone(w http.ResponseWriter, r *http.Request, client authflow.Client, err error) {
	returnTo := s.returnTo(r, r.PostForm.Get("rd"))
	if client.Session != nil && client.Session.TwoFactor() {
		s.goOn(w, r, returnTo)
		return
	}
	s.startOver(w, r, returnTo, err)
}

func (s *Server) showLogout(w http.ResponseWriter, r *http.Request) {
	cur, err := s.signedIn(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	page := templates.Logout{Base: s.base(r, "Sign out")}
	if cur != nil {
		page.Username = cur.User.Username
	}
	s.render(w, http.StatusOK, templates.LogoutPage, page)
}
