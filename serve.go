package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/authflow/password"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
	"sallyport/config"
)

func serveCommand(ctx context.Context, args []string, t terminal) error {
	var path string
	if _, err := parse("serve", args, 0, configFlag(&path)); err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	s, err := start(ctx, cfg, newLog(cfg.Log, t.err))
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// server is a running gateway: what is listening, and what a reload changes.
type server struct {
	cfg  *config.Config
	log  *slog.Logger
	last lasting
	kv   *openStore

	metrics                                                    *metrics
	listener, redirectListener, adminListener, controlListener net.Listener

	current     atomic.Pointer[gateway]
	certificate atomic.Pointer[ownCertificate] // nil: it comes by ACME, or there is none
	acme        *acmeCertificates              // nil: off
	stopWatch   context.CancelFunc             // ends the watch over the present users file and certificate

	stopSessions context.CancelFunc // ends what keeps the sessions in step with the store
	keeping      sync.WaitGroup     // of it
}

// start opens and checks everything that a gateway needs before it answers the first request. Where
// something is wrong nothing is left open.
func start(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *server, err error) {
	s := &server{cfg: cfg, log: log, metrics: newMetrics(), stopWatch: func() {}, stopSessions: func() {}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	dir, err := openUsers(cfg, log)
	if err != nil {
		return nil, usageError{err}
	}
	certificate, err := openCertificate(cfg.Server.TLS, log)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", cfg.Path, err)}
	}
	if s.acme, err = openACME(cfg, log); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Path, err)
	}
	if err := s.listen(cfg); err != nil {
		return nil, err
	}
	keys, err := keyring(cfg)
	if err != nil {
		return nil, err
	}
	if s.kv, err = open(ctx, cfg, log); err != nil {
		return nil, err
	}
	s.last = lasting{
		log: log, kv: s.kv, sessions: s.keepSessions(ctx), keys: keys, passwords: password.NewChecker(password.Limits{}),
		alive: func(ctx context.Context, key string) (*session.Identity, error) {
			return s.current.Load().flow.Alive(ctx, key)
		},
	}
	if err := s.install(ctx, cfg, dir, certificate); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", cfg.Path, err)}
	}
	if cfg.Store.Driver == "embedded" {
		if s.controlListener, err = listenControl(cfg); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// keepSessions remembers sessions, in step with the store, until close.
func (s *server) keepSessions(ctx context.Context) *session.Keeper {
	k := &session.Keeper{KV: s.kv, Now: time.Now, Cache: session.NewCache(s.kv.announcer == nil, time.Now)}
	ctx, s.stopSessions = context.WithCancel(context.WithoutCancel(ctx)) // requests under way at the end still need it
	s.keeping.Go(func() { k.Run(ctx, s.kv.announcer) })
	return k
}

// openUsers reads the users file, where users come from one. Where there is none, the configuration names the wrong one.
func openUsers(cfg *config.Config, log *slog.Logger) (*users.Directory, error) {
	if !cfg.Users.HasFile() {
		return users.None(), nil
	}
	dir, err := users.Open(cfg.Users.File, log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: users.file: %w", cfg.Path, err)
	}
	return dir, err
}

// listen opens the ports that the configuration names.
func (s *server) listen(cfg *config.Config) (err error) {
	for _, l := range []struct {
		key, address string
		into         *net.Listener
	}{
		{"server.listen", cfg.Server.Listen, &s.listener},
		{"server.redirect_listen", cfg.Server.RedirectListen, &s.redirectListener},
		{"server.admin_listen", cfg.Server.AdminListen, &s.adminListener},
	} {
		if l.address == "" {
			continue
		}
		if *l.into, err = listen(l.address, cfg.Path+": "+l.key); err != nil {
			return err
		}
	}
	return nil
}

// listen opens a TCP port. The configuration is not wrong where another program has it.
func listen(address, key string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another program: stop it, or choose another port", key, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
	}
	return l, nil
}

// install makes a gateway of a configuration and puts it in the place of the present one. Whether there is TLS, and by
// ACME or not, stays as it was at the start.
func (s *server) install(ctx context.Context, cfg *config.Config, dir *users.Directory, certificate *ownCertificate) error {
	g, err := build(cfg, s.last, dir)
	if err != nil {
		return err
	}
	dir.OnChange(func() { s.last.passwords.SetDecoy(hashes(dir.All())) })
	watch, stop := context.WithCancel(ctx)
	go dir.Watch(watch)
	if certificate != nil {
		certificate.warn()
		s.certificate.Store(certificate)
		go certificate.watch(watch)
	}
	if s.acme != nil && cfg.Server.TLS.ACME.Enabled {
		s.acme.follow(ctx, cfg.Server.TLS.ACME.Hosts)
	}
	s.stopWatch()
	s.stopWatch = stop
	if old := s.current.Swap(g); old != nil {
		old.proxy.Close() // idle connections only: what is under way goes on
	}
	return nil
}

// ServeHTTP serves a request by the configuration that is in force when it comes.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler { // which only says that the answer broke off
			s.log.Error("a request ended in a panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}()
	s.current.Load().handler.ServeHTTP(w, r)
}

// run serves until the context ends, and then lets what is under way come to its end.
func (s *server) run(ctx context.Context) error {
	defer s.close()
	go followMemory(ctx)
	var handler http.Handler = s
	watching, stop := context.WithCancel(context.WithoutCancel(ctx)) // while requests under way come to their end too
	defer stop()
	servers := []*http.Server{}
	failed := make(chan error, 4)
	serve := func(h http.Handler, l net.Listener) {
		if l == nil {
			return
		}
		srv, secure := newHTTPServer(h, s.log), false
		switch l {
		case s.listener:
			secure = s.cfg.Server.TLS.On()
			patient := newClients(l)
			go patient.watch(watching)
			srv, l = newPublicServer(h, patient, s.log), patient
		case s.redirectListener:
			srv = newRedirectServer(h, s.log)
		}
		servers = append(servers, srv)
		go func() { failed <- s.serveOn(srv, l, secure) }()
	}
	if s.adminListener != nil {
		handler = s.metrics.counted(s)
	}
	serve(handler, s.listener)
	serve(s.redirect(), s.redirectListener)
	serve(s.admin(), s.adminListener)
	serve(s.control(), s.controlListener)
	s.log.Info("serving", "address", s.listener.Addr().String(), "url", s.cfg.Server.PublicURL.String(), "store", s.cfg.Store.Driver, "version", version)

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			s.reload(ctx)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return s.shutdown(servers)
		}
	}
}

// serveOn serves on one listener.
func (s *server) serveOn(srv *http.Server, l net.Listener, secure bool) error {
	var err error
	if secure {
		s.speakTLS(srv)
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve on %s: %w", l.Addr(), err)
}

// newHTTPServer bounds what a client may take: its headers in size and time. Bodies have no bound in time,
// because uploads and downloads through the proxy may be long.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is refused like every target that is no path
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Protocols:                    new(http.Protocols),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: time.Minute},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	return srv
}

// newPublicServer serves whoever comes. The time that clients may take is bounded by l.
func newPublicServer(h http.Handler, l *clients, log *slog.Logger) *http.Server {
	srv := newHTTPServer(h, log)
	srv.ReadHeaderTimeout, srv.IdleTimeout, srv.ConnState = 0, 0, l.note
	srv.Protocols.SetUnencryptedHTTP2(true) // gRPC clients, and proxies in front that speak it
	return srv
}

// shutdown takes no new requests and gives those under way their time.
func (s *server) shutdown(servers []*http.Server) error {
	s.log.Info("stopping", "timeout", s.cfg.Server.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Server.ShutdownTimeout)
	defer cancel()
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			s.log.Warn("requests were cut off at the end of server.shutdown_timeout", "error", err)
			srv.Close()
		}
	}
	return nil
}

// close closes what start opened; what it did not come to is nil.
func (s *server) close() {
	s.stopWatch()
	for _, l := range []net.Listener{s.listener, s.redirectListener, s.adminListener, s.controlListener} {
		if l != nil {
			l.Close()
		}
	}
	if g := s.current.Load(); g != nil {
		g.proxy.Close()
	}
	s.stopSessions()
	s.keeping.Wait()
	if s.kv != nil {
		if err := s.kv.Close(); err != nil {
			s.log.Error("the store did not close", "error", err)
		}
	}
}

// reload takes a changed configuration, users file and certificate over, or keeps the old ones whole.
func (s *server) reload(ctx context.Context) {
	cfg, err := config.Load(s.cfg.Path)
	var dir *users.Directory
	if err == nil {
		dir, err = openUsers(cfg, s.log)
	}
	var certificate *ownCertificate
	if err == nil {
		certificate, err = openCertificate(cfg.Server.TLS, s.log)
	}
	if err == nil {
		if s.certificate.Load() == nil {
			certificate = nil // there was none at the start
		}
		err = s.install(ctx, cfg, dir, certificate)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			s.log.Error("configuration not taken over, the old one stays in force", "error", strings.TrimSpace(line))
		}
		return
	}
	for _, key := range needRestart(s.cfg, cfg) {
		s.log.Warn("changed in the configuration, but in force only after a restart", "key", key)
	}
	s.log.Info("configuration taken over", "file", cfg.Path)
}

// needRestart names the keys that differ and that a running process keeps.
func needRestart(old, now *config.Config) []string {
	var keys []string
	for key, pair := range map[string][2]any{
		"server.listen":          {old.Server.Listen, now.Server.Listen},
		"server.redirect_listen": {old.Server.RedirectListen, now.Server.RedirectListen},
		"server.admin_listen":    {old.Server.AdminListen, now.Server.AdminListen},
		"server.tls":             {old.Server.TLS.CertFile != "", now.Server.TLS.CertFile != ""},
		"server.tls.acme":        {withoutHosts(old.Server.TLS.ACME), withoutHosts(now.Server.TLS.ACME)},
		"data_dir":               {old.DataDir, now.DataDir},
		"store":                  {old.Store, now.Store},
		"secret_key":             {old.SecretKey, now.SecretKey},
		"previous_secret_keys":   {old.PreviousSecretKeys, now.PreviousSecretKeys},
		"log":                    {old.Log, now.Log},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			keys = append(keys, key)
		}
	}
	return keys
}

// withoutHosts is what of ACME a running process keeps: it follows the hosts.
func withoutHosts(a config.ACME) config.ACME {
	a.Hosts = nil
	return a
}

// hashes are what the decoy for unknown users is made after.
func hashes(all []users.User) []*password.Hash {
	out := make([]*password.Hash, len(all))
	for i, u := range all {
		out[i] = u.Password
	}
	return out
}
