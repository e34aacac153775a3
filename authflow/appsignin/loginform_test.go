package appsignin

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

var origin = &url.URL{Scheme: "https", Host: "wiki.example.com"}

// testApp is known to browsers as https://wiki.example.com and to itself as http://inner.example:8080.
func testApp() App {
	return App{Name: "wiki", Origin: origin, Now: time.Now, Home: func(u string) string {
		if rest, own := strings.CutPrefix(u, "http://inner.example:8080"); own {
			return origin.String() + rest
		}
		return u
	}}
}

// filled is the form of a page, filled in by alice.
func filled(t *testing.T, f *Form, page string) (to, kind, body string, err error) {
	t.Helper()
	doc, err := parse(t.Context(), []byte(page))
	if err != nil {
		return "", "", "", err
	}
	l, err := f.find(doc)
	if err != nil {
		return "", "", "", err
	}
	u, err := testApp().target(l, doc, origin.JoinPath("sign/in"))
	if err != nil {
		return "", "", "", err
	}
	kind, raw, err := l.encode(l.entries("alice", "p+w d"))
	return u.String(), kind, string(raw), err
}

func TestPagesOfRealKindsAreFilledInAsABrowserDoes(t *testing.T) {
	for _, c := range []struct {
		page, to, body string
		form           Form
	}{
		{page: "wiki", to: "https://wiki.example.com/sign/in", body: "sectok=0c7bb2&id=start&do=login&u=alice&p=p%2Bw+d"},
		{page: "notebook", to: "https://wiki.example.com/login?next=%2Ftree", form: Form{NoUsername: true}, body: "_xsrf=2%7C75b2%7Cf0e1%7C1700000000&password=p%2Bw+d"},
		{page: "rails", to: "https://wiki.example.com/users/sign_in", body: "utf8=%E2%9C%93&authenticity_token=bX%2B%2Fw%3D%3D&user%5Bemail%5D=alice&user%5Bpassword%5D=p%2Bw+d&user%5Bremember_me%5D=0&user%5Bremember_me%5D=1&commit=Log+in"},
		{page: "aspnet", to: "https://wiki.example.com/app/Login.aspx?ReturnUrl=%2fdefault.aspx", body: "__VIEWSTATE=%2FwEPDwUK%0D%0AMTY%3D&ctl00%24Search=&ctl00%24Login%24UserName=alice&ctl00%24Login%24Password=p%2Bw+d&ctl00%24Domain=Branch+2&ctl00%24Login%24Button=Log+In"},
	} {
		page, err := os.ReadFile("testdata/" + c.page + ".html")
		if err != nil {
			t.Fatal(err)
		}
		to, kind, body, err := filled(t, &c.form, string(page))
		if err != nil || to != c.to || body != c.body || kind != "application/x-www-form-urlencoded" {
			t.Errorf("%s: %v\n got %s %s %s\nwant %s %s", c.page, err, to, kind, body, c.to, c.body)
		}
	}
}

func TestControlsAreSentAsABrowserSendsThem(t *testing.T) {
	const fields = `<input name=u><input type=password name=p>`
	for name, c := range map[string]struct{ page, body string }{
		"values that are there":          {fields + `<input name=a value=1><input type=hidden name=b value="x&amp;y"><input type=search name=c>`, "a=1&b=x%26y&c="},
		"no name, no value sent":         {fields + `<input value=1><input name="" value=2>`, ""},
		"checked boxes only":             {fields + `<input type=checkbox name=a><input type=checkbox name=b checked><input type=checkbox name=c value=3 checked>`, "b=on&c=3"},
		"one radio button of a group":    {fields + `<input type=radio name=a value=1 checked><input type=radio name=b value=2 checked><input type=radio name=a value=3 checked><input type=radio name=a value=4>`, "b=2&a=3"},
		"the first option by default":    {fields + `<select name=a><option disabled>0<option>1<option>2</select>`, "a=1"},
		"the selected option":            {fields + `<select name=a><option>1<option value=two selected>2</select>`, "a=two"},
		"the last selected of one":       {fields + `<select name=a><option selected>1<option selected>2</select>`, "a=2"},
		"every selected of several":      {fields + `<select name=a multiple><option selected>1<option>2<option selected>3</select>`, "a=1&a=3"},
		"none of a list box":             {fields + `<select name=a size=3><option>1</select><select name=b multiple><option>1</select>`, ""},
		"no option of a disabled group":  {fields + `<select name=a><optgroup disabled><option>1</optgroup><option>2</select>`, "a=2"},
		"a selected one that is off":     {fields + `<select name=a><option>1<option selected disabled>2</select>`, ""},
		"a textarea":                     {fields + "<textarea name=a>\n <input name=x>\nb</textarea>", "a=+%3Cinput+name%3Dx%3E%0D%0Ab"},
		"disabled fields stay out":       {fields + `<input name=a disabled><fieldset disabled><input name=b><fieldset><input name=c></fieldset></fieldset><input name=d>`, "d="},
		"but not those of the legend":    {fields + `<fieldset disabled><legend><input name=a></legend><legend><input name=b></legend><input name=c></fieldset><input name=d>`, "a=&d="},
		"the first button after it":      {`<button name=x>` + fields + `<button type=button name=y><input type=reset name=z><button name=a value=1>In</button><input type=submit name=b>`, "a=1"},
		"a button before it, if alone":   {`<input type=submit name=x disabled><button name=a value=1></button>` + fields, "a=1"},
		"no image but the button":        {fields + `<button name=a value=1></button><input type=image name=b>`, "a=1"},
		"an image without a name":        {fields + `<input type=image>`, "x=0&y=0"},
		"a legend outside":               {fields + `<legend><input name=a></legend>`, "a="},
		"an image as button":             {fields + `<input type=image name=a>`, "a.x=0&a.y=0"},
		"templates and datalists":        {fields + `<template><input name=a></form><form></template><datalist><input name=b><option>1</datalist><input name=c>`, "c="},
		"fields elsewhere, by id":        {fields + `<input name=a form=other></form><form id=other></form><input name=b><input name=c form=f><input name=d form="">`, "c="},
		"line breaks":                    {fields + "<input type=hidden name=a value='1\n2\r3'><input name=b value='1\n2'>", "a=1%0D%0A2%0D%0A3&b=12"},
		"the encoding, where asked":      {fields + `<input type=hidden name=_charset_>`, "_charset_=UTF-8"},
		"no file":                        {fields + `<input type=file name=a>`, "a="},
		"what scripts and comments hold": {fields + `<script>"<input name=a>"</script><!-- <input name=b> --><style><input name=c></style>`, ""},
		"what noscript holds":            {fields + `<noscript><input name=a></noscript>`, "a="},
		"a form in a form is none":       {fields + `<form id=g><input name=a></form><input name=b>`, "a="},
		"in capitals":                    {fields + `<INPUT TYPE=CHECKBOX NAME=a CHECKED>`, "a=on"},
		"the first of two attributes":    {fields + `<input name=a name=b value=1 value=2>`, "a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, body, err := filled(t, &Form{}, `<form method=post id=f>`+c.page+`</form>`)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.TrimPrefix(strings.ReplaceAll("&"+body, "&u=alice&p=p%2Bw+d", ""), "&")
			if got != c.body || !strings.Contains(body, "u=alice&p=p%2Bw+d") {
				t.Errorf("sent %q, want the name, the password and %q", body, c.body)
			}
		})
	}
}

func TestMultipartIsSentWhereTheFormAsksForIt(t *testing.T) {
	for _, page := range []string{
		`<form method=post enctype=multipart/form-data><input name='u"1'><input type=password name=p><input type=file name=f></form>`,
		`<form method=post><input name='u"1'><input type=password name=p><input type=file name=f><button formenctype=Multipart/Form-Data></form>`,
	} {
		_, kind, body, err := filled(t, &Form{}, page)
		_, boundary, found := strings.Cut(kind, "multipart/form-data; boundary=")
		if err != nil || !found {
			t.Fatalf("%v, %s", err, kind)
		}
		want := "--B\r\nContent-Disposition: form-data; name=\"u%221\"\r\n\r\nalice\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"p\"\r\n\r\np+w d\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--B--\r\n"
		if got := strings.ReplaceAll(body, boundary, "B"); got != want {
			t.Errorf("got %q", got)
		}
	}
}

func TestTheLoginFormIsFoundAmongOthers(t *testing.T) {
	const (
		login    = `<form method=post action=/login><input name=u><input type=password name=p></form>`
		twin     = `<form method=post action=/twin><input name=user><input type=password name=p></form>`
		register = `<form method=post action=/register><input name=u><input type=password name=p><input type=password name=p2></form>`
		renew    = `<form method=post action=/renew><input name=u><input type=password name=p autocomplete="section-a new-password"></form>`
	)
	for name, c := range map[string]struct {
		form     Form
		page     string
		to, body string // or, with to empty, what the error says
	}{
		"beside a registration":           {page: register + login + renew, to: "/login", body: "u=alice&p=p%2Bw+d"},
		"by the password's name":          {form: Form{PasswordField: "p"}, page: register + login + renew, to: "/login", body: "u=alice&p=p%2Bw+d"},
		"by the user name's":              {form: Form{UsernameField: "user"}, page: login + twin, to: "/twin", body: "user=alice&p=p%2Bw+d"},
		"by both":                         {form: Form{UsernameField: "u", PasswordField: "p2"}, page: login + register, to: "/register", body: "u=alice&p=&p2=p%2Bw+d"},
		"a password field that is text":   {form: Form{PasswordField: "pin"}, page: `<form method=post><input name=u><input name=pin></form>`, to: "/sign/in", body: "u=alice&pin=p%2Bw+d"},
		"not its hidden namesake":         {form: Form{PasswordField: "p"}, page: `<form method=post><input name=u><input type=hidden name=p value=1><input type=password name=p></form>`, to: "/sign/in", body: "u=alice&p=1&p=p%2Bw+d"},
		"a name that a script moves":      {form: Form{UsernameField: "h"}, page: `<form method=post><input type=hidden name=h><input type=password name=p></form>`, to: "/sign/in", body: "h=alice&p=p%2Bw+d"},
		"a name that says what it is":     {page: `<form method=post><input type=tel name=a autocomplete="username webauthn"><input name=b><input type=password name=p></form>`, to: "/sign/in", body: "a=alice&b=&p=p%2Bw+d"},
		"a name of an unknown type":       {page: `<form method=post><input type=frob name=a><input type=password name=p><input name=captcha></form>`, to: "/sign/in", body: "a=alice&p=p%2Bw+d&captcha="},
		"a password that is off":          {page: `<form method=post><input name=u><input type=password name=q disabled><input type=password name=p></form>`, to: "/sign/in", body: "u=alice&p=p%2Bw+d"},
		"two forms":                       {page: login + twin, body: "has 2 forms that could be the login form; set password_field and username_field"},
		"two forms with one name":         {form: Form{PasswordField: "p"}, page: login + twin, body: "has 2 forms"},
		"only registrations":              {page: register + renew, body: "has no form with one password field; set password_field"},
		"a field outside any form":        {page: `<form></form><input name=u><input type=password name=p>`, body: "has no form with one password field; set password_field"},
		"no password at all":              {page: `<form><input name=u></form>`, body: "has no form with a password field; set page"},
		"no such field":                   {form: Form{PasswordField: "pw"}, page: login, body: `has no form with a field "pw"`},
		"a box is no field for it":        {form: Form{PasswordField: "p"}, page: `<form><input type=checkbox name=p></form>`, body: `has no form with a field "p"`},
		"no field for a name":             {page: `<form method=post><input type=search name=q><input type=password name=p><input name=u></form>`, body: "set username_field to the field's name, or no_username"},
		"one field for both":              {form: Form{UsernameField: "p"}, page: login, body: "has no field for a user name"},
		"a password field without a name": {page: `<form method=post><input name=u><input type=password></form>`, body: "without a name"},
	} {
		t.Run(name, func(t *testing.T) {
			to, _, body, err := filled(t, &c.form, c.page)
			switch {
			case c.to == "" && (err == nil || !strings.Contains(err.Error(), c.body)):
				t.Errorf("got %v, want an error that %s", err, c.body)
			case c.to != "" && (err != nil || to != origin.String()+c.to || body != c.body):
				t.Errorf("got %v, %s %s", err, to, body)
			}
		})
	}
}

func TestThePasswordIsSentToTheAppAndNowhereElse(t *testing.T) {
	const inside = "https://wiki.example.com"
	for tags, want := range map[string]string{
		`<form method=post>`:                                                    inside + "/sign/in",
		`<base href=/b/><form method=post action=" ">`:                          inside + "/sign/in",
		`<form method=POST action=" /a?x=1#y ">`:                                inside + "/a?x=1",
		`<form method=post action=a>`:                                           inside + "/sign/a",
		"<form method=post action='/a\n\tb'>":                                   inside + "/ab",
		`<base href=/b/><base href=/c/><form method=post action=a>`:             inside + "/b/a",
		`<base href="http://inner.example:8080/b/"><form method=post action=a>`: inside + "/b/a",
		`<form method=post action=https://WIKI.example.com:443/a>`:              "https://WIKI.example.com:443/a",
		`<form method=post action=http://inner.example:8080/a>`:                 inside + "/a",
		`<form action=/a><button formmethod=post formaction=/b>`:                inside + "/b",
		`<form method=post action=/a><button formaction="">`:                    inside + "/sign/in",
		`<form method=post action=https://evil.example/a>`:                      "elsewhere",
		`<form method=post action=//evil.example/a>`:                            "elsewhere",
		`<form method=post action="/\evil.example/a">`:                          "elsewhere",
		`<form method=post action=https://wiki.example.com:8443/a>`:             "elsewhere",
		`<form method=post action=http://wiki.example.com/a>`:                   "elsewhere",
		`<form method=post action=https://wiki.example.com.evil.example>`:       "elsewhere",
		`<form method=post action=https://wiki.example.com@evil.example>`:       "elsewhere",
		`<form method=post action=https://u:p@wiki.example.com/a>`:              "elsewhere",
		`<form method=post action=javascript:login()>`:                          "elsewhere",
		`<form method=post action=mailto:a@wiki.example.com>`:                   "elsewhere",
		`<form method=post action="data:text/html,x">`:                          "elsewhere",
		`<form method=post action=/%zz>`:                                        "elsewhere",
		`<base href=https://evil.example/><form method=post action=a>`:          "elsewhere",
		`<form method=post action=/a><button formaction=//evil.example>`:        "elsewhere",
		`<form action=/a>`: "not post",
		`<form method=post action=http://wiki.example.com:443/a>`:         "elsewhere",
		`<template><base href=/b/></template><form method=post action=a>`: inside + "/sign/a",
		`<form method=get action=/a>`:                                     "not post",
		`<form method=dialog action=/a>`:                                  "not post",
		`<form method=post action=/a><button formmethod=get>`:             "not post",
		`<form method=post accept-charset=iso-8859-1>`:                    "no UTF-8",
		`<form method=post accept-charset="iso-8859-1, UTF-8">`:           inside + "/sign/in",
		`<form method=post enctype=text/plain>`:                           "text/plain",
	} {
		to, _, _, err := filled(t, &Form{}, tags+`<input name=u><input type=password name=p></form>`)
		if strings.HasPrefix(want, "https:") && (err != nil || to != want) {
			t.Errorf("%s: got %v, %s", tags, err, to)
		}
		if !strings.HasPrefix(want, "https:") && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: sent to %s, error %v; want one about %s", tags, to, err, want)
		}
	}
}

func TestAPageWithTooManyFieldsOrNoTimeLeftIsNotRead(t *testing.T) {
	if _, err := parse(t.Context(), []byte(strings.Repeat("<input>", 100_000))); err == nil || !strings.Contains(err.Error(), "5000") {
		t.Errorf("100,000 inputs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := parse(ctx, []byte("<form>")); err == nil {
		t.Error("a page was read without time")
	}
}

func TestADeeplyNestedPageIsReadLikeAnyOther(t *testing.T) {
	for _, open := range []string{"<div>", "<b a=1>", "<table>", "<fieldset>", "<svg>", "<option>", "<a href=x><b><p>x"} {
		page := strings.Repeat(open, maxPage/2/len(open)) + `<form method=post><input name=u><input type=password name=p></form>`
		if _, _, body, err := filled(t, &Form{}, page); err != nil || body != "u=alice&p=p%2Bw+d" {
			t.Errorf("%s: %v, %s", open, err, body)
		}
	}
}

func FuzzAFoundFormSendsNameAndPasswordOnceAndOnlyToTheApp(f *testing.F) {
	for _, name := range []string{"wiki", "notebook", "rails", "aspnet"} {
		page, err := os.ReadFile("testdata/" + name + ".html")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(page, "", "", name == "notebook")
	}
	f.Add([]byte(`<form id=a><fieldset disabled><legend><select name=s><option>1</select><input form=a type=password name=p>`), "s", "p", false)
	f.Add([]byte(`<form method=post enctype=multipart/form-data action=//x><textarea name=u>`), "u", "u", true)
	f.Fuzz(func(t *testing.T, page []byte, username, password string, nameless bool) {
		doc, err := parse(t.Context(), page)
		if err != nil {
			return
		}
		l, err := (&Form{UsernameField: username, PasswordField: password, NoUsername: nameless}).find(doc)
		if err != nil {
			return
		}
		sent := map[string]int{}
		for _, e := range l.entries("the name", "the password") {
			sent[e.value]++
		}
		if names := map[bool]int{true: 0, false: 1}[nameless]; sent["the password"] != 1 || sent["the name"] != names {
			t.Errorf("sent %v", sent)
		}
		if to, err := testApp().target(l, doc, origin); err == nil && (!strings.EqualFold(to.Hostname(), origin.Host) || to.Scheme != "https" || to.User != nil) {
			t.Errorf("to %s", to)
		}
	})
}
