package attack

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"sallyport/e2e/harness"
)

// everything is the whole answer, without what differs by nature: the date, and the name that the page shows again.
func everything(t *testing.T, a harness.Answer, name string) string {
	t.Helper()
	a.Header.Del("Date")
	var b bytes.Buffer
	if err := a.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d\n%s\n%s", a.Status, b.String(), strings.ReplaceAll(a.Body, name, "NAME"))
}

// That an unknown name costs the work of a hash is shown without a clock by TestAnUnknownUserIsRefusedAfterTheWorkOfTheUsualHash
// of authflow/password; here times are only logged.
func TestT45UnknownDisabledAndWrongCannotBeToldApart(t *testing.T) {
	s := enter(t)
	enrolled := newPerson(t, plain)
	enrolled.enrolled(s.one)
	const wrong = "not the password"
	cases := map[string]struct{ name, password string }{
		"a wrong password":                        {newPerson(t, plain).Name, wrong},
		"a wrong password, with an authenticator": {enrolled.Name, wrong},
		"an address and a wrong password":         {newPerson(t, plain).email(), wrong},
		"a disabled person's wrong password":      {newPerson(t, disabled).Name, wrong},
		"a disabled person's right password":      {newPerson(t, disabled).Name, harness.Password},
		"a name that nobody has":                  {nobody(), wrong},
		"an address that nobody has":              {nobody() + "@example.com", wrong},
	}
	took := map[string][]time.Duration{}
	seen := map[string][]string{}
	for round := range 5 { // twice each: ten tries are all that a name has
		for what, c := range cases {
			host, g := newHost(), s.both()[round%2]
			client := from(t, g, host)
			client.Get("/auth/healthz") // so that no time goes into the connection
			began := time.Now()
			a := client.Post("/auth/login", harness.Fields{"username": c.name, "password": c.password}).Want(401, "INVALID_CREDENTIALS")
			took[what] = append(took[what], time.Since(began))
			seen[everything(t, a, c.name)] = append(seen[everything(t, a, c.name)], what)
			page := everything(t, client.Form("/auth/login", "username", c.name, "password", c.password).Want(401), c.name)
			seen[page] = append(seen[page], what)
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d different answers, want one to programs and one page: %v", len(seen), slices.Collect(maps.Values(seen)))
	}
	for what, d := range took {
		slices.Sort(d)
		t.Logf("%-45s median %s", what, d[len(d)/2].Round(100*time.Microsecond))
	}
}

func TestT45TheEndOfTheTriesDoesNotTellWhoExists(t *testing.T) {
	s := enter(t)
	after := map[string]int{}
	for what, name := range map[string]string{
		"somebody": newPerson(t, plain).Name, "somebody disabled": newPerson(t, disabled).Name, "nobody": nobody(), "nobody's address": nobody() + "@example.com",
	} {
		host := newHost()
		for after[what] < 30 && from(t, s.both()[after[what]%2], host).Post("/auth/login", harness.Fields{"username": name, "password": "no"}).Status == 401 {
			after[what]++
		}
	}
	if first := after["nobody"]; first != 10 || slices.ContainsFunc(slices.Collect(maps.Values(after)), func(n int) bool { return n != first }) {
		t.Errorf("429 comes after %v wrong passwords, want ten of everybody's", after)
	}
}

// spellings of a name that the gateway takes for the same one.
func spellings(p *person) []string {
	wide := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, p.Name)
	return []string{
		p.Name, strings.ToUpper(p.Name), " " + p.Name, p.Name + "\t ", wide, strings.ToUpper(wide), norm.NFD.String(p.Name),
		norm.NFD.String(strings.ToUpper(p.Name)), "\u00a0" + p.Name + "\u3000", p.email(), strings.ToUpper(p.email()), norm.NFD.String(p.email()),
	}
}

func TestT46AllSpellingsOfANameAreOne(t *testing.T) {
	s := enter(t)
	p := newPerson(t, accented)
	names := spellings(p)
	for i := range 10 {
		key := "username"
		if i%3 == 2 {
			key = "email"
		}
		from(t, s.both()[i%2], newHost()).Post("/auth/login", harness.Fields{key: names[i%len(names)], "password": fmt.Sprintf("guess %d", i)}).Want(401)
	}
	for i, name := range names {
		from(t, s.both()[i%2], newHost()).Post("/auth/login", harness.Fields{"username": name, "password": harness.Password}).Want(429, "RATE_LIMITED")
	}
	// Each is the person's name, and so was counted as it.
	for _, name := range spellings(newPerson(t, accented)) {
		from(t, s.one, newHost()).Post("/auth/login", harness.Fields{"username": name, "password": harness.Password}).Want(403, "2FA_SETUP_REQUIRED")
	}
}

func TestT46WhatCannotBeSeenIsNoName(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	c := p.browser(s.one)
	for what, name := range map[string]string{
		"a zero-width space": p.Name[:2] + "\u200b" + p.Name[2:], "a zero-width joiner": p.Name + "\u200d", "a byte order mark": "\ufeff" + p.Name,
		"a soft hyphen": p.Name[:3] + "\u00ad" + p.Name[3:], "a change of direction": "\u202e" + p.Name, "a line's end": p.Name[:2] + "\n" + p.Name[2:], "a line's end behind": p.Name + "\n",
		"NUL": p.Name + "\x00", "a tag": p.Name + "\U000e0061", "an escape": "\x1b[2J" + p.Name, "257 bytes": strings.Repeat("x", 257),
		"spaces alone": " \t ", "nothing": "",
	} {
		a := c.Post("/auth/login", harness.Fields{"username": name, "password": harness.Password})
		if a.Status != 400 {
			t.Errorf("%s in the name: %d, want 400: %s", what, a.Status, a.Body)
		}
		if a := c.Form("/auth/login", "username", name, "password", harness.Password); a.Status != 400 {
			t.Errorf("%s in the name, on the page: %d, want 400", what, a.Status)
		}
	}
	for what, name := range map[string]string{
		"a letter of another alphabet": strings.Replace(p.Name, "u", "\u057d", 1), "a wildcard": "u*", "a path": "../" + p.Name, "a group": "staff",
		"a separator": p.Name + ":x", "a subject": "app:x:" + p.Name, "JSON": `{"$ne":null}`,
	} {
		if a := c.Post("/auth/login", harness.Fields{"username": name, "password": harness.Password}); a.Status != 400 && a.Status != 401 {
			t.Errorf("%s for the name: %d: %s", what, a.Status, a.Body)
		}
	}
}

func TestT46ABodyThatTwoParsersReadDifferentlyIsRefused(t *testing.T) {
	s := enter(t)
	p, other := newPerson(t, plain), newPerson(t, plain)
	c := p.browser(s.one).With("Content-Type", "application/json")
	good := `"password":"` + harness.Password + `"`
	for what, body := range map[string]string{
		"a key twice":                 `{"username":"` + other.Name + `","username":"` + p.Name + `",` + good + `}`,
		"a key twice, once escaped":   `{"username":"` + other.Name + `","\u0075sername":"` + p.Name + `",` + good + `}`,
		"in two letter cases":         `{"username":"` + other.Name + `","Username":"` + p.Name + `",` + good + `}`,
		"in another letter case":      `{"USERNAME":"` + p.Name + `",` + good + `}`,
		"another key in capitals":     `{"username":"` + p.Name + `","REMEMBER":true,` + good + `}`,
		"the other name in capitals":  `{"username":"` + p.Name + `","EMAIL":"` + other.email() + `",` + good + `}`,
		"a letter that folds to k, s": `{"u\u017fername":"` + p.Name + `",` + good + `}`,
		"two names":                   `{"username":"` + other.Name + `","email":"` + p.email() + `",` + good + `}`,
		"the password twice":          `{"username":"` + p.Name + `","password":"x",` + good + `}`,
		"a second object":             `{"username":"` + p.Name + `",` + good + `}{}`,
		"something after it":          `{"username":"` + p.Name + `",` + good + `}]`,
		"NUL after it":                `{"username":"` + p.Name + `",` + good + "}\x00",
		"a byte order mark":           "\ufeff{\"username\":\"" + p.Name + `",` + good + `}`,
		"a comment":                   `{/**/"username":"` + p.Name + `",` + good + `}`,
		"a trailing comma":            `{"username":"` + p.Name + `",` + good + `,}`,
		"single quotes":               `{'username':'` + p.Name + `',` + good + `}`,
		"an array of names":           `{"username":["` + p.Name + `"],` + good + `}`,
		"an object for a name":        `{"username":{"x":"` + p.Name + `"},` + good + `}`,
		"a number for the password":   `{"username":"` + p.Name + `","password":1}`,
		"an array":                    `[{"username":"` + p.Name + `",` + good + `}]`,
		"invalid UTF-8":               "{\"username\":\"" + p.Name + "\xff\"," + good + "}",
		"a lone surrogate":            `{"username":"` + p.Name + `\udc00",` + good + `}`,
		"UTF-16":                      "{\x00\"\x00u\x00",
		"null":                        `null`,
		"nothing but space":           ` `,
	} {
		if a := c.Do("POST", "/auth/login", body); a.Status != 400 {
			t.Errorf("%s: %d, want 400: %s", what, a.Status, a.Body)
		}
	}
	// A form with a name twice must not be two people either.
	twice := url.Values{"username": {other.Name, p.Name}, "password": {harness.Password}, "rd": {"/app/x"}}
	browser := p.browser(s.two)
	browser.With("Content-Type", "application/x-www-form-urlencoded").With("Sec-Fetch-Site", "same-origin").Do("POST", "/auth/login", twice.Encode())
	if a := browser.Get("/auth/me"); a.Status == 200 && a.JSON["username"] != other.Name {
		t.Errorf("of a name that came twice the second signs in: %s", a.Body)
	}
}

func TestT47AFloodOfBadSignInsLocksOutNobodyButItsSource(t *testing.T) {
	s := enter(t)
	alice, mallory, bystander := newPerson(t, plain), newPerson(t, plain), newPerson(t, plain)
	known := alice.enrolled(s.one)
	known.Post("/auth/logout", nil).Want(200) // the browser keeps what it is known by
	malloryKnown := mallory.enrolled(s.one)
	malloryKnown.Post("/auth/logout", nil).Want(200)
	source := newHost()

	statuses := sprinkle(t, 520, func(i int) (address, from, body string) {
		name, host := fmt.Sprintf("random%04d", i), source
		if i%13 < 5 {
			name, host = alice.Name, newHost() // for alice from everywhere
		}
		return s.both()[i%2].Address, host, fmt.Sprintf(`{"username":%q,"password":"guess %d"}`, name, i)
	})
	if statuses[401] == 0 || statuses[429] == 0 || statuses[401]+statuses[429] != 520 {
		t.Errorf("the flood is answered with %v, want 401 and 429", statuses)
	}
	for _, g := range s.both() {
		if a := from(t, g, source).Login(bystander.Name); a.Status != 429 {
			t.Errorf("a stranger's name from the source of the flood: %d, want 429", a.Status)
		}
		from(t, g, newHost()).Login(alice.Name).Want(429) // hers from where she has never been
	}
	// Somebody's device opens no other person's door.
	if a := malloryKnown.Post("/auth/login", harness.Fields{"username": alice.Name, "password": "guess"}); a.Status != 429 {
		t.Errorf("alice's name in a browser that mallory is known by: %d, want 429", a.Status)
	}
	forged := alice.browser(s.one).With("Cookie", "sallyport_device="+cookieOf(malloryKnown, "sallyport_device"))
	forged.Login(alice.Name).Want(429)

	known.At(s.two).SignIn(alice.Name, alice.app) // from the device that she has used before
	bystander.enrolled(s.two)                     // and everybody else as ever
}

// sprinkle posts n sign-ins, ten at a time, and counts the statuses.
func sprinkle(t *testing.T, n int, request func(i int) (address, from, body string)) map[int]int {
	t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	next := make(chan int)
	for range 10 {
		wait.Go(func() {
			for i := range next {
				address, from, body := request(i)
				status := send(address, from, "/auth/login", body)
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	return statuses
}

// send posts JSON over a connection of its own. 0: no answer.
func send(to, from, path, body string) int {
	var ready sync.WaitGroup
	ready.Add(1)
	gun := make(chan struct{})
	close(gun)
	return shoot(to, from, path, body, &ready, gun)
}

// argon2idHash is the least that the gateway makes: 19 MiB for each password that is checked.
var argon2idHash = sync.OnceValue(func() string {
	salt := []byte("sixteen bytes...")
	key := argon2.IDKey([]byte(harness.Password), salt, 2, 19456, 1, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return "$argon2id$v=19$m=19456,t=2,p=1$" + b64(salt) + "$" + b64(key)
})

// memoryOfManySignIns bounds what the gateway, with the race detector in it, may use while 500 people sign in at once.
// 500 hashes at a time would take 9,500 MiB.
const memoryOfManySignIns = 1 << 30

func TestT48ManySignInsAtOnceAreBoundedAndTheAppGoesOn(t *testing.T) {
	s := enter(t)
	settings := s.settings()
	settings.Users = []harness.User{{Name: "wendy"}}
	g := harness.StartGateway(t, settings)
	before := len(g.Log())
	g.Write("users.yaml", strings.ReplaceAll(harness.UsersFile(settings.Users...), harness.PasswordHash(), argon2idHash()))
	harness.Eventually(t, "the new hash is taken over", func() bool { return strings.Contains(g.Log()[before:], "users file taken over") })
	signedIn := from(t, g, newHost())
	signedIn.Form("/auth/login", "username", "wendy", "password", harness.Password, "rd", "/app/x").Want(303)

	var hosts []string
	for range 10 {
		hosts = append(hosts, newHost())
	}
	stop, passed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				passed <- n
				return
			default:
				if a := signedIn.Get("/app/x"); a.Status != 200 {
					t.Errorf("during the sign-ins %s: %d", a.What, a.Status)
				}
			}
		}
	}()
	var ready, done sync.WaitGroup
	var mu sync.Mutex
	gun, statuses := make(chan struct{}), map[int]int{}
	for i := range 500 {
		ready.Add(1)
		done.Go(func() {
			status := shoot(g.Address, hosts[i%len(hosts)], "/auth/login", fmt.Sprintf(`{"username":"crowd%d","password":"guess"}`, i), &ready, gun)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	ready.Wait()
	close(gun)
	done.Wait()
	close(stop)
	t.Logf("500 sign-ins at once: %v; meanwhile %d requests went through; at most %d MiB", statuses, <-passed, g.Process.PeakMemory()>>20)
	if statuses[401]+statuses[429]+statuses[503] != 500 || statuses[503] == 0 {
		t.Errorf("500 sign-ins at once: %v, want 401, 429 and some 503", statuses)
	}
	if peak := g.Process.PeakMemory(); peak > memoryOfManySignIns {
		t.Errorf("%d MiB in use, want at most %d", peak>>20, memoryOfManySignIns>>20)
	}
	from(t, g, newHost()).Form("/auth/login", "username", "wendy", "password", harness.Password, "rd", "/app/x").Want(303)
}

func TestT48ALongPasswordIsRefusedBeforeAnyWork(t *testing.T) {
	s := enter(t)
	p := newPerson(t, plain)
	c := p.browser(s.one)
	for length, want := range map[int]int{1 << 20: 413, 60 << 10: 400, 2000: 400} {
		long := strings.Repeat("x", length)
		for range 12 { // more than the tries: none of them is one
			c.Post("/auth/login", harness.Fields{"username": p.Name, "password": long}).Want(want)
		}
		if a := c.Form("/auth/login", "username", p.Name, "password", long); a.Status != want {
			t.Errorf("%d bytes, on the page: %d, want %d", length, a.Status, want)
		}
	}
	signedIn := p.oneFactor(s.one)
	for range 12 {
		signedIn.Post("/auth/change-password", harness.Fields{"currentPassword": strings.Repeat("x", 60<<10), "newPassword": "four candles and a fork handle"}).Want(400)
		signedIn.Post("/auth/change-password", harness.Fields{"currentPassword": harness.Password, "newPassword": strings.Repeat("x", 60<<10)}).Want(400)
	}
	c.Login(p.Name).Want(403, "2FA_SETUP_REQUIRED")
}
