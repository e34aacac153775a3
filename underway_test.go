package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/authflow/users"
)

// enrol signs a person in for the first time, and returns their TOTP secret.
func (a *app) enrol(c *http.Client, name string) (secret string) {
	a.Helper()
	temp := a.expect(c, "POST", "/auth/login", login(name, testPassword), "", 403)["tempToken"].(string)
	secret = a.expect(c, "POST", "/auth/2fa/setup", "", temp, 200)["secret"].(string)
	a.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, a.code(secret, 0)), temp, 200)
	return secret
}

// stream opens an answer of the upstream's that has no end of its own.
func (a *app) stream(c *http.Client) io.Reader {
	a.Helper()
	resp, err := c.Get(a.url + "/stream")
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "began\n" {
		a.Fatalf("the stream began with %q, %v", line, err)
	}
	return body
}

// wantEnd waits until the stream is cut, which the client's own time limit is not.
func (a *app) wantEnd(stream io.Reader) {
	a.Helper()
	_, err := io.ReadAll(stream)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		a.Error("the stream was not ended")
	}
}

func TestWhatIsUnderWayEndsWithTheRightToItEvenAfterAReload(t *testing.T) {
	for name, end := range map[string]func(*app){
		"the user is disabled": func(a *app) {
			if err := users.SetDisabled(a.file("users.yaml"), "alice", true); err != nil {
				a.Fatal(err)
			}
		},
		"the group is dropped": func(a *app) {
			raw, err := os.ReadFile(a.file("users.yaml"))
			if err != nil {
				a.Fatal(err)
			}
			a.write("users.yaml", strings.ReplaceAll(string(raw), "staff", "visitors"))
		},
		"the session is ended": func(a *app) {
			if err := a.server.current.Load().flow.RemoveAuthenticator(a.Context(), "file:alice", ""); err != nil {
				a.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, "")
			c := a.browser()
			a.enrol(c, "alice")
			stream := a.stream(c)
			a.server.reload(t.Context())
			end(a)
			a.wantEnd(stream)
		})
	}
}

func TestSigningOutEndsWhateverCameWithIt(t *testing.T) {
	a := startApp(t, "session: { access_token_lifetime: 1s }\n")
	bearer := func() map[string]any {
		temp := a.expect(http.DefaultClient, "POST", "/auth/login", login("alice", testPassword), "", 403)["tempToken"].(string)
		secret := a.expect(http.DefaultClient, "POST", "/auth/2fa/setup", "", temp, 200)["secret"].(string)
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/auth/2fa/verify-setup", strings.NewReader(fmt.Sprintf(`{"token":%q}`, a.code(secret, 0))))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + temp}, "X-Auth-Strategy": {"bearer"}}
		status, tokens := a.do(http.DefaultClient, r)
		if status != 200 {
			t.Fatalf("%d %v", status, tokens)
		}
		return tokens
	}
	for name, signOut := range map[string]func(tokens map[string]any){
		"an access token whose time is over": func(tokens map[string]any) {
			time.Sleep(1100 * time.Millisecond)
			a.expect(http.DefaultClient, "GET", "/auth/me", "", tokens["accessToken"].(string), 401)
			a.expect(http.DefaultClient, "POST", "/auth/logout", "", tokens["accessToken"].(string), 200)
		},
		"a refresh token as bearer": func(tokens map[string]any) {
			a.expect(http.DefaultClient, "POST", "/auth/logout", "", tokens["refreshToken"].(string), 200)
		},
		"a refresh token in the body": func(tokens map[string]any) {
			a.expect(http.DefaultClient, "POST", "/auth/logout", fmt.Sprintf(`{"refreshToken":%q}`, tokens["refreshToken"]), "", 200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := bearer()
			signOut(tokens)
			a.expect(http.DefaultClient, "POST", "/auth/refresh", fmt.Sprintf(`{"refreshToken":%q}`, tokens["refreshToken"]), "", 401)
			if err := a.server.current.Load().flow.RemoveAuthenticator(t.Context(), "file:alice", ""); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNoRequestHidesBehindAChunkedOne(t *testing.T) {
	a := startApp(t, "")
	for _, headers := range []string{"Content-Length: 51\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 51\r\n"} {
		for _, path := range []string{"/x", "/auth/login", "/auth/logout"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n0\r\n\r\nGET /auth/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", path, headers)
			raw, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(raw), "HTTP/1.1 ") != 1 {
				t.Fatalf("%s with %q: %v\n%s", path, headers, err, raw)
			}
			conn.Close()
		}
	}
}

func TestNoTokenOfTheGatewaysReachesAnAppThatIsOpenToAll(t *testing.T) {
	a := startAppBefore(t, ", access: { policy: bypass }", "", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "authorization=%s", r.Header.Get("Authorization"))
	})
	temp := a.pendingToken()
	for token, want := range map[string]string{temp: "authorization=", "the app's own": "authorization=Bearer the app's own"} {
		if text := a.expect(a.browser(), "GET", "/x", "", token, 200)["text"]; text != want {
			t.Errorf("the app saw %q, want %q", text, want)
		}
	}
}

// pendingToken is the temp token of a sign-in of alice's that waits for her authenticator, which is set up here.
func (a *app) pendingToken() string {
	a.Helper()
	c := a.browser()
	a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200) // nothing asks for two factors
	secret := a.expect(c, "POST", "/auth/2fa/setup", "", "", 200)["secret"].(string)
	a.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, a.code(secret, 0)), "", 200)
	return a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)["tempToken"].(string)
}

func TestSigningOutWithAPlantedSecondCookieEndsTheGenuineSession(t *testing.T) {
	a := startApp(t, "")
	c := a.browser()
	a.enrol(c, "alice")
	site, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	var genuine string
	for _, k := range c.Jar.Cookies(site) {
		if k.Name == "sallyport" {
			genuine = k.Value
		}
	}
	for _, call := range []struct {
		method, path, cookies string
		status                int
	}{
		{"GET", "/auth/me", "sallyport=" + genuine, 200},
		{"GET", "/auth/me", "sallyport=" + genuine + "; sallyport=planted", 401},
		{"POST", "/auth/logout", "sallyport=" + genuine + "; sallyport=planted", 200},
		{"GET", "/auth/me", "sallyport=" + genuine, 401},
	} {
		r, err := http.NewRequestWithContext(t.Context(), call.method, a.url+call.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", call.cookies)
		if status, answer := a.do(http.DefaultClient, r); status != call.status {
			t.Errorf("%s %s: %d %v, want %d", call.method, call.path, status, answer, call.status)
		}
	}
}
