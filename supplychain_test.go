package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// reaching are the packages by which code gets at the network, at other processes, or past the rules of the language.
var reaching = []string{
	"C", "crypto/tls", "log/syslog", "net", "net/http", "net/http/cgi", "net/rpc", "net/rpc/jsonrpc", "net/smtp", "os/exec", "plugin", "syscall", "unsafe",
}

func isReaching(importPath string) bool {
	return slices.Contains(reaching, importPath) || strings.HasPrefix(importPath, "golang.org/x/sys/")
}

// reach is who imports which of them, in every package of the binary that is not the standard library's. A new entry
// wants a reason: what it needs that for, and why the room that it is in has to have it.
var reach = map[string]string{
	"sallyport":                                               "crypto/tls net net/http syscall",     // listens; SIGHUP, and which error is a port in use
	"sallyport/proxy":                                         "crypto/tls net net/http syscall",     // carries requests to the upstreams; looks whether an idle connection is quiet
	"sallyport/authflow/web":                                  "net net/http syscall",                // pages; joins hosts and ports, and tells who has hung up
	"sallyport/authflow/cookie":                               "net/http",                            // the type of a cookie
	"sallyport/authflow/appsignin":                            "crypto/tls net net/http syscall",     // asks apps by a transport that it is given, and names its errors
	"sallyport/authflow/passwordcommand":                      "os/exec syscall",                     // runs the operator's program
	"sallyport/authflow/users":                                "syscall",                             // locks the users file
	"sallyport/authflow/store/redisstore":                     "crypto/tls net syscall",              // Redis
	"sallyport/config":                                        "crypto/tls net",                      // reads addresses, and checks that a certificate fits its key
	"sallyport/internal/sampleapp":                            "net/http",                            // the app of the demo
	"github.com/redis/go-redis/v9":                            "crypto/tls golang.org/x/sys/cpu net", // the client of Redis
	"github.com/redis/go-redis/v9/maintnotifications":         "net",
	"github.com/redis/go-redis/v9/internal":                   "net",
	"github.com/redis/go-redis/v9/internal/interfaces":        "net",
	"github.com/redis/go-redis/v9/internal/pool":              "net syscall",
	"github.com/redis/go-redis/v9/internal/proto":             "net",
	"github.com/redis/go-redis/v9/internal/util":              "unsafe",
	"github.com/cespare/xxhash/v2":                            "unsafe",
	"go.uber.org/atomic":                                      "unsafe",
	"go.etcd.io/bbolt":                                        "golang.org/x/sys/unix syscall unsafe", // maps its file into memory
	"go.etcd.io/bbolt/internal/common":                        "unsafe",
	"go.etcd.io/bbolt/internal/freelist":                      "unsafe",
	"github.com/prometheus/client_golang/prometheus/promhttp": "crypto/tls net net/http", // the handler of /metrics
	"github.com/prometheus/client_golang/internal/github.com/golang/gddo/httputil":        "net/http",
	"github.com/prometheus/client_golang/internal/github.com/golang/gddo/httputil/header": "net/http",
	"github.com/prometheus/common/expfmt":                                                 "net/http",
	"github.com/prometheus/procfs":                                                        "golang.org/x/sys/unix net syscall", // reads /proc for the metrics of the process
	"github.com/prometheus/procfs/internal/parsers":                                       "syscall",
	"google.golang.org/protobuf/internal/impl":                                            "unsafe",
	"google.golang.org/protobuf/internal/protolazy":                                       "unsafe",
	"google.golang.org/protobuf/internal/strs":                                            "unsafe",
	"google.golang.org/protobuf/reflect/protoreflect":                                     "unsafe",
	"google.golang.org/protobuf/types/known/timestamppb":                                  "unsafe",
	"golang.org/x/crypto/acme":                                                            "crypto/tls net net/http", // asks the certificate authority
	"golang.org/x/crypto/acme/autocert":                                                   "crypto/tls net net/http",
	"golang.org/x/crypto/argon2":                                                          "golang.org/x/sys/cpu", // which instructions there are
	"golang.org/x/crypto/blake2b":                                                         "golang.org/x/sys/cpu",
	"golang.org/x/crypto/chacha20poly1305":                                                "golang.org/x/sys/cpu",
	"golang.org/x/crypto/internal/alias":                                                  "unsafe",
	"golang.org/x/sys/cpu":                                                                "unsafe",
	"golang.org/x/sys/unix":                                                               "syscall unsafe",
	"golang.org/x/term":                                                                   "golang.org/x/sys/unix", // a password typed without echo
}

func TestNoPackageOutsideTheListReachesTheNetworkOrOtherProcesses(t *testing.T) {
	c := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{if not .Standard}}{{.ImportPath}} {{join .Imports " "}}{{end}}`, ".")
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0") // as the Dockerfile builds it, whatever this machine is
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		imports := slices.DeleteFunc(fields[1:], func(i string) bool { return !isReaching(i) })
		if len(imports) > 0 {
			slices.Sort(imports)
			found[fields[0]] = strings.Join(imports, " ")
		}
	}
	for name, imports := range found {
		if imports != reach[name] {
			t.Errorf("%s imports %s, and the list allows it %q", name, imports, reach[name])
		}
	}
	for name := range reach {
		if _, ok := found[name]; !ok {
			t.Errorf("%s is on the list and needs it no more: take it off", name)
		}
	}
}

// connecting are the names by which our own code opens a connection or starts a process.
var connecting = regexp.MustCompile(`^(net\.(Dial.*|Listen|Listen[A-Z].*|Resolver|Lookup.*)|tls\.(Dial.*|Dialer|Listen)|http\.(Client|Transport|DefaultClient|DefaultTransport|Get|Head|Post|PostForm|ListenAndServe.*)|exec\.Command.*|os\.StartProcess|syscall\.(ForkExec|Exec|Socket|Connect))$`)

// connects is where they stand.
var connects = map[string]string{
	"serve.go":                          "net.Listen",
	"acme.go":                           "http.Client http.Transport",                       // the certificate authority
	"control.go":                        "http.Client http.Transport net.Dialer net.Listen", // the control socket, in data_dir
	"check.go":                          "http.Client http.Transport",                       // whether the upstreams answer
	"demo.go":                           "net.Listen",
	"proxy/exchange.go":                 "http.Transport", // holds one, for what it does not take
	"proxy/transport.go":                "http.Transport net.Dialer",
	"authflow/passwordcommand/run.go":   "exec.CommandContext",
	"authflow/store/redisstore/open.go": "net.Dialer tls.Dialer",
}

func TestOurOwnCodeConnectsNowhereButWhereTheListSays(t *testing.T) {
	found := map[string]map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "e2e" || path == "tools" || path == "bench" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		apart := strings.HasPrefix(path, "authflow/store/redistest/") || strings.HasPrefix(path, "authflow/store/storetest/") // no part of the binary
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || apart {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && connecting.MatchString(x.Name+"."+s.Sel.Name) {
				if found[path] == nil {
					found[path] = map[string]bool{}
				}
				found[path][x.Name+"."+s.Sel.Name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, names := range found {
		if all := strings.Join(slices.Sorted(maps.Keys(names)), " "); all != connects[path] {
			t.Errorf("%s uses %s, and the list allows it %q", path, all, connects[path])
		}
	}
	for path := range connects {
		if found[path] == nil {
			t.Errorf("%s is on the list and connects nowhere: take it off", path)
		}
	}
}

func TestEveryModuleAndTheImageAreBuiltByOneToolchain(t *testing.T) {
	pinned := pinnedBy(t, "go.mod", `(?m)^toolchain go(1\.\d+\.\d+)$`)
	for file, pattern := range map[string]string{
		"e2e/go.mod": `(?m)^toolchain go(1\.\d+\.\d+)$`, "e2e/caddy/go.mod": `(?m)^toolchain go(1\.\d+\.\d+)$`, "e2e/pebble/go.mod": `(?m)^toolchain go(1\.\d+\.\d+)$`,
		"tools/go.mod": `(?m)^toolchain go(1\.\d+\.\d+)$`, "Dockerfile": `(?m)^FROM golang:(1\.\d+\.\d+) AS build$`,
	} {
		if got := pinnedBy(t, file, pattern); got != pinned {
			t.Errorf("%s names Go %q, and go.mod %q", file, got, pinned)
		}
	}
}

// pinnedBy is the version of Go that a file names, to its last number.
func pinnedBy(t *testing.T, file, pattern string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern).FindSubmatch(raw)
	if found == nil {
		t.Fatalf("%s names no version of Go to its last number", file)
	}
	return string(found[1])
}
