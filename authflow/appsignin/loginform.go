package appsignin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// loginForm is the form of a page that asks for a name and a password, and where in it they go.
type loginForm struct {
	*formElement
	username *control // nil: the form asks for a password alone
	password *control
	button   *control // nil: it has none
}

// find picks the login form out of a page. Its errors say which key of the configuration decides.
func (f *Form) find(doc *document) (*loginForm, error) {
	var found []*formElement
	for _, candidate := range doc.forms {
		if f.couldBe(candidate) {
			found = append(found, candidate)
		}
	}
	if len(found) > 1 { // a registration may use the same names
		found = slices.DeleteFunc(found, registers)
	}
	switch {
	case len(found) == 0 && f.PasswordField != "":
		return nil, fmt.Errorf("has no form with a field %q that can be filled in; set password_field and username_field to names of the login form's fields", f.PasswordField)
	case len(found) == 0 && doc.password:
		return nil, errors.New("has no form with one password field; set password_field to the name of the login form's")
	case len(found) == 0:
		return nil, errors.New("has no form with a password field; set page to the login page")
	case len(found) > 1:
		return nil, fmt.Errorf("has %d forms that could be the login form; set password_field and username_field to names that only that one has", len(found))
	}
	return f.fieldsOf(found[0])
}

// couldBe says whether a form has the fields that are named, or, where the password's is not, asks for one password that
// exists.
func (f *Form) couldBe(e *formElement) bool {
	if f.UsernameField != "" && e.fillable(f.UsernameField) == nil {
		return false
	}
	if f.PasswordField != "" {
		return e.fillable(f.PasswordField) != nil
	}
	return len(e.passwords()) == 1 && !registers(e)
}

// registers says whether a form sets a password: it asks for two, or for a new one.
func registers(e *formElement) bool {
	passwords := e.passwords()
	return len(passwords) > 1 || slices.ContainsFunc(passwords, func(c *control) bool { return c.completes("new-password") })
}

func (f *Form) fieldsOf(e *formElement) (*loginForm, error) {
	l := &loginForm{formElement: e}
	if l.password = e.fillable(f.PasswordField); f.PasswordField == "" {
		l.password = e.passwords()[0]
	} else if at := slices.IndexFunc(e.passwords(), func(c *control) bool { return c.attr("name") == f.PasswordField }); at >= 0 {
		l.password = e.passwords()[at] // and not a hidden field of the same name
	}
	if l.password.attr("name") == "" {
		return nil, errors.New("has a password field without a name, which no browser sends")
	}
	at := slices.Index(e.controls, l.password)
	if !f.NoUsername {
		if l.username = f.usernameOf(e, at); l.username == nil || l.username == l.password {
			return nil, errors.New("has no field for a user name before the password of its login form; set username_field to the field's name, or no_username where the app asks for a password alone")
		}
	}
	if l.button = firstSubmit(e.controls[at:]); l.button == nil {
		l.button = firstSubmit(e.controls[:at])
	}
	return l, nil
}

// usernameOf finds the field for the name: the one that is named, the one that says so to password managers, or the last
// one to type in before the password, which is at this place.
func (f *Form) usernameOf(e *formElement, password int) *control {
	if f.UsernameField != "" {
		return e.fillable(f.UsernameField)
	}
	for _, c := range e.controls {
		if c.canBeFilled() && c.kind != "hidden" && c.kind != "password" && c.completes("username") {
			return c
		}
	}
	for _, c := range slices.Backward(e.controls[:password]) {
		if c.canBeFilled() && (c.kind == "text" || c.kind == "email") {
			return c
		}
	}
	return nil
}

// firstSubmit is the button that is pressed. The one looked for first is behind the password: in the one form of an old
// page the search's button may well be the first.
func firstSubmit(controls []*control) *control {
	at := slices.IndexFunc(controls, func(c *control) bool { return (c.kind == "submit" || c.kind == "image") && !c.disabled })
	if at < 0 {
		return nil
	}
	return controls[at]
}

// fillable returns the field of a name; nil where the form has none that a name or password can be put in.
func (e *formElement) fillable(name string) *control {
	for _, c := range e.controls {
		if c.canBeFilled() && c.attr("name") == name {
			return c
		}
	}
	return nil
}

func (e *formElement) passwords() []*control {
	var all []*control
	for _, c := range e.controls {
		if c.kind == "password" && !c.disabled {
			all = append(all, c)
		}
	}
	return all
}

// canBeFilled is true of hidden fields too: there are pages whose script moves the name into one.
func (c *control) canBeFilled() bool {
	switch c.kind {
	case "checkbox", "radio", "submit", "image", "reset", "button", "file", "select":
		return false
	}
	return !c.disabled && c.attr("name") != ""
}

// completes says whether password managers are told to fill a field in with this.
func (c *control) completes(with string) bool {
	return slices.Contains(strings.Fields(c.fold("autocomplete")), with)
}
