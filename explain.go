package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/password"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
	"sallyport/config"
	"sallyport/proxy"
)

// explainCommand says which upstream and which rule a request meets, and what the decision would be. It
// asks neither the store nor the upstream.
func explainCommand(ctx context.Context, args []string, t terminal) error {
	var path, name, method, ip string
	rest, err := parse("explain", args, 1, func(set *flag.FlagSet) {
		configFlag(&path)(set)
		set.StringVar(&name, "user", "", "")
		set.StringVar(&method, "method", http.MethodGet, "")
		set.StringVar(&ip, "ip", "127.0.0.1", "")
	})
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return badUsage("sallyport explain: give the URL of a request, such as https://wiki.example.com/admin/")
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	r, err := requestFor(ctx, cfg, method, rest[0], ip)
	if err != nil {
		return usageError{err}
	}
	dir, err := openUsers(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return usageError{err}
	}
	g, err := buildUnopened(cfg, dir)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", cfg.Path, err)}
	}
	if r.URL.Path == cfg.Server.AuthPath || strings.HasPrefix(r.URL.Path, cfg.Server.AuthPath+"/") {
		fmt.Fprintf(t.out, "decision   answered by the gateway itself: %s is server.auth_path\n", cfg.Server.AuthPath)
		return nil
	}
	var id *session.Identity
	if name != "" {
		if id, err = identityFor(cfg, g.flow, name); err != nil {
			return err
		}
	}
	return printExplanation(t.out, g.proxy.Explain(r, id), id, r)
}

// buildUnopened puts a gateway together that has no store and no key: enough to be asked what it would do.
func buildUnopened(cfg *config.Config, dir *users.Directory) (*gateway, error) {
	keys, err := seal.New(make([]byte, seal.MinKey))
	if err != nil {
		return nil, err
	}
	return build(cfg, lasting{log: slog.New(slog.DiscardHandler), keys: keys, passwords: password.NewChecker(password.Limits{})}, dir)
}

// requestFor makes the request that a client at ip would send. A path alone is on public_url.
func requestFor(ctx context.Context, cfg *config.Config, method, raw, ip string) (*http.Request, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, fmt.Errorf("sallyport explain: --ip %s: want an IP address", ip)
	}
	if strings.HasPrefix(raw, "/") {
		raw = cfg.Server.PublicURL.String() + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("sallyport explain: %q: want an http or https URL, or a path", raw)
	}
	r, err := http.NewRequestWithContext(ctx, strings.ToUpper(method), raw, nil)
	if err != nil {
		return nil, fmt.Errorf("sallyport explain: %w", err)
	}
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	r.RemoteAddr = netip.AddrPortFrom(addr, 1).String()
	if u.Scheme == "https" {
		r.TLS = &tls.ConnectionState{}
	}
	return r, nil
}

// identityFor is the person as they would be signed in: with two factors.
func identityFor(cfg *config.Config, flow *authflow.Flow, name string) (*session.Identity, error) {
	u, ok := flow.Find(name)
	if !ok {
		return nil, usageError{fmt.Errorf("%s: there is no user %q; sallyport users list shows those of the users file, and people of another source are written SOURCE/NAME", cfg.Path, name)}
	}
	if u.Disabled {
		return nil, usageError{fmt.Errorf("%s: %s is disabled, so nobody can be signed in as them", cfg.Users.File, u.Username)}
	}
	s := &session.Session{Subject: u.Subject, AMR: []string{"pwd", "otp"}, SecondFactorAt: time.Now().Unix()}
	id := session.NewIdentity(s, u.Username, u.Email, u.Name, u.Groups)
	id.Source = u.Source
	return id, nil
}

var errNothingMatches = errors.New("sallyport explain: no upstream takes this request")

func printExplanation(w io.Writer, e proxy.Explanation, id *session.Identity, r *http.Request) error {
	who := "nobody is signed in; --user NAME asks for somebody"
	if id != nil {
		who = id.UsernameAt("") + ", signed in with two factors"
	}
	fmt.Fprintf(w, "request    %s %s\nperson     %s\n", r.Method, r.URL, who)
	if e.Policy == 0 {
		fmt.Fprintf(w, "decision   %s\n", e.Decision)
		if e.Status == http.StatusNotFound {
			return errNothingMatches
		}
		return nil
	}
	fmt.Fprintf(w, "upstream   %s\nrule       %s, policy %s\ndecision   %s\n", e.Upstream, e.Where, e.Policy, e.Decision)
	if e.URL == nil {
		return nil
	}
	if e.SignsOut {
		fmt.Fprintln(w, "sign-out   the gateway's session ends too, once the app has answered: this is its sign_out.path")
	}
	if e.SignIn != "" {
		fmt.Fprintf(w, "app        %s\n", e.SignIn)
	}
	fmt.Fprintf(w, "forwarded  %s\n", e.URL)
	for _, key := range slices.Sorted(maps.Keys(e.Header)) {
		fmt.Fprintf(w, "  %s: %s\n", key, strings.Join(e.Header[key], ", "))
	}
	return nil
}
