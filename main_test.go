package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sallyport/authflow/password"
	"sallyport/authflow/store/redistest"
	"sallyport/authflow/users"
	"sallyport/config"
)

const testPassword = "correct horse battery"

// app is a whole gateway on a free port, in front of an upstream that tells what it was sent.
type app struct {
	*testing.T
	url, folder string
	log         *logBuffer
	server      *server
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startApp starts a gateway with extra at the end of its configuration.
func startApp(t *testing.T, extra string) *app {
	t.Helper()
	return startAppBefore(t, ", access: { groups: [staff] }", extra, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			fmt.Fprint(w, "began\n")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "user=%s path=%s cookie=%s", r.Header.Get("Remote-User"), r.URL.Path, r.Header.Get("Cookie"))
	})
}

// startAppBefore starts a gateway in front of an upstream of the test's own; entry adds to its entry in the
// configuration.
func startAppBefore(t *testing.T, entry, extra string, behind http.HandlerFunc) *app {
	t.Helper()
	return startAppIn(t, t.TempDir(), "listen: 127.0.0.1:0", entry, extra, behind)
}

// startAppIn is startAppBefore in a folder with the files that the keys of server name.
func startAppIn(t *testing.T, folder, server, entry, extra string, behind http.HandlerFunc) *app {
	t.Helper()
	upstream := httptest.NewServer(behind)
	t.Cleanup(upstream.Close)
	a := &app{T: t, folder: folder, log: &logBuffer{}}
	phc, err := password.HashArgon2id(testPassword)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		if err := users.Add(a.file("users.yaml"), users.NewUser{Username: name, Email: name + "@example.com", Groups: []string{"staff"}, PHC: phc}); err != nil {
			t.Fatal(err)
		}
	}
	a.write("config.yaml", "server: { "+server+" }\nupstreams:\n  - { name: app, url: "+upstream.URL+entry+" }\n"+extra)
	cfg, err := config.Load(a.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if a.server, err = start(t.Context(), cfg, slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: cfg.Log.Level}))); err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + a.server.listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.server.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	return a
}

func (a *app) file(name string) string { return filepath.Join(a.folder, name) }

func (a *app) write(name, text string) {
	a.Helper()
	if err := os.WriteFile(a.file(name), []byte(text), 0o600); err != nil {
		a.Fatal(err)
	}
}

// browser is a client with a cookie jar that follows no redirect.
func (a *app) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		a.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// call sends a JSON call and returns its status and answer.
func (a *app) call(c *http.Client, method, path, body, bearer string) (int, map[string]any) {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return a.do(c, r)
}

func (a *app) do(c *http.Client, r *http.Request) (int, map[string]any) {
	a.Helper()
	resp, err := c.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Fatal(err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(raw, &answer); err != nil {
		answer["text"] = string(raw)
	}
	return resp.StatusCode, answer
}

// expect is call with the status that must come.
func (a *app) expect(c *http.Client, method, path, body, bearer string, status int) map[string]any {
	a.Helper()
	got, answer := a.call(c, method, path, body, bearer)
	if got != status {
		a.Fatalf("%s %s %s: %d %v, want %d", method, path, body, got, answer, status)
	}
	return answer
}

func (a *app) code(secret string, steps int) string {
	code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(steps)*30*time.Second))
	if err != nil {
		a.Fatal(err)
	}
	return code
}

func login(name, secret string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q}`, name, secret)
}

func TestTheRecipeWorksOnBothStores(t *testing.T) {
	for _, driver := range []string{"embedded", "redis"} {
		t.Run(driver, func(t *testing.T) {
			extra := ""
			if driver == "redis" {
				extra = fmt.Sprintf("secret_key: %s\nstore: { driver: redis, redis: { addresses: [%q] } }\n", strings.Repeat("A", 43)+"=", redistest.Start(t).Addr)
			}
			a := startApp(t, extra)
			c := a.browser()
			a.expect(c, "GET", "/x", "", "", 401)
			setup := a.expect(c, "POST", "/auth/login", login("ALICE@example.com", testPassword), "", 403)
			temp := setup["tempToken"].(string)
			a.expect(c, "GET", "/auth/me", "", temp, 401)
			handed := a.expect(c, "POST", "/auth/2fa/setup", "", temp, 200)
			secret := handed["secret"].(string)
			body := fmt.Sprintf(`{"token":%q,"secret":%q}`, a.code(secret, 0), secret)
			codes := a.expect(c, "POST", "/auth/2fa/verify-setup", body, temp, 200)["recoveryCodes"].([]any)
			if text := a.expect(c, "GET", "/x", "", "", 200)["text"]; text != "user=alice path=/x cookie=" {
				t.Errorf("the upstream saw %v", text)
			}
			a.expect(c, "POST", "/auth/2fa/disable", "", "", 403)
			a.expect(c, "POST", "/auth/logout", "", "", 200)
			a.expect(c, "GET", "/x", "", "", 401)

			temp = a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 200)["tempToken"].(string)
			a.expect(c, "POST", "/auth/2fa/verify", fmt.Sprintf(`{"tempToken":%q,"totpCode":%q}`, temp, a.code(secret, 1)), "", 200)
			me := a.expect(c, "GET", "/auth/me", "", "", 200)
			if fmt.Sprint(me["amr"]) != "[pwd otp]" || me["isTotpEnabled"] != true || fmt.Sprint(me["groups"]) != "[staff]" {
				t.Errorf("me: %v", me)
			}
			other := a.browser()
			temp = a.expect(other, "POST", "/auth/login", login("alice", testPassword), "", 200)["tempToken"].(string)
			a.expect(other, "POST", "/auth/2fa/verify", fmt.Sprintf(`{"tempToken":%q,"recoveryCode":%q}`, temp, codes[0]), "", 200)
			a.expect(c, "GET", "/x", "", "", 401) // a recovery code ends the other sessions
			a.expect(other, "GET", "/x", "", "", 200)
		})
	}
}

func TestAChangedConfigurationIsTakenOverWholeOrNotAtAll(t *testing.T) {
	a := startApp(t, "")
	c := a.browser()
	a.expect(c, "GET", "/x", "", "", 401)
	good, err := os.ReadFile(a.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a.write("config.yaml", strings.Replace(string(good), "groups: [staff]", "policy: bypass", 1))
	a.server.reload(t.Context())
	a.expect(c, "GET", "/x", "", "", 200)
	a.write("config.yaml", strings.Replace(string(good), "name: app,", "name: app, acess: {},", 1))
	a.server.reload(t.Context())
	a.expect(c, "GET", "/x", "", "", 200)
	if log := a.log.String(); !strings.Contains(log, "acess") || !strings.Contains(log, "the old one stays in force") {
		t.Errorf("the log does not say what is wrong:\n%s", log)
	}
	a.write("config.yaml", string(good)+"log: { format: json }\n")
	a.server.reload(t.Context())
	a.expect(c, "GET", "/x", "", "", 401)
	if log := a.log.String(); !strings.Contains(log, "only after a restart") {
		t.Errorf("the log does not say that log.format stays:\n%s", log)
	}
}

func TestTheRunningGatewayAnswersTheUsersCommand(t *testing.T) {
	a := startApp(t, "two_factor: { enrollment: invite }\n")
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append(args, "--config", a.file("config.yaml")), terminal{strings.NewReader(""), &out, &errs})
		return code, out.String() + errs.String()
	}
	code, text := run("users", "invite", "alice")
	if code != exitDone {
		t.Fatal(text)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	invite := lines[len(lines)-1]
	c := a.browser()
	temp := a.expect(c, "POST", "/auth/login", login("alice", testPassword), "", 403)["tempToken"].(string)
	secret := a.expect(c, "POST", "/auth/2fa/setup", "", temp, 200)["secret"].(string)
	without := a.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, a.code(secret, 0)), temp, 403)
	if without["code"] != "INVITE_REQUIRED" {
		t.Errorf("without an invitation: %v", without)
	}
	a.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q,"inviteCode":%q}`, a.code(secret, 1), invite), temp, 200)
	if code, text := run("users", "list"); code != exitDone || !strings.Contains(text, "totp") {
		t.Errorf("list: %d %s", code, text)
	}
	if code, text := run("users", "reset-2fa", "alice"); code != exitDone {
		t.Errorf("reset: %d %s", code, text)
	}
	a.expect(c, "GET", "/x", "", "", 401)
	if code, text := run("users", "reset-2fa", "nobody"); code != exitUsage || !strings.Contains(text, "nobody") {
		t.Errorf("reset of nobody: %d %s", code, text)
	}
}

func TestASecondProcessOnTheEmbeddedStoreIsToldSo(t *testing.T) {
	a := startApp(t, "")
	cfg, err := config.Load(a.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := start(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second gateway: %v", err)
	}
}

func TestTheAdminListenerSaysWhetherTheGatewayIsReadyAndTheMainOneDoesNot(t *testing.T) {
	redis := redistest.Start(t)
	a := startApp(t, fmt.Sprintf("secret_key: %s\nstore: { driver: redis, redis: { addresses: [%q] } }\n", strings.Repeat("A", 43)+"=", redis.Addr))
	admin := httptest.NewServer(a.server.admin())
	defer admin.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(admin.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != 200 {
		t.Errorf("ready: %d %s", code, body)
	}
	a.server.metrics.counted(a.server).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/auth/healthz", nil))
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, `sallyport_request_duration_seconds_count{class="2xx"} 1`) {
		t.Errorf("metrics: %d %.300s", code, body)
	}
	redis.Stop()
	if code, body := get("/readyz"); code != 503 || body == "" {
		t.Errorf("with the store gone: %d %s", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/"} {
		a.expect(a.browser(), "GET", path, "", "", 401) // a path of the upstream, like any other
	}
	a.expect(a.browser(), "GET", "/auth/healthz", "", "", 200)
}
