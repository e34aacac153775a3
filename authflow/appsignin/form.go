package appsignin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Form signs in at the app's login page.
type Form struct {
	Page          string // path and query as browsers ask for them, such as "/login"; fetched first, and its cookies and hidden fields are sent along
	UsernameField string // the field's name; empty: found
	PasswordField string // the field's name; empty: found
	NoUsername    bool   // the form asks for a password alone; the name is not sent

	// Success and Failure say what the app answers to the form. An answer is an acceptance where Success holds and Failure
	// does not, a refusal the other way round, and otherwise ErrUnclear. Of the one that is zero the default speaks:
	//
	//   - Success: a redirect in the app to neither the login page, nor below its path, nor back to Page; or an HTML page
	//     with status 2xx and no password field; and with either a cookie that is new or has a new value.
	//   - Failure: status 401 or 403, an HTML page (2xx, 400 or 422) with a form that has a password field, or a redirect to
	//     the login page.
	//
	// An answer with status 429 or 5xx is never either.
	Success, Failure Answer
}

// SignIn is [Method]'s.
func (f *Form) SignIn(ctx context.Context, app App, name, password string) (*Result, error) {
	if err := checkInput(app, name, password, f.NoUsername); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x := newExchange(app)
	start, inside := app.resolve(app.Origin, f.Page)
	if !inside {
		return nil, x.unclear("page", "leads out of the app; set it to a path, such as /login")
	}
	page, doc, err := x.open(ctx, start)
	if err != nil {
		return nil, err
	}
	form, err := f.find(doc)
	if err != nil {
		return nil, x.unclear(page.to, "%v", err)
	}
	a, err := x.post(ctx, form, doc, page, name, password)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	return f.judge(ctx, x, a, start, page.url)
}

// post fills the form in and sends it. The redirect that may come back is not followed.
func (x *exchange) post(ctx context.Context, form *loginForm, doc *document, page *answer, name, password string) (*answer, error) {
	to, err := x.app.target(form, doc, page.url)
	if err != nil {
		return nil, x.unclear(page.to, "%v", err)
	}
	kind, body, err := form.encode(form.entries(name, password))
	if err != nil {
		return nil, x.unclear(page.to, "%v", err)
	}
	x.secret = password
	return x.send(ctx, http.MethodPost, to, http.Header{
		"Content-Type": {kind},
		"Origin":       {x.app.Origin.Scheme + "://" + x.app.Origin.Host},
		"Referer":      {page.url.String()},
	}, body)
}

// target is where the form is sent to, which must be the app: the password goes nowhere else. The button has the last word.
func (a App) target(form *loginForm, doc *document, page *url.URL) (*url.URL, error) {
	action, method := form.attr("action"), form.fold("method")
	if b := form.button; b != nil {
		if b.has("formaction") {
			action = b.attr("formaction")
		}
		if b.has("formmethod") {
			method = b.fold("formmethod")
		}
	}
	if method != "post" {
		return nil, errors.New("has a login form whose method is not post, which would put the password into an address")
	}
	if charset := form.fold("accept-charset"); charset != "" && !slices.Contains(strings.FieldsFunc(charset, func(r rune) bool { return r == ' ' || r == ',' }), "utf-8") {
		return nil, errors.New("has a login form that takes no UTF-8")
	}
	if strings.TrimSpace(action) == "" {
		return page, nil // not the base, HTML section 4.10.21.3
	}
	base := page
	if doc.base != nil {
		if b, err := page.Parse(strings.TrimSpace(*doc.base)); err == nil {
			base = b
		}
	}
	to, inside := a.resolve(base, action)
	if !inside {
		return nil, errors.New("has a login form that is sent elsewhere than to the app; the password was not sent")
	}
	return to, nil
}
