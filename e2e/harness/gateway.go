package harness

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"

	"golang.org/x/crypto/bcrypt"
)

// Password is what every user of the fixtures signs in with.
const Password = "correct horse battery staple"

// PasswordHash is its hash, made once: by bcrypt, which an existing users file may hold as well as argon2id, at the least
// cost, since with the race detector on a usual one takes a tenth of a second.
var PasswordHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
	if err != nil {
		panic(err) // the cost is a constant in range
	}
	return string(hash)
})

// secretKey is what the replicas on one Redis share: base64 of 32 bytes.
const secretKey = "c2FsbHlwb3J0LWUyZS10ZXN0LWtleS0zMi1ieXRlcyE="

// Settings are what a test says of the gateway that it wants; the rest is the default.
type Settings struct {
	Upstreams string // the lines under "upstreams:", indented by two
	More      string // further top-level keys
	Users     []User // none: alice alone
	Redis     *Redis // nil: the embedded store
	Admin     string // host:port of /metrics, /healthz and /readyz; empty: off
	Trusted   string // a CIDR whose forwarding headers are believed
	PublicURL string // empty: http:// and the address
}

// User is an entry of the users file.
type User struct {
	Name     string
	Groups   string // "admins, staff"
	Disabled bool
}

// Gateway is a running sallyport.
type Gateway struct {
	T       testing.TB
	Address string // host:port
	URL     string // http:// and the address
	Dir     string // holds config.yaml, users.yaml and the data folder
	Process *Process
}

var configuration = template.Must(template.New("config.yaml").Parse(`
server:
  listen: {{.Address}}
  public_url: {{or .PublicURL (print "http://" .Address)}}
  trusted_proxies: [{{.Trusted}}]
  admin_listen: {{printf "%q" .Admin}}
{{- with .Redis}}
store:
  driver: redis
  redis: { addresses: ["{{.Address}}"] }
secret_key: {{$.SecretKey}}
{{- end}}
{{.More}}
upstreams:
{{.Upstreams}}
`))

// StartGateway starts a gateway and waits until it serves.
func StartGateway(t testing.TB, s Settings) *Gateway {
	t.Helper()
	for range 5 {
		g := &Gateway{T: t, Address: FreeAddress(t), Dir: t.TempDir()}
		g.URL = "http://" + g.Address
		g.Write("config.yaml", s.Configuration(t, g.Address))
		g.Write("users.yaml", UsersFile(s.Users...))
		if g.Start(); !g.Process.Taken() {
			return g
		}
	}
	t.Fatal("the gateway found no free port in five tries")
	return nil
}

func (s Settings) Configuration(t testing.TB, address string) string {
	t.Helper()
	var b bytes.Buffer
	if err := configuration.Execute(&b, struct {
		Settings
		Address, SecretKey string
	}{s, address, secretKey}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// UsersFile returns a users file in which everybody has the same password.
func UsersFile(users ...User) string {
	if len(users) == 0 {
		users = []User{{Name: "alice", Groups: "admins, staff"}}
	}
	var b strings.Builder
	b.WriteString("users:\n")
	for _, u := range users {
		fmt.Fprintf(&b, "  %s:\n    displayname: %s Example\n    email: %s@example.com\n    groups: [%s]\n    disabled: %t\n    password: %s\n",
			u.Name, strings.ToUpper(u.Name[:1])+u.Name[1:], u.Name, u.Groups, u.Disabled, PasswordHash())
	}
	return b.String()
}

// Start runs the binary in the gateway's folder and waits until it answers or has found its port taken. The
// end of the test stops it, and fails the test where it did not end with 0, had a data race or a panic.
func (g *Gateway) Start() {
	g.T.Helper()
	g.Process = Start(g.T, g.Dir, Binary, "serve", "--config", "config.yaml")
	Eventually(g.T, "the gateway serves", func() bool { return g.Healthy() || g.Process.Ended() })
	switch {
	case g.Process.Taken():
	case g.Process.Ended():
		g.T.Fatalf("the gateway ended at once with %d:\n%s", g.Process.Wait(), g.Log())
	default:
		g.T.Cleanup(g.Stop)
	}
}

// Stop ends the gateway in its orderly way.
func (g *Gateway) Stop() {
	g.T.Helper()
	g.Process.Signal(syscall.SIGTERM)
	if code := g.Process.Wait(); code != 0 {
		g.T.Errorf("after SIGTERM the gateway ended with %d, want 0:\n%s", code, g.Log())
	}
	for _, fault := range []string{"DATA RACE", "a request ended in a panic"} {
		if strings.Contains(g.Log(), fault) {
			g.T.Errorf("the gateway says %q:\n%s", fault, g.Log())
		}
	}
}

func (g *Gateway) Healthy() bool {
	r, err := http.Get(g.URL + "/auth/healthz")
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// Log returns what the gateway has written so far.
func (g *Gateway) Log() string { return g.Process.Out.String() }

// Write puts a file into the gateway's folder, by replacing it as an editor would.
func (g *Gateway) Write(name, content string) {
	g.T.Helper()
	path := filepath.Join(g.Dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		g.T.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		g.T.Fatal(err)
	}
}

// Run runs a command of the binary in the gateway's folder and returns its output; it must end with 0.
func (g *Gateway) Run(args ...string) string {
	g.T.Helper()
	p := Start(g.T, g.Dir, Binary, args...)
	if code := p.Wait(); code != 0 {
		g.T.Fatalf("sallyport %s ended with %d: %s", strings.Join(args, " "), code, p.Out.String())
	}
	return p.Out.String()
}
