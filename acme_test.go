package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"sallyport/config"
)

// offlineACME keeps certificates for apps.example.com, and has an authority that counts what it is asked and never answers well.
func offlineACME(t *testing.T) (a *acmeCertificates, folder string, log *bytes.Buffer) {
	t.Helper()
	home := app{T: t, folder: t.TempDir()}
	home.write("config.yaml", `
server: { public_url: "https://apps.example.com", tls: { acme: { enabled: true, directory: "https://127.0.0.1:1/" } } }
upstreams: [{ url: "http://127.0.0.1:3000" }]
`)
	cfg, err := config.Load(home.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	if a, err = openACME(cfg, slog.New(slog.NewTextHandler(log, nil))); err != nil {
		t.Fatal(err)
	}
	a.hosts["apps.example.com"] = &acmeHost{stop: func() {}} // and nothing that asks for its certificate
	return a, home.file("data/acme"), log
}

func TestAHandshakeNeverAsksAnAuthorityForACertificate(t *testing.T) {
	a, _, _ := offlineACME(t)
	a.manager.Client.HTTPClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("the authority was asked for %s", r.URL)
		return nil, errors.New("offline")
	})
	for _, hello := range []*tls.ClientHelloInfo{
		{ServerName: "apps.example.com"},
		{ServerName: "APPS.example.com", SupportedProtos: []string{"h2", "http/1.1"}},
		{ServerName: "apps.example.com", SupportedProtos: []string{acme.ALPNProto}},
		{ServerName: "apps.example.com", SupportedProtos: []string{acme.ALPNProto, "h2"}},
		{ServerName: "other.example.com"},
		{ServerName: "other.example.com", SupportedProtos: []string{acme.ALPNProto}},
		{ServerName: "apps.example.com."},
		{},
	} {
		if got, _ := a.certificate(hello); got != nil {
			t.Errorf("%+v is shown a certificate", hello)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAProofIsShownToWhoAsksForItByTokenAndOurHost(t *testing.T) {
	a, folder, log := offlineACME(t)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	handler := a.challenges(next)
	if err := os.WriteFile(filepath.Join(folder, "good-token_1+http-01"), []byte("proof"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "unreadable+http-01"), 0o700); err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]int{
		"GET http://apps.example.com/.well-known/acme-challenge/good-token_1":                200,
		"HEAD http://apps.example.com/.well-known/acme-challenge/good-token_1":               200,
		"GET http://apps.example.com:80/.well-known/acme-challenge/good-token_1":             200,
		"GET http://evil.example/.well-known/acme-challenge/good-token_1":                    403,
		"POST http://apps.example.com/.well-known/acme-challenge/good-token_1":               404,
		"GET http://apps.example.com/.well-known/acme-challenge/other":                       404,
		"GET http://apps.example.com/.well-known/acme-challenge/unreadable":                  404,
		"GET http://apps.example.com/.well-known/acme-challenge/":                            404,
		"GET http://apps.example.com/.well-known/acme-challenge/..%2Fx":                      404,
		"GET http://apps.example.com/.well-known/acme-challenge/x%00":                        404,
		"GET http://apps.example.com/.well-known/acme-challenge/a/good-token_1":              404,
		"GET http://apps.example.com/.well-known/acme-challenge/" + strings.Repeat("x", 300): 404,
		"GET http://apps.example.com/":                                                       418,
	} {
		method, url, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, url, nil))
		if w.Code != want || strings.Contains(w.Body.String(), folder) {
			t.Errorf("%.90s: %d %q, want %d and no path of ours", request, w.Code, w.Body, want)
		}
	}
	if !strings.Contains(log.String(), "unreadable+http-01") {
		t.Errorf("the log does not name the file that cannot be read:\n%s", log)
	}
}

func TestWhatCannotBeKeptIsLoggedWithItsReason(t *testing.T) {
	log := &bytes.Buffer{}
	folder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := acmeCache{autocert.DirCache(folder), slog.New(slog.NewTextHandler(log, nil))}
	if err := cache.Put(context.Background(), "apps.example.com", []byte("x")); err == nil || !strings.Contains(log.String(), "not a directory") {
		t.Errorf("%v; the log:\n%s", err, log)
	}
}

func TestTheAnswersOfAnAuthorityAreCutOff(t *testing.T) {
	endless := boundedAnswers{roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{Body: io.NopCloser(zeros{})}, nil
	})}
	resp, err := endless.RoundTrip(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != 1<<20 || err != nil {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAnAuthorityIsAskedLessAndLessOftenAfterFailures(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 5 * time.Minute, 2: 10 * time.Minute, 4: 40 * time.Minute, 5: time.Hour, 1000: time.Hour} {
		if got := pauseAfter(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}
