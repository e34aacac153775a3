package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/session"
)

const (
	keptPath = "/kept" // under AuthPath: offers what was kept

	// keptWithin is how long a browser may take to send a form that is kept.
	keptWithin = 2 * time.Minute

	// The page's button sends a form of this one field to the address of the kept post. It is told from an app's own
	// form by its exact bytes.
	keptField   = "sallyport_kept="
	maxSendForm = 256 // bytes; a longer form cannot be the button's and is not looked at
)

// Keep puts a form post aside that came from somebody who is not signed in, or not far enough, and leads them to sign
// in and from there to the page that offers it. False leaves the answer to the caller, and then no more than
// KeepPost bytes of the body were read.
//
// Kept is what a person sent from a page of the same origin, as their browser says (Fetch Metadata), in the whole
// window: a frame could not show our pages. A form from elsewhere could be one that they never saw.
func (s *Server) Keep(w http.ResponseWriter, r *http.Request, id *session.Identity) bool {
	client := s.sender(r)
	if s.KeepPost <= 0 || !sentByHand(r) || !formTypes[mediaType(r)] || !authflow.MayKeep(client.Device, id) {
		return false
	}
	target := s.here(r)
	contentType := r.Header.Get("Content-Type")
	if target == "" || len(contentType) > 512 || !utf8.ValidString(contentType) || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	body, ok := s.readForm(w, r, s.KeepPost)
	if !ok {
		return false
	}
	s.guard(w)
	var err error
	if _, button := sendForm(body); !button { // a button pressed after the session has ended again: its post is kept already
		subject := ""
		if id != nil {
			subject = id.Subject
		}
		err = s.Flow.KeepPost(r.Context(), subject, authflow.Post{
			Host: r.Host, Target: target, ContentType: contentType, Referer: refererOf(r), Body: body,
		}, client)
	}
	var step authflow.Step
	if err == nil {
		step, err = s.Flow.Next(r.Context(), id)
	}
	if err != nil {
		s.errorPage(w, r, s.explain(w, r, err), "") // reloading it sends the form again
		return true
	}
	s.Jar.Write(w, cookie.Kept, "1", authflow.KeptFor)
	http.Redirect(w, r, withReturn(s.pathOf(step), s.AuthPath+keptPath), http.StatusSeeOther)
	return true
}

// formTypes are what an HTML form sends (HTML standard, section 4.10.21.6).
var formTypes = map[string]bool{"application/x-www-form-urlencoded": true, "multipart/form-data": true, "text/plain": true}

// sentByHand says whether a form was sent in a browser's window from a page of the same origin.
func sentByHand(r *http.Request) bool {
	only := func(name, want string) bool { v := r.Header[name]; return len(v) == 1 && v[0] == want }
	return r.Method == http.MethodPost && only("Sec-Fetch-Site", "same-origin") && only("Sec-Fetch-Mode", "navigate") &&
		only("Sec-Fetch-Dest", "document")
}

// readForm reads a body of at most limit bytes; false where it is longer or does not come in time. One that says
// beforehand that it is longer is not read at all.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	if r.ContentLength > limit {
		return nil, false
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(s.Flow.Now().Add(keptWithin))   // where there can be none, the server's own bounds hold
	defer func() { _ = deadline.SetReadDeadline(time.Time{}) }() // what follows may take its time
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	return body, err == nil
}

// refererOf is the page that a form of the same origin stood on, where the browser says. Some apps lead back to it.
func refererOf(r *http.Request) string {
	if referer := r.Referer(); len(referer) <= maxReturn && utf8.ValidString(referer) {
		return referer
	}
	return ""
}

// sendForm reads the form of the page's button.
func sendForm(body []byte) (token string, ok bool) {
	token, ok = strings.CutPrefix(string(body), keptField)
	return token, ok && len(body) <= maxSendForm && !strings.ContainsAny(token, "=&")
}

// Restore puts the kept post in the place of a request that was sent by the page's button; every other request is
// returned as it is. False: it has answered. Only short forms of browsers that lately had a post kept are looked into.
func (s *Server) Restore(w http.ResponseWriter, r *http.Request, id *session.Identity) (*http.Request, bool) {
	if !sentByHand(r) || s.Jar.Read(r, cookie.Kept) == "" || !isForm(r) || r.ContentLength <= 0 || r.ContentLength > maxSendForm {
		return r, true
	}
	body, ok := s.readForm(w, r, maxSendForm)
	if !ok {
		s.guard(w)
		s.fail(w, r, requestError("The form could not be read."))
		return nil, false
	}
	token, button := sendForm(body)
	if !button {
		return withBody(r, body), true
	}
	post, err := s.Flow.TakePost(r.Context(), id.Subject, token, r.Host, s.here(r), s.sender(r))
	switch {
	case errors.Is(err, authflow.ErrNotKept):
		s.guard(w)
		http.Redirect(w, r, s.AuthPath+keptPath, http.StatusSeeOther) // it says so
		return nil, false
	case err != nil:
		s.guard(w)
		s.fail(w, r, err)
		return nil, false
	}
	return restored(r, post), true
}

// withBody is r with a body that can still be read. It is the app's, as is all else of r.
func withBody(r *http.Request, body []byte) *http.Request {
	out := r.WithContext(r.Context())
	out.Body, out.ContentLength, out.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	return out
}

// restored is what a browser would have sent now, had the session not ended then: the address, the cookies and all
// else are of today.
func restored(r *http.Request, post *authflow.Post) *http.Request {
	out := withBody(r, post.Body)
	out.Header = r.Header.Clone()
	out.Header.Set("Content-Type", post.ContentType)
	out.Header.Set("Content-Length", strconv.Itoa(len(post.Body)))
	out.Header.Del("Referer")
	if post.Referer != "" {
		out.Header.Set("Referer", post.Referer)
	}
	return out
}

// device is what the browser's device cookie carries; nil where it has none.
func (s *Server) device(r *http.Request) []byte {
	raw, err := s.Codec.Decode(cookie.Device, s.Jar.Read(r, cookie.Device))
	if err != nil {
		return nil
	}
	return raw
}
