// Package config reads the gateway's configuration, one strict YAML file, into one tree of plain values, and says
// everything that is wrong with the file at once.
//
// It does not read the users file, open sockets or ask the store: what the tree names is used by others. The only
// files that it opens are the secrets, keys and certificates that the file names.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sallyport/config/strictyaml"
)

// Config is everything that an operator decides. All paths in it are absolute.
type Config struct {
	Path               string     // the file it was read from, as it was named
	Server             Server     `key:"server"`
	DataDir            string     `key:"data_dir,path"` // embedded store and generated keys
	Store              Store      `key:"store"`
	SecretKey          []byte     `key:"secret_key,secret"`           // 32 bytes or more; nil: to be generated into DataDir
	PreviousSecretKeys [][]byte   `key:"previous_secret_keys,secret"` // still accepted for reading, after a rotation
	Users              Users      `key:"users"`
	Session            Session    `key:"session"`
	TwoFactor          TwoFactor  `key:"two_factor"`
	Upstreams          []Upstream `key:"upstreams"` // one at least
	Log                Log        `key:"log"`
}

// Server is where the gateway listens and under which origin browsers reach it.
type Server struct {
	Listen          string         `key:"listen"`          // host:port
	PublicURL       *url.URL       `key:"public_url"`      // scheme and host in lower case, no default port, no path
	AuthPath        string         `key:"auth_path"`       // canonical, such as "/auth"
	AdminListen     string         `key:"admin_listen"`    // host:port; empty: off
	TrustedProxies  []netip.Prefix `key:"trusted_proxies"` // masked
	TLS             ServerTLS      `key:"tls"`
	RedirectListen  string         `key:"redirect_listen"` // host:port, in plain HTTP; empty: off; PublicURL then is https
	ShutdownTimeout time.Duration  `key:"shutdown_timeout"`
}

// Store is where state is kept.
type Store struct {
	Driver string `key:"driver" oneof:"embedded redis"`
	Redis  Redis  `key:"redis"`
}

// Redis says how to reach Redis: one server, a cluster, or Sentinels where MasterName is set.
type Redis struct {
	Addresses  []string `key:"addresses"` // host:port
	MasterName string   `key:"master_name"`
	Cluster    bool     `key:"cluster"` // also set where there are several addresses and no MasterName
	Username   string   `key:"username"`
	Password   string   `key:"password,secret"`
	DB         int      `key:"db"`
	KeyPrefix  string   `key:"key_prefix"`
	TLS        RedisTLS `key:"tls"`
}

// RedisTLS is the client side of TLS to Redis. An empty CAFile means the system's own authorities, an empty
// ServerName the host of the address.
type RedisTLS struct {
	Enabled    bool   `key:"enabled"`
	CAFile     string `key:"ca_file,path"`
	CertFile   string `key:"cert_file,path"`
	KeyFile    string `key:"key_file,path"`
	ServerName string `key:"server_name"`
}

// Users is where the users are described. After loading Sources has one entry at least.
type Users struct {
	File    string       `key:"file,path"` // empty where Sources has none
	Sources []UserSource `key:"sources"`   // in the order in which they are asked
}

// Session is how long a person stays signed in, and how the browser holds it.
type Session struct {
	IdleTimeout         time.Duration `key:"idle_timeout"`
	Lifetime            time.Duration `key:"lifetime"`
	RememberFor         time.Duration `key:"remember_for"`  // 0: no "keep me signed in"
	CookieName          string        `key:"cookie_name"`   // without __Host-
	CookieDomain        string        `key:"cookie_domain"` // lower case, no leading dot; empty: the host alone
	AccessTokenLifetime time.Duration `key:"access_token_lifetime"`
	KeepPost            Size          `key:"keep_post"` // at most 16 MiB; 0: no form post is kept
}

// TwoFactor is how second factors are enrolled and asked for.
type TwoFactor struct {
	Issuer            string        `key:"issuer"`
	Enrollment        string        `key:"enrollment" oneof:"open invite"`
	TempTokenLifetime time.Duration `key:"temp_token_lifetime"`
	MaxAttempts       int           `key:"max_attempts"` // 1 to 100
	FreshFor          time.Duration `key:"fresh_for"`
}

// Upstream is an application behind the gateway, and who may reach it.
type Upstream struct {
	Name   string   `key:"name"`  // unique; derived from host and path where the file gives none
	Hosts  []string `key:"hosts"` // host or host:port, lower case; none: any host
	Path   string   `key:"path"`  // canonical prefix, "/" or without a trailing slash
	URL    *url.URL `key:"url"`   // http, https, h2c, or unix with a path alone; nil: only answers forward-auth
	Access Access   `key:"access"`
	Line   int      // of the file

	PreserveHost    bool          `key:"preserve_host"` // the upstream sees the browser's host
	StripPath       bool          `key:"strip_path"`    // the upstream does not see Path
	TLS             UpstreamTLS   `key:"tls"`
	RequestHeaders  HeaderChange  `key:"request_headers"`
	ResponseHeaders HeaderChange  `key:"response_headers"`
	Timeouts        Timeouts      `key:"timeouts"`
	MaxBodySize     Size          `key:"max_body_size"` // 0: any
	FlushInterval   FlushInterval `key:"flush_interval"`
	SessionGuard    bool          `key:"session_guard"` // its pages get the gateway's script that keeps the session
	SignOut         SignOut       `key:"sign_out"`
	SignInToApp     *SignInToApp  `key:"sign_in_to_app"` // nil: the app's own sign-in is left to the person
	LoginHint       string        `key:"login_hint"`     // which password to use, in the operator's words
	Assertion       bool          `key:"assertion"`      // requests carry a signed assertion of who asks
}

// SignOut joins the app's sign-out and the gateway's.
type SignOut struct {
	Path    string   `key:"path"`    // of the app's own sign-out, as browsers ask for it: a path like a rule's and a query; empty: none
	Cookies []string `key:"cookies"` // of the app's: names, or prefixes with a * at the end
}

// UpstreamTLS is the client side of TLS to an upstream. An empty CAFile means the system's own authorities, an
// empty ServerName the host of the URL.
type UpstreamTLS struct {
	CAFile             string `key:"ca_file,path"`
	CertFile           string `key:"cert_file,path"`
	KeyFile            string `key:"key_file,path"`
	ServerName         string `key:"server_name"`
	InsecureSkipVerify bool   `key:"insecure_skip_verify"` // any certificate will do
}

// HeaderChange is what is done to the headers that pass: first some are removed, then some are set.
type HeaderChange struct {
	Remove []string          `key:"remove"`
	Set    map[string]string `key:"set"`
}

// Timeouts are how long an upstream may take. 0 is no limit.
type Timeouts struct {
	Connect   time.Duration `key:"connect"`
	FirstByte time.Duration `key:"first_byte"`
	Idle      time.Duration `key:"idle"`
}

// Access is what an upstream asks of a request that no rule matches, and the rules before it.
type Access struct {
	Policy string   `key:"policy" oneof:"deny bypass one_factor two_factor"`
	Groups []string `key:"groups"` // any of these; none: any user
	Rules  []Rule   `key:"rules"`  // the first that matches decides
}

// Rule is what some requests to an upstream are asked. A rule without paths, methods and networks matches every request.
type Rule struct {
	Paths    []string       `key:"paths"` // exact, or with one * at the end
	Methods  []string       `key:"methods"`
	Networks []netip.Prefix `key:"networks"` // masked
	Groups   []string       `key:"groups"`
	Policy   string         `key:"policy" oneof:"deny bypass one_factor two_factor"`
	Line     int            // of the file
}

// Log is what the gateway writes to standard error.
type Log struct {
	Level  slog.Level `key:"level" oneof:"debug info warn error"`
	Format string     `key:"format" oneof:"text json"`
}

// Load reads and checks the file at path, with the environment for its ${NAME}s. The error lists all the problems
// of the file, one on each line, in the order of their lines; it then is of type [strictyaml.Errors].
func Load(path string) (*Config, error) {
	data, err := strictyaml.ReadFile(path, strictyaml.MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; name another with --config, or begin with a copy of config.example.yaml", path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("%s: cannot be read: %w", path, err)
	}
	return decode(path, data)
}

func decode(path string, data []byte) (*Config, error) {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := defaults(folder)
	c.Path = path
	doc, err := strictyaml.Decode(path, data, c, strictyaml.Options{LookupEnv: os.LookupEnv, Types: types})
	if err != nil {
		return nil, err
	}
	check := checker{doc}
	check.server(&c.Server)
	check.store(c)
	check.session(c)
	check.twoFactor(&c.TwoFactor)
	check.upstreams(c)
	check.acme(c)
	check.userSources(c)
	check.signInToApps(c)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

func defaults(folder string) *Config {
	return &Config{
		Server: Server{
			Listen:          "127.0.0.1:8080",
			PublicURL:       &url.URL{Scheme: "http", Host: "localhost:8080"},
			AuthPath:        "/auth",
			TLS:             ServerTLS{ACME: ACME{Directory: new(letsEncrypt)}},
			ShutdownTimeout: 10 * time.Second,
		},
		DataDir: filepath.Join(folder, "data"),
		Store: Store{
			Driver: "embedded",
			Redis:  Redis{Addresses: []string{"127.0.0.1:6379"}, KeyPrefix: "sallyport:"},
		},
		Users: Users{File: filepath.Join(folder, "users.yaml")},
		Session: Session{
			IdleTimeout:         time.Hour,
			Lifetime:            12 * time.Hour,
			RememberFor:         30 * 24 * time.Hour,
			CookieName:          "sallyport",
			AccessTokenLifetime: 15 * time.Minute,
			KeepPost:            1 << 20,
		},
		TwoFactor: TwoFactor{
			Issuer:            "Sallyport",
			Enrollment:        "open",
			TempTokenLifetime: 5 * time.Minute,
			MaxAttempts:       5,
			FreshFor:          5 * time.Minute,
		},
		Log: Log{Level: slog.LevelInfo, Format: "text"},
	}
}
