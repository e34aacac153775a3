package redisstore

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/authflow/store/redistest"
)

// refusal is what Open must say of these options.
type refusal struct {
	opts Options
	says []string // all of these
}

// wantRefusals opens each and demands its error: in time, on one line, and without the password.
func wantRefusals(t *testing.T, refusals map[string]refusal) {
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			r.opts.KeyPrefix = "sallyport:"
			began := time.Now()
			s, err := Open(t.Context(), r.opts)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if took := time.Since(began); took > bounded {
				t.Errorf("took %v", took)
			}
			for _, want := range r.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("more than a line, or a secret: %v", err)
			}
		})
	}
}

func TestOpenSaysWhichOptionsDoNotGoTogether(t *testing.T) {
	wantRefusals(t, map[string]refusal{
		"no address":              {Options{}, []string{"store.redis.addresses"}},
		"Cluster and Sentinel":    {Options{Addresses: []string{"a:1"}, Cluster: true, MasterName: "m"}, []string{"exclude one another"}},
		"a database in a Cluster": {Options{Addresses: []string{"a:1", "b:1"}, DB: 2}, []string{"store.redis.db is 2"}},
	})
}

func TestOpenSaysWhereRedisIsNotToBeFound(t *testing.T) {
	plain, hanging, sentinel := redistest.Start(t), redistest.Start(t), redistest.StartSentinel(t)
	hanging.Pause()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	wantRefusals(t, map[string]refusal{
		"nobody listens":                     {Options{Addresses: []string{closed}}, []string{"redis " + closed + ": connection refused"}},
		"nobody listens, Cluster":            {Options{Addresses: []string{closed}, Cluster: true}, []string{"redis " + closed + ": connection refused"}},
		"nobody listens, Sentinel":           {Options{Addresses: []string{closed}, MasterName: "m"}, []string{"redis " + closed + ": connection refused"}},
		"the server hangs":                   {Options{Addresses: []string{hanging.Addr}}, []string{hanging.Addr, "no answer in time"}},
		"a Cluster that is none":             {Options{Addresses: []string{plain.Addr}, Cluster: true}, []string{plain.Addr, "cluster support disabled"}},
		"a master that no Sentinel knows":    {Options{Addresses: []string{sentinel.Addr}, MasterName: "nobody"}, []string{sentinel.Addr, `know no master "nobody"`}},
		"a Sentinel that is none":            {Options{Addresses: []string{plain.Addr}, MasterName: "m"}, []string{plain.Addr, "unknown command"}},
		"a replica instead of its master":    {Options{Addresses: []string{sentinel.Replica.Addr}}, []string{sentinel.Replica.Addr, "READONLY"}},
		"a database that the server has not": {Options{Addresses: []string{plain.Addr}, DB: 99}, []string{plain.Addr, "DB index"}},
	})
}

func TestOpenSaysWhichCredentialsAreRefused(t *testing.T) {
	server := redistest.Start(t, "requirepass right",
		"user gate on >secret ~sallyport:* +get +set +del", "user keys on >secret ~other:* +@all",
		"user hasty on >secret ~sallyport:* +@all -wait", "user blind on >secret ~sallyport:* +@all -role")
	as := func(user, password string) Options {
		return Options{Addresses: []string{server.Addr}, Username: user, Password: password}
	}
	wantRefusals(t, map[string]refusal{
		"no password":            {as("", ""), []string{server.Addr, "a password is needed"}},
		"wrong password":         {as("", "hunter2"), []string{server.Addr, "password refused", "WRONGPASS"}},
		"unknown user":           {as("nobody", "hunter2"), []string{"password refused", "WRONGPASS"}},
		"a user without scripts": {as("gate", "secret"), []string{"ACL user may not", "evalsha"}},
		"a user who cannot wait": {as("hasty", "secret"), []string{"ACL user may not", "wait"}},
		"a user without roles":   {as("blind", "secret"), []string{"ACL user may not", "role"}},
		"a user of other keys":   {as("keys", "secret"), []string{"ACL user may not", "NOPERM"}},
	})
}

func TestOpenSaysWhatIsWrongWithTLS(t *testing.T) {
	plain, secure := redistest.Start(t), redistest.StartTLS(t)
	wantRefusals(t, map[string]refusal{
		"TLS to a plain server":          {Options{Addresses: []string{plain.Addr}, TLS: secure.TLS}, []string{plain.Addr, "store.redis.tls"}},
		"plain to a TLS server":          {Options{Addresses: []string{secure.Addr}}, []string{secure.Addr, "store.redis.tls"}},
		"an authority that nobody knows": {Options{Addresses: []string{secure.Addr}, TLS: &tls.Config{}}, []string{secure.Addr, "certificate"}},
		"no client certificate":          {Options{Addresses: []string{secure.Addr}, TLS: &tls.Config{RootCAs: secure.TLS.RootCAs}}, []string{secure.Addr, "certificate"}},
	})
}

func TestTheClientLibraryLogsNowhereButInOurLog(t *testing.T) {
	server := redistest.Start(t)
	var out bytes.Buffer
	s := open(t, Options{Addresses: []string{server.Addr}, Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	server.Stop()
	if err := s.Ping(t.Context()); err == nil {
		t.Fatal("a stopped server answered")
	}
	if !strings.Contains(out.String(), "level=DEBUG") || !strings.Contains(out.String(), "failed to dial") {
		t.Errorf("the log holds %q", out.String())
	}
}
