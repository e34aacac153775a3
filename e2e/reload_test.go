package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

func TestAChangeOfTheUsersFileIsInForceWithoutARestart(t *testing.T) {
	g := startGateway(t, settings{
		Upstreams: policies(startUpstream(t)),
		Users:     []user{{Name: "alice", Groups: "admins"}, {Name: "bob"}},
	})
	alice, bob := g.client(), g.client()
	alice.enrol("alice")
	bob.enrol("bob")
	alice.get("/admin/x").want(200)

	g.write("users.yaml", usersFile(user{Name: "alice", Groups: "staff"}, user{Name: "bob"}))
	eventually(t, "a dropped group closes its door", func() bool { return alice.get("/admin/x").Status == 403 })

	g.run("users", "disable", "bob")
	eventually(t, "a disabled user's session ends", func() bool { return !bob.signedIn() })
	g.client().login("bob").want(401, "INVALID_CREDENTIALS")
	alice.get("/auth/me").want(200)

	g.run("users", "enable", "bob")
	eventually(t, "an enabled user signs in again", func() bool { return g.client().login("bob").Status == 200 })
}

func TestAPasswordChangedInTheFileEndsTheSessions(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()
	c.login("alice").want(200)
	g.write("users.yaml", strings.ReplaceAll(usersFile(), passwordHash(), otherHash))
	eventually(t, "a session of the old password ends", func() bool { return !c.signedIn() })
	g.client().login("alice").want(401)
	g.client().post("/auth/login", fields{"username": "alice", "password": "password"}).want(200)
}

// otherHash is the bcrypt hash of "password" as other programs write it.
const otherHash = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"

func TestAUsersFileEditedIntoNonsenseChangesNothing(t *testing.T) {
	g := startGateway(t, settings{Upstreams: withPolicy(startUpstream(t), "one_factor")})
	c := g.client()
	c.login("alice").want(200)
	for name, nonsense := range map[string]string{
		"broken YAML":           "users:\n  alice: [",
		"an unknown key":        usersFile() + "    pasword: x\n",
		"a hash of another age": strings.ReplaceAll(usersFile(), passwordHash(), "$1$abcdefgh$0123456789012345678901"),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(g.log())
			g.write("users.yaml", nonsense)
			eventually(t, "the log says so", func() bool { return strings.Contains(g.log()[before:], "users.yaml:") })
			c.get("/auth/me").want(200)
			g.client().login("alice").want(200)
		})
	}
	g.write("users.yaml", usersFile(user{Name: "carol"}))
	eventually(t, "a good file is taken over again", func() bool { return g.client().login("carol").Status == 200 })
}

func TestAConfigurationIsTakenOverOnSIGHUPOrNotAtAll(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: withPolicy(up, "one_factor")})
	c := g.client()
	c.login("alice").want(200)
	c.get("/app").want(200)

	before := len(g.log())
	g.write("config.yaml", settings{Upstreams: withPolicy(up, "open")}.configuration(t, g.Address))
	g.process.signal(syscall.SIGHUP)
	eventually(t, "the log names the mistake", func() bool { return strings.Contains(g.log()[before:], "config.yaml:") })
	c.get("/app").want(200)
	g.client().get("/app").want(401)

	g.write("config.yaml", settings{Upstreams: withPolicy(up, "bypass")}.configuration(t, g.Address))
	g.process.signal(syscall.SIGHUP)
	eventually(t, "the new configuration is in force", func() bool { return g.client().get("/app").Status == 200 })
	c.get("/auth/me").want(200)
}

func TestARequestUnderWayIsFinishedAfterSIGTERM(t *testing.T) {
	up := startUpstream(t)
	g := startGateway(t, settings{Upstreams: withPolicy(up, "bypass")})
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
	eventually(t, "the request is at the upstream", func() bool { return len(up.requests()) == 1 })
	g.process.signal(syscall.SIGTERM)
	eventually(t, "no new request is taken", func() bool { return !g.healthy() })
	close(up.second)
	if got := <-finished; got != "data: first\n\ndata: second\n\n<nil>" {
		t.Errorf("the request under way got %q", got)
	}
	if code := g.process.wait(); code != 0 {
		t.Errorf("the gateway ended with %d, want 0", code)
	}
}

func TestSessionsOutliveARestart(t *testing.T) {
	g := startGateway(t, settings{Upstreams: policies(startUpstream(t))})
	c := g.client()
	app := c.enrol("alice")
	g.stop()
	g.start()
	c.get("/secret/x").want(200)
	again := g.client()
	again.signIn("alice", app)
	if code := app.at(app.last); g.verify(g.client().login("alice").text("tempToken"), "totpCode", code) != 401 {
		t.Error("a code is accepted a second time after a restart")
	}
}
