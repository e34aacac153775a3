package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"sallyport/authflow/password"
	"sallyport/config"
)

// checkCommand says everything that is wrong with the configuration and the files that it names. It opens
// no port and no store. With --probe it tries a wrong password on every app that people sign in to, and with --as also
// the right one of somebody, which it reads.
func checkCommand(ctx context.Context, args []string, t terminal) error {
	var path, as string
	var probe bool
	_, err := parse("check", args, 0, func(set *flag.FlagSet) {
		configFlag(&path)(set)
		set.BoolVar(&probe, "probe", false, "try a password that nobody has on each app")
		set.StringVar(&as, "as", "", "somebody whose right password is read and tried too")
	})
	if err != nil {
		return err
	}
	if as != "" && !probe {
		return badUsage("sallyport check: --as says whose password to try on the apps, so it needs --probe")
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	dir, errUsers := openUsers(cfg, slog.New(slog.DiscardHandler))
	certificate, errTLS := openCertificate(cfg.Server.TLS, slog.New(slog.DiscardHandler))
	_, errRedis := redisTLS(cfg.Store.Redis.TLS)
	var g *gateway
	var errBuild error
	if dir != nil {
		g, errBuild = buildUnopened(cfg, dir)
	}
	for _, err := range []*error{&errTLS, &errRedis, &errBuild} {
		if *err != nil {
			*err = fmt.Errorf("%s: %w", cfg.Path, *err)
		}
	}
	if err := errors.Join(errUsers, errTLS, errRedis, errBuild); err != nil {
		return usageError{err}
	}
	for _, w := range append(dir.Warnings(), g.apps.warnings(dir)...) {
		fmt.Fprintf(t.err, "%s\n", w)
	}
	if certificate != nil && certificate.warning() != "" {
		fmt.Fprintf(t.err, "%s: %s\n", cfg.Path, certificate.warning())
	}
	if probe {
		if err := probeAs(ctx, g.apps, as, t); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "%s: good, %s, %s\n", cfg.Path, count(len(cfg.Upstreams), "upstream"), count(len(dir.All()), "user"))
	return nil
}

// probeAs probes the apps, with the password of somebody where there is a name.
func probeAs(ctx context.Context, a *apps, name string, t terminal) error {
	if name == "" {
		return a.probe(ctx, t.out, nil)
	}
	plain, err := readPassword(t, "Password: ")
	if err != nil {
		return err
	}
	return a.probe(ctx, t.out, &account{name, plain})
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func hashPasswordCommand(_ context.Context, args []string, t terminal) error {
	var useBcrypt bool
	_, err := parse("hash-password", args, 0, func(set *flag.FlagSet) {
		set.BoolVar(&useBcrypt, "bcrypt", false, "make a bcrypt hash")
	})
	if err != nil {
		return err
	}
	plain, err := readPassword(t, newPassword...)
	if err != nil {
		return err
	}
	phc, err := hash(plain, useBcrypt)
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintln(t.out, phc)
	return nil
}

func hash(plain string, useBcrypt bool) (string, error) {
	if useBcrypt {
		return password.HashBcrypt(plain)
	}
	return password.HashArgon2id(plain)
}

// newPassword asks twice, so that nobody sets a password with a slip in it.
var newPassword = []string{"Password: ", "Once more: "}

// readPassword asks for a password without echo on a terminal, once with each prompt, and reads one line otherwise.
func readPassword(t terminal, prompts ...string) (string, error) {
	if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return promptPassword(int(f.Fd()), t.err, prompts)
	}
	line, err := bufio.NewReader(io.LimitReader(t.in, password.MaxLength+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password from standard input: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", badUsage("no password on standard input: give it as one line")
	}
	return line, nil
}

func promptPassword(fd int, w io.Writer, prompts []string) (string, error) {
	var typed []string
	for _, prompt := range prompts {
		fmt.Fprint(w, prompt)
		raw, err := term.ReadPassword(fd)
		fmt.Fprintln(w)
		if err != nil {
			return "", fmt.Errorf("read password from the terminal: %w", err)
		}
		typed = append(typed, string(raw))
	}
	switch {
	case typed[0] == "":
		return "", badUsage("no password was typed")
	case len(slices.Compact(typed)) > 1:
		return "", badUsage("the two passwords are not the same")
	}
	return typed[0], nil
}

// healthcheckCommand asks the gateway that this configuration describes whether it serves: a health check
// for images without a shell.
func healthcheckCommand(ctx context.Context, args []string, _ terminal) error {
	var path string
	if _, err := parse("healthcheck", args, 0, configFlag(&path)); err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	host, port, err := net.SplitHostPort(cfg.Server.Listen)
	if err != nil {
		return usageError{err}
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if cfg.Server.TLS.On() {
		scheme = "https"
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		// The certificate is for the public name, and the question goes to this machine.
		TLSClientConfig: &tls.Config{ServerName: cfg.Server.PublicURL.Hostname(), InsecureSkipVerify: true},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+cfg.Server.AuthPath+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: %s answered %s", r.URL, resp.Status)
	}
	return nil
}
