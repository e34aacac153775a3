package harness

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

// Client is a program that talks to a gateway: it keeps cookies and follows no redirect.
type Client struct {
	T      testing.TB
	Base   string
	Http   *http.Client
	Header http.Header // sent with every request
}

func (g *Gateway) Client() *Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.T.Fatal(err)
	}
	return &Client{T: g.T, Base: g.URL, Header: http.Header{}, Http: &http.Client{
		Jar:           jar,
		Timeout:       Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// With returns the same client with one more header; the cookies are shared.
func (c *Client) With(key, value string) *Client {
	next := *c
	next.Header = c.Header.Clone()
	next.Header.Set(key, value)
	return &next
}

// At returns the same client pointed at another gateway; the cookies of a host are the same at all its ports.
func (c *Client) At(g *Gateway) *Client {
	next := *c
	next.Base = g.URL
	return &next
}

// Fields are the keys of a JSON object.
type Fields = map[string]any

// Answer is what came back.
type Answer struct {
	T      testing.TB
	What   string // "POST /auth/login"
	Status int
	Header http.Header
	Body   string
	JSON   Fields // nil where the body is no JSON object
}

// Do sends a request and reads the whole answer.
func (c *Client) Do(method, path, body string) Answer {
	c.T.Helper()
	request, err := http.NewRequestWithContext(c.T.Context(), method, c.Base+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	for key, values := range c.Header {
		request.Header[key] = values
	}
	if host := c.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := c.Http.Do(request)
	if err != nil {
		c.T.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		c.T.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	a := Answer{T: c.T, What: method + " " + path, Status: response.StatusCode, Header: response.Header, Body: string(got)}
	if method != "HEAD" && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		decoder := json.NewDecoder(bytes.NewReader(got))
		if err := decoder.Decode(&a.JSON); err != nil {
			c.T.Fatalf("%s: not a JSON object: %v: %s", a.What, err, got)
		}
	}
	return a
}

// Get asks as a program does; page asks as a browser does for a page.
func (c *Client) Get(path string) Answer { c.T.Helper(); return c.Do("GET", path, "") }
func (c *Client) Page(path string) Answer {
	c.T.Helper()
	return c.With("Accept", "text/html,*/*;q=0.8").With("Sec-Fetch-Mode", "navigate").With("Sec-Fetch-Dest", "document").Get(path)
}

// Post sends a JSON object; no fields: an empty body.
func (c *Client) Post(path string, body Fields) Answer {
	c.T.Helper()
	encoded := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.T.Fatal(err)
		}
		encoded = string(b)
	}
	return c.With("Content-Type", "application/json").Do("POST", path, encoded)
}

// Bearer returns a client of its own that sends the token and no cookie.
func (g *Gateway) Bearer(token string) *Client {
	return g.Client().With("Authorization", "Bearer "+token)
}

// Want fails the test where the status is another, and where a code is given, where that is another.
func (a Answer) Want(status int, code ...string) Answer {
	a.T.Helper()
	if a.Status != status {
		a.T.Fatalf("%s: status %d, want %d: %s", a.What, a.Status, status, a.Body)
	}
	for _, code := range code {
		if a.JSON["code"] != code {
			a.T.Fatalf("%s: code %v, want %s: %s", a.What, a.JSON["code"], code, a.Body)
		}
		if words, _ := a.JSON["error"].(string); words == "" && status != 403 {
			a.T.Errorf("%s: no words for a person: %s", a.What, a.Body)
		}
	}
	return a
}

// Text returns a string of the JSON object, which must be there.
func (a Answer) Text(key string) string {
	a.T.Helper()
	s, ok := a.JSON[key].(string)
	if !ok || s == "" {
		a.T.Fatalf("%s: no %q in %s", a.What, key, a.Body)
	}
	return s
}

// List returns an array of strings of the JSON object.
func (a Answer) List(key string) []string {
	a.T.Helper()
	values, ok := a.JSON[key].([]any)
	if !ok {
		a.T.Fatalf("%s: no array %q in %s", a.What, key, a.Body)
	}
	var texts []string
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			a.T.Fatalf("%s: %q holds %v, want strings", a.What, key, v)
		}
		texts = append(texts, s)
	}
	return texts
}

// Is fails the test where the key of the JSON object has another value.
func (a Answer) Is(key string, want any) Answer {
	a.T.Helper()
	if a.JSON[key] != want {
		a.T.Fatalf("%s: %q is %v, want %v: %s", a.What, key, a.JSON[key], want, a.Body)
	}
	return a
}

// Login sends the first factor.
func (c *Client) Login(name string) Answer {
	c.T.Helper()
	return c.Post("/auth/login", Fields{"username": name, "password": Password})
}

// Enrol signs a user without an authenticator in by setting one up, where policy asks for one.
func (c *Client) Enrol(name string) *Authenticator {
	c.T.Helper()
	pending := c.Login(name).Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")
	setting := c.With("Authorization", "Bearer "+pending)
	app := NewAuthenticator(c.T, setting.Post("/auth/2fa/setup", nil).Want(200).Text("otpauthUrl"))
	app.Recovery = setting.Post("/auth/2fa/verify-setup", Fields{"token": app.Code()}).Want(200).List("recoveryCodes")
	return app
}

// SignIn signs in with the password and the authenticator's code.
func (c *Client) SignIn(name string, app *Authenticator) Answer {
	c.T.Helper()
	pending := c.Login(name).Want(200).Is("requiresTwoFactor", true).Text("tempToken")
	return c.Post("/auth/2fa/verify", Fields{"tempToken": pending, "totpCode": app.Code()}).Want(200)
}

// SignedIn says whether the gateway knows the client.
func (c *Client) SignedIn() bool {
	c.T.Helper()
	return c.Get("/auth/me").Status == http.StatusOK
}

// Cookie returns the cookie of that name that the answer sets.
func (a Answer) Cookie(name string) *http.Cookie {
	a.T.Helper()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	a.T.Fatalf("%s sets no cookie %q: %v", a.What, name, a.Header["Set-Cookie"])
	return nil
}

// Timely returns the same client, but one that gives up after d.
func (c *Client) Timely(d time.Duration) *Client {
	next, copied := *c, *c.Http
	copied.Timeout = d
	next.Http = &copied
	return &next
}

// Form posts a form as a page of the gateway's does.
func (c *Client) Form(path string, pairs ...string) Answer {
	c.T.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return c.With("Content-Type", "application/x-www-form-urlencoded").With("Accept", "text/html").
		With("Sec-Fetch-Mode", "navigate").With("Sec-Fetch-Site", "same-origin").Do("POST", path, values.Encode())
}

// AsApp returns a client of its own that asks for tokens in the body.
func (g *Gateway) AsApp() *Client { return g.Client().With("X-Auth-Strategy", "bearer") }
