package fault

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// redisAt is the inner line of a configuration for one server.
func redisAt(address string) string { return fmt.Sprintf("addresses: [%q]", address) }

func TestT54AStoreThatForgetsEverythingLetsNobodyIn(t *testing.T) {
	up, store := harness.StartUpstream(t), startServer(t, "appendonly no")
	s := harness.Settings{Upstreams: access(up), Users: staff("alice", "bob"), More: onRedis(redisAt(store.address), newKey)}
	one, two := harness.StartGateway(t, s), harness.StartGateway(t, s)
	c := one.Client()
	app := c.Enrol("alice")
	pending := one.Client().Login("alice").Want(200).Text("tempToken")
	setup := one.Client().Login("bob").Want(403).Text("tempToken")
	bearer := one.AsApp()
	tokens := verified(bearer, bearer.Login("alice").Want(200).Text("tempToken"), "recoveryCode", app.RecoveryCode()).Want(200)
	access, refresh := tokens.Text("accessToken"), tokens.Text("refreshToken")
	one.Bearer(access).Get("/secret/x").Want(200)
	c.Get("/public/x").Want(200)

	store.does("flushall") // which nobody announces
	noMore(t, c, 401)
	noMore(t, one.Bearer(access), 401)
	up.Forget()
	for _, g := range []*harness.Gateway{one, two} {
		c.At(g).Get("/secret/x").Want(401)
		c.At(g).Get("/auth/me").Want(401)
		g.Bearer(access).Get("/secret/x").Want(401)
		g.Client().Post("/auth/refresh", harness.Fields{"refreshToken": refresh}).Want(401)
		verified(g.Client(), pending, "totpCode", app.Code()).Want(401)
		verified(g.Client(), pending, "recoveryCode", app.RecoveryCode()).Want(401)
		g.Bearer(setup).Post("/auth/2fa/setup", nil).Want(401)
	}
	up.Untouched()
	c.Get("/public/x").Want(200)
	// The second factors are gone with everything else, so that a person sets one up as at first: the old codes of
	// theirs open nothing.
	again := two.Client()
	again.Login("alice").Want(403, "2FA_SETUP_REQUIRED")
	again.Get("/secret/x").Want(401)
	again.Enrol("alice")
	again.At(one).Get("/secret/x").Want(200)
}

func TestT54AStoreThatMayEvictMakesTheGatewayNotReadyUntilItMayNot(t *testing.T) {
	up, store, admin := harness.StartUpstream(t), startServer(t, "appendonly yes", "maxmemory 100mb"), harness.FreeAddress(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: access(up), Admin: admin, More: onRedis(redisAt(store.address), newKey)})
	ready := g.Client()
	ready.Base = "http://" + admin
	ready.Get("/readyz").Want(200)
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		store.does("config set maxmemory-policy " + policy)
		why := ready.Get("/readyz").Want(503).Body
		if !strings.Contains(why, policy) || !strings.Contains(why, "noeviction") {
			t.Errorf("with %s /readyz says %q", policy, why)
		}
	}
	ready.Get("/healthz").Want(200)
	store.does("config set maxmemory-policy noeviction")
	ready.Get("/readyz").Want(200)

	// A server that may not evict and is full: nothing new is let in, and what is there goes on.
	c := g.Client()
	app := c.Enrol("alice")
	store.does("config set maxmemory 1")
	ready.Get("/readyz").Want(503)
	g.Client().Login("alice").Want(503, "STORE_UNAVAILABLE")
	c.Get("/public/x").Want(200)
	c.Get("/secret/x").Want(200)
	store.does("config set maxmemory 100mb")
	ready.Get("/readyz").Want(200)
	g.Client().SignIn("alice", app)
}

func TestT54KeysAreRotatedOverTwoReplicasWithNobodySignedOutUntilTheOldOneGoes(t *testing.T) {
	t.Parallel() // it waits for the next code
	up, store := harness.StartUpstream(t), startServer(t, "appendonly no")
	settings := func(key string, before ...string) harness.Settings {
		return harness.Settings{Upstreams: access(up), Users: staff("alice", "bob", "carol"), More: onRedis(redisAt(store.address), key, before...)}
	}
	one, two := harness.StartGateway(t, settings(oldKey)), harness.StartGateway(t, settings(oldKey))
	restart := func(g *harness.Gateway, s harness.Settings) {
		t.Helper()
		g.Stop()
		g.Write("config.yaml", s.Configuration(t, g.Address))
		g.Start()
	}
	alice, bob, carol := one.Client(), one.Client(), one.Client()
	app, bobs, idle := alice.Enrol("alice"), bob.Enrol("bob"), carol.Enrol("carol")
	both := func(c *harness.Client, status int) {
		t.Helper()
		c.At(one).Get("/secret/x").Want(status)
		c.At(two).Get("/secret/x").Want(status)
	}
	both(alice, 200)

	// First every replica reads the new key, and then every replica writes it.
	restart(one, settings(oldKey, newKey))
	both(alice, 200)
	restart(two, settings(oldKey, newKey))
	restart(one, settings(newKey, oldKey))
	both(alice, 200)
	early := one.Client()
	early.SignIn("alice", app)
	both(early, 200) // of the new key, at a replica that does not write it yet
	restart(two, settings(newKey, oldKey))
	both(alice, 200)
	verified(two.Client(), one.Client().Login("bob").Want(200).Text("tempToken"), "recoveryCode", bobs.RecoveryCode()).Want(200)
	later := two.Client()
	later.SignIn("bob", bobs)
	both(later, 200)

	// Then the old key goes. Cookies of the new one live on; so do authenticators that were used meanwhile.
	restart(one, settings(newKey))
	restart(two, settings(newKey))
	both(early, 200)
	both(later, 200)
	both(alice, 401)
	both(carol, 401)
	two.Client().SignIn("bob", bobs)
	// Whoever did not sign in meanwhile has a second factor that nobody can read any more.
	pending := one.Client().Login("carol").Want(200).Text("tempToken")
	verified(one.Client(), pending, "totpCode", idle.Code()).Want(503, "STORE_UNAVAILABLE")
}
