package fault

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// replied bounds every answer under a fault. The promise is 3 s; the rest is for a busy machine.
const replied = 8 * time.Second

// access is the fixture of SECURITY-CASES.md. Only staff may meet a route of two factors, so that a crowd without
// groups signs in with its passwords alone.
func access(up *harness.Upstream) string {
	return fmt.Sprintf(`
  - url: %q
    access:
      policy: deny
      rules:
        - { paths: ["/public/*"], policy: bypass }
        - { paths: ["/app/*"], policy: one_factor }
        - { paths: ["/secret/*"], policy: two_factor, groups: [staff] }`, up.URL)
}

// staff are people who need a second factor.
func staff(names ...string) []harness.User {
	var users []harness.User
	for _, name := range names {
		users = append(users, harness.User{Name: name, Groups: "staff"})
	}
	return users
}

// onRedis are the lines of a configuration that keeps its state in Redis as the inner lines say, with this key and
// those before it.
func onRedis(inner, key string, before ...string) string {
	return fmt.Sprintf("store:\n  driver: redis\n  redis: { %s }\nsecret_key: %s\nprevious_secret_keys: [%s]\n", inner, key, strings.Join(before, ", "))
}

// Two keys of 32 bytes, in base64.
const (
	oldKey = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
	newKey = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
)

// verified sends a second factor.
func verified(c *harness.Client, tempToken, kind, code string) harness.Answer {
	c.T.Helper()
	return c.Post("/auth/2fa/verify", harness.Fields{"tempToken": tempToken, kind: code})
}

// forwardAuth asks as nginx does whether the client may go there.
func forwardAuth(c *harness.Client, target string) harness.Answer {
	c.T.Helper()
	return c.With("X-Original-URL", c.Base+target).With("X-Original-Method", "GET").Get("/auth/authz/auth-request")
}

// wantClosed asks for everything that needs the store: each is refused with 503 in time and nothing of it reaches the
// app, which what needs no store still does. pending is a temp token, with a code that is right.
func wantClosed(t *testing.T, c *harness.Client, up *harness.Upstream, name, pending, code string) {
	t.Helper()
	c = c.Timely(replied)
	noMore(t, c, 503)
	up.Forget()
	if page := c.Page("/secret/x").Want(503); !strings.Contains(page.Body, "<h1>") {
		t.Errorf("a page load gets no page: %s", page.Body)
	}
	forwardAuth(c, "/secret/x").Want(503)
	for _, a := range []harness.Answer{
		c.Get("/secret/x"), c.Get("/app/x"), c.Get("/auth/me"), c.Login(name), verified(c, pending, "totpCode", code),
		c.Post("/auth/logout", nil), // last, for it takes the cookie away
	} {
		a.Want(503, "STORE_UNAVAILABLE")
	}
	up.Untouched()
	c.Get("/public/x").Want(200)
	up.Only()
	c.Page("/auth/login").Want(200)
	c.Get("/auth/healthz").Want(200)
}

// noMore waits until a session that was remembered opens nothing any more. A gateway that cannot hear of a revocation goes
// by what it remembers for less than the 250 ms in which one has to be in force; package session holds that bound, by a
// clock of its own.
func noMore(t *testing.T, c *harness.Client, status int) {
	t.Helper()
	began := time.Now()
	harness.Eventually(t, fmt.Sprintf("a session that was remembered gets %d", status), func() bool {
		a := c.Get("/secret/x")
		if a.Status != 200 {
			a.Want(status)
		}
		return a.Status != 200
	})
	t.Logf("%d after %s at most", status, time.Since(began).Round(time.Millisecond))
}

// wantBack waits until the holder of the session is served as before the fault.
func wantBack(t *testing.T, c *harness.Client, path string) {
	t.Helper()
	began := time.Now()
	harness.Eventually(t, path+" is served again", func() bool {
		a := c.Get(path)
		if a.Status != 200 {
			a.Want(503)
		}
		return a.Status == 200
	})
	t.Logf("back after %s", time.Since(began).Round(time.Millisecond))
}
