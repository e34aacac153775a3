package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// assertedBy is an app that trusts no network: it says whom the assertion names, checked with the gateway's keys.
func assertedBy(t *testing.T, keys func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		values := r.Header.Values("X-Sallyport-Assertion")
		if len(values) != 1 {
			fmt.Fprintf(w, "%d assertions", len(values))
			return
		}
		token, err := jwt.ParseSigned(values[0], []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			fmt.Fprintf(w, "not one: %v", err)
			return
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(keys(), &set); err != nil {
			t.Errorf("the keys: %v", err)
			return
		}
		var said struct {
			jwt.Claims
			Groups  []string `json:"groups"`
			AMR     []string `json:"amr"`
			Session string   `json:"sid"`
		}
		if err := token.Claims(set, &said); err != nil {
			fmt.Fprintf(w, "not signed by the gateway: %v", err)
			return
		}
		if err := said.Validate(jwt.Expected{Issuer: "http://localhost:8080", AnyAudience: jwt.Audience{"app"}, Time: time.Now()}); err != nil {
			fmt.Fprintf(w, "not for this app: %v", err)
			return
		}
		fmt.Fprintf(w, "%s %v %v %t", said.Subject, said.Groups, said.AMR, said.Session != "")
	}
}

func TestAnAppLearnsWhoAsksFromASignedAssertion(t *testing.T) {
	var a *app
	keys := func() []byte {
		resp, err := http.Get(a.url + "/auth/.well-known/jwks.json")
		if err != nil {
			t.Error(err)
			return nil
		}
		defer resp.Body.Close()
		var set json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&set); err != nil || resp.Header.Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("%v, %v", err, resp.Header)
		}
		return set
	}
	entry := `, assertion: true, access: { policy: one_factor, rules: [{ paths: ["/open/*"], policy: bypass }] }`
	a = startAppBefore(t, entry, "", assertedBy(t, keys))
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)
	if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "file:alice [staff] [pwd] true" {
		t.Errorf("the app says %v", text)
	}
	// A client's own never passes: not in place of the gateway's, not where nobody is asked, under no spelling.
	for path, want := range map[string]string{"/x": "file:alice [staff] [pwd] true", "/open/x": "0 assertions"} {
		for _, name := range []string{"X-Sallyport-Assertion", "x_sallyport_assertion", "X.Sallyport~Assertion"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header[name] = []string{"forged"}
			if _, answer := a.do(c, r); answer["text"] != want {
				t.Errorf("with %s at %s the app says %v, want %s", name, path, answer["text"], want)
			}
		}
	}
}

func TestAnAssertionIsOffUnlessTheUpstreamAsksForIt(t *testing.T) {
	a := startAppBefore(t, ", access: { policy: one_factor }", "", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", r.Header.Values("X-Sallyport-Assertion"))
	})
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Sallyport-Assertion", "forged")
	if _, answer := a.do(c, r); answer["text"] != "[]" {
		t.Errorf("the app sees %v", answer["text"])
	}
}

func TestForwardAuthAlwaysSaysWhatTheAssertionIs(t *testing.T) {
	for entry, want := range map[string]int{", assertion: true": 3, "": 1} {
		a := startAppBefore(t, entry+", access: { policy: one_factor }", "", func(http.ResponseWriter, *http.Request) {})
		written, err := os.ReadFile(a.file("config.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		a.write("config.yaml", strings.Replace(string(written), "server: {", "server: { trusted_proxies: [127.0.0.1/32],", 1))
		a.server.reload(t.Context())
		c := a.browser()
		a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)
		r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/auth/authz/forward-auth", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Method": "GET", "Proto": "http", "Host": strings.TrimPrefix(a.url, "http://"), "Uri": "/x"} {
			r.Header.Set("X-Forwarded-"+name, value)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		values := resp.Header.Values("X-Sallyport-Assertion")
		if resp.StatusCode != 200 || len(values) != 1 || len(strings.Split(values[0], ".")) != want {
			t.Errorf("%s: %d with %q", entry, resp.StatusCode, values)
		}
	}
}
