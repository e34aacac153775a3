package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"sallyport/e2e/harness"
)

func TestAChangeOfTheUsersFileIsInForceWithoutARestart(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{
		Upstreams: policies(harness.StartUpstream(t)),
		Users:     []harness.User{{Name: "alice", Groups: "admins"}, {Name: "bob"}},
	})
	alice, bob := g.Client(), g.Client()
	alice.Enrol("alice")
	bob.Enrol("bob")
	alice.Get("/admin/x").Want(200)

	g.Write("users.yaml", harness.UsersFile(harness.User{Name: "alice", Groups: "staff"}, harness.User{Name: "bob"}))
	harness.Eventually(t, "a dropped group closes its door", func() bool { return alice.Get("/admin/x").Status == 403 })

	g.Run("users", "disable", "bob")
	harness.Eventually(t, "a disabled user's session ends", func() bool { return !bob.SignedIn() })
	g.Client().Login("bob").Want(401, "INVALID_CREDENTIALS")
	alice.Get("/auth/me").Want(200)

	g.Run("users", "enable", "bob")
	harness.Eventually(t, "an enabled user signs in again", func() bool { return g.Client().Login("bob").Status == 200 })
}

func TestAPasswordChangedInTheFileEndsTheSessions(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	c.Login("alice").Want(200)
	g.Write("users.yaml", strings.ReplaceAll(harness.UsersFile(), harness.PasswordHash(), otherHash))
	harness.Eventually(t, "a session of the old password ends", func() bool { return !c.SignedIn() })
	g.Client().Login("alice").Want(401)
	g.Client().Post("/auth/login", harness.Fields{"username": "alice", "password": "password"}).Want(200)
}

// otherHash is the bcrypt hash of "password" as other programs write it.
const otherHash = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"

func TestAUsersFileEditedIntoNonsenseChangesNothing(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(harness.StartUpstream(t), "one_factor")})
	c := g.Client()
	c.Login("alice").Want(200)
	for name, nonsense := range map[string]string{
		"broken YAML":           "users:\n  alice: [",
		"an unknown key":        harness.UsersFile() + "    pasword: x\n",
		"a hash of another age": strings.ReplaceAll(harness.UsersFile(), harness.PasswordHash(), "$1$abcdefgh$0123456789012345678901"),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(g.Log())
			g.Write("users.yaml", nonsense)
			harness.Eventually(t, "the log says so", func() bool { return strings.Contains(g.Log()[before:], "users.yaml:") })
			c.Get("/auth/me").Want(200)
			g.Client().Login("alice").Want(200)
		})
	}
	g.Write("users.yaml", harness.UsersFile(harness.User{Name: "carol"}))
	harness.Eventually(t, "a good file is taken over again", func() bool { return g.Client().Login("carol").Status == 200 })
}

func TestAConfigurationIsTakenOverOnSIGHUPOrNotAtAll(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(up, "one_factor")})
	c := g.Client()
	c.Login("alice").Want(200)
	c.Get("/app").Want(200)

	before := len(g.Log())
	g.Write("config.yaml", harness.Settings{Upstreams: withPolicy(up, "open")}.Configuration(t, g.Address))
	g.Process.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the log names the mistake", func() bool { return strings.Contains(g.Log()[before:], "config.yaml:") })
	c.Get("/app").Want(200)
	g.Client().Get("/app").Want(401)

	g.Write("config.yaml", harness.Settings{Upstreams: withPolicy(up, "bypass")}.Configuration(t, g.Address))
	g.Process.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the new configuration is in force", func() bool { return g.Client().Get("/app").Status == 200 })
	c.Get("/auth/me").Want(200)
}

func TestARequestUnderWayIsFinishedAfterSIGTERM(t *testing.T) {
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: withPolicy(up, "bypass")})
	finished := make(chan string, 1)
	go func() {
		response, err := http.Get(g.URL + "/events")
		if err != nil {
			finished <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		finished <- fmt.Sprint(string(body), err)
	}()
	harness.Eventually(t, "the request is at the upstream", func() bool { return len(up.Requests()) == 1 })
	g.Process.Signal(syscall.SIGTERM)
	harness.Eventually(t, "no new request is taken", func() bool { return !g.Healthy() })
	close(up.Second)
	if got := <-finished; got != "data: first\n\ndata: second\n\n<nil>" {
		t.Errorf("the request under way got %q", got)
	}
	if code := g.Process.Wait(); code != 0 {
		t.Errorf("the gateway ended with %d, want 0", code)
	}
}

func TestSessionsOutliveARestart(t *testing.T) {
	g := harness.StartGateway(t, harness.Settings{Upstreams: policies(harness.StartUpstream(t))})
	c := g.Client()
	app := c.Enrol("alice")
	g.Stop()
	g.Start()
	c.Get("/secret/x").Want(200)
	again := g.Client()
	again.SignIn("alice", app)
	if code := app.At(app.Last); verify(g, g.Client().Login("alice").Text("tempToken"), "totpCode", code) != 401 {
		t.Error("a code is accepted a second time after a restart")
	}
}
