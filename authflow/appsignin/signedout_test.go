package appsignin

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnAnswerToSomebodySignedOutIsToldFromOthers(t *testing.T) {
	byQuery := SignedOut{Page: "/doku.php?do=login"}
	byStatus := SignedOut{Page: "/login", Answer: Answer{Status: []int{403}}}
	byBody := SignedOut{Page: "/login", Answer: Answer{Status: []int{200}, Body: `id="login-form"`}}
	form := `<form id="login-form">`
	for _, c := range []struct {
		name     string
		what     SignedOut
		status   int
		header   map[string]string
		body     string
		expected bool
	}{
		{"a redirect to the login page", SignedOut{Page: "/login"}, 302, map[string]string{"Location": "/login?next=%2Fx"}, "", true},
		{"the same, absolute", SignedOut{Page: "/login"}, 303, map[string]string{"Location": "https://app.example.com/login"}, "", true},
		{"to another host's", SignedOut{Page: "/login"}, 302, map[string]string{"Location": "https://other.example.com/login"}, "", false},
		{"a redirect elsewhere", SignedOut{Page: "/login"}, 302, map[string]string{"Location": "/start"}, "", false},
		{"a Location without a redirect", SignedOut{Page: "/login"}, 201, map[string]string{"Location": "/login"}, "", false},
		{"the path of a login page that its query makes one", byQuery, 302, map[string]string{"Location": "/doku.php?id=start"}, "", false},
		{"that page", byQuery, 302, map[string]string{"Location": "/doku.php?id=start&do=login"}, "", true},
		{"a page", SignedOut{Page: "/login"}, 200, map[string]string{"Content-Type": "text/html"}, form, false},
		{"a status that was named", byStatus, 403, nil, "", true},
		{"another", byStatus, 404, nil, "", false},
		{"a page with the text", byBody, 200, map[string]string{"Content-Type": "text/html"}, form, true},
		{"without it", byBody, 200, map[string]string{"Content-Type": "text/html"}, "welcome", false},
		{"with it, compressed", byBody, 200, map[string]string{"Content-Type": "text/html", "Content-Encoding": "gzip"}, zipped(t, form), true},
		{"compressed, without it", byBody, 200, map[string]string{"Content-Type": "text/html", "Content-Encoding": "gzip"}, zipped(t, "welcome"), false},
		{"no page", byBody, 200, map[string]string{"Content-Type": "application/json"}, form, false},
		{"the text beyond the bound", byBody, 200, map[string]string{"Content-Type": "text/html"}, strings.Repeat(" ", maxPeek) + form, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "https://app.example.com/page", nil)
			res := &http.Response{StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body))}
			for name, value := range c.header {
				res.Header.Set(name, value)
			}
			if got := c.what.Holds(r, res); got != c.expected {
				t.Errorf("%t, want %t", got, c.expected)
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != c.body {
				t.Errorf("the body has become %d bytes of %d, %v", len(body), len(c.body), err)
			}
		})
	}
}

func TestABodyThatBreaksOffWhileItIsLookedAtBreaksOffForTheClientToo(t *testing.T) {
	broken := errors.New("connection reset")
	body := io.MultiReader(strings.NewReader("half a page"), brokenReader{broken})
	res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(body)}
	what := SignedOut{Page: "/login", Answer: Answer{Body: "login-form"}}
	if what.Holds(httptest.NewRequest("GET", "https://app.example.com/", nil), res) {
		t.Error("taken for a login page")
	}
	if got, err := io.ReadAll(res.Body); string(got) != "half a page" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}
