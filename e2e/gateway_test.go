package e2e

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

// password is what every user of the fixtures signs in with.
const password = "correct horse battery staple"

// passwordHash is its hash, made once: by bcrypt, which an existing users file may hold as well as argon2id.
var passwordHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost+2)
	if err != nil {
		panic(err) // the cost is a constant in range
	}
	return string(hash)
})

// secretKey is what the replicas on one Redis share: base64 of 32 bytes.
const secretKey = "c2FsbHlwb3J0LWUyZS10ZXN0LWtleS0zMi1ieXRlcyE="

// settings are what a test says of the gateway that it wants; the rest is the default.
type settings struct {
	Upstreams string // the lines under "upstreams:", indented by two
	More      string // further top-level keys
	Users     []user // none: alice alone
	Redis     *redis // nil: the embedded store
	Admin     string // host:port of /metrics, /healthz and /readyz; empty: off
	Trusted   string // a CIDR whose forwarding headers are believed
	PublicURL string // empty: http:// and the address
}

// user is an entry of the users file.
type user struct {
	Name     string
	Groups   string // "admins, staff"
	Disabled bool
}

// gateway is a running sallyport.
type gateway struct {
	t       *testing.T
	Address string // host:port
	URL     string // http:// and the address
	Dir     string // holds config.yaml, users.yaml and the data folder
	process *process
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

// startGateway starts a gateway and waits until it serves.
func startGateway(t *testing.T, s settings) *gateway {
	t.Helper()
	for range 5 {
		g := &gateway{t: t, Address: freeAddress(t), Dir: t.TempDir()}
		g.URL = "http://" + g.Address
		g.write("config.yaml", s.configuration(t, g.Address))
		g.write("users.yaml", usersFile(s.Users...))
		if g.start(); !g.process.taken() {
			return g
		}
	}
	t.Fatal("the gateway found no free port in five tries")
	return nil
}

func (s settings) configuration(t *testing.T, address string) string {
	t.Helper()
	var b bytes.Buffer
	if err := configuration.Execute(&b, struct {
		settings
		Address, SecretKey string
	}{s, address, secretKey}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// usersFile returns a users file in which everybody has the same password.
func usersFile(users ...user) string {
	if len(users) == 0 {
		users = []user{{Name: "alice", Groups: "admins, staff"}}
	}
	var b strings.Builder
	b.WriteString("users:\n")
	for _, u := range users {
		fmt.Fprintf(&b, "  %s:\n    displayname: %s Example\n    email: %s@example.com\n    groups: [%s]\n    disabled: %t\n    password: %s\n",
			u.Name, strings.ToUpper(u.Name[:1])+u.Name[1:], u.Name, u.Groups, u.Disabled, passwordHash())
	}
	return b.String()
}

// start runs the binary in the gateway's folder and waits until it answers or has found its port taken. The
// end of the test stops it, and fails the test where it did not end with 0 or had a data race.
func (g *gateway) start() {
	g.t.Helper()
	g.process = start(g.t, g.Dir, binary, "serve", "--config", "config.yaml")
	eventually(g.t, "the gateway serves", func() bool { return g.healthy() || g.process.ended() })
	switch {
	case g.process.taken():
	case g.process.ended():
		g.t.Fatalf("the gateway ended at once with %d:\n%s", g.process.wait(), g.log())
	default:
		g.t.Cleanup(g.stop)
	}
}

// stop ends the gateway in its orderly way.
func (g *gateway) stop() {
	g.t.Helper()
	g.process.signal(syscall.SIGTERM)
	if code := g.process.wait(); code != 0 {
		g.t.Errorf("after SIGTERM the gateway ended with %d, want 0:\n%s", code, g.log())
	}
	if strings.Contains(g.log(), "DATA RACE") {
		g.t.Errorf("the race detector spoke:\n%s", g.log())
	}
}

func (g *gateway) healthy() bool {
	r, err := http.Get(g.URL + "/auth/healthz")
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// log returns what the gateway has written so far.
func (g *gateway) log() string { return g.process.out.String() }

// write puts a file into the gateway's folder, by replacing it as an editor would.
func (g *gateway) write(name, content string) {
	g.t.Helper()
	path := filepath.Join(g.Dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		g.t.Fatal(err)
	}
}

// run runs a command of the binary in the gateway's folder and returns its output; it must end with 0.
func (g *gateway) run(args ...string) string {
	g.t.Helper()
	p := start(g.t, g.Dir, binary, args...)
	if code := p.wait(); code != 0 {
		g.t.Fatalf("sallyport %s ended with %d: %s", strings.Join(args, " "), code, p.out.String())
	}
	return p.out.String()
}
