package fault

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// troubles are those that leave nothing of the store to the gateway.
var troubles = []trouble{
	{name: "10 s late", delay: 10 * time.Second},
	{name: "silent", deafUp: true, deafDown: true},
	{name: "half-open, nothing arrives", deafUp: true},
	{name: "half-open, no reply comes back", deafDown: true},
	{name: "reset", reset: true},
	{name: "cut off within a reply", cut: true},
}

func TestT52T53EveryTroubleOfTheWireClosesTheDoorsAndPasses(t *testing.T) {
	t.Parallel()
	redis := harness.StartRedis(t)
	for i, in := range troubles {
		t.Run(in.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			up, w := harness.StartUpstream(t), newWire(t, redis.Address)
			g := harness.StartGateway(t, harness.Settings{
				Upstreams: access(up), Users: staff("alice", "bob"), Trusted: "127.0.0.1/32",
				More: onRedis(fmt.Sprintf("addresses: [%q], key_prefix: \"%d:\"", w.address, i), newKey),
			})
			staying, c := g.Client(), g.Client()
			staying.Enrol("alice")
			app := c.Enrol("bob")
			pending := g.Client().Login("bob").Want(200).Text("tempToken")
			c.Get("/secret/x").Want(200)
			w.set(in)
			began := time.Now()
			wantClosed(t, c, up, "bob", pending, app.Code())
			t.Logf("closed for %s", time.Since(began).Round(time.Millisecond))
			w.set(trouble{})
			wantBack(t, staying, "/secret/x")
			pending = g.Client().Login("bob").Want(200).Text("tempToken")
			verified(g.Client(), pending, "recoveryCode", app.RecoveryCode()).Want(200)
		})
	}
}

// crowd are people who are signed in by one factor, each with a client of their own.
type crowd struct {
	t       *testing.T
	clients []*harness.Client
	names   []string

	served, refused, lost atomic.Int64
}

func newCrowd(t *testing.T, gateways []*harness.Gateway, names []string) *crowd {
	t.Helper()
	c := &crowd{t: t, names: names}
	for i, name := range names {
		client := gateways[i%len(gateways)].Client().Timely(replied)
		client.Login(name).Want(200)
		c.clients = append(c.clients, client)
	}
	return c
}

// askUntil lets everybody ask for the app, again and again at the same time. Whoever is answered is answered as
// themselves, and whoever is not is told that the store is out of reach, within the client's bound.
func (c *crowd) askUntil(stop <-chan struct{}) {
	var all sync.WaitGroup
	for i, client := range c.clients {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, body, err := get(client, "/app/x")
				switch {
				case err != nil:
					c.lost.Add(1)
					c.t.Errorf("%s: no answer: %v", c.names[i], err)
				case status == http.StatusOK && strings.Contains(body, fmt.Sprintf(`"Remote-User":[%q]`, c.names[i])):
					c.served.Add(1)
				case status == http.StatusServiceUnavailable:
					c.refused.Add(1)
				default:
					c.t.Errorf("%s: status %d: %s", c.names[i], status, body)
				}
			}
		})
	}
	all.Wait()
}

// get asks without ending the test, for any goroutine.
func get(c *harness.Client, path string) (status int, body string, err error) {
	response, err := c.Http.Get(c.Base + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(read), err
}

func TestT53FiftyPeopleAtOnceOnATroubledWireAreNeverTakenForOneAnother(t *testing.T) {
	up, redis := harness.StartUpstream(t), harness.StartRedis(t)
	w := newWire(t, redis.Address)
	var users []harness.User
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprint("user", i))
		users = append(users, harness.User{Name: names[i]})
	}
	s := harness.Settings{Upstreams: access(up), Users: users, More: onRedis(fmt.Sprintf("addresses: [%q]", w.address), newKey)}
	gateways := []*harness.Gateway{harness.StartGateway(t, s), harness.StartGateway(t, s)}
	people := newCrowd(t, gateways, names)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { people.askUntil(stop) })
	// Around the store's own bound of 2 s, replies come to connections that were just given up.
	shaken := append([]trouble{{name: "2 s late", delay: time.Second}, {name: "20 ms late", delay: 20 * time.Millisecond}}, troubles...)
	for _, in := range shaken {
		w.set(in)
		time.Sleep(1500 * time.Millisecond)
		w.set(trouble{})
		time.Sleep(500 * time.Millisecond)
		t.Logf("%s: %d served, %d refused", in.name, people.served.Swap(0), people.refused.Swap(0))
	}
	close(stop)
	asking.Wait()
	for i, client := range people.clients {
		harness.Eventually(t, names[i]+" is served again", func() bool {
			status, body, err := get(client, "/app/x")
			return err == nil && status == 200 && strings.Contains(body, fmt.Sprintf(`"Remote-User":[%q]`, names[i]))
		})
	}
}
