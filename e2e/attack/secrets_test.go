package attack

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// secrets are what must be found nowhere, by what they are.
type secrets map[string]string

// add notes a secret in every spelling that a store or a log might hold it in.
func (s secrets) add(what, secret string) {
	s[what] = secret
	raw := []byte(secret)
	if decoded, err := base32.StdEncoding.DecodeString(secret); err == nil {
		raw = decoded
		s[what+", raw"] = string(raw)
	}
	s[what+" in hexadecimal"] = hex.EncodeToString(raw)
	s[what+" in base64"] = base64.RawStdEncoding.EncodeToString(raw)
	s[what+" in base64 for URLs"] = base64.RawURLEncoding.EncodeToString(raw)
}

// addToken notes an envelope and the token that is in it: time, payload and signature with bars in between.
func (s secrets) addToken(t *testing.T, what, envelope string) {
	t.Helper()
	s.add(what, envelope)
	inside, err := base64.URLEncoding.DecodeString(envelope)
	parts := strings.SplitN(string(inside), "|", 3)
	if err != nil || len(parts) != 3 || len(parts[1]) < 32 {
		t.Fatalf("%s is %q, which is no envelope: teach this test to open it", what, envelope)
	}
	s.add(what+", opened", parts[1])
	if raw, err := base64.URLEncoding.DecodeString(parts[1]); err == nil {
		s.add(what+", the token", string(raw))
	}
}

// wantAbsent fails the test where a text holds one of the secrets.
func (s secrets) wantAbsent(t *testing.T, where, text string) {
	t.Helper()
	for what, secret := range s {
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
			t.Errorf("%s holds the %s", where, what)
		}
	}
}

// lead leads a life on a gateway in which every secret there is comes up, and returns them.
func lead(t *testing.T, g *harness.Gateway) secrets {
	t.Helper()
	s := secrets{}
	s.add("password", harness.Password)
	browser := g.Client()
	app := browser.Enrol("alice")
	s.add("TOTP secret", app.Key.Secret())
	s["otpauth address"] = app.Key.Secret()[:16]
	for _, code := range app.Recovery {
		s.add("recovery code "+code, code)
		s.add("recovery code "+code+" without dashes", strings.ReplaceAll(code, "-", ""))
	}
	s.addToken(t, "session", sessionOf(browser))
	wrong := "what somebody typed instead"
	s.add("wrong password", wrong)
	browser.Post("/auth/login", harness.Fields{"username": "alice", "password": wrong})
	browser.Post("/auth/login", harness.Fields{"username": wrong + " as a name", "password": wrong})
	browser.Form("/auth/login", "username", wrong, "password", wrong)

	pending := g.Client().Login("alice").Text("tempToken")
	s.addToken(t, "temp token", pending)
	g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "totpCode": app.Wrong(1)}).Want(401)
	g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": "aaaa-bbbb-cccc-dddd"}).Want(401)
	g.Client().Post("/auth/2fa/verify", harness.Fields{"tempToken": pending, "recoveryCode": app.RecoveryCode()}).Want(200)
	tokens := g.AsApp().SignIn("alice", app)
	s.addToken(t, "access token", tokens.Text("accessToken"))
	s.addToken(t, "refresh token", tokens.Text("refreshToken"))
	renewed := g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": tokens.Text("refreshToken")}).Want(200)
	s.addToken(t, "next access token", renewed.Text("accessToken"))
	g.AsApp().Post("/auth/refresh", harness.Fields{"refreshToken": tokens.Text("refreshToken")})
	g.Bearer(renewed.Text("accessToken")).Get("/x")

	browser.Post("/auth/logout", nil)
	s.add("form that waits", "a note for nobody else")
	browser.Form("/x", "note", "a note for nobody else")
	for _, path := range []string{"/x?token=" + pending, "/auth/login?rd=/x"} {
		browser.Page(path)
	}
	return s
}

// folder returns every file below a folder, as one text.
func folder(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestT55NothingThatIsKeptHoldsASecret(t *testing.T) {
	up := startUpstream(t)
	settings := func(format string) harness.Settings {
		return harness.Settings{Upstreams: "  - { url: " + up.URL + " }", More: "log: { level: debug, format: " + format + " }"}
	}
	t.Run("Redis", func(t *testing.T) {
		redis := harness.StartRedis(t)
		s := settings("text")
		s.Redis = redis
		g := harness.StartGateway(t, s)
		found := lead(t, g)
		dump := folder(t, redis.Dir)
		if !strings.Contains(dump, "sallyport:authenticator/") {
			t.Fatalf("the dump of %d bytes does not hold alice's authenticator: it is no dump", len(dump))
		}
		found.wantAbsent(t, "the dump of Redis", dump)
		found.wantAbsent(t, "the log", g.Log())
		if !strings.Contains(g.Log(), "sign_in_failed") {
			t.Errorf("the log tells nothing: %s", g.Log())
		}
	})
	t.Run("the store file", func(t *testing.T) {
		g := harness.StartGateway(t, settings("json"))
		found := lead(t, g)
		file := folder(t, filepath.Join(g.Dir, "data"))
		if !strings.Contains(file, "authenticator/") {
			t.Fatalf("the data folder of %d bytes does not hold alice's authenticator", len(file))
		}
		found.wantAbsent(t, "the store file", file)
		found.wantAbsent(t, "the log", g.Log())
	})
}

func TestT55NoAnswerTellsASecretAgain(t *testing.T) {
	s, p := enter(t), newPerson(t, admin)
	c := p.enrolled(s.one)
	found := secrets{}
	found.add("password", harness.Password)
	found.add("password hash", harness.PasswordHash())
	found.add("TOTP secret", p.app.Key.Secret())
	for _, code := range p.app.Recovery {
		found.add("recovery code "+code, code)
	}
	found.addToken(t, "session", sessionOf(c))
	for _, path := range []string{"/auth/me", "/auth/2fa", "/auth/sessions"} {
		found.wantAbsent(t, path, c.Get(path).Want(200).Body)
	}
	found.wantAbsent(t, "the account page", c.Page("/auth/account").Want(200).Body)
	for _, path := range []string{"/app/x", "/admin/x"} {
		c.Get(path).Want(200)
	}
	for _, r := range s.up.Requests() {
		found.wantAbsent(t, "what the upstream sees", r.Head)
	}
}

// breaks are texts that break a line of a log in two, or colour a terminal, where they are written as they are.
var breaks = []string{
	"forged\r\nlevel=ERROR msg=forged", "forged\nforged", "forged\rforged", "\x1b[31mforged\x1b[0m", "forged\u2028forged", "forged\u0085forged", "forged\x00forged", `forged" msg="forged`, "forged\\nforged", "forged\x7f\x08\x08", "forged\u202egro", "forged\xff\xfe", `{"forged":"forged"}`,
}

func TestT55ALineOfTheLogStaysWhole(t *testing.T) {
	up := startUpstream(t)
	plain := regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=`)
	for format, whole := range map[string]func(string) bool{
		"text": plain.MatchString,
		"json": func(line string) bool { return json.Unmarshal([]byte(line), &map[string]any{}) == nil },
	} {
		t.Run(format, func(t *testing.T) {
			g := harness.StartGateway(t, harness.Settings{Upstreams: upstreams(up), More: "log: { level: debug, format: " + format + " }", Trusted: "127.0.0.0/8"})
			c := g.Client()
			c.Enrol("alice")
			for _, text := range breaks {
				c.Post("/auth/login", harness.Fields{"username": text, "password": text})
				c.Form("/auth/login", "username", "alice", "password", text, "rd", text)
				c.Post("/auth/2fa/verify", harness.Fields{"tempToken": text, "totpCode": text})
				path := "/elsewhere/" + escaped(text)
				c.Get(path)
				c.Get("/auth/" + escaped(text))
				speak(t, g.Address, "GET", path, "Host: "+g.Address, "User-Agent: "+text, "Referer: "+text, "X-Forwarded-For: "+text, "X-Request-Id: "+text)
				speak(t, g.Address, "GET", "/app/x", "Host: "+text)
				up.Answer("/app/x", "HTTP/1.1 "+text+" 200 OK\r\n"+text+": x\r\n\r\n")
				c.Get("/app/x")
			}
			log := g.Log()
			for line := range strings.Lines(log) {
				if !whole(strings.TrimSuffix(line, "\n")) {
					t.Errorf("a line that is none: %q", line)
				}
			}
			if strings.ContainsAny(log, "\x1b\x00\r\x08") {
				t.Error("the log holds control characters")
			}
			if !strings.Contains(log, "forged") {
				t.Error("the log tells nothing of it, so this shows nothing")
			}
		})
	}
}

// escaped writes every byte of a text as an escape.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString("%" + hex.EncodeToString([]byte{text[i]}))
	}
	return b.String()
}
