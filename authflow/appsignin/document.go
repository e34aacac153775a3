package appsignin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxControls bounds the fields and buttons of one page.
const maxControls = 5000

// document is what a page says about forms.
type document struct {
	base     *string // of its first base element; nil: none
	forms    []*formElement
	password bool // there is a password field, in a form or not
}

// formElement is one form, with the controls that belong to it in the order of the page.
type formElement struct {
	attributes
	controls []*control
}

// control is a field or a button.
type control struct {
	attributes
	kind     string // the type of an input or button in lower case, "select" or "textarea"
	value    string
	disabled bool // by itself or by a fieldset
	options  []option
	owner    *formElement // by its place; nil: none
}

type option struct {
	attributes
	text     []byte // counts where there is no value
	disabled bool   // by itself or by its group
}

// attributes are those of a tag, as they stand.
type attributes []html.Attribute

// get returns an attribute's value. Of two with one name the first counts, as in browsers.
func (a attributes) get(name string) (string, bool) {
	for _, attr := range a {
		if attr.Key == name {
			return attr.Val, true
		}
	}
	return "", false
}

func (a attributes) attr(name string) string { v, _ := a.get(name); return v }
func (a attributes) has(name string) bool    { _, ok := a.get(name); return ok }

// fold returns the value of an attribute of few words.
func (a attributes) fold(name string) string { return strings.ToLower(strings.TrimSpace(a.attr(name))) }

// parse reads a page. It goes from tag to tag and builds no tree, on purpose: to which form a field belongs is decided by
// the last form tag that came before it, wherever the two stand in the tree (HTML section 13.2.6.1, "form element
// pointer"), and old pages rely on that, with forms that begin between a table's rows. And its cost is that of the page's
// length, however deep it nests.
//
// It reads UTF-8 and whatever else is ASCII where markup is. It runs no scripts, so what is meant for browsers without
// them counts.
func parse(ctx context.Context, page []byte) (*document, error) {
	r := reader{z: html.NewTokenizer(bytes.NewReader(page)), doc: &document{}}
	for {
		if err := ctx.Err(); err != nil {
			return nil, errors.New("no time left to read it")
		}
		switch kind := r.z.Next(); kind {
		case html.ErrorToken:
			r.adopt() // the page is in memory: nothing but its end stops the reading
			return r.doc, nil
		case html.StartTagToken, html.SelfClosingTagToken: // the slash means nothing on the elements of HTML
			r.start(r.z.Token())
		case html.EndTagToken:
			name, _ := r.z.TagName()
			r.end(string(name))
		case html.TextToken:
			r.text()
		}
		if len(r.controls) > maxControls {
			return nil, fmt.Errorf("it has more than %d fields and buttons", maxControls)
		}
	}
}

// reader is where the reading of a page has got to.
type reader struct {
	z         *html.Tokenizer
	doc       *document
	controls  []*control
	form      *formElement // the one that controls belong to now
	inert     int          // templates and datalists around: what is in them is no field
	fieldsets []fieldset
	disabling int      // how many of the fieldsets turn controls off here
	choice    *control // the select or textarea whose content is read
	group     bool     // in a disabled optgroup
}

// fieldset turns its controls off where it is disabled, all but those in its first legend.
type fieldset struct{ disabled, legends, inLegend bool }

func (r *reader) start(tag html.Token) {
	at := attributes(tag.Attr)
	switch tag.Data {
	case "noscript":
		r.z.NextIsNotRawText()
	case "base":
		if href, ok := at.get("href"); ok && r.doc.base == nil && r.inert == 0 {
			r.doc.base = &href
		}
	case "template", "datalist":
		r.inert++
	case "form":
		if r.form == nil && r.inert == 0 { // no form in a form
			r.form = &formElement{attributes: at}
			r.doc.forms = append(r.doc.forms, r.form)
		}
	case "fieldset":
		f := fieldset{disabled: at.has("disabled")}
		r.fieldsets = append(r.fieldsets, f)
		r.disabling += one(f.disabled)
	case "legend":
		r.legend(true)
	case "input", "button", "select", "textarea":
		r.control(tag.Data, at)
	case "optgroup":
		r.group = at.has("disabled")
	case "option":
		if r.choice != nil && r.choice.kind == "select" {
			r.choice.options = append(r.choice.options, option{attributes: at, disabled: r.group || at.has("disabled")})
		}
	}
}

func (r *reader) end(name string) {
	switch name {
	case "template", "datalist":
		r.inert = max(r.inert-1, 0)
	case "form":
		if r.inert == 0 {
			r.form = nil
		}
	case "fieldset":
		if last := len(r.fieldsets) - 1; last >= 0 {
			f := r.fieldsets[last]
			r.disabling -= one(f.disabled && !f.inLegend)
			r.fieldsets = r.fieldsets[:last]
		}
	case "legend":
		r.legend(false)
	case "select", "textarea":
		r.choice = nil
	case "optgroup":
		r.group = false
	}
}

// legend enters or leaves a legend of the innermost fieldset.
func (r *reader) legend(enter bool) {
	if len(r.fieldsets) == 0 {
		return
	}
	f := &r.fieldsets[len(r.fieldsets)-1]
	if enter == f.inLegend || enter && f.legends {
		return
	}
	f.legends, f.inLegend = true, enter
	if f.disabled {
		r.disabling += 1 - 2*one(enter)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *reader) control(tag string, at attributes) {
	r.choice, r.group = nil, false // none of them can stand in a select
	if r.inert > 0 {
		return
	}
	c := &control{attributes: at, kind: tag, value: at.attr("value"), owner: r.form, disabled: r.disabling > 0 || at.has("disabled")}
	switch tag {
	case "input":
		c.kind = inputKind(at.fold("type"))
	case "button":
		if c.kind = at.fold("type"); c.kind != "reset" && c.kind != "button" {
			c.kind = "submit"
		}
	default:
		c.value, r.choice = "", c
	}
	r.doc.password = r.doc.password || c.kind == "password"
	r.controls = append(r.controls, c)
}

// inputKind makes every type that is filled in by typing "text", but for those that matter here.
func inputKind(kind string) string {
	switch kind {
	case "hidden", "password", "email", "checkbox", "radio", "submit", "image", "reset", "button", "file",
		"search", "tel", "url", "number", "date", "month", "week", "time", "datetime-local", "range", "color":
		return kind
	}
	return "text"
}

// text is what stands in a textarea, or names an option.
func (r *reader) text() {
	if r.choice == nil {
		return
	}
	switch text := r.z.Text(); {
	case r.choice.kind == "textarea":
		r.choice.value = strings.TrimPrefix(string(text), "\n") // the first line break is the markup's
	case len(r.choice.options) > 0:
		o := &r.choice.options[len(r.choice.options)-1]
		o.text = append(o.text, text...)
	}
}

// adopt gives the controls to their forms: to the one that their form attribute names, or to the one that they stand in.
func (r *reader) adopt() {
	byID := map[string]*formElement{}
	for _, f := range slices.Backward(r.doc.forms) { // of two with one id the first counts
		if id := f.attr("id"); id != "" {
			byID[id] = f
		}
	}
	for _, c := range r.controls {
		if id, named := c.get("form"); named {
			c.owner = byID[id]
		}
		if c.owner != nil {
			c.owner.controls = append(c.owner.controls, c)
		}
	}
}
