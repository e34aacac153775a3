package web

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/static"
	"sallyport/templates"
)

// base fills in what every page shows.
func (s *Server) base(_ *http.Request, title string) templates.Base {
	asset := func(name string) string { return s.AuthPath + "/static/" + static.Asset(name) }
	return templates.Base{
		Title: title, Product: s.Product, AuthPath: s.AuthPath,
		CSS: asset("app.css"), JS: asset("app.js"), Icon: asset("favicon.svg"),
	}
}

func signedBase(b templates.Base, cur *authflow.Current) templates.Base {
	b.Signed = &templates.Signed{Username: cur.User.Username, Name: cur.User.Name}
	return b
}

// render writes a page whole or not at all.
func (s *Server) render(w http.ResponseWriter, code int, page string, data any) {
	var buf bytes.Buffer
	if err := s.pages.ExecuteTemplate(&buf, page, data); err != nil {
		s.Log.Error("page could not be made", "page", page, "error", err)
		http.Error(w, internal.words, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	w.Write(buf.Bytes())
}

// serveAsset serves a style sheet, script or icon under its hashed name, for ever.
func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	content, contentType, ok := static.Open(name)
	switch {
	case !ok:
		s.fail(w, r, errNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, r, errMethod)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
}

// form turns an action into a handler of a form that a page sends.
func (s *Server) form(action http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isForm(r) {
			s.fail(w, r, errMediaType)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := r.ParseForm(); err != nil {
			s.fail(w, r, bodyError(err))
			return
		}
		action(w, r)
	}
}

func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && mediaType(r) == "application/x-www-form-urlencoded"
}

// byContent gives a POST to the page's form or to the JSON API, by the type of its body.
func (s *Server) byContent(page http.HandlerFunc, api http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if isForm(r) {
			s.form(page)(w, r)
			return
		}
		api(w, r)
	}
}

// byAccept gives a GET to the page or to the JSON API, by what the client asks for.
func (s *Server) byAccept(page http.HandlerFunc, api http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.PageLoad(r) {
			page(w, r)
			return
		}
		api(w, r)
	}
}

// path of each step. The login page starts over; the others know from the browser where they stand.
func (s *Server) pathOf(step authflow.Step) string {
	switch step {
	case authflow.StepCode:
		return s.AuthPath + "/2fa"
	case authflow.StepEnrol:
		return s.AuthPath + "/enroll"
	default:
		return s.AuthPath + "/login"
	}
}

// withReturn adds where to go afterwards to the address of a page.
func withReturn(path, returnTo string) string {
	if returnTo == "" {
		return path
	}
	return path + "?" + url.Values{"rd": {returnTo}}.Encode()
}

// goOn ends an action: a browser goes where it was going, or to the start.
func (s *Server) goOn(w http.ResponseWriter, r *http.Request, returnTo string) {
	// Not http.Redirect: it cleans the path, and "/a//b" is another page than "/a/b".
	w.Header().Set("Location", s.destination(r, returnTo))
	w.WriteHeader(http.StatusSeeOther)
}

// destination is where a sign-in leads. Without a wish of the person's that is the app at the root of this
// host, or the account page where there is none.
func (s *Server) destination(r *http.Request, returnTo string) string {
	if returnTo != "" {
		return returnTo
	}
	if _, _, found := s.Route(r, &url.URL{Path: "/"}); found {
		return "/"
	}
	return s.AuthPath + "/account"
}

func (s *Server) toAccount(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, s.AuthPath+"/account", http.StatusFound)
}

// startOver leads to the login page when a page's sign-in is gone, saying so there.
func (s *Server) startOver(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	s.Jar.Clear(w, cookie.Pending)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		http.Redirect(w, r, withReturn(s.AuthPath+"/login", returnTo), http.StatusFound)
		return
	}
	a := s.explain(w, r, err)
	page := s.loginPage(r, returnTo)
	page.Error = a.words
	s.renderStep(w, a.status, templates.LoginPage, page, returnTo)
}

// day writes a time for people.
func day(unix int64) templates.Moment {
	t := time.Unix(unix, 0).UTC()
	return templates.Moment{Text: t.Format("2 Jan 2006, 15:04 UTC"), ISO: t.Format(time.RFC3339)}
}

// lifeInWords writes a duration of hours or days for people.
func lifeInWords(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d >= day && d%day == 0:
		return plural(int(d/day), "day")
	case d >= time.Hour:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/time.Minute), "minute")
	}
}

func plural(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit
}

// inFours writes a secret in groups, as people read it aloud.
func inFours(secret string) string {
	var b strings.Builder
	for i, c := range secret {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}
