package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/audit"
	"sallyport/config"
)

// The embedded store belongs to one process. So that "sallyport users reset-2fa" works while the gateway
// runs, the gateway answers it on a socket in data_dir, which only the account that it runs under can open.

// maxSocketPath is what every Unix takes as the path of a socket, in bytes.
const maxSocketPath = 100

func controlSocket(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "control.sock") }

// listenControl opens the socket. The store's lock is held by now, so a socket that is there is left from a
// process that has died. A path too long for a socket is no reason not to start: nil.
func listenControl(cfg *config.Config) (net.Listener, error) {
	path := controlSocket(cfg)
	if len(path) > maxSocketPath {
		return nil, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return l, nil
}

// enrolments are what the users command does to second factors, here or in the running gateway.
type enrolments interface {
	enrolled(ctx context.Context, subject string) (bool, error)
	reset(ctx context.Context, subject string) error
	invite(ctx context.Context, subject string) (invitation, error)
	close() error
}

type invitation struct {
	Code string        `json:"code"`
	Life time.Duration `json:"life"`
}

// localEnrolments work on a store that this process has opened.
type localEnrolments struct {
	flow *authflow.Flow
	kv   io.Closer
}

func (e localEnrolments) enrolled(ctx context.Context, subject string) (bool, error) {
	return e.flow.Enrolled(ctx, subject)
}

func (e localEnrolments) reset(ctx context.Context, subject string) error {
	if err := e.flow.RemoveAuthenticator(ctx, subject, ""); err != nil {
		return err
	}
	e.flow.Trail.Record(ctx, audit.Event{Kind: audit.AuthenticatorRemoved, Subject: subject, Reason: "reset by the operator"})
	return nil
}

func (e localEnrolments) invite(ctx context.Context, subject string) (invitation, error) {
	code, life, err := e.flow.Invite(ctx, subject)
	return invitation{code, life}, err
}

func (e localEnrolments) close() error { return e.kv.Close() }

// control answers the users command on the socket.
func (s *server) control() http.Handler {
	local := func() localEnrolments { return localEnrolments{flow: s.current.Load().flow} }
	answer := func(w http.ResponseWriter, body any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /enrolled", func(w http.ResponseWriter, r *http.Request) {
		yes, err := local().enrolled(r.Context(), r.FormValue("subject"))
		answer(w, yes, err)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, r *http.Request) {
		answer(w, true, local().reset(r.Context(), r.FormValue("subject")))
	})
	mux.HandleFunc("POST /invite", func(w http.ResponseWriter, r *http.Request) {
		made, err := local().invite(r.Context(), r.FormValue("subject"))
		answer(w, made, err)
	})
	return mux
}

// remoteEnrolments ask the running gateway.
type remoteEnrolments struct{ client *http.Client }

// dialControl returns the running gateway's side, or nil where none runs.
func dialControl(ctx context.Context, cfg *config.Config) (*remoteEnrolments, error) {
	path := controlSocket(cfg)
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EINVAL):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask the running gateway: %w", err)
	}
	c.Close()
	return &remoteEnrolments{&http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}},
	}}, nil
}

func (e *remoteEnrolments) ask(ctx context.Context, method, action, subject string, into any) error {
	u := url.URL{Scheme: "http", Host: "gateway", Path: "/" + action, RawQuery: url.Values{"subject": {subject}}.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the running gateway: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("ask the running gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the running gateway answered: %s", body)
	}
	return json.Unmarshal(body, into)
}

func (e *remoteEnrolments) enrolled(ctx context.Context, subject string) (yes bool, err error) {
	return yes, e.ask(ctx, http.MethodGet, "enrolled", subject, &yes)
}

func (e *remoteEnrolments) reset(ctx context.Context, subject string) error {
	var ok bool
	return e.ask(ctx, http.MethodPost, "reset", subject, &ok)
}

func (e *remoteEnrolments) invite(ctx context.Context, subject string) (made invitation, err error) {
	return made, e.ask(ctx, http.MethodPost, "invite", subject, &made)
}

func (e *remoteEnrolments) close() error {
	e.client.CloseIdleConnections()
	return nil
}
