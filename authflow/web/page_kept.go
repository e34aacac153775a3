package web

import (
	"errors"
	"html"
	"html/template"
	"net/http"
	"slices"
	"strconv"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/templates"
)

// showKept offers what was kept of the forms that this person sent to this host with this browser.
func (s *Server) showKept(w http.ResponseWriter, r *http.Request) {
	cur, err := s.signedIn(r)
	if err == nil && cur == nil {
		s.startOver(w, r, s.AuthPath+keptPath, authflow.ErrUnauthenticated)
		return
	}
	var posts []authflow.KeptPost
	if err == nil {
		posts, err = s.Flow.KeptPosts(r.Context(), cur.User.Subject, s.device(r))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if len(posts) == 0 && len(r.CookiesNamed(s.Jar.Name(cookie.Kept))) > 0 {
		s.Jar.Clear(w, cookie.Kept)
	}
	page := templates.Kept{Base: signedBase(s.base(r, ""), cur), Start: s.destination(r, "")}
	for _, k := range slices.Backward(posts) { // what was typed last is what is looked for
		if k.Host == r.Host {
			page.Posts = append(page.Posts, keptRow(k))
		}
	}
	s.render(w, http.StatusOK, templates.KeptPage, page)
}

func keptRow(k authflow.KeptPost) templates.KeptPost {
	return templates.KeptPost{
		Token: k.Token, Address: k.Host + k.Target, Size: sizeInWords(k.Size), KeptAt: day(k.KeptAt), EndsAt: day(k.EndsAt),
		// The very bytes that were sent to: html/template would write some of them in another way.
		Action: template.HTMLAttr(`action="` + html.EscapeString(k.Target) + `"`),
	}
}

func (s *Server) postDropKept(w http.ResponseWriter, r *http.Request) {
	cur, err := s.signedIn(r)
	if err == nil && cur == nil {
		s.startOver(w, r, s.AuthPath+keptPath, authflow.ErrUnauthenticated)
		return
	}
	if err == nil {
		err = s.Flow.DropPost(r.Context(), cur.User.Subject, r.PostForm.Get("token"), s.sender(r))
	}
	if err != nil && !errors.Is(err, authflow.ErrNotKept) { // gone is gone
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, s.AuthPath+keptPath, http.StatusSeeOther)
}

// sizeInWords writes a number of bytes for people.
func sizeInWords(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', 1, 64) + " MiB"
	case bytes >= 1<<10:
		return strconv.Itoa(bytes>>10) + " KiB"
	default:
		return plural(bytes, "byte")
	}
}
