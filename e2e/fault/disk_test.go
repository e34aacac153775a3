package fault

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/e2e/harness"
)

// fillDisk lets no write of the gateway's past the first pages of a file succeed, as on a disk that is full; it needs
// no rights that a test has not. The function that it returns makes room again.
func fillDisk(t *testing.T, g *harness.Gateway) (makeRoom func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Prlimit(g.Process.Pid(), unix.RLIMIT_FSIZE, nil, &before); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(g.Process.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: 8192, Max: before.Max})
	return func() { t.Helper(); set(before) }
}

func TestAFullDiskClosesTheDoorsOfTheEmbeddedStoreUntilThereIsRoom(t *testing.T) {
	up, admin := harness.StartUpstream(t), harness.FreeAddress(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: access(up), Users: staff("alice", "bob"), Admin: admin})
	ready := g.Client()
	ready.Base = "http://" + admin
	c, leaving := g.Client(), g.Client()
	app := c.Enrol("alice")
	leaving.Enrol("bob")
	pending, code := g.Client().Login("alice").Want(200).Text("tempToken"), app.Code()
	makeRoom := fillDisk(t, g)

	c.Get("/secret/x").Want(200) // needs no write
	g.Client().Get("/secret/x").Want(401)
	g.Client().Login("alice").Want(503, "STORE_UNAVAILABLE")
	verified(g.Client(), pending, "totpCode", code).Want(503, "STORE_UNAVAILABLE")
	verified(g.Client(), pending, "recoveryCode", app.RecoveryCode()).Want(503, "STORE_UNAVAILABLE")
	leaving.Post("/auth/logout", nil).Want(503, "STORE_UNAVAILABLE")
	c.Get("/public/x").Want(200)
	ready.Get("/healthz").Want(200)
	if why := ready.Get("/readyz").Want(503).Body; !strings.Contains(why, "file too large") {
		t.Errorf("/readyz says %q", why)
	}
	if !strings.Contains(g.Log(), "file too large") {
		t.Errorf("the log does not say why:\n%s", g.Log())
	}

	makeRoom()
	ready.Get("/readyz").Want(200)
	c.Get("/secret/x").Want(200)
	verified(g.Client(), pending, "totpCode", code).Want(200) // it was not accepted, and so it is not spent
	again := g.Client()
	verified(again, again.Login("alice").Want(200).Text("tempToken"), "totpCode", code).Want(401)
	g.Stop()
	g.Start()
	c.Get("/secret/x").Want(200)
	again = g.Client()
	verified(again, again.Login("alice").Want(200).Text("tempToken"), "recoveryCode", app.RecoveryCode()).Want(200)
}
