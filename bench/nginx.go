package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// Bodies that the upstream serves, by path.
const (
	small = "/1k"
	large = "/100k"
)

var bodies = map[string]int{small: 1 << 10, large: 100 << 10}

// nginx is the upstream of most rows.
type nginx struct {
	url     string // keeps connections for an hour
	brief   string // keeps them for a second, used or not, for what looks for leaks
	folder  string
	process *process
}

// As root, nginx would give its workers to an account that cannot read the folder.
var nginxConf = template.Must(template.New("nginx.conf").Parse(`{{if .Root}}user root;{{end}}
daemon off;
worker_processes {{.Workers}};
pid {{.Folder}}/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000000;
	keepalive_timeout 1h;
	sendfile on;
	tcp_nopush on;
	open_file_cache max=16;
	client_body_temp_path {{.Folder}};
	proxy_temp_path {{.Folder}};
	fastcgi_temp_path {{.Folder}};
	uwsgi_temp_path {{.Folder}};
	scgi_temp_path {{.Folder}};
{{.Servers}}
}
`))

// startNginx runs nginx with these servers of its configuration.
func (b *bench) startNginx(folder string, workers int, servers string) (*process, error) {
	var conf bytes.Buffer
	err := nginxConf.Execute(&conf, map[string]any{
		"Root": os.Geteuid() == 0, "Workers": workers, "Folder": folder, "Servers": servers,
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, conf.Bytes(), 0o600); err != nil {
		return nil, err
	}
	return b.start(folder, "nginx", "-e", "stderr", "-p", folder, "-c", path)
}

// upstream starts the nginx that serves the bodies, where it does not run already.
func (b *bench) upstream() (*nginx, error) {
	if b.web != nil {
		return b.web, nil
	}
	folder, err := os.MkdirTemp(b.memory, "web-")
	if err != nil {
		return nil, err
	}
	for path, size := range bodies {
		if err := os.WriteFile(filepath.Join(folder, path), bytes.Repeat([]byte("sallyport bench\n"), size/16), 0o600); err != nil {
			return nil, err
		}
	}
	addresses := make([]string, 2)
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	n := &nginx{url: "http://" + addresses[0], brief: "http://" + addresses[1], folder: folder}
	n.process, err = b.startNginx(folder, 1, fmt.Sprintf(`	root %s;
	server { listen %s; }
	server { listen %s; keepalive_timeout 1s; client_header_timeout 1s; }`, folder, addresses[0], addresses[1]))
	if err != nil {
		return nil, err
	}
	b.web = n
	return n, n.process.listens(addresses[1])
}

// startNginxProxy runs a second nginx as a proxy that keeps its connections, and returns its address.
func (b *bench) startNginxProxy(upstream string) (string, error) {
	folder, err := os.MkdirTemp(b.memory, "nginx-proxy-")
	if err != nil {
		return "", err
	}
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	p, err := b.startNginx(folder, 2, fmt.Sprintf(`	upstream app { server %s; keepalive 512; keepalive_requests 1000000000; }
	server { listen %s; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
		upstream[len("http://"):], address))
	if err != nil {
		return "", err
	}
	return address, p.listens(address)
}
