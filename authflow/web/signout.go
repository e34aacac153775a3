package web

import (
	"errors"
	"net/http"
	"strings"

	"sallyport/authflow/cookie"
	"sallyport/authflow/session"
)

// AppCookies are cookies of an app that the gateway's sign-out expires.
type AppCookies struct {
	App   string   // the upstream's name
	Hosts []string // of the app, with or without a port; none: any
	Path  string   // of its entry, without a slash at its end but for the root
	Names []string // a * at the end stands for any rest
}

// postLogout signs out a form or a program, whatever came with the request.
func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) {
	err := s.endSessions(r, append(s.tokens(r), s.refreshTokenOf(w, r)...))
	for _, kind := range []cookie.Kind{cookie.Session, cookie.Pending} {
		s.Jar.Clear(w, kind)
	}
	s.expireAppCookies(w, r, func(string) bool { return true })
	switch {
	case err != nil:
		s.fail(w, r, err)
	case isForm(r):
		http.Redirect(w, r, s.AuthPath+"/login?signed-out=1", http.StatusSeeOther)
	default:
		writeJSON(w, http.StatusOK, done)
	}
}

// SignOut ends the sessions that a proxied request came with, and returns the lines that take their cookies out
// of the browser.
func (s *Server) SignOut(r *http.Request) ([]string, error) {
	if err := s.endSessions(r, s.tokens(r)); err != nil {
		return nil, err
	}
	return s.Jar.Expired(cookie.Session), nil
}

// tokens are those of every session that something in the request's headers belongs to: a bearer token of either
// kind, whether its time is over or not, and every cookie of the session's name.
func (s *Server) tokens(r *http.Request) []session.Token {
	var tokens []session.Token
	for _, kind := range []cookie.Kind{cookie.Access, cookie.Refresh} {
		tokens = s.addToken(tokens, kind, cookie.Bearer(r))
	}
	for _, value := range s.Jar.ReadAll(r, cookie.Session) {
		tokens = s.addToken(tokens, cookie.Session, value)
	}
	return tokens
}

// refreshTokenOf reads the token of a JSON body. A body of another kind is no reason to stay signed in.
func (s *Server) refreshTokenOf(w http.ResponseWriter, r *http.Request) []session.Token {
	c := &call{w: w, r: r}
	if c.readBody() != nil {
		return nil
	}
	given, err := decode[refreshRequest](c)
	if err != nil {
		return nil
	}
	return s.addToken(nil, cookie.Refresh, given.RefreshToken)
}

func (s *Server) addToken(tokens []session.Token, kind cookie.Kind, envelope string) []session.Token {
	raw, err := s.Codec.Decode(kind, envelope)
	if err != nil || len(raw) < len(session.Token{}) {
		return tokens
	}
	return append(tokens, session.Token(raw[:len(session.Token{})]))
}

// endSessions ends all of them, also after one that could not be ended.
func (s *Server) endSessions(r *http.Request, tokens []session.Token) error {
	var errs []error
	for _, token := range tokens {
		errs = append(errs, s.Flow.SignOut(r.Context(), token, s.sender(r)))
	}
	return errors.Join(errs...)
}

// expireAppCookies takes the cookies of those apps on this host out of the browser. Which path a cookie was set for
// no browser says, so each is expired for those that an app would use. A name with a * stands for those that
// came with the request.
func (s *Server) expireAppCookies(w http.ResponseWriter, r *http.Request, of func(app string) bool) {
	for _, app := range s.AppCookies {
		if !of(app.App) || !onHost(r.Host, app.Hosts) {
			continue
		}
		for _, name := range appCookieNames(r, app.Names) {
			for _, path := range cookiePaths(app.Path) {
				http.SetCookie(w, &http.Cookie{Name: name, Path: path, MaxAge: -1})
			}
		}
	}
}

func appCookieNames(r *http.Request, patterns []string) []string {
	var names []string
	for _, pattern := range patterns {
		prefix, open := strings.CutSuffix(pattern, "*")
		if !open {
			names = append(names, pattern)
			continue
		}
		for _, c := range r.Cookies() {
			if strings.HasPrefix(c.Name, prefix) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

func cookiePaths(path string) []string {
	if path == "/" {
		return []string{"/"}
	}
	return []string{"/", path, path + "/"}
}

// onHost says whether a request's host is one of the entry's; an entry without a port means any.
func onHost(host string, hosts []string) bool {
	if len(hosts) == 0 {
		return true
	}
	host = strings.ToLower(host)
	name := host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name = host[:i]
	}
	for _, h := range hosts {
		if h == host || h == name {
			return true
		}
	}
	return false
}
