package appsignin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// says is an app's answer to its form.
type says struct {
	status int
	header string // lines "Name: value" with | between them
	body   string
}

func (s says) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	for line := range strings.SplitSeq(s.header, "|") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			if name != "Set-Cookie" {
				w.Header().Del(name)
			}
			w.Header().Add(name, value)
		}
	}
	w.WriteHeader(s.status)
	fmt.Fprint(w, s.body)
}

// outcome is nil for a sign-in that was accepted.
func outcome(t *testing.T, f Form, login string, answer says) error {
	t.Helper()
	a := startApp(t).withForm(answer.ServeHTTP)
	a.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { page(w, loginPage) })
	a.HandleFunc("GET /doku.php", func(w http.ResponseWriter, _ *http.Request) { page(w, loginPage) })
	a.HandleFunc("GET /start", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })
	f.Page = login
	r, err := f.SignIn(t.Context(), a.App, "alice", rightPassword)
	if (r == nil) == (err == nil) {
		t.Errorf("got both or neither of %v and %v", r, err)
	}
	isClean(t, err)
	return err
}

func TestByDefaultAnAnswerIsToldByItsRedirectItsCookieAndItsForm(t *testing.T) {
	const fresh = "Set-Cookie: sid=new"
	yes, no, unclear := error(nil), ErrRefused, ErrUnclear
	for name, c := range map[string]struct {
		answer says
		page   string
		want   error
	}{
		"to another page, with a cookie":      {says{302, "Location: /home|" + fresh, ""}, "/login", yes},
		"the same with 303":                   {says{303, "Location: http://wiki.example.com/home|" + fresh, ""}, "/login", yes},
		"the same with 307":                   {says{307, "Location: home|" + fresh, ""}, "/login", yes},
		"the same without a cookie":           {says{302, "Location: /home", ""}, "/login", unclear},
		"the same with the old cookie":        {says{302, "Location: /home|Set-Cookie: sid=visitor", ""}, "/login", unclear},
		"the same with a cookie deleted":      {says{302, "Location: /home|Set-Cookie: sid=x; Max-Age=0", ""}, "/login", unclear},
		"the same with a cookie emptied":      {says{302, "Location: /home|Set-Cookie: sid=", ""}, "/login", unclear},
		"the same with a cookie of the past":  {says{302, "Location: /home|Set-Cookie: sid=deleted; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""}, "/login", unclear},
		"the same with a lasting cookie":      {says{302, "Location: /home|Set-Cookie: sid=x; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""}, "/login", yes},
		"the same with another path's cookie": {says{302, "Location: /home|Set-Cookie: sid=visitor; Path=/app", ""}, "/login", yes},
		"back to the login page":              {says{302, "Location: /login?error=1|" + fresh, ""}, "/login", no},
		"back to the login page at last":      {says{302, "Location: /login|" + fresh, ""}, "/start", no},
		"back to where that redirects to it":  {says{302, "Location: /start|" + fresh, ""}, "/start", unclear},
		"back to the page with a slash":       {says{302, "Location: /login/|" + fresh, ""}, "/login", no},
		"below the login page":                {says{302, "Location: /login/second|" + fresh, ""}, "/login", unclear},
		"beside the login page":               {says{302, "Location: /login2|" + fresh, ""}, "/login", yes},
		"from a login page at the root":       {says{302, "Location: /home|" + fresh, ""}, "/", yes},
		"back to the root":                    {says{302, "Location: /|" + fresh, ""}, "/", no},
		"back to the page by its query":       {says{302, "Location: /doku.php?a=1&do=login|" + fresh, ""}, "/doku.php?do=login", no},
		"to the same path without the query":  {says{302, "Location: /doku.php?a=1|" + fresh, ""}, "/doku.php?do=login", unclear},
		"out of the app":                      {says{302, "Location: https://sso.example/|" + fresh, ""}, "/login", unclear},
		"to nowhere":                          {says{302, fresh, ""}, "/login", unclear},
		"a page and a cookie":                 {says{200, fresh, "<p>Hello"}, "/login", yes},
		"a page with a search form":           {says{200, fresh, "<form><input name=q></form>"}, "/login", yes},
		"a page and no cookie":                {says{200, "", "<p>Hello"}, "/login", unclear},
		"the form again":                      {says{200, fresh, loginPage}, "/login", no},
		"the form again with 422":             {says{422, fresh, loginPage}, "/login", no},
		"the form again with 400":             {says{400, fresh, loginPage}, "/login", no},
		"a form in the frame of a 404":        {says{404, fresh, loginPage}, "/login", unclear},
		"a password field in no form":         {says{200, fresh, "<input type=password name=p>"}, "/login", unclear},
		"JSON and a cookie":                   {says{200, "Content-Type: application/json|" + fresh, `{"error":"no"}`}, "/login", unclear},
		"401":                                 {says{401, fresh, "No"}, "/login", no},
		"403":                                 {says{403, "Content-Type: text/plain", "No"}, "/login", no},
		"429":                                 {says{429, fresh, loginPage}, "/login", unclear},
		"500":                                 {says{500, fresh, loginPage}, "/login", unclear},
		"503":                                 {says{503, "", "down"}, "/login", unclear},
		"a page that is too long":             {says{200, fresh, strings.Repeat(" ", maxPage+1)}, "/login", unclear},
		"a page with too many fields":         {says{200, fresh, strings.Repeat("<input>", maxControls+1)}, "/login", unclear},
		"as many cookies as may be":           {says{302, "Location: /home" + manyCookies(49), ""}, "/login", yes},
		"too many cookies":                    {says{302, "Location: /home" + manyCookies(50), ""}, "/login", unclear},
	} {
		t.Run(name, func(t *testing.T) {
			if err := outcome(t, Form{}, c.page, c.answer); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func manyCookies(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "|Set-Cookie: c%d=1", i)
	}
	return b.String()
}

func TestSuccessAndFailureSayWhatAnAnswerMeans(t *testing.T) {
	in := says{302, "Location: /home?x=1|Set-Cookie: DW7f=abc|Set-Cookie: old=; Max-Age=0", ""}
	out := says{200, "Set-Cookie: other=1", "<p>Invalid credentials"}
	for name, c := range map[string]struct {
		form   Form
		answer says
		want   error
	}{
		"all of success":                      {Form{Success: Answer{Status: []int{200, 302}, Location: "/home", NotLocation: "/login*", Cookie: "DW*"}}, in, nil},
		"another status":                      {Form{Success: Answer{Status: []int{303}, Cookie: "DW*"}}, in, ErrUnclear},
		"another location":                    {Form{Success: Answer{Location: "/hom"}}, in, ErrUnclear},
		"a location's beginning":              {Form{Success: Answer{Location: "/ho*"}}, in, nil},
		"a location with its query":           {Form{Success: Answer{Location: "/home?x=1"}}, in, nil},
		"a location with another":             {Form{Success: Answer{Location: "/home?x=2"}}, in, ErrUnclear},
		"a location that must not be":         {Form{Success: Answer{NotLocation: "/h*"}}, in, ErrUnclear},
		"a location out of the app":           {Form{Success: Answer{NotLocation: "/login*"}}, says{302, "Location: https://sso.example/|Set-Cookie: a=1", ""}, ErrUnclear},
		"a cookie by its whole name":          {Form{Success: Answer{Cookie: "DW7f"}}, in, nil},
		"a cookie by half of it":              {Form{Success: Answer{Cookie: "DW"}}, in, ErrUnclear},
		"a cookie that is deleted":            {Form{Success: Answer{Cookie: "old"}}, in, ErrUnclear},
		"success by body":                     {Form{Success: Answer{Body: "Hello"}}, says{200, "", "<p>Hello"}, nil},
		"by the body of JSON":                 {Form{Success: Answer{Body: `"ok":true`}}, says{200, "Content-Type: application/json", `{"ok":true}`}, nil},
		"by the body of a redirect":           {Form{Success: Answer{Body: "Hello"}}, says{302, "Location: /home", "Hello"}, nil},
		"not success, and no default":         {Form{Success: Answer{Body: "Hello"}}, out, ErrUnclear},
		"not success, and the form again":     {Form{Success: Answer{Body: "Hello"}}, says{200, "", loginPage}, ErrRefused},
		"success, but the form again":         {Form{Success: Answer{Status: []int{200}}}, says{200, "", loginPage}, ErrUnclear},
		"success, but 401":                    {Form{Success: Answer{Status: []int{401}}}, says{401, "", ""}, ErrUnclear},
		"failure by body":                     {Form{Failure: Answer{Status: []int{200}, Body: "Invalid"}}, says{200, "", "<p>Invalid credentials"}, ErrRefused},
		"failure, but in by default":          {Form{Failure: Answer{Status: []int{200}, Body: "Invalid"}}, out, ErrUnclear},
		"not failure, and in by default":      {Form{Failure: Answer{Body: "Invalid"}}, in, nil},
		"not failure, and the form again":     {Form{Failure: Answer{Body: "Invalid"}}, says{200, "", loginPage}, ErrUnclear},
		"both given, and success":             {Form{Success: Answer{Status: []int{200}}, Failure: Answer{Body: "Invalid"}}, says{200, "", loginPage}, nil},
		"both given, and failure":             {Form{Success: Answer{Status: []int{302}}, Failure: Answer{Body: "Invalid"}}, out, ErrRefused},
		"both given, and both":                {Form{Success: Answer{Status: []int{200}}, Failure: Answer{Body: "Invalid"}}, out, ErrUnclear},
		"both given, and neither":             {Form{Success: Answer{Status: []int{302}}, Failure: Answer{Body: "Other"}}, out, ErrUnclear},
		"a 500 is neither, whatever they say": {Form{Success: Answer{Status: []int{500}}, Failure: Answer{Body: "x"}}, says{500, "", ""}, ErrUnclear},
		"a 429 is no wrong password":          {Form{Success: Answer{Body: "x"}, Failure: Answer{Status: []int{429}}}, says{429, "", ""}, ErrUnclear},
	} {
		t.Run(name, func(t *testing.T) {
			if err := outcome(t, c.form, "/login", c.answer); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAnUnclearAnswerSaysWhatWasSeenAndWhichKeysDecide(t *testing.T) {
	for _, c := range []struct {
		form   Form
		answer says
		want   string
	}{
		{Form{}, says{302, "Location: /home?token=1", ""}, "wiki: the app's answer is neither yes nor no: POST /login answered 302 to /home and no new cookie, which fits neither success nor failure; say in success and failure what the app answers"},
		{Form{}, says{302, "Location: //sso.example/", ""}, "wiki: the app's answer is neither yes nor no: POST /login answered 302 to somewhere out of the app and no new cookie, which fits neither success nor failure; say in success and failure what the app answers"},
		{Form{Success: Answer{Cookie: "s*"}}, says{200, "Set-Cookie: s=1", loginPage}, "wiki: the app's answer is neither yes nor no: POST /login answered 200 with a login form and a new cookie, which fits both success and failure; say in both what only one of them is"},
		{Form{}, says{503, "", ""}, "wiki: the app's answer is neither yes nor no: POST /login answered 503"},
	} {
		if err := outcome(t, c.form, "/login", c.answer); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestTheBrowserGetsTheLastLineOfEachCookieWithThePathItWasSetFor(t *testing.T) {
	a := startApp(t)
	a.HandleFunc("GET /app/login", func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"a=1", "b=1; Path=/; Secure", "c=1; Domain=.example.com; Path=/", "theme={\"dark\": true}", "nonsense;;", "=nameless", "b=2; Path=/"} {
			w.Header().Add("Set-Cookie", line)
		}
		page(w, loginPage)
	})
	a.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"a=2; Path=/app; HttpOnly", "a=3; path=app", "c=2; domain=Example.com; path=/; SameSite=Lax", "b=; Path=/; Max-Age=0"} {
			w.Header().Add("Set-Cookie", line)
		}
		w.Header().Set("Location", "/home")
		w.WriteHeader(303)
	})
	r, err := (&Form{Page: "/app/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`theme={"dark": true}; Path=/app`, "a=2; Path=/app; HttpOnly", "a=3; path=app; Path=/", "c=2; domain=Example.com; path=/; SameSite=Lax", "b=; Path=/; Max-Age=0"}
	if !slices.Equal(r.Cookies, want) {
		t.Errorf("got  %q\nwant %q", r.Cookies, want)
	}
	if got := a.sent.Get("Cookie"); !strings.Contains(got, "b=2") || !strings.Contains(got, "c=1") || strings.Contains(got, "theme") {
		t.Errorf("the form came with %q", got) // theme is /app's alone
	}
}

func TestACookieKeepsItsValueOnItsWayBack(t *testing.T) {
	a := startApp(t)
	a.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", `q="2|1:0|x, y"; Path=/`)
		page(w, loginPage)
	})
	a.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	_, err := (&Form{Page: "/login"}).SignIn(t.Context(), a.App, "alice", rightPassword)
	if got := a.sent.Get("Cookie"); !errors.Is(err, ErrRefused) || got != `q="2|1:0|x, y"` {
		t.Errorf("%v, sent back %q", err, got)
	}
}

func TestManyThousandCookiesAreRefusedWithoutCountingThemAll(t *testing.T) {
	a := testApp()
	a.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"text/html"}}
		for i := range 60_000 {
			h["Set-Cookie"] = append(h["Set-Cookie"], fmt.Sprintf("%d=1", i))
		}
		return &http.Response{StatusCode: 200, Header: h, Body: http.NoBody}, nil
	})
	x := newExchange(a)
	if _, err := x.send(context.Background(), "GET", origin, http.Header{}, nil); !errors.Is(err, ErrUnclear) || len(x.kept) != maxCookies+1 {
		t.Errorf("%v, and %d kept", err, len(x.kept))
	}
}
