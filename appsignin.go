package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/appsignin"
	"sallyport/authflow/credentials"
	"sallyport/authflow/passwordcommand"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
	"sallyport/authflow/web"
	"sallyport/config"
)

// visitor is on whose behalf an app is asked: from where, and where they see the app.
type visitor struct {
	origin *url.URL
	client netip.Addr
	header http.Header // by which an app may know the browser again
}

type visitorKey struct{}

func (v visitor) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, visitorKey{}, v)
}

// apps are the upstreams that the gateway signs people in to, or asks about passwords.
type apps struct {
	cfg      *config.Config
	g        *gateway // whose proxy reaches them; complete when the first person comes
	log      *slog.Logger
	checkers []appChecker
	oddities []string // of files with other accounts: one line each
}

// appChecker asks one app in one way. What asks in the same way shares its limits.
type appChecker struct {
	upstream string
	method   appsignin.Method
	checker  *appsignin.Checker
}

func (a *apps) checker(upstream string, method appsignin.Method) *appsignin.Checker {
	for _, known := range a.checkers {
		if known.upstream == upstream && reflect.DeepEqual(known.method, method) {
			return known.checker
		}
	}
	c := appsignin.NewChecker(method, func(ctx context.Context) (appsignin.App, error) { return a.reach(ctx, upstream) }, appsignin.Limits{})
	a.checkers = append(a.checkers, appChecker{upstream, method, c})
	return c
}

// reach gives an app as the visitor of the context reaches it.
func (a *apps) reach(ctx context.Context, upstream string) (appsignin.App, error) {
	v, ok := ctx.Value(visitorKey{}).(visitor)
	if !ok {
		return appsignin.App{}, fmt.Errorf("%s: asked on nobody's behalf", upstream)
	}
	t, err := a.g.proxy.Transport(upstream, v.origin, v.client)
	if err != nil {
		return appsignin.App{}, err
	}
	return appsignin.App{Name: upstream, Origin: v.origin, Transport: t, Home: t.Home, Now: time.Now, Header: v.header}, nil
}

// upstream returns an upstream by its name, which the configuration has checked.
func (a *apps) upstream(name string) *config.Upstream {
	i := slices.IndexFunc(a.cfg.Upstreams, func(u config.Upstream) bool { return u.Name == name })
	return &a.cfg.Upstreams[i]
}

// usualOrigin is where most browsers see an upstream: under its first host, or else under public_url.
func (a *apps) usualOrigin(u *config.Upstream) *url.URL {
	public := a.cfg.Server.PublicURL
	if len(u.Hosts) == 0 {
		return public
	}
	host := u.Hosts[0]
	if _, _, err := net.SplitHostPort(host); err != nil && public.Port() != "" {
		host = net.JoinHostPort(strings.Trim(host, "[]"), public.Port())
	}
	return &url.URL{Scheme: public.Scheme, Host: host}
}

// sources are where users come from, in the order of the configuration; a nil entry is the users file.
func (a *apps) sources() ([]*authflow.Source, error) {
	var out []*authflow.Source
	for i := range a.cfg.Users.Sources {
		s := &a.cfg.Users.Sources[i]
		if s.IsFile() {
			out = append(out, nil)
			continue
		}
		check, err := a.check(s)
		if err != nil {
			return nil, fmt.Errorf("users.sources[%d].%w", i, err)
		}
		out = append(out, &authflow.Source{
			Name: s.Name, Groups: s.Groups, Knows: s.Usernames.MatchString,
			Check: func(ctx context.Context, name, password string, client authflow.Client) (bool, error) {
				fits, err := check(ctx, name, password, client)
				if err != nil {
					a.log.Warn("a source of users could not say whether a password is right", "source", s.Name, "cause", err)
				}
				return fits, err
			},
		})
	}
	return out, nil
}

// check returns how a source is asked.
func (a *apps) check(s *config.UserSource) (func(ctx context.Context, name, password string, client authflow.Client) (bool, error), error) {
	if len(s.Command) > 0 {
		c := passwordcommand.New(s.Command[0], s.Command[1:], passwordcommand.Limits{Timeout: s.Timeout, AtOnce: s.AtOnce}, a.log)
		if err := c.CheckProgram(); err != nil {
			return nil, fmt.Errorf("command[0]: %w", err)
		}
		return func(ctx context.Context, name, password string, _ authflow.Client) (bool, error) {
			return c.Check(ctx, name, password)
		}, nil
	}
	checker, origin := a.checker(s.App, methodOf(s.SignIn)), a.usualOrigin(a.upstream(s.App))
	return func(ctx context.Context, name, password string, client authflow.Client) (bool, error) {
		fits, err := checker.Check(visitor{origin: origin, client: client.Address}.in(ctx), name, password)
		if errors.Is(err, appsignin.ErrBadInput) {
			return false, nil // what no app can be asked about is nobody's password
		}
		return fits, err
	}, nil
}

func methodOf(s *config.SignIn) appsignin.Method {
	if s.Form != nil {
		return loginForm(s.Form)
	}
	return &appsignin.Basic{Probe: s.Basic.Path}
}

func loginForm(f *config.LoginForm) *appsignin.Form {
	return &appsignin.Form{
		Page: f.Page, UsernameField: f.UsernameField, PasswordField: f.PasswordField, NoUsername: f.NoUsername,
		Success: appsignin.Answer(f.Success), Failure: appsignin.Answer(f.Failure),
	}
}

// pages are the apps as the pages and the proxy deal with them.
func (a *apps) pages() ([]*web.App, error) {
	var out []*web.App
	for i := range a.cfg.Upstreams {
		u := &a.cfg.Upstreams[i]
		if u.SignInToApp == nil && u.LoginHint == "" {
			continue
		}
		app := &web.App{Name: u.Name, Hosts: u.Hosts, Hint: u.LoginHint, Takes: func(source string) bool { return a.takes(u, source) }}
		if err := a.fillIn(app, u); err != nil {
			return nil, fmt.Errorf("upstreams[%d].sign_in_to_app.%w", i, err)
		}
		out = append(out, app)
	}
	return out, nil
}

// fillIn says how people are signed in to the app.
func (a *apps) fillIn(app *web.App, u *config.Upstream) error {
	s := u.SignInToApp
	switch {
	case s == nil:
	case s.Form != nil:
		form := loginForm(s.Form)
		app.SignIn = a.signIn(u.Name, a.checker(u.Name, form))
		app.AtStart, app.Later = slices.Contains(s.When, "sign_in"), slices.Contains(s.When, "expired")
		signedOut := appsignin.SignedOut{Page: s.Form.Page}
		if s.SignedOut != nil {
			signedOut.Answer = appsignin.Answer(*s.SignedOut)
		}
		app.SignedOut = signedOut.Holds
	case s.Basic == nil:
		header := http.Header{}
		for name, value := range s.Header {
			app.Headers = append(app.Headers, name)
			header.Set(name, value)
		}
		slices.Sort(app.Headers)
		app.HeadersFor = func(*session.Identity) http.Header { return header }
	case s.Basic.Own:
		app.OwnBasic = true
		if source := a.sourceOf(u); source != nil && source.SignIn.Basic != nil {
			checker := a.checker(source.App, methodOf(source.SignIn))
			app.Verify = func(r *http.Request, name, password string) (bool, error) {
				_, err := checker.SignIn(a.visitorOf(r).in(r.Context()), name, password)
				if err = inFlowTerms(err); errors.Is(err, authflow.ErrInvalidCredentials) {
					return false, nil
				}
				return err == nil, err
			}
		}
	default:
		return a.otherAccounts(app, s.Basic)
	}
	return nil
}

// otherAccounts signs people in with an account for all, or with those of a file.
func (a *apps) otherAccounts(app *web.App, b *config.AppAccount) error {
	var accountFor func(*session.Identity) (credentials.Account, bool)
	if b.MapFile != "" {
		accounts, err := credentials.Read(b.MapFile)
		if err != nil {
			return fmt.Errorf("basic.map_file: %w", err)
		}
		a.oddities = append(a.oddities, accounts.Warnings()...)
		accountFor = func(id *session.Identity) (credentials.Account, bool) { return accounts.For(id.Subject, id.Groups) }
	} else {
		shared, err := credentials.NewAccount(b.Username, b.Password)
		if err != nil {
			return fmt.Errorf("basic: %w", err)
		}
		accountFor = func(*session.Identity) (credentials.Account, bool) { return shared, true }
	}
	app.Headers = []string{"Authorization"}
	app.HeadersFor = func(id *session.Identity) http.Header {
		account, ok := accountFor(id)
		if !ok {
			return nil
		}
		return http.Header{"Authorization": {account.Authorization()}}
	}
	return nil
}

// signIn returns what signs a person in by the app's form.
func (a *apps) signIn(upstream string, checker *appsignin.Checker) func(r *http.Request, name, password string) ([]string, error) {
	return func(r *http.Request, name, password string) ([]string, error) {
		result, err := checker.SignIn(a.visitorOf(r).in(r.Context()), name, password)
		if err != nil {
			return nil, inFlowTerms(err)
		}
		return result.Cookies, nil
	}
}

// inFlowTerms says what it means for a person's password that an app did not take it; nil stays nil.
func inFlowTerms(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, appsignin.ErrRefused), errors.Is(err, appsignin.ErrBadInput):
		return fmt.Errorf("%w: %w", authflow.ErrInvalidCredentials, err)
	}
	return fmt.Errorf("%w: %w", authflow.ErrSourceAway, err)
}

// visitorOf is whoever makes a request, seeing the app under the request's host.
func (a *apps) visitorOf(r *http.Request) visitor {
	scheme := "http"
	if a.g.proxy.Secure(r) {
		scheme = "https"
	}
	header := http.Header{}
	for _, name := range []string{"User-Agent", "Accept-Language", "Accept-Charset"} {
		if values := r.Header[name]; values != nil {
			header[name] = values
		}
	}
	return visitor{&url.URL{Scheme: scheme, Host: r.Host}, a.g.proxy.ClientAddr(r), header}
}

// sourceOf is the source of users that asks the app which an upstream leads to; nil: there is none.
func (a *apps) sourceOf(u *config.Upstream) *config.UserSource {
	for i := range a.cfg.Users.Sources {
		s := &a.cfg.Users.Sources[i]
		if s.App == "" {
			continue
		}
		other := a.upstream(s.App)
		if s.App == u.Name || u.URL != nil && *other.URL == *u.URL {
			return s
		}
	}
	return nil
}

// takes says whether the passwords of a source's people are those of an upstream's app: of those who come from the app
// itself, or, where nobody does, of the users file's and of a source that has the upstream's name. No app is sent a
// password that belongs to another.
func (a *apps) takes(u *config.Upstream, source string) bool {
	if own := a.sourceOf(u); own != nil {
		return source == own.Name
	}
	return source == "" || source == u.Name
}

// need says for how long a person's own password is needed.
func (a *apps) need(user users.User) authflow.Need {
	need := authflow.NotNeeded
	for i := range a.cfg.Upstreams {
		u := &a.cfg.Upstreams[i]
		switch s := u.SignInToApp; {
		case s == nil || !a.takes(u, user.Source):
		case s.Basic != nil && s.Basic.Own, s.Form != nil && slices.Contains(s.When, "expired"):
			return authflow.NeededLater
		case s.Form != nil:
			need = authflow.NeededAtSignIn
		}
	}
	return need
}
