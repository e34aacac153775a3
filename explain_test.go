package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/authflow/password"
	"sallyport/authflow/users"
)

const explained = `server: { public_url: https://wiki.example.com }
upstreams:
  - name: wiki
    hosts: [wiki.example.com]
    url: http://127.0.0.1:3000/base
    access:
      groups: [staff]
      rules:
        - { paths: ["/healthz"], policy: bypass }
        - { paths: ["/admin/*"], groups: [admins], networks: [10.0.0.0/8], policy: two_factor }
        - { paths: ["/admin/*"], policy: deny }
  - name: fronted
    hosts: [fronted.example.com]
  - name: files
    hosts: [files.example.com]
    path: /files
    url: unix:/run/files.sock
    preserve_host: false
    strip_path: true
    request_headers: { set: { X-Tag: gate } }
    access: { policy: bypass }
  - name: left
    hosts: [left.example.com]
    url: http://127.0.0.1:3000
    sign_out: { path: "/*?do=logout" }
`

func TestExplainSaysWhatARequestMeetsAndWhatIsDecided(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(path, []byte(explained), 0o600); err != nil {
		t.Fatal(err)
	}
	phc, err := password.HashArgon2id(testPassword)
	if err != nil {
		t.Fatal(err)
	}
	for name, groups := range map[string][]string{"alice": {"staff", "admins"}, "bob": {"staff"}} {
		if err := users.Add(filepath.Join(folder, "users.yaml"), users.NewUser{Username: name, Email: name + "@example.com", Groups: groups, PHC: phc}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"https://wiki.example.com/x", 0, []string{"upstream   wiki", "config.yaml:3, policy two_factor", "sent to sign in", "nobody is signed in"}},
		{"/x --user alice", 0, []string{"forwarded:", "forwarded  http://127.0.0.1:3000/base/x", "Remote-User: alice", "Remote-Groups: staff,admins", "X-Forwarded-Proto: https", "Host: wiki.example.com"}},
		{"/healthz", 0, []string{"config.yaml:9, policy bypass", "forwarded  http://127.0.0.1:3000/base/healthz"}},
		{"/admin/x --user alice --ip 10.1.2.3", 0, []string{"config.yaml:10", "group admins", "forwarded  http", "X-Forwarded-For: 10.1.2.3"}},
		{"/admin/x --user bob --ip 10.1.2.3", 0, []string{"config.yaml:10", "refused", "group admins", "bob is in group staff"}},
		{"/admin/x --user alice", 0, []string{"config.yaml:11, policy deny", "lets nobody through"}},
		{"/ADMIN/x --user alice --method post", 0, []string{"POST", "lets nobody through"}},
		{"/a%2fb --user alice", 0, []string{"refused with 400: the path holds an encoded slash"}},
		{"https://elsewhere.example.com/", 1, []string{"refused with 404", "no upstream has this host", "no upstream takes this request"}},
		{"https://files.example.com/elsewhere --user alice", 1, []string{"refused with 404", "no upstream has this path", "no upstream takes this request"}},
		{"https://fronted.example.com/ --user alice", 0, []string{"upstream   fronted", "only forward-auth"}},
		{"https://files.example.com/files/a", 0, []string{"upstream   files", "forwarded  http://localhost/a\n", "Host: localhost", "X-Forwarded-Prefix: /files", "X-Tag: gate"}},
		{"https://files.example.com/files", 0, []string{"upstream   files", "redirected to /files/"}},
		{"https://left.example.com/doku.php?id=a&do=logout --user alice", 0, []string{"sign-out   the gateway's session ends too", "forwarded  http://127.0.0.1:3000/doku.php?id=a&do=logout"}},
		{"/auth/login", 0, []string{"answered by the gateway itself"}},
		{"/x --user nobody", 2, []string{"no user \"nobody\""}},
		{"/x --ip here", 2, []string{"want an IP address"}},
		{"ftp://wiki.example.com/", 2, []string{"want an http or https URL"}},
		{"", 2, []string{"give the URL"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append(append([]string{"explain"}, strings.Fields(c.args)...), "--config", path)
			if code := run(t.Context(), args, terminal{strings.NewReader(""), &out, &errs}); code != c.code {
				t.Errorf("exit status %d, want %d", code, c.code)
			}
			text := out.String() + errs.String()
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in\n%s", want, text)
				}
			}
			if c.code == 0 && strings.Contains(text, "Remote-User") && !strings.Contains(c.args, "--user") {
				t.Errorf("nobody has a name:\n%s", text)
			}
		})
	}
}
