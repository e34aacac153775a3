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
	"strings"
	"time"

	"golang.org/x/term"

	"sallyport/authflow/password"
	"sallyport/config"
)

// checkCommand says everything that is wrong with the configuration and the files that it names. It opens
// no port and no store. With --probe it tries a wrong password on every app that people sign in to.
func checkCommand(ctx context.Context, args []string, t terminal) error {
	var path string
	var probe bool
	_, err := parse("check", args, 0, func(set *flag.FlagSet) {
		configFlag(&path)(set)
		set.BoolVar(&probe, "probe", false, "")
	})
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	dir, errUsers := openUsers(cfg, slog.New(slog.DiscardHandler))
	_, errTLS := serverTLS(cfg.Server.TLS)
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
	if probe {
		if err := g.apps.probe(ctx, t.out); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "%s: good, %s, %s\n", cfg.Path, count(len(cfg.Upstreams), "upstream"), count(len(dir.All()), "user"))
	return nil
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
	plain, err := readPassword(t)
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

// readPassword asks for a password twice without echo on a terminal, and reads one line otherwise.
func readPassword(t terminal) (string, error) {
	if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return promptPassword(int(f.Fd()), t.err)
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

func promptPassword(fd int, w io.Writer) (string, error) {
	ask := func(prompt string) (string, error) {
		fmt.Fprint(w, prompt)
		raw, err := term.ReadPassword(fd)
		fmt.Fprintln(w)
		if err != nil {
			return "", fmt.Errorf("read password from the terminal: %w", err)
		}
		return string(raw), nil
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("Once more: ")
	if err != nil {
		return "", err
	}
	switch {
	case first == "":
		return "", badUsage("no password was typed")
	case first != again:
		return "", badUsage("the two passwords are not the same")
	}
	return first, nil
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
	if cfg.Server.TLS.CertFile != "" {
		scheme = "https"
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		// The certificate is for the public name, and the question goes to this machine.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
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
