package fault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// deed is something that must not be undone: it is done once, and tried again after the master is lost.
type deed struct {
	name  string
	do    func() int // returns the status
	again func(g *harness.Gateway) int
}

// send posts without ending the test, for any goroutine; 0: no answer.
func send(c *harness.Client, path string, fields harness.Fields) int {
	body, err := json.Marshal(fields)
	if err != nil {
		return 0
	}
	response, err := c.Http.Post(c.Base+path, "application/json", strings.NewReader(string(body)))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// doers returns the users file's entries of the people whom deeds needs for each name.
func doers(names ...string) []harness.User {
	var users []harness.User
	for _, name := range names {
		users = append(users, staff(name+"1", name+"2", name+"3")...)
	}
	return users
}

// deeds prepares one of each kind, each of a person of its own: a code accepted, a recovery code accepted, a sign-out.
func deeds(g *harness.Gateway, name string) []deed {
	pending := func(g *harness.Gateway, name string) string {
		return g.Client().Login(name).Want(200).Text("tempToken")
	}
	offered := func(name, kind, code string) deed {
		token := pending(g, name)
		give := func(g *harness.Gateway, token string) int {
			return send(g.Client(), "/auth/2fa/verify", harness.Fields{"tempToken": token, kind: code})
		}
		return deed{name + ": " + kind, func() int { return give(g, token) }, func(g *harness.Gateway) int { return give(g, pending(g, name)) }}
	}
	leaving, stolen := g.Client(), g.Client()
	leaving.Enrol(name + "3")
	here := must(http.NewRequest("GET", g.URL, nil))
	stolen.Http.Jar.SetCookies(here.URL, leaving.Http.Jar.Cookies(here.URL)) // the sign-out takes it away from the other
	return []deed{
		offered(name+"1", "totpCode", g.Client().Enrol(name+"1").Code()),
		offered(name+"2", "recoveryCode", g.Client().Enrol(name+"2").RecoveryCode()),
		{name + "3: sign-out", func() int { return send(leaving, "/auth/logout", nil) }, func(g *harness.Gateway) int { return stolen.At(g).Get("/secret/x").Status }},
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // only for what cannot fail
	}
	return v
}

// done carries all deeds out at once and returns those that were answered with 200. It calls once at the first answer.
func done(t *testing.T, all []deed, once func()) []deed {
	t.Helper()
	statuses := make([]int, len(all))
	var running sync.WaitGroup
	var first sync.Once
	for i, d := range all {
		running.Go(func() {
			statuses[i] = d.do()
			first.Do(once)
		})
	}
	running.Wait()
	var well []deed
	for i, d := range all {
		switch statuses[i] {
		case 200:
			well = append(well, d)
		case 503:
		default:
			t.Errorf("%s: status %d, want 200 or 503", d.name, statuses[i])
		}
	}
	return well
}

// wantDone tries everything again that was answered with 200.
func wantDone(t *testing.T, all []deed, gateways ...*harness.Gateway) {
	t.Helper()
	for i, d := range all {
		if status := d.again(gateways[i%len(gateways)]); status != 401 {
			t.Errorf("%s: after the master was lost it is answered with %d, want 401", d.name, status)
		}
	}
}

func TestT54AMasterThatIsLostRightAfterwardsTakesNothingBack(t *testing.T) {
	// Without waiting for a replica the answers are there long before the replicas have heard of it.
	sentinels, lose := startFailover(t, 30*time.Millisecond)
	up := harness.StartUpstream(t)
	s := harness.Settings{Upstreams: access(up), Users: append(doers("alice", "bob"), staff("staying")...), More: onRedis(
		fmt.Sprintf("addresses: [%s], master_name: gate", strings.Join(sentinels, ", ")), newKey)}
	one, two := harness.StartGateway(t, s), harness.StartGateway(t, s)
	staying := one.Client()
	app := staying.Enrol("staying")
	var all []deed
	for _, name := range []string{"alice", "bob"} {
		all = append(all, deeds(one, name)...)
	}
	well := done(t, all, func() {})
	lose()
	if len(well) == 0 { // a busy machine may not acknowledge all in time
		t.Errorf("none of %d was answered with 200 while the replicas were in step", len(all))
	}
	t.Logf("%d of %d were done when the master was lost", len(well), len(all))
	wantBack(t, staying, "/secret/x")
	wantBack(t, staying.At(two), "/secret/x")
	wantDone(t, well, one, two)
	pending := two.Client().Login("staying").Want(200).Text("tempToken")
	verified(one.Client(), pending, "recoveryCode", app.RecoveryCode()).Want(200)
}

func TestT54AMasterOfAClusterThatIsLostUnderLoadTakesNothingBack(t *testing.T) {
	masters, _ := startCluster(t)
	var addresses []string
	for _, m := range masters {
		addresses = append(addresses, fmt.Sprintf("%q", m.address))
	}
	var crowdNames, names []string
	for i := range 20 {
		crowdNames = append(crowdNames, fmt.Sprint("user", i))
	}
	for i := range 6 {
		names = append(names, fmt.Sprintf("staff%d-", i))
	}
	users := doers(names...)
	for _, name := range crowdNames {
		users = append(users, harness.User{Name: name})
	}
	up := harness.StartUpstream(t)
	s := harness.Settings{Upstreams: access(up), Users: users, More: onRedis(fmt.Sprintf("addresses: [%s], cluster: true", strings.Join(addresses, ", ")), newKey)}
	one, two := harness.StartGateway(t, s), harness.StartGateway(t, s)
	people := newCrowd(t, []*harness.Gateway{one, two}, crowdNames)
	var before, during []deed
	for i, name := range names {
		if prepared := deeds([]*harness.Gateway{one, two}[i%2], name); i < len(names)/2 {
			before = append(before, prepared...)
		} else {
			during = append(during, prepared...)
		}
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { people.askUntil(stop) })
	well := done(t, before, func() {})
	if len(well) == 0 {
		t.Errorf("none of %d was answered with 200 while nothing was wrong", len(before))
	}
	well = append(well, done(t, during, masters[0].kill)...)
	for i, name := range crowdNames {
		harness.Eventually(t, name+" is served again", func() bool {
			status, _, err := get(people.clients[i], "/app/x")
			return err == nil && status == 200
		})
	}
	close(stop)
	asking.Wait()
	t.Logf("%d served and %d refused while a master was lost; of %d deeds %d were done", people.served.Load(), people.refused.Load(), len(before)+len(during), len(well))
	wantDone(t, well, one, two)
}
