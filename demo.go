package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sallyport/authflow/password"
	"sallyport/authflow/users"
	"sallyport/config"
	"sallyport/internal/sampleapp"
)

const demoUser = "demo"

// demoCommand runs a gateway that needs nothing: a sample app behind it, one user, the embedded store in a
// temporary folder that goes when the command ends. It is put together from a configuration file like any
// other gateway.
func demoCommand(ctx context.Context, args []string, t terminal) (err error) {
	address := "127.0.0.1:8080"
	if _, err := parse("demo", args, 0, func(set *flag.FlagSet) { set.StringVar(&address, "listen", address, "") }); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return badUsage("sallyport demo: --listen %s: want host:port", address)
	}
	folder, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return fmt.Errorf("demo: make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo: start the sample app: %w", err)
	}
	srv := &http.Server{Handler: sampleapp.Handler()}
	appEnded := make(chan error, 1)
	go func() { appEnded <- srv.Serve(app) }()
	defer func() {
		srv.Close()
		<-appEnded
	}()
	if port == "0" {
		if port, err = freePort(host); err != nil {
			return err
		}
		address = net.JoinHostPort(host, port)
	}
	url := "http://" + net.JoinHostPort(hostToBrowse(host), port)
	secret := strings.ToLower(rand.Text()[:16])
	path, err := writeDemo(folder, address, url, app.Addr().String(), secret)
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	s, err := start(ctx, cfg, newLog(cfg.Log, t.err))
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, demoWords, url, demoUser, secret)
	return s.run(ctx)
}

const demoWords = `
Sallyport is running, with a small sample app behind it that knows nothing of sign-in.

  Open       %s
  User name  %s
  Password   %s

What to do next:
  1. Sign in with the name and the password above.
  2. Scan the QR code with an authenticator app, and type the code that it shows.
  3. Save the recovery codes, go on to the app, and look at the headers that it was sent.

Everything is kept in a temporary folder and is gone when you press Ctrl-C.
For an app of your own, see README.md, "Your own app".

`

// hostToBrowse is what a browser on this machine opens for a listener's host.
func hostToBrowse(host string) string {
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() || ip.IsLoopback() {
		return "localhost"
	}
	return host
}

// freePort chooses a port, since the address that is printed has to name it.
func freePort(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("demo: no free port on %s: %w", host, err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// writeDemo writes the configuration and the users file, and returns the path of the configuration.
func writeDemo(folder, listen, url, app, secret string) (string, error) {
	phc, err := password.HashArgon2id(secret)
	if err != nil {
		return "", err
	}
	err = users.Add(filepath.Join(folder, "users.yaml"), users.NewUser{
		Username: demoUser, Name: "Dana Demo", Email: "demo@example.com", Groups: []string{"staff"}, PHC: phc,
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "config.yaml")
	text := fmt.Sprintf(`server:
  listen: %q
  public_url: %q
two_factor:
  issuer: Sallyport demo
log:
  level: warn
upstreams:
  - name: sample
    url: %q
`, listen, url, "http://"+app)
	return path, os.WriteFile(path, []byte(text), 0o600)
}
