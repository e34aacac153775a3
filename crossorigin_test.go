package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const shop, apart = "http://shop.test:8080", "http://evil.test:8080"

// startNeighbours starts a gateway for two hosts of one app, which lets pages of the shop use it with cookies.
func startNeighbours(t *testing.T) *app {
	return startAppBefore(t, `, hosts: [wiki.test], access: { policy: one_factor, rules: [{ paths: ["/shut"], policy: deny }, { paths: ["/open"], policy: bypass }] }`,
		"  - { name: shop, hosts: [shop.test], url: http://127.0.0.1:9 }\n", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", shop)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Access-Control-Allow-Methods", "PUT")
			fmt.Fprintf(w, "%s of %s", r.Method, r.Header.Get("Remote-User"))
		})
}

// asked sends a request to the wiki, with headers (name, value, …), and gives the answer with its body as JSON where
// it is some.
func (a *app) asked(c *http.Client, method, path string, headers ...string) (*http.Response, map[string]string) {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), method, a.url+path, nil)
	if err != nil {
		a.Fatal(err)
	}
	r.Host = "wiki.test:8080"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	body := map[string]string{}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			a.Error(err)
		}
	}
	return resp, body
}

// allows gives the headers that would let a page read an answer or make a request.
func allows(resp *http.Response) (all []string) {
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-Allow-") {
			all = append(all, name+": "+strings.Join(values, " | "))
		}
	}
	return all
}

func TestAPreflightFromAnotherOfOurOriginsIsAnswered(t *testing.T) {
	a := startNeighbours(t)
	resp, _ := a.asked(a.browser(), "OPTIONS", "/x", "Origin", shop, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,x-csrf")
	want := map[string]string{
		"Access-Control-Allow-Origin": shop, "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "PUT",
		"Access-Control-Allow-Headers": "content-type,x-csrf", "Access-Control-Max-Age": "60",
		"Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
	}
	for name, value := range want {
		if got := resp.Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if resp.StatusCode != 204 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestNoOtherPreflightIsAllowedAnything(t *testing.T) {
	a := startNeighbours(t)
	for name, headers := range map[string][]string{
		"a foreign origin":         {"Origin", apart},
		"another scheme":           {"Origin", "https://shop.test:9090"},
		"another port":             {"Origin", "http://shop.test"},
		"a name that begins alike": {"Origin", "http://shop.test.evil.test:8080"},
		"no origin that it is":     {"Origin", "null"},
		"a whole address":          {"Origin", shop + "/x"},
		"a user name before it":    {"Origin", "http://evil.test@shop.test:8080"},
		"no origin":                {},
	} {
		resp, body := a.asked(a.browser(), "OPTIONS", "/x", append(headers, "Access-Control-Request-Method", "PUT")...)
		if resp.StatusCode != 401 || body["code"] != "UNAUTHENTICATED" || len(allows(resp)) != 0 {
			t.Errorf("%s: %d %v %q", name, resp.StatusCode, body, allows(resp))
		}
	}
	if resp, _ := a.asked(a.browser(), "OPTIONS", "/x", "Origin", shop); resp.StatusCode != 401 {
		t.Errorf("OPTIONS that is no preflight: %d", resp.StatusCode)
	}
	if resp, _ := a.asked(a.browser(), "OPTIONS", "/shut", "Origin", shop, "Access-Control-Request-Method", "PUT"); resp.StatusCode != 403 {
		t.Errorf("a preflight to where nobody may go: %d", resp.StatusCode)
	}
	resp, _ := a.asked(a.browser(), "OPTIONS", "/open", "Origin", apart, "Access-Control-Request-Method", "PUT")
	if got := resp.Header.Get("Access-Control-Allow-Methods"); resp.StatusCode != 200 || got != "PUT" {
		t.Errorf("a preflight to a path of bypass is not the app's to answer: %d, %q", resp.StatusCode, got)
	}
}

func TestACallerOnAnotherOfOurOriginsCanReadThatASignInIsNeeded(t *testing.T) {
	a := startNeighbours(t)
	resp, body := a.asked(a.browser(), "PUT", "/x", "Origin", shop, "Referer", shop+"/cart")
	if resp.StatusCode != 401 || body["code"] != "UNAUTHENTICATED" || body["loginUrl"] != "http://wiki.test:8080/auth/login?rd=http%3A%2F%2Fshop.test%3A8080%2Fcart" {
		t.Errorf("%d %v", resp.StatusCode, body)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != shop || resp.Header.Get("Access-Control-Allow-Credentials") != "true" || resp.Header.Get("Vary") != "Origin" {
		t.Errorf("the caller cannot read it: %v", resp.Header)
	}
	if resp, _ := a.asked(a.browser(), "GET", "/shut", "Origin", shop); resp.StatusCode != 403 || resp.Header.Get("Access-Control-Allow-Origin") != shop {
		t.Errorf("the caller cannot read a refusal: %d, %q", resp.StatusCode, allows(resp))
	}
	for _, path := range []string{"/x", "/shut"} {
		if resp, _ := a.asked(a.browser(), "PUT", path, "Origin", apart); len(allows(resp)) != 0 {
			t.Errorf("a foreign page can read %s: %q", path, allows(resp))
		}
	}
}

// signInForOneFactor signs alice in by the page, on the way to the wiki, since the shop asks for two factors.
func (a *app) signInForOneFactor(c *http.Client) {
	a.Helper()
	fields := url.Values{"username": {"alice"}, "password": {testPassword}, "rd": {"/x"}}
	r, err := http.NewRequestWithContext(a.Context(), "POST", a.url+"/auth/login", strings.NewReader(fields.Encode()))
	if err != nil {
		a.Fatal(err)
	}
	r.Host = "wiki.test:8080" // whose cookies they are
	r.Header.Set("Content-Type", urlencoded)
	resp, err := c.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 303 {
		a.Fatalf("signing in: %d", resp.StatusCode)
	}
}

func TestWithASessionTheAppDecidesWhichPagesMayChangeSomething(t *testing.T) {
	a := startNeighbours(t)
	c := a.browser()
	a.signInForOneFactor(c)
	for method, want := range map[string]int{"PUT": 200, "DELETE": 403, "GET": 200} {
		resp, body := a.asked(c, method, "/x", "Origin", shop, "Sec-Fetch-Mode", "cors")
		if resp.StatusCode != want || resp.Header.Get("Access-Control-Allow-Origin") != shop {
			t.Errorf("%s from a page that the app allows PUT: %d %v %q", method, resp.StatusCode, body, allows(resp))
		}
	}
	if resp, _ := a.asked(c, "PUT", "/x", "Origin", apart, "Sec-Fetch-Mode", "cors"); resp.StatusCode != 403 || len(allows(resp)) != 0 {
		t.Errorf("PUT from a page that the app does not know: %d %q", resp.StatusCode, allows(resp))
	}
}
