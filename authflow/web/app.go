package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"sallyport/authflow"
	"sallyport/authflow/session"
)

// App is an upstream that has a sign-in of its own, as far as the gateway sees people through it. Its functions are
// called from many goroutines.
type App struct {
	Name  string   // the upstream's
	Hosts []string // with or without a port; none: any
	Hint  string   // which password to use, in the operator's words; empty: nothing is said

	// Headers names what HeadersFor gives: what each request is sent with that is forwarded for somebody. nil: nothing.
	Headers    []string
	HeadersFor func(*session.Identity) http.Header
	// OwnBasic says that each request carries the person's own name and password (RFC 7617).
	OwnBasic bool
	// SignIn signs a person in by the app's form, as their browser at the host of r would, and returns the Set-Cookie
	// lines for it. authflow.ErrInvalidCredentials: the app refuses the password. nil: there is no form.
	SignIn func(r *http.Request, name, password string) (lines []string, err error)
	// AtStart and Later say when the form is posted: as a session begins, and when the app no longer knows the person.
	AtStart, Later bool
	// SignedOut says whether an answer is one that the app gives to somebody it does not know, beside 401. Needed where Later
	// is set.
	SignedOut func(r *http.Request, res *http.Response) bool
	// Verify asks the app whether a password is right, without signing anybody in; nil: it cannot be asked.
	Verify func(r *http.Request, name, password string) (bool, error)
	// Takes says whether the passwords of a source's people are this app's; "" is the users file.
	Takes func(source string) bool
}

// AppSignIn is an App at work: what the proxy asks about each request. See proxy.AppSignIn for what its methods promise.
type AppSignIn struct {
	app    *App
	server *Server
	recent recentSignIns
}

// AppSignIn returns how people are signed in to the upstream of a name; nil where they are not, after a session has begun.
func (s *Server) AppSignIn(upstream string) *AppSignIn {
	a := s.apps[upstream]
	if a == nil || a.app.HeadersFor == nil && !a.app.OwnBasic && !(a.app.SignIn != nil && a.app.Later) {
		return nil
	}
	return a
}

// asks says whether people's own passwords are needed.
func (a *App) asks() bool { return a.OwnBasic || a.SignIn != nil }

// Describe says how the app is signed in to.
func (a *AppSignIn) Describe() string {
	switch {
	case a.app.OwnBasic:
		return "by HTTP Basic, with the person's own name and password"
	case a.app.SignIn != nil:
		return "by the app's form, with the person's own name and password"
	default:
		return "by " + strings.Join(a.app.Headers, ", ")
	}
}

// Headers names the headers of Credentials.
func (a *AppSignIn) Headers() []string {
	if a.app.OwnBasic {
		return []string{"Authorization"}
	}
	return a.app.Headers
}

// Credentials gives the headers by which the app knows who asks. ask: the person's own password is needed and not known.
func (a *AppSignIn) Credentials(_ *http.Request, id *session.Identity) (h http.Header, ask bool, err error) {
	switch {
	case a.app.HeadersFor != nil:
		return a.app.HeadersFor(id), false, nil
	case !a.app.OwnBasic || !a.app.Takes(id.Source):
		return nil, false, nil
	}
	plain, known := id.OwnPassword()
	if !known {
		return nil, true, nil
	}
	asking := &http.Request{Header: http.Header{}}
	asking.SetBasicAuth(id.Username, plain)
	return asking.Header, false, nil
}

// SignedOut says whether the app no longer knows the person that it answers.
func (a *AppSignIn) SignedOut(r *http.Request, res *http.Response) bool {
	switch {
	case a.app.OwnBasic:
		return res.StatusCode == http.StatusUnauthorized
	case a.app.SignIn == nil || !a.app.Later:
		return false
	}
	return res.StatusCode == http.StatusUnauthorized || a.app.SignedOut(r, res)
}

// SignIn signs a person in to the app once more: for all the requests of a session that find themselves signed out at
// about the same time once, and not more often than the flow allows.
func (a *AppSignIn) SignIn(r *http.Request, id *session.Identity) (lines []string, ask bool, err error) {
	if !a.app.Takes(id.Source) {
		return nil, false, nil
	}
	plain, known := id.OwnPassword()
	if !known {
		return nil, true, nil
	}
	again := a.signInOnce
	if a.app.OwnBasic {
		again = a.askWhetherRight
	}
	done := a.recent.once(id.Key, a.server.Flow.Now(), r, func() signInResult { return again(r, id, plain) })
	return done.lines, done.ask, done.err
}

// Ask answers a proxied request by asking for the person's password at the app: a page load is led to the page that
// does.
func (a *AppSignIn) Ask(w http.ResponseWriter, r *http.Request, _ *session.Identity) {
	s := a.server
	s.guard(w)
	s.allowOrigin(w, r)
	if s.PageLoad(r) {
		http.Redirect(w, r, s.appPasswordPage(a.app.Name, s.here(r)), http.StatusFound)
		return
	}
	needed := answerFor(errAppPassword)
	writeJSON(w, needed.status, failure{Error: needed.words, Code: needed.code, LoginURL: s.appPasswordPage(a.app.Name, s.pageBehind(r))})
}

func (a *AppSignIn) signInOnce(r *http.Request, id *session.Identity, plain string) signInResult {
	may, err := a.server.Flow.MaySignInToApp(r.Context(), id.Key, a.app.Name)
	if err != nil || !may {
		return signInResult{err: err}
	}
	lines, err := a.app.SignIn(r, id.Username, plain)
	switch {
	case errors.Is(err, authflow.ErrInvalidCredentials):
		return signInResult{ask: true, err: a.server.Flow.ForgetPassword(r.Context(), id.Key)}
	case err != nil:
		a.server.Log.Warn("nobody could be signed in to the app", "upstream", a.app.Name, "cause", err)
		return signInResult{}
	}
	return signInResult{lines: lines}
}

// askWhetherRight finds out whether a 401 to somebody's own password is about the password: apps answer so too where a
// person may not go. One that is still right is kept, and the 401 passes.
func (a *AppSignIn) askWhetherRight(r *http.Request, id *session.Identity, plain string) signInResult {
	if a.app.Verify != nil {
		may, err := a.server.Flow.MaySignInToApp(r.Context(), id.Key, a.app.Name)
		if err != nil || !may {
			return signInResult{err: err}
		}
		if right, err := a.app.Verify(r, id.Username, plain); right || err != nil {
			return signInResult{err: err}
		}
	}
	return signInResult{ask: true, err: a.server.Flow.ForgetPassword(r.Context(), id.Key)}
}

// signInToApps signs somebody whose session begins in to the apps of this host that want it now, side by side. An app
// that does not answer keeps nobody out of the gateway. Where the app that the person is going to refuses the password,
// the way there leads over the page that asks for it.
//
// At an app of theirs where they are not signed in now, nobody is: what whoever had the browser before has left of it
// goes.
func (s *Server) signInToApps(w http.ResponseWriter, r *http.Request, out *authflow.Outcome) {
	var apps []*App
	for _, a := range s.Apps {
		if out.Password != "" && a.SignIn != nil && a.Takes(out.User.Source) && onHost(r.Host, a.Hosts) {
			apps = append(apps, a)
		}
	}
	results := make([]signInResult, len(apps))
	var all sync.WaitGroup
	for i, a := range apps {
		if a.AtStart {
			all.Go(func() { results[i].lines, results[i].err = a.SignIn(r, out.User.Username, out.Password) })
		}
	}
	all.Wait()
	for i, done := range results {
		name := apps[i].Name
		if len(done.lines) == 0 {
			s.expireAppCookies(w, r, func(app string) bool { return app == name })
		}
		for _, line := range done.lines {
			w.Header().Add("Set-Cookie", line)
		}
		switch {
		case done.err == nil:
		case !errors.Is(done.err, authflow.ErrInvalidCredentials):
			s.Log.Warn("nobody could be signed in to the app", "upstream", name, "cause", done.err)
		case s.upstreamOf(r, s.destination(r, out.Return)) == name:
			out.Return = s.appPasswordPage(name, out.Return)
		}
	}
	out.Password = ""
}

// upstreamOf names the upstream that an address leads to; "" where it is none's.
func (s *Server) upstreamOf(r *http.Request, address string) string {
	target, err := url.Parse(address)
	if err != nil || target.Host == "" && s.reserved(target.Path) {
		return ""
	}
	upstream, _, _ := s.Route(r, target)
	return upstream
}
