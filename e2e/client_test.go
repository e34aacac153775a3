package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// client is a program that talks to a gateway: it keeps cookies and follows no redirect.
type client struct {
	t      *testing.T
	base   string
	http   *http.Client
	header http.Header // sent with every request
}

func (g *gateway) client() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return &client{t: g.t, base: g.URL, header: http.Header{}, http: &http.Client{
		Jar:           jar,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// with returns the same client with one more header; the cookies are shared.
func (c *client) with(key, value string) *client {
	next := *c
	next.header = c.header.Clone()
	next.header.Set(key, value)
	return &next
}

// at returns the same client pointed at another gateway; the cookies of a host are the same at all its ports.
func (c *client) at(g *gateway) *client {
	next := *c
	next.base = g.URL
	return &next
}

// fields are the keys of a JSON object.
type fields = map[string]any

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string // "POST /auth/login"
	Status int
	Header http.Header
	Body   string
	JSON   fields // nil where the body is no JSON object
}

// do sends a request and reads the whole answer.
func (c *client) do(method, path, body string) answer {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for key, values := range c.header {
		request.Header[key] = values
	}
	if host := c.header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		c.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	a := answer{t: c.t, what: method + " " + path, Status: response.StatusCode, Header: response.Header, Body: string(got)}
	if method != "HEAD" && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		decoder := json.NewDecoder(bytes.NewReader(got))
		if err := decoder.Decode(&a.JSON); err != nil {
			c.t.Fatalf("%s: not a JSON object: %v: %s", a.what, err, got)
		}
	}
	return a
}

// get asks as a program does; page asks as a browser does for a page.
func (c *client) get(path string) answer { c.t.Helper(); return c.do("GET", path, "") }
func (c *client) page(path string) answer {
	c.t.Helper()
	return c.with("Accept", "text/html,*/*;q=0.8").with("Sec-Fetch-Mode", "navigate").with("Sec-Fetch-Dest", "document").get(path)
}

// post sends a JSON object; no fields: an empty body.
func (c *client) post(path string, body fields) answer {
	c.t.Helper()
	encoded := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		encoded = string(b)
	}
	return c.with("Content-Type", "application/json").do("POST", path, encoded)
}

// bearer returns a client of its own that sends the token and no cookie.
func (g *gateway) bearer(token string) *client {
	return g.client().with("Authorization", "Bearer "+token)
}

// want fails the test where the status is another, and where a code is given, where that is another.
func (a answer) want(status int, code ...string) answer {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.Status, status, a.Body)
	}
	for _, code := range code {
		if a.JSON["code"] != code {
			a.t.Fatalf("%s: code %v, want %s: %s", a.what, a.JSON["code"], code, a.Body)
		}
		if words, _ := a.JSON["error"].(string); words == "" && status != 403 {
			a.t.Errorf("%s: no words for a person: %s", a.what, a.Body)
		}
	}
	return a
}

// text returns a string of the JSON object, which must be there.
func (a answer) text(key string) string {
	a.t.Helper()
	s, ok := a.JSON[key].(string)
	if !ok || s == "" {
		a.t.Fatalf("%s: no %q in %s", a.what, key, a.Body)
	}
	return s
}

// list returns an array of strings of the JSON object.
func (a answer) list(key string) []string {
	a.t.Helper()
	values, ok := a.JSON[key].([]any)
	if !ok {
		a.t.Fatalf("%s: no array %q in %s", a.what, key, a.Body)
	}
	var texts []string
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			a.t.Fatalf("%s: %q holds %v, want strings", a.what, key, v)
		}
		texts = append(texts, s)
	}
	return texts
}

// is fails the test where the key of the JSON object has another value.
func (a answer) is(key string, want any) answer {
	a.t.Helper()
	if a.JSON[key] != want {
		a.t.Fatalf("%s: %q is %v, want %v: %s", a.what, key, a.JSON[key], want, a.Body)
	}
	return a
}

// login sends the first factor.
func (c *client) login(name string) answer {
	c.t.Helper()
	return c.post("/auth/login", fields{"username": name, "password": password})
}

// enrol signs a user without an authenticator in by setting one up, where policy asks for one.
func (c *client) enrol(name string) *authenticator {
	c.t.Helper()
	pending := c.login(name).want(403, "2FA_SETUP_REQUIRED").text("tempToken")
	setting := c.with("Authorization", "Bearer "+pending)
	app := newAuthenticator(c.t, setting.post("/auth/2fa/setup", nil).want(200).text("otpauthUrl"))
	app.recovery = setting.post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(200).list("recoveryCodes")
	return app
}

// signIn signs in with the password and the authenticator's code.
func (c *client) signIn(name string, app *authenticator) answer {
	c.t.Helper()
	pending := c.login(name).want(200).is("requiresTwoFactor", true).text("tempToken")
	return c.post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}).want(200)
}

// signedIn says whether the gateway knows the client.
func (c *client) signedIn() bool {
	c.t.Helper()
	return c.get("/auth/me").Status == http.StatusOK
}

// cookie returns the cookie of that name that the answer sets.
func (a answer) cookie(name string) *http.Cookie {
	a.t.Helper()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	a.t.Fatalf("%s sets no cookie %q: %v", a.what, name, a.Header["Set-Cookie"])
	return nil
}

// timely returns the same client, but one that gives up after d.
func (c *client) timely(d time.Duration) *client {
	next, copied := *c, *c.http
	copied.Timeout = d
	next.http = &copied
	return &next
}

// form posts a form as a page of the gateway's does.
func (c *client) form(path string, pairs ...string) answer {
	c.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return c.with("Content-Type", "application/x-www-form-urlencoded").with("Accept", "text/html").
		with("Sec-Fetch-Mode", "navigate").with("Sec-Fetch-Site", "same-origin").do("POST", path, values.Encode())
}
