package config

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/config/strictyaml"
)

// inTestdata moves into a copy of testdata with a certificate and its key, made for this run.
func inTestdata(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: certificate},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	return folder
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

func setEnvironment(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_DB", "3")
	t.Setenv("SALLYPORT_TEST_KEY", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)))
	t.Setenv("SALLYPORT_TEST_ISSUER", "[Example, Inc]")
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestEveryGoodFileLoads(t *testing.T) {
	names := fixtures(t, "*.good.yaml")
	inTestdata(t)
	setEnvironment(t)
	for _, name := range names {
		if _, err := Load(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bad file begins with comment lines that are the very errors it must give,
// with FOLDER for the folder that it lies in.
func TestEveryBadFileGivesTheErrorsItsCommentsName(t *testing.T) {
	names := fixtures(t, "*.bad.yaml")
	folder := inTestdata(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan() && strings.HasPrefix(lines.Text(), "# "); {
				want = append(want, strings.ReplaceAll(strings.TrimPrefix(lines.Text(), "# "), "FOLDER", folder))
			}
			_, err = Load(name)
			if err == nil {
				t.Fatal("loads")
			}
			if got := err.Error(); got != strings.Join(want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

func TestAFileThatGivesEveryKeyIsReadInFull(t *testing.T) {
	folder := inTestdata(t)
	setEnvironment(t)
	got, err := Load("everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(folder, name) }
	want := &Config{
		Path: "everything.good.yaml",
		Server: Server{
			Listen: "[::1]:8443", PublicURL: mustURL(t, "https://apps.example.com"), AuthPath: "/gate/house", AdminListen: "127.0.0.1:9180",
			TrustedProxies: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"),
				netip.MustParsePrefix("192.0.2.8/32"), netip.MustParsePrefix("2001:db8::/32"),
			},
			TLS: ServerTLS{in("cert.pem"), in("key.pem"), ACME{Directory: &letsEncrypt}}, RedirectListen: "[::1]:8080", ShutdownTimeout: 90 * time.Second,
		},
		DataDir: "/var/lib/sallyport",
		Store: Store{Driver: "redis", Redis: Redis{
			Addresses: []string{"one.example:6379", "[::1]:6380"}, MasterName: "main", Username: "gateway",
			Password: "hunter2 with space", DB: 3, KeyPrefix: "gate:",
			TLS: RedisTLS{Enabled: true, CAFile: in("cert.pem"), CertFile: in("cert.pem"), KeyFile: in("key.pem"), ServerName: "redis.example"},
		}},
		SecretKey:          bytes.Repeat([]byte("k"), 32),
		PreviousSecretKeys: [][]byte{bytes.Repeat([]byte("A"), 32), bytes.Repeat([]byte{0xff}, 40)},
		Users:              Users{File: in("people/users.yaml"), Sources: everySource(in)},
		Session: Session{
			IdleTimeout: 2 * time.Hour, Lifetime: 36 * time.Hour, RememberFor: 60 * 24 * time.Hour,
			CookieName: "gate", CookieDomain: "example.com", AccessTokenLifetime: 5 * time.Minute, KeepPost: 512 << 10,
		},
		TwoFactor: TwoFactor{Issuer: "[Example, Inc] ${kept} $5", Enrollment: "invite", TempTokenLifetime: 3 * time.Minute, MaxAttempts: 3, FreshFor: 10 * time.Minute},
		Upstreams: everyUpstream(t, in),
		Log:       Log{Level: slog.LevelDebug, Format: "json"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// everySource is what everything.good.yaml says of where users come from.
func everySource(in func(name string) string) []UserSource {
	return []UserSource{
		{App: "legacy", Name: "legacy", SignIn: &SignIn{Form: legacyForm()}, Groups: []string{"legacy-users"}, Usernames: regexp.MustCompile(`^(?:[a-z]+)$`), Line: 27},
		{File: in("people/users.yaml"), Line: 28},
		{App: "wiki", Name: "wiki", SignIn: &SignIn{Basic: &Probe{Path: "/team/api/whoami"}}, Usernames: usualNames, Line: 29},
		{Name: "shop", Command: []string{"/usr/local/bin/check-shop", "--db", "shop.sqlite"}, Timeout: 3 * time.Second, AtOnce: 2, Usernames: usualNames, Line: 30},
		{App: "upstream4", Name: "upstream4", SignIn: &SignIn{Form: &LoginForm{Page: "/", NoUsername: true}}, Usernames: regexp.MustCompile(`^(?:jupyter)$`), Line: 31},
	}
}

// legacyForm is also the form of sign_in_to_app, which names none of its own.
func legacyForm() *LoginForm {
	return &LoginForm{
		Page: "/legacy/login?next=/", UsernameField: "u", PasswordField: "p",
		Success: AppAnswer{Status: []int{302}, NotLocation: "/legacy/login*", Cookie: "DW*"},
		Failure: AppAnswer{Status: []int{200, 403}, Location: "/legacy/login", Body: "Invalid"},
	}
}

// everyUpstream is what everything.good.yaml says of upstreams.
func everyUpstream(t *testing.T, in func(name string) string) []Upstream {
	all := []Upstream{
		{
			Name: "wiki", Hosts: []string{"wiki.example.com", "wiki.example.com:8443", "[2001:db8::1]:8443"},
			Path: "/team", URL: mustURL(t, "https://my_wiki:3000/base"), Line: 47,
			Access: Access{Policy: "one_factor", Groups: []string{"staff", "Domain Users"}, Rules: []Rule{
				{Paths: []string{"/team/healthz", "/team/static/*", "/*"}, Policy: "bypass", Line: 55},
				{
					Methods: []string{"GET", "PROPFIND"}, Groups: []string{"admins"}, Policy: "two_factor", Line: 56,
					Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.3.4/32")},
				},
			}},
		},
		{Name: "forward.example.com", Hosts: []string{"forward.example.com"}, Path: "/", Access: Access{Policy: "two_factor"}, Line: 57},
		{Name: "forward.example.com-8080-deep-er", Hosts: []string{"forward.example.com:8080"}, Path: "/deep/er", Access: Access{Policy: "two_factor"}, Line: 58},
		{Name: "upstream4", Path: "/", URL: mustURL(t, "http://[::1]:4000"), Access: Access{Policy: "two_factor"}, SessionGuard: true, Line: 60,
			SignInToApp: &SignInToApp{Header: map[string]string{"X-API-Key": "key 3", "X-Second": "hunter2 with space"}, HeaderFile: map[string]string{"X-Second": in("secret/redis-password")}},
		},
		{
			Name: "legacy", Path: "/legacy", URL: mustURL(t, "https://legacy.internal"), Access: Access{Policy: "two_factor"}, Line: 61,
			StripPath: true, TLS: UpstreamTLS{CertFile: in("cert.pem"), KeyFile: in("key.pem"), ServerName: "legacy", InsecureSkipVerify: true},
			RequestHeaders:  HeaderChange{Set: map[string]string{"Authorization": "Basic 3"}, Remove: []string{"X-Debug"}},
			ResponseHeaders: HeaderChange{Set: map[string]string{"X-Frame-Options": "SAMEORIGIN"}, Remove: []string{"Server", "X-Powered-By"}},
			Timeouts:        Timeouts{Connect: time.Second, Idle: 2 * time.Minute}, MaxBodySize: 10 << 20, FlushInterval: -1, LoginHint: "Use your legacy password.", Assertion: true,
			SignInToApp: &SignInToApp{Form: legacyForm(), When: []string{"sign_in", "expired"}, SignedOut: &AppAnswer{Status: []int{403}}},
		},
		{
			Name: "upstream6", Path: "/socket", URL: mustURL(t, "unix:/run/app.sock"), Access: Access{Policy: "two_factor"}, Line: 75,
			Timeouts: Timeouts{Idle: 24 * time.Hour}, FlushInterval: FlushInterval(100 * time.Millisecond), MaxBodySize: 512 << 10,
			SignInToApp: &SignInToApp{Basic: &AppAccount{Username: "shared", Password: "hunter2 with space"}},
		},
		{Name: "upstream7", Path: "/grpc", URL: mustURL(t, "h2c://127.0.0.1:50051"), Access: Access{Policy: "two_factor"}, Line: 76, SignInToApp: &SignInToApp{Basic: &AppAccount{Own: true}}},
		{Name: "upstream8", Path: "/own", URL: mustURL(t, "https://own.internal"), Access: Access{Policy: "two_factor"}, Line: 77, TLS: UpstreamTLS{CAFile: in("cert.pem")}, SignOut: SignOut{Path: "/own/*?do=bye", Cookies: []string{"sid", "own_*"}}, SignInToApp: &SignInToApp{Basic: &AppAccount{MapFile: in("people/accounts.yaml")}}},
		{Name: "upstream9", Path: "/based", URL: mustURL(t, "http://127.0.0.1:3000/base"), Access: Access{Policy: "two_factor"}, Line: 78, StripPath: true, SignOut: SignOut{Cookies: []string{"sid_*"}}},
	}
	for i := range all {
		if u := &all[i]; u.Name != "legacy" {
			u.PreserveHost, u.Timeouts.Connect, u.Timeouts.FirstByte = true, 5*time.Second, time.Minute
		}
	}
	return all
}

func TestAShortLifetimePullsTheDefaultsAlong(t *testing.T) {
	c, err := Load(filepath.Join("testdata", "durations-clamped.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Session.IdleTimeout != 10*time.Minute || c.Session.AccessTokenLifetime != 10*time.Minute {
		t.Errorf("idle %s, access token %s; want 10m for both", c.Session.IdleTimeout, c.Session.AccessTokenLifetime)
	}
}

func TestCertificatesAreForTheHostsOfTheFileOrElseForEveryHostOfTheGateway(t *testing.T) {
	folder := inTestdata(t)
	c, err := Load("acme.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := ACME{
		Enabled: true, Email: "admin@example.com", Directory: mustURL(t, "https://ca.internal:14000/dir"),
		Hosts: []string{"apps.example.com", "wiki.example.com"}, CAFile: filepath.Join(folder, "cert.pem"),
	}
	if got := c.Server.TLS.ACME; !reflect.DeepEqual(got, want) || !c.Server.TLS.On() {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	c, err = decode("config.yaml", []byte(`
server: { public_url: "https://apps.example.com:8443", tls: { acme: { enabled: true } } }
upstreams: [{ hosts: [Wiki.example.com, "wiki.example.com:8443"], url: http://a }, { hosts: [apps.example.com], url: http://b }]`))
	if err != nil || !slices.Equal(c.Server.TLS.ACME.Hosts, []string{"apps.example.com", "wiki.example.com"}) {
		t.Errorf("got %+v, %v; want the hosts of public_url and the upstream, each once", c, err)
	}
}

func TestSeveralAddressesWithoutAMasterNameAreACluster(t *testing.T) {
	c, err := decode("config.yaml", []byte("store: {redis: {addresses: [a:1, b:2]}}\nupstreams: [{url: http://a}]"))
	if err != nil || !c.Store.Redis.Cluster {
		t.Errorf("got %+v, %v; want a cluster", c, err)
	}
}

func TestTheExampleIsTheDefaults(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "config.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode("config.yaml", example)
	if err != nil {
		t.Fatal(err)
	}
	want, err := decode("config.yaml", []byte("upstreams: [{ name: app, url: http://127.0.0.1:3000 }]"))
	if err != nil {
		t.Fatal(err)
	}
	got.Upstreams[0].Line = want.Upstreams[0].Line
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTheExampleHoldsEveryKey(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "config.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	doc, err := strictyaml.Decode("config.example.yaml", example, &c, strictyaml.Options{Types: types})
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type, string)
	walk = func(section reflect.Type, key string) {
		for i := range section.NumField() {
			f := section.Field(i)
			name, option, _ := strings.Cut(f.Tag.Get("key"), ",")
			if name == "" {
				continue
			}
			child := strictyaml.Join(key, name)
			if !doc.Has(child) {
				t.Errorf("%s is missing", child)
			}
			if option == "secret" && !doc.Has(child+"_file") {
				t.Errorf("%s_file is missing", child)
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, child)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	walk(reflect.TypeFor[Upstream](), "upstreams[0]")
}

func TestSizesAreWrittenWithAUnitOfAPowerOf1024(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "0MiB": 0, "17B": 17, "512KiB": 512 << 10, "1MiB": 1 << 20, "3GiB": 3 << 30, "8388607GiB": 8388607 << 30} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "17", "-1", "+1", "1.5MiB", "1 MiB", "MiB", "1mib", "1TB", "0x10B", "9223372036854775808B", "8589934592GiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestAMissingFileIsSaidInWords(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "config.yaml"))
	if err == nil || !strings.Contains(err.Error(), "config.yaml: file does not exist; name another with --config") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	for _, text := range []string{
		"secret_key: hunter2", "secret_key: [hunter2]", "previous_secret_keys: hunter2", "previous_secret_keys: [hunter2, '!hunter2']",
		"store: {redis: {password: [hunter2]}}", `store: {redis: {password: "hunter2\n"}}`,
		"upstreams: [{url: 'http://me:hunter2@127.0.0.1'}]", "upstreams: [{url: 'ftp://me:hunter2@127.0.0.1'}]",
		"upstreams: [{url: 'http://me:hunter2@'}]", "upstreams: [{url: 'http://me:hunter2@[::1'}]",
	} {
		_, err := decode("config.yaml", []byte(text))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTheUsualNamesOfAnAppsPeopleHaveOneSpelling(t *testing.T) {
	for name, want := range map[string]bool{
		"carroll": true, "l.carroll": true, "lewis_carroll-2": true, "7": true, "a" + strings.Repeat("b", 63): true,
		"carroll.": false, ".carroll": false, "lewis__carroll": false, "lewis._carroll": false, "Carroll": false, "c@rroll": false, "càrroll": false, "": false, "a" + strings.Repeat("b", 64): false,
	} {
		if got := usualNames.MatchString(name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../config.example.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decode("fuzz.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v: want exactly one", c, err)
		}
		if err != nil {
			problems, ok := err.(strictyaml.Errors)
			if !ok || len(problems) == 0 || strings.Count(err.Error(), "\n") != len(problems)-1 {
				t.Fatalf("not one line for each problem: %q", err)
			}
			return
		}
		if len(c.Upstreams) == 0 || c.Session.Lifetime <= 0 || c.Server.PublicURL.Host == "" {
			t.Fatalf("loads without what every user of it relies on: %+v", c)
		}
		for _, u := range c.Upstreams {
			if u.Name == "" || u.Line == 0 || !strings.HasPrefix(u.Path, "/") || u.Access.Policy == "" {
				t.Fatalf("upstream not complete: %+v", u)
			}
		}
	})
}
