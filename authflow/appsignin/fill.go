package appsignin

import (
	"bytes"
	"errors"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
)

// entry is one name and value that a form sends.
type entry struct {
	name, value string
	file        bool // a file that nobody has chosen
}

// entries lists what a browser sends of a form that was filled in and sent by its button (HTML section 4.10.21.4, with
// the line breaks of section 4.10.21.7).
func (l *loginForm) entries(name, password string) []entry {
	on := map[string]*control{} // of each group of radio buttons, the one that is on: the last
	for _, c := range l.controls {
		if c.kind == "radio" && c.has("checked") {
			on[c.attr("name")] = c
		}
	}
	var all []entry
	for _, c := range l.controls {
		called := c.attr("name")
		switch {
		case c.disabled, called == "" && c.kind != "image":
		case c == l.password:
			all = append(all, entry{name: called, value: password})
		case c == l.username:
			all = append(all, entry{name: called, value: name})
		case c.kind == "radio" && c != on[called]:
		default:
			all = append(all, l.untouched(c, called)...)
		}
	}
	for i, e := range all {
		all[i] = entry{crlf(e.name), crlf(e.value), e.file}
	}
	return all
}

// untouched is what a control sends that nobody has touched.
func (l *loginForm) untouched(c *control, called string) []entry {
	one := func(value string) []entry { return []entry{{name: called, value: value}} }
	switch c.kind {
	case "reset", "button":
		return nil
	case "submit":
		if c != l.button {
			return nil
		}
	case "image":
		return l.pressed(c, called)
	case "checkbox", "radio":
		if !c.has("checked") {
			return nil
		}
		if !c.has("value") {
			return one("on")
		}
	case "select":
		return c.chosen(called)
	case "file":
		return []entry{{name: called, file: true}}
	case "hidden":
		if strings.EqualFold(called, "_charset_") {
			return one("UTF-8")
		}
	case "text", "search", "tel", "url", "email", "password":
		return one(strings.NewReplacer("\r", "", "\n", "").Replace(c.value))
	}
	return one(c.value)
}

// pressed is where on an image the button was pressed: its corner, as by the Enter key.
func (l *loginForm) pressed(c *control, called string) []entry {
	if c != l.button {
		return nil
	}
	if called != "" {
		called += "."
	}
	return []entry{{name: called + "x", value: "0"}, {name: called + "y", value: "0"}}
}

// chosen is what a select sends: all that is selected where it takes several; elsewhere the last selected, or the first
// that can be where none is and it is a drop-down.
func (c *control) chosen(called string) []entry {
	var all []entry
	var one *option
	dropDown := c.attr("size") == "" || c.attr("size") == "1"
	for i := range c.options {
		switch o := &c.options[i]; {
		case o.has("selected") && c.has("multiple") && !o.disabled:
			all = append(all, entry{name: called, value: o.sent()})
		case o.has("selected"), one == nil && dropDown && !o.disabled:
			one = o
		}
	}
	if one != nil && !one.disabled && !c.has("multiple") {
		all = append(all, entry{name: called, value: one.sent()})
	}
	return all
}

func (o option) sent() string {
	if value, ok := o.get("value"); ok {
		return value
	}
	return strings.Join(strings.Fields(string(o.text)), " ")
}

// crlf writes line breaks as forms do.
func crlf(s string) string {
	return strings.ReplaceAll(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n", "\r\n")
}

// encode writes entries in the type that the form asks for.
func (l *loginForm) encode(entries []entry) (contentType string, body []byte, err error) {
	kind := l.fold("enctype")
	if l.button != nil && l.button.has("formenctype") {
		kind = l.button.fold("formenctype")
	}
	switch kind {
	case "multipart/form-data":
		return multipartOf(entries)
	case "text/plain":
		return "", nil, errors.New("sends its form as text/plain, which no app can read back reliably")
	}
	var b bytes.Buffer
	for i, e := range entries {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(e.name) + "=" + url.QueryEscape(e.value))
	}
	return "application/x-www-form-urlencoded", b.Bytes(), nil
}

// multipartOf writes multipart/form-data as browsers do (RFC 7578; names are escaped as in HTML section 4.10.21.8).
func multipartOf(entries []entry) (contentType string, body []byte, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	escape := strings.NewReplacer("\r", "%0D", "\n", "%0A", `"`, "%22")
	for _, e := range entries {
		h := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + escape.Replace(e.name) + `"`}}
		if e.file {
			h["Content-Disposition"][0] += `; filename=""`
			h.Set("Content-Type", "application/octet-stream")
		}
		part, err := w.CreatePart(h)
		if err != nil {
			return "", nil, err
		}
		if _, err := part.Write([]byte(e.value)); err != nil {
			return "", nil, err
		}
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	return w.FormDataContentType(), b.Bytes(), nil
}
