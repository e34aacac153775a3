package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/e2e/harness"
)

// site is an app that people know as wiki.example.com, behind a real proxy that asks the gateway about each request.
type site struct {
	t       *testing.T
	app     *harness.Upstream
	gateway *harness.Gateway
	Address string // of the proxy
	dir     string // holds what the proxy is configured by
}

const siteName = "wiki.example.com"

// fronts run the proxies of docs/forward-auth, each in the foreground with what its page says.
var fronts = map[string]func(s *site) *harness.Process{
	"nginx": (*site).nginx, "caddy": (*site).caddy, "haproxy": (*site).haproxy, "apache": (*site).apache,
}

// startSite starts the app, the gateway and the proxy in front of both.
func startSite(t *testing.T, run func(s *site) *harness.Process) *site {
	t.Helper()
	s := &site{t: t, app: harness.StartUpstream(t)}
	s.gateway = harness.StartGateway(t, harness.Settings{
		Upstreams: wikiWithoutURL, Trusted: "127.0.0.1/32",
		Users: []harness.User{{Name: "alice", Groups: "admins, staff"}, {Name: "bob", Groups: "staff"}},
	})
	for range 5 {
		s.Address, s.dir = harness.FreeAddress(t), t.TempDir()
		p := run(s)
		t.Cleanup(func() {
			p.Signal(syscall.SIGTERM) // it ends its workers, which SIGKILL would leave behind
			p.Wait()
			if t.Failed() {
				t.Logf("the proxy wrote:\n%s", p.Out.String())
			}
		})
		harness.Eventually(t, "the proxy serves", func() bool { return healthy(s.client()) || p.Ended() })
		if p.Taken() {
			continue
		}
		if p.Ended() {
			t.Fatal("the proxy ended at once")
		}
		return s
	}
	t.Fatal("the proxy found no free port in five tries")
	return nil
}

// of lets a subtest have the site, and gives it back.
func (s *site) of(t *testing.T) (back func()) {
	whole := s.t
	s.t, s.app.T, s.gateway.T = t, t, t
	s.app.Forget()
	return func() { s.t, s.app.T, s.gateway.T = whole, whole, whole }
}

// wikiWithoutURL is an entry that the gateway decides on and does not forward to.
const wikiWithoutURL = `
  - name: wiki
    hosts: [wiki.example.com]
    access:
      policy: one_factor
      rules:
        - { paths: ["/public/*"], policy: bypass }
        - { paths: ["/admin/*"], groups: [admins], policy: one_factor }
        - { paths: ["/secret/*"], policy: two_factor }
        - { paths: ["/lan/*"], networks: [10.0.0.0/8], policy: bypass }
        - { paths: ["/here/*"], networks: [127.0.0.0/8], policy: bypass }`

// client is a client of the proxy, which asks for the site by its name.
func (s *site) client() *harness.Client {
	c := s.gateway.Client()
	c.Base = "http://" + s.Address
	return c.With("Host", siteName)
}

// healthy says whether the gateway can be reached through the proxy.
func healthy(c *harness.Client) bool {
	request, err := http.NewRequestWithContext(c.T.Context(), "GET", c.Base+"/auth/healthz", nil)
	if err != nil {
		c.T.Fatal(err)
	}
	request.Host = siteName
	response, err := c.Http.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// signedInAs is a client that has given the first factor on the gateway's page.
func (s *site) signedInAs(name string) *harness.Client {
	s.t.Helper()
	c := s.client()
	c.Form("/auth/login", "username", name, "password", harness.Password, "rd", "/").Want(303)
	return c
}

// install writes the files of a page in docs/forward-auth into the site's folder: every block whose first line is a
// comment that names a file. This is the one place where the text of a page is changed, in the addresses of the
// gateway, of the app and of the proxy (the further pairs of old and new), and in where the files are.
func (s *site) install(page string, pairs ...string) {
	s.t.Helper()
	pairs = append(pairs, "127.0.0.1:8080", s.gateway.Address, "127.0.0.1:3000", harness.HostOf(s.t, s.app.URL))
	files := map[string]string{}
	for _, block := range strings.Split(harness.Read(s.t, "docs/forward-auth/"+page), "\n```")[1:] {
		_, text, _ := strings.Cut(block, "\n")
		first, _, _ := strings.Cut(text, "\n")
		if path := strings.TrimLeft(first, "#- "); path != first && strings.HasPrefix(path, "/etc/") {
			files[path] = text
			pairs = append(pairs, path, filepath.Join(s.dir, filepath.Base(path)))
		}
	}
	if len(files) == 0 {
		s.t.Fatalf("%s has no block that names a file", page)
	}
	for path, text := range files {
		s.write(filepath.Base(path), strings.NewReplacer(pairs...).Replace(text)+"\n")
	}
}

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) nginx() *harness.Process {
	s.install("nginx.md", "listen 80;", "listen "+s.Address+";")
	s.write("nginx.conf", fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
    include %[1]s/wiki.conf;
}`, s.dir))
	return harness.Start(s.t, s.dir, "/usr/sbin/nginx", "-p", s.dir, "-e", "stderr", "-c", s.dir+"/nginx.conf")
}

func (s *site) haproxy() *harness.Process {
	s.install("haproxy.md", "bind :80", "bind "+s.Address)
	return harness.Start(s.t, s.dir, "/usr/sbin/haproxy", "-db", "-f", s.dir+"/haproxy.cfg")
}

func (s *site) apache() *harness.Process {
	s.install("apache.md", "*:80", s.Address)
	const modules = "/usr/lib/apache2/modules/mod_"
	main := fmt.Sprintf("ServerRoot %[1]s\nServerName localhost\nPidFile %[1]s/pid\nErrorLog /dev/stderr\nUser www-data\nGroup www-data\nListen %[2]s\nDocumentRoot %[1]s\n", s.dir, s.Address)
	for _, name := range []string{"mpm_event", "alias", "authz_core", "headers", "lua", "proxy", "proxy_http"} {
		main += fmt.Sprintf("LoadModule %s_module %s%s.so\n", name, modules, name)
	}
	s.write("apache2.conf", main+"Include "+s.dir+"/wiki.conf\n")
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil { // the workers read the script, and they are not root
		s.t.Fatal(err)
	}
	return harness.Start(s.t, s.dir, "/usr/sbin/apache2", "-DFOREGROUND", "-f", s.dir+"/apache2.conf")
}

func (s *site) caddy() *harness.Process {
	s.install("caddy.md", siteName+" {", "{\n\tadmin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1\n}\nhttp://"+siteName+":"+harness.Port(s.t, s.Address)+" {")
	return harness.Start(s.t, s.dir, "env", "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, toolBinary(s.t, "caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", s.dir+"/Caddyfile")
}

// toolBinary builds a program of the module in a folder of its own, through the module proxy, and says where it is: in
// Go's build cache, so that only the first run takes its time, which for Caddy is minutes.
func toolBinary(t *testing.T, folder, name string) string {
	t.Helper()
	build := exec.Command("go", "tool", "-n", name)
	build.Dir = folder
	var out, problems bytes.Buffer
	build.Stdout, build.Stderr = &out, &problems
	if err := build.Run(); err != nil {
		t.Fatalf("building %s: %v: %s", name, err, problems.String())
	}
	return strings.TrimSpace(out.String())
}
