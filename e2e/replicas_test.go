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

	"sallyport/e2e/harness"
)

// replicas starts two gateways on one Redis.
func replicas(t *testing.T, up *harness.Upstream, users ...harness.User) (*harness.Redis, *harness.Gateway, *harness.Gateway) {
	t.Helper()
	store := harness.StartRedis(t)
	s := harness.Settings{Redis: store, Upstreams: policies(up), Users: users}
	return store, harness.StartGateway(t, s), harness.StartGateway(t, s)
}

func TestASignInGoesOverTwoReplicas(t *testing.T) {
	up := harness.StartUpstream(t)
	_, one, two := replicas(t, up)
	c := one.Client()
	pending := c.Login("alice").Want(403, "2FA_SETUP_REQUIRED").Text("tempToken")
	setup := two.Bearer(pending).Post("/auth/2fa/setup", nil).Want(200)
	app := harness.NewAuthenticator(t, setup.Text("otpauthUrl"))
	one.Bearer(pending).Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)

	pending = c.Login("alice").Want(200).Text("tempToken")
	c.At(two).Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Code()}).Want(200)
	c.Get("/secret/x").Want(200)
	c.At(two).Get("/secret/x").Want(200)

	c.At(two).Post("/auth/logout", nil).Want(200)
	stolen := one.Client()
	stolen.Http.Jar = c.Http.Jar
	harness.Eventually(t, "a sign-out at one replica is in force at the other", func() bool { return !stolen.SignedIn() })
}

func TestTwoReplicasAcceptACodeOnce(t *testing.T) {
	var users []harness.User
	for i := range 5 {
		users = append(users, harness.User{Name: fmt.Sprintf("user%d", i)})
	}
	_, one, two := replicas(t, harness.StartUpstream(t), users...)
	for _, u := range users {
		app := one.Client().Enrol(u.Name)
		first := one.Client().Login(u.Name).Want(200).Text("tempToken")
		second := two.Client().Login(u.Name).Want(200).Text("tempToken")
		code := app.Code()
		if statuses := atOnce(
			func() int { return verify(one, first, "totpCode", code) },
			func() int { return verify(two, second, "totpCode", code) },
		); statuses[200] != 1 || statuses[401] != 1 {
			t.Errorf("%s: one code at two replicas at once: %v, want one 200 and one 401", u.Name, statuses)
		}
		first = one.Client().Login(u.Name).Want(200).Text("tempToken")
		second = two.Client().Login(u.Name).Want(200).Text("tempToken")
		code = app.RecoveryCode()
		if statuses := atOnce(
			func() int { return verify(one, first, "recoveryCode", code) },
			func() int { return verify(two, second, "recoveryCode", code) },
		); statuses[200] != 1 || statuses[401] != 1 {
			t.Errorf("%s: one recovery code at two replicas at once: %v, want one 200 and one 401", u.Name, statuses)
		}
	}
}

// verify sends a second factor and returns the status; 0: no answer. It may be called by any goroutine.
func verify(g *harness.Gateway, tempToken, kind, code string) int {
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
	up := harness.StartUpstream(t)
	store, admin := harness.StartRedis(t), harness.FreeAddress(t)
	one := harness.StartGateway(t, harness.Settings{Redis: store, Upstreams: policies(up), Admin: admin})
	ready := one.Client()
	ready.Base = "http://" + admin
	c := one.Client()
	app := c.Enrol("alice")
	c.Get("/secret/x").Want(200)
	ready.Get("/readyz").Want(200)
	up.Forget()

	store.Stop()
	// The promise is an answer within 3 s; the bound here leaves room for a busy machine.
	closed(t, c.Timely(8*time.Second), up)
	one.Client().Page("/auth/login").Want(200)
	if why := ready.Get("/readyz").Want(503).Body; strings.TrimSpace(why) == "" {
		t.Error("/readyz does not say why")
	}
	ready.Get("/healthz").Want(200)

	store.Start()
	began := time.Now()
	harness.Eventually(t, "the gateway is back after Redis", func() bool { return c.Get("/secret/x").Status == 200 })
	t.Logf("back %s after Redis", time.Since(began).Round(time.Millisecond))
	ready.Get("/readyz").Want(200)
	one.Client().SignIn("alice", app)
}

func TestARedisThatHangsIsAsGoodAsNone(t *testing.T) {
	up := harness.StartUpstream(t)
	store, one, _ := replicas(t, up)
	c := one.Client()
	c.Enrol("alice")
	c.Get("/secret/x").Want(200)
	up.Forget()
	store.Freeze()
	defer store.Thaw()
	closed(t, c.Timely(8*time.Second), up)
	store.Thaw()
	harness.Eventually(t, "the gateway is back after Redis", func() bool { return c.Get("/secret/x").Status == 200 })
}

// closed asks for everything that needs the store, and for what does not.
func closed(t *testing.T, c *harness.Client, up *harness.Upstream) {
	t.Helper()
	// Sessions may be cached for a moment, but for no longer than a revocation may take.
	harness.Eventually(t, "what needs a session answers 503", func() bool { return c.Get("/secret/x").Status == 503 })
	up.Forget()
	began := time.Now()
	c.Get("/secret/x").Want(503, "STORE_UNAVAILABLE")
	t.Logf("503 after %s", time.Since(began).Round(time.Millisecond))
	if page := c.Page("/secret/x").Want(503); !strings.Contains(page.Body, "<h1>") {
		t.Errorf("a page load gets no page: %s", page.Body)
	}
	c.Get("/auth/me").Want(503, "STORE_UNAVAILABLE")
	c.Login("alice").Want(503, "STORE_UNAVAILABLE")
	up.Untouched()
	c.Get("/public/x").Want(200)
	up.Only()
	c.Get("/auth/healthz").Want(200)
}

func TestNothingOfASignInCanBeReadInADump(t *testing.T) {
	up := harness.StartUpstream(t)
	store, shared, _ := replicas(t, up)
	for name, g := range map[string]*harness.Gateway{
		"Redis":              shared,
		"the embedded store": harness.StartGateway(t, harness.Settings{Upstreams: policies(up)}),
	} {
		t.Run(name, func(t *testing.T) {
			c := g.Client()
			login := c.Login("alice").Want(403)
			pending := login.Text("tempToken")
			setting := c.With("Authorization", "Bearer "+pending)
			setup := setting.Post("/auth/2fa/setup", nil).Want(200)
			app := harness.NewAuthenticator(t, setup.Text("otpauthUrl"))
			done := setting.Post("/auth/2fa/verify-setup", harness.Fields{"token": app.Code()}).Want(200)
			secrets := append(done.List("recoveryCodes"), pending, setup.Text("secret"), harness.Password, done.Cookie("sallyport").Value)
			access, refresh := wantTokens(t, g.AsApp().Post("/auth/2fa/verify", harness.Fields{
				"tempToken": g.Client().Login("alice").Want(200).Text("tempToken"), "totpCode": app.Code(),
			}))
			secrets = append(secrets, access, refresh)

			where := filepath.Join(g.Dir, "data")
			if g == shared {
				where = store.Dir
			}
			stored := everythingUnder(t, where)
			if len(stored) < 1000 {
				t.Fatalf("there is hardly anything in %s: %d bytes", where, len(stored))
			}
			dump := g.Log() + stored
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
