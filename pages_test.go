package main

import (
	"encoding/binary"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"sallyport/authflow/cookie"
)

// answerTo sends a request and returns the answer without its body.
func (a *app) answerTo(c *http.Client, method, path, body string, header http.Header) *http.Response {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	r.Header = header
	resp, err := c.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestAPageOfAnotherSiteChangesNothing(t *testing.T) {
	a := startAppBefore(t, ", access: { policy: one_factor }", "", http.NotFound)
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)
	others := []http.Header{
		{"Origin": {"https://evil.example"}}, {"Origin": {"null"}}, {"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}},
	}
	for _, header := range others {
		for path, body := range map[string]string{
			"/auth/logout": "", "/auth/account/revoke-others": "", "/auth/account/password": "present=" + testPassword + "&next=a+new+password",
			"/auth/2fa/setup": "{}", "/auth/change-password": "{}", "/auth/login": login("bob", testPassword),
		} {
			header.Set("Content-Type", "application/json")
			if !strings.HasPrefix(body, "{") {
				header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if resp := a.answerTo(c, "POST", path, body, header); resp.StatusCode != 403 || len(resp.Cookies()) != 0 {
				t.Errorf("%s with %v: %d and the cookies %v, want 403 and none", path, header, resp.StatusCode, resp.Cookies())
			}
		}
	}
	if me := a.expect(c, "GET", "/auth/me", "", "", 200); me["username"] != "alice" {
		t.Errorf("after all that: %v", me)
	}
}

func TestThePagesTellBrowsersToKeepFrameAndGuessNothing(t *testing.T) {
	for public, hsts := range map[string]string{"http://localhost:8080": "", "https://auth.example.com": "max-age=31536000"} {
		a := startApp(t, "secret_key: "+strings.Repeat("A", 43)+"=\n")
		a.write("config.yaml", strings.Replace(a.read("config.yaml"), "listen: 127.0.0.1:0", "listen: 127.0.0.1:0, public_url: "+public, 1))
		a.server.reload(t.Context())
		for _, path := range []string{"/auth/login", "/auth/me", "/auth/account", "/auth/nothing", "/x"} {
			h := a.answerTo(a.browser(), "GET", path, "", http.Header{"Accept": {"text/html"}}).Header
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
				"Cross-Origin-Opener-Policy": "same-origin", "Strict-Transport-Security": hsts,
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s of %s has %s %q, want %q", path, public, name, got, want)
				}
			}
			policy := h.Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
				if !strings.Contains(policy, part) {
					t.Errorf("%s of %s has the policy %q, without %s", path, public, policy, part)
				}
			}
		}
	}
}

func TestAnAccessTokenEndsBeforeItsSession(t *testing.T) {
	a := startAppBefore(t, ", access: { policy: one_factor }", "", func(http.ResponseWriter, *http.Request) {})
	r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/auth/login", strings.NewReader(login("alice", testPassword)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Auth-Strategy", "bearer")
	_, got := a.do(a.browser(), r)
	token, _ := got["accessToken"].(string)
	a.expect(a.browser(), "GET", "/x", "", token, 200)

	// The same token as it would have been issued an hour before its end came.
	codec := cookie.NewCodec(a.server.last.keys.Derive("cookie envelopes"))
	payload, err := codec.Decode(cookie.Access, token)
	if err != nil {
		t.Fatal(err)
	}
	end := payload[len(payload)-8:]
	binary.BigEndian.PutUint64(end, binary.BigEndian.Uint64(end)-24*3600)
	past, err := codec.Encode(cookie.Access, payload)
	if err != nil {
		t.Fatal(err)
	}
	a.expect(a.browser(), "GET", "/x", "", past, 401)
	a.expect(a.browser(), "GET", "/auth/me", "", past, 401)
	a.expect(a.browser(), "GET", "/x", "", token, 200)
}

func TestTheControlSocketIsForItsOwnAccountAlone(t *testing.T) {
	a := startApp(t, "")
	info, err := os.Stat(controlSocket(a.server.cfg))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode.Perm() != 0o600 || mode.Type() != fs.ModeSocket {
		t.Errorf("the socket has mode %v, want 0600", mode)
	}
}

func (a *app) read(name string) string {
	a.Helper()
	raw, err := os.ReadFile(a.file(name))
	if err != nil {
		a.Fatal(err)
	}
	return string(raw)
}
