package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/assertion"
	"sallyport/authflow/audit"
	"sallyport/authflow/cookie"
	"sallyport/authflow/password"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/throttle"
	"sallyport/authflow/users"
	"sallyport/authflow/web"
	"sallyport/config"
	"sallyport/proxy"
	"sallyport/static"
)

// lasting are the parts that outlive a reload of the configuration.
type lasting struct {
	log       *slog.Logger
	kv        store.KV
	sessions  *session.Keeper
	keys      *seal.Keyring
	passwords *password.Checker
	// alive asks the gateway that is in force, for what a former one has under way.
	alive func(ctx context.Context, sessionKey string) (*session.Identity, error)
}

// gateway is everything that one configuration makes.
type gateway struct {
	handler http.Handler
	flow    *authflow.Flow
	proxy   *proxy.Gateway
	apps    *apps

	authorities map[string]string // see httpsAuthorities
}

// build puts the parts together.
func build(cfg *config.Config, l lasting, dir *users.Directory) (*gateway, error) {
	g := &gateway{flow: newFlow(cfg, l, dir), authorities: httpsAuthorities(cfg)}
	g.apps = &apps{cfg: cfg, g: g, log: l.log}
	var err error
	if g.flow.Sources, err = g.apps.sources(); err != nil {
		return nil, err
	}
	g.flow.PasswordNeed = g.apps.need
	signIns, err := g.apps.pages()
	if err != nil {
		return nil, err
	}
	secure := cfg.Server.PublicURL.Scheme == "https"
	jar := cookie.NewJar(cfg.Session.CookieName, secure, cfg.Session.CookieDomain)
	signer := assertion.New(cfg.Server.PublicURL.String(), l.keys.Derive, time.Now)
	pages, err := web.New(web.Options{
		Flow: g.flow, Codec: cookie.NewCodec(l.keys.Derive("cookie envelopes")), Jar: jar,
		AuthPath: cfg.Server.AuthPath, PublicURL: cfg.Server.PublicURL, Hosts: upstreamHosts(cfg), AppCookies: appCookies(cfg), Apps: signIns, KeySet: signer.KeySet,
		Product: cfg.TwoFactor.Issuer, Log: l.log, PageLoad: proxy.PageLoad, KeepPost: int64(cfg.Session.KeepPost),
		ClientAddr: func(r *http.Request) netip.Addr { return g.proxy.ClientAddr(r) },
		Secure:     func(r *http.Request) bool { return g.proxy.Secure(r) },
		Route: func(r *http.Request, target *url.URL) (upstream string, twoFactor, found bool) {
			upstream, policy, found := g.proxy.RouteFor(r, target)
			return upstream, policy == proxy.TwoFactor, found
		},
	})
	if err != nil {
		return nil, err
	}
	upstreams, err := proxyUpstreams(cfg, l.log)
	if err != nil {
		return nil, err
	}
	for i := range upstreams {
		if signIn := pages.AppSignIn(upstreams[i].Name); signIn != nil {
			upstreams[i].SignIn = signIn
		}
	}
	g.proxy, err = proxy.New(proxy.Options{
		Upstreams: upstreams, AuthPath: cfg.Server.AuthPath, CookieNames: jar.Names(), TrustedProxies: cfg.Server.TrustedProxies,
		Identify: pages.Identify, OwnBearer: pages.OwnBearer, Alive: l.alive, SignOut: pages.SignOut, Forms: pages, Answers: pages, Log: l.log,
		Assert: signer.For,
		Guard:  proxy.Guard{Script: cfg.Server.AuthPath + "/static/" + static.Asset("guard.js"), IdleTimeout: cfg.Session.IdleTimeout},
	})
	if err != nil {
		return nil, err
	}
	g.flow.Policy = g.proxy
	g.handler = proxy.Front(reserve(cfg.Server.AuthPath, pages, g.proxy), secure)
	return g, nil
}

// reserve gives what lies under the reserved prefix to the pages, and of that what front proxies ask to the gateway,
// before anything else looks at it.
func reserve(prefix string, pages http.Handler, g *proxy.Gateway) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, prefix+"/authz/"):
			g.ForwardAuth(w, r)
		case path == prefix || strings.HasPrefix(path, prefix+"/"):
			pages.ServeHTTP(w, r)
		default:
			g.ServeHTTP(w, r)
		}
	})
}

func newFlow(cfg *config.Config, l lasting, dir *users.Directory) *authflow.Flow {
	return &authflow.Flow{
		Users: dir, Passwords: l.passwords, KV: l.kv, Keys: l.keys, Now: time.Now,
		Sessions: l.sessions,
		Throttle: &throttle.Throttle{KV: l.kv},
		Trail:    &audit.Trail{Log: l.log},
		Settings: authflow.Settings{
			Issuer: cfg.TwoFactor.Issuer, InviteOnly: cfg.TwoFactor.Enrollment == "invite",
			ChallengeLifetime: cfg.TwoFactor.TempTokenLifetime, MaxAttempts: cfg.TwoFactor.MaxAttempts, FreshFor: cfg.TwoFactor.FreshFor,
			IdleTimeout: cfg.Session.IdleTimeout, Lifetime: cfg.Session.Lifetime, RememberFor: cfg.Session.RememberFor,
			AccessTokenLifetime: cfg.Session.AccessTokenLifetime,
		},
	}
}

func upstreamHosts(cfg *config.Config) []string {
	var hosts []string
	for _, u := range cfg.Upstreams {
		hosts = append(hosts, u.Hosts...)
	}
	return hosts
}

func appCookies(cfg *config.Config) []web.AppCookies {
	var apps []web.AppCookies
	for _, u := range cfg.Upstreams {
		if len(u.SignOut.Cookies) > 0 {
			apps = append(apps, web.AppCookies{App: u.Name, Hosts: u.Hosts, Path: u.Path, Names: u.SignOut.Cookies})
		}
	}
	return apps
}

// proxyUpstreams turns the configuration's words into the proxy's.
func proxyUpstreams(cfg *config.Config, log *slog.Logger) ([]proxy.Upstream, error) {
	var out []proxy.Upstream
	for i, u := range cfg.Upstreams {
		policy, err := proxy.ParsePolicy(u.Access.Policy)
		if err != nil {
			return nil, err
		}
		p := proxy.Upstream{
			Name: u.Name, Hosts: u.Hosts, Path: u.Path, URL: u.URL, Policy: policy, Groups: u.Access.Groups,
			Where:        fmt.Sprintf("%s:%d", cfg.Path, u.Line),
			SessionGuard: u.SessionGuard, Assertion: u.Assertion, SignOutPath: u.SignOut.Path,
		}
		if p.Forwarding, err = forwarding(fmt.Sprintf("upstreams[%d].tls", i), u); err != nil {
			return nil, err
		}
		if u.TLS.InsecureSkipVerify {
			log.Warn("whoever sits between the gateway and this upstream can read and change everything: its certificate is not verified",
				"upstream", u.Name, "key", fmt.Sprintf("upstreams[%d].tls.insecure_skip_verify", i))
		}
		for _, r := range u.Access.Rules {
			policy, err := proxy.ParsePolicy(r.Policy)
			if err != nil {
				return nil, err
			}
			p.Rules = append(p.Rules, proxy.Rule{
				Paths: r.Paths, Methods: r.Methods, Networks: r.Networks, Groups: r.Groups, Policy: policy,
				Where: fmt.Sprintf("%s:%d", cfg.Path, r.Line),
			})
		}
		out = append(out, p)
	}
	return out, nil
}

// forwarding says how an upstream is spoken to. key is that of its TLS.
func forwarding(key string, u config.Upstream) (proxy.Forwarding, error) {
	f := proxy.Forwarding{
		OwnHost: !u.PreserveHost, StripPath: u.StripPath,
		RequestHeaders: proxy.HeaderChange(u.RequestHeaders), ResponseHeaders: proxy.HeaderChange(u.ResponseHeaders),
		Connect: u.Timeouts.Connect, FirstByte: u.Timeouts.FirstByte, Idle: u.Timeouts.Idle,
		MaxBody: int64(u.MaxBodySize), FlushInterval: time.Duration(u.FlushInterval),
	}
	if u.TLS == (config.UpstreamTLS{}) {
		return f, nil
	}
	var err error
	if f.TLS, err = clientTLS(key, u.TLS.CAFile, keyPair{u.TLS.CertFile, u.TLS.KeyFile}, u.TLS.ServerName); err != nil {
		return f, err
	}
	f.TLS.InsecureSkipVerify = u.TLS.InsecureSkipVerify
	return f, nil
}

// newLog makes the logger that the configuration asks for.
func newLog(c config.Log, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
