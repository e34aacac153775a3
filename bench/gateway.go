package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// gatewaySpec is what a row says of the gateway that it wants; the rest is the default.
type gatewaySpec struct {
	upstreams string   // the lines under "upstreams:", indented by two
	redis     []string // addresses; none: the embedded store
	cluster   bool
	admin     bool   // /metrics on a port of its own
	seed      string // an embedded store's file to begin with
	inMemory  bool   // the data folder is in memory, where the system has such a place
	trusted   string // who may ask for forward-auth
	oneUser   bool   // a users file with the first of the people alone
}

// gateway is a running sallyport.
type gateway struct {
	*process
	address string
	admin   string
	dir     string
}

var gatewayConf = template.Must(template.New("config.yaml").Parse(`server:
  listen: {{.Address}}
  public_url: http://{{.Address}}
  admin_listen: "{{.Admin}}"
  trusted_proxies: [{{.Trusted}}]
users: { file: {{.Users}} }
{{with .Redis}}store: { driver: redis, redis: { addresses: [{{.}}], cluster: {{$.Cluster}} } }
{{end -}}
secret_key: {{.Secret}}
upstreams:
{{.Upstreams}}
`))

// upstreamEntry is the lines of one upstream that asks for a policy.
func upstreamEntry(name, path, url, policy string) string {
	return fmt.Sprintf("  - { name: %s, path: %s, url: %q, access: { policy: %s } }\n", name, path, url, policy)
}

// prepare writes the configuration of a gateway into a new folder.
func (b *bench) prepare(s gatewaySpec) (*gateway, error) {
	where := b.dir
	if s.inMemory {
		where = b.memory
	}
	dir, err := os.MkdirTemp(where, "gateway-")
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir}
	if g.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.admin {
		if g.admin, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	users := b.users.path
	if s.oneUser {
		users = b.users.short
	}
	var conf bytes.Buffer
	err = gatewayConf.Execute(&conf, map[string]any{
		"Address": g.address, "Admin": g.admin, "Trusted": s.trusted, "Users": users, "Redis": strings.Join(s.redis, ", "), "Cluster": s.cluster,
		"Secret": b.users.secretKey(), "Upstreams": strings.TrimRight(s.upstreams, "\n"),
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), conf.Bytes(), 0o600); err != nil {
		return nil, err
	}
	if s.seed == "" {
		return g, nil
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	return g, copyFile(filepath.Join(dir, "data", "sallyport.db"), s.seed)
}

// startGateway runs the binary and waits until it answers.
func (b *bench) startGateway(s gatewaySpec) (*gateway, error) {
	g, err := b.prepare(s)
	if err != nil {
		return nil, err
	}
	_, err = b.run(g, "/auth/healthz", "", 20*time.Millisecond)
	return g, err
}

// run starts a prepared gateway and returns how long it took from exec to the first answer to a GET of the path, which
// is asked for every step with this cookie.
func (b *bench) run(g *gateway, path, cookie string, step time.Duration) (time.Duration, error) {
	began := time.Now()
	var err error
	if g.process, err = b.start(g.dir, b.binary, "serve", "--config", "config.yaml"); err != nil {
		return 0, err
	}
	c := newClient(g.address)
	defer c.close()
	err = g.until("it answers "+path, step, func() bool {
		status, err := c.get(path, cookie)
		return err == nil && status == http.StatusOK
	})
	return time.Since(began), err
}

// build builds the gateway, stripped. With profile it is one that writes a CPU profile of itself.
func (b *bench) build(profile bool) error {
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary}
	if profile {
		args = append(args, "-tags", "profile")
	}
	c := exec.CommandContext(b.ctx, b.goTool, append(args, "sallyport")...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", c, err, out)
	}
	return nil
}

func copyFile(to, from string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}
