package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// replicas starts two gateways on one Redis.
func replicas(t *testing.T, up *upstream, users ...user) (*redis, *gateway, *gateway) {
	t.Helper()
	store := startRedis(t)
	s := settings{Redis: store, Upstreams: policies(up), Users: users}
	return store, startGateway(t, s), startGateway(t, s)
}

func TestASignInGoesOverTwoReplicas(t *testing.T) {
	up := startUpstream(t)
	_, one, two := replicas(t, up)
	c := one.client()
	pending := c.login("alice").want(403, "2FA_SETUP_REQUIRED").text("tempToken")
	setup := two.bearer(pending).post("/auth/2fa/setup", nil).want(200)
	app := newAuthenticator(t, setup.text("otpauthUrl"))
	one.bearer(pending).post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(200)

	pending = c.login("alice").want(200).text("tempToken")
	c.at(two).post("/auth/2fa/verify", fields{"tempToken": pending, "totpCode": app.code()}).want(200)
	c.get("/secret/x").want(200)
	c.at(two).get("/secret/x").want(200)

	c.at(two).post("/auth/logout", nil).want(200)
	stolen := one.client()
	stolen.http.Jar = c.http.Jar
	eventually(t, "a sign-out at one replica is in force at the other", func() bool { return !stolen.signedIn() })
}

func TestTwoReplicasAcceptACodeOnce(t *testing.T) {
	var users []user
	for i := range 5 {
		users = append(users, user{Name: fmt.Sprintf("user%d", i)})
	}
	_, one, two := replicas(t, startUpstream(t), users...)
	for _, u := range users {
		app := one.client().enrol(u.Name)
		first := one.client().login(u.Name).want(200).text("tempToken")
		second := two.client().login(u.Name).want(200).text("tempToken")
		code := app.code()
		if statuses := atOnce(
			func() int { return one.verify(first, "totpCode", code) },
			func() int { return two.verify(second, "totpCode", code) },
		); statuses[200] != 1 || statuses[401] != 1 {
			t.Errorf("%s: one code at two replicas at once: %v, want one 200 and one 401", u.Name, statuses)
		}
		first = one.client().login(u.Name).want(200).text("tempToken")
		second = two.client().login(u.Name).want(200).text("tempToken")
		code = app.recoveryCode()
		if statuses := atOnce(
			func() int { return one.verify(first, "recoveryCode", code) },
			func() int { return two.verify(second, "recoveryCode", code) },
		); statuses[200] != 1 || statuses[401] != 1 {
			t.Errorf("%s: one recovery code at two replicas at once: %v, want one 200 and one 401", u.Name, statuses)
		}
	}
}

// verify sends a second factor and returns the status; 0: no answer. It may be called by any goroutine.
func (g *gateway) verify(tempToken, kind, code string) int {
	body := fmt.Sprintf(`{"tempToken":%q,%q:%q}`, tempToken, kind, code)
	response, err := http.Post(g.URL+"/auth/2fa/verify", "application/json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// atOnce asks all at the same time and counts what they return.
func atOnce(ask ...func() int) map[int]int {
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		counts = map[int]int{}
		gun    = make(chan struct{})
	)
	for _, f := range ask {
		wait.Go(func() {
			<-gun
			got := f()
			mu.Lock()
			counts[got]++
			mu.Unlock()
		})
	}
	close(gun)
	wait.Wait()
	return counts
}

func TestWithoutRedisTheDoorsAreClosedAndTheOpenOnesStayOpen(t *testing.T) {
	up := startUpstream(t)
	store, admin := startRedis(t), freeAddress(t)
	one := startGateway(t, settings{Redis: store, Upstreams: policies(up), Admin: admin})
	ready := one.client()
	ready.base = "http://" + admin
	c := one.client()
	app := c.enrol("alice")
	c.get("/secret/x").want(200)
	ready.get("/readyz").want(200)
	up.forget()

	store.stop()
	// The promise is an answer within 3 s; the bound here leaves room for a busy machine.
	closed(t, c.timely(8*time.Second), up)
	one.client().page("/auth/login").want(200)
	if why := ready.get("/readyz").want(503).Body; strings.TrimSpace(why) == "" {
		t.Error("/readyz does not say why")
	}
	ready.get("/healthz").want(200)

	store.start()
	began := time.Now()
	eventually(t, "the gateway is back after Redis", func() bool { return c.get("/secret/x").Status == 200 })
	t.Logf("back %s after Redis", time.Since(began).Round(time.Millisecond))
	ready.get("/readyz").want(200)
	one.client().signIn("alice", app)
}

func TestARedisThatHangsIsAsGoodAsNone(t *testing.T) {
	up := startUpstream(t)
	store, one, _ := replicas(t, up)
	c := one.client()
	c.enrol("alice")
	c.get("/secret/x").want(200)
	up.forget()
	store.freeze()
	defer store.thaw()
	closed(t, c.timely(8*time.Second), up)
	store.thaw()
	eventually(t, "the gateway is back after Redis", func() bool { return c.get("/secret/x").Status == 200 })
}

// closed asks for everything that needs the store, and for what does not.
func closed(t *testing.T, c *client, up *upstream) {
	t.Helper()
	// Sessions may be cached for a moment, but for no longer than a revocation may take.
	eventually(t, "what needs a session answers 503", func() bool { return c.get("/secret/x").Status == 503 })
	up.forget()
	began := time.Now()
	c.get("/secret/x").want(503, "STORE_UNAVAILABLE")
	t.Logf("503 after %s", time.Since(began).Round(time.Millisecond))
	if page := c.page("/secret/x").want(503); !strings.Contains(page.Body, "<h1>") {
		t.Errorf("a page load gets no page: %s", page.Body)
	}
	c.get("/auth/me").want(503, "STORE_UNAVAILABLE")
	c.login("alice").want(503, "STORE_UNAVAILABLE")
	up.untouched()
	c.get("/public/x").want(200)
	up.only()
	c.get("/auth/healthz").want(200)
}

func TestNothingOfASignInCanBeReadInADump(t *testing.T) {
	up := startUpstream(t)
	store, shared, _ := replicas(t, up)
	for name, g := range map[string]*gateway{
		"Redis":              shared,
		"the embedded store": startGateway(t, settings{Upstreams: policies(up)}),
	} {
		t.Run(name, func(t *testing.T) {
			c := g.client()
			login := c.login("alice").want(403)
			pending := login.text("tempToken")
			setting := c.with("Authorization", "Bearer "+pending)
			setup := setting.post("/auth/2fa/setup", nil).want(200)
			app := newAuthenticator(t, setup.text("otpauthUrl"))
			done := setting.post("/auth/2fa/verify-setup", fields{"token": app.code()}).want(200)
			secrets := append(done.list("recoveryCodes"), pending, setup.text("secret"), password, done.cookie("sallyport").Value)
			access, refresh := wantTokens(t, g.asApp().post("/auth/2fa/verify", fields{
				"tempToken": g.client().login("alice").want(200).text("tempToken"), "totpCode": app.code(),
			}))
			secrets = append(secrets, access, refresh)

			where := filepath.Join(g.Dir, "data")
			if g == shared {
				where = store.dir
			}
			stored := everythingUnder(t, where)
			if len(stored) < 1000 {
				t.Fatalf("there is hardly anything in %s: %d bytes", where, len(stored))
			}
			dump := g.log() + stored
			for _, secret := range secrets {
				for _, spelling := range []string{secret, strings.ReplaceAll(secret, "-", "")} {
					if strings.Contains(dump, spelling) {
						t.Errorf("%q stands in the log or the store", spelling)
					}
				}
			}
		})
	}
}

// everythingUnder returns the contents of all files of a folder.
func everythingUnder(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		b.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
