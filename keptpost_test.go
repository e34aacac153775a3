package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// forms is an app that people post forms to, and what it was sent.
type forms struct {
	*app
	mu   sync.Mutex
	sent []sentForm
}

type sentForm struct {
	address, contentType, referer, body, user, cookies string
	length                                             int64
}

// startForms starts a gateway that asks for one factor on every path but those that entry excepts.
func startForms(t *testing.T, rules, extra string) *forms {
	f := &forms{}
	entry := ", access: { policy: one_factor, rules: [" + rules + "] }"
	f.app = startAppBefore(t, entry, extra, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sent = append(f.sent, sentForm{
			r.RequestURI, r.Header.Get("Content-Type"), r.Referer(), string(body), r.Header.Get("Remote-User"), r.Header.Get("Cookie"), r.ContentLength,
		})
	})
	return f
}

func (f *forms) all() []sentForm {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]sentForm(nil), f.sent...)
}

const urlencoded = "application/x-www-form-urlencoded"

// post sends a form as a browser does from a page of this origin; headers (name, value, …) say otherwise.
func (f *forms) post(c *http.Client, path, contentType, body string, headers ...string) (status int, location string) {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), "POST", f.url+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": contentType, "Origin": f.url, "Referer": f.url + "/page?of=the+form",
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html",
	} {
		r.Header.Set(name, value)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Location")
}

func (f *forms) signIn(c *http.Client, name string) {
	f.Helper()
	f.expect(c, "POST", "/auth/login", login(name, testPassword), "", 200)
}

// away is a browser that somebody was signed in with until now.
func (f *forms) away(name string) *http.Client {
	f.Helper()
	c := f.browser()
	f.signIn(c, name)
	f.expect(c, "POST", "/auth/logout", "", "", 200)
	return c
}

const keptPage = "/auth/login?rd=%2Fauth%2Fkept"

// keeps sends a form and wants it kept.
func (f *forms) keeps(c *http.Client, path, contentType, body string) {
	f.Helper()
	if status, location := f.post(c, path, contentType, body); status != 303 || location != keptPage {
		f.Fatalf("a form of somebody signed out: %d to %q, want 303 to %q", status, location, keptPage)
	}
}

// offered gives the page and the tokens of the posts that it offers.
func (f *forms) offered(c *http.Client) (page string, tokens []string) {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), "GET", f.url+"/auth/kept", nil)
	if err != nil {
		f.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	resp, err := c.Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		f.Fatalf("the page: %d, %v", resp.StatusCode, err)
	}
	for _, m := range regexp.MustCompile(`name="sallyport_kept" value="([A-Z0-9]+)"`).FindAllStringSubmatch(string(raw), -1) {
		tokens = append(tokens, m[1])
	}
	return string(raw), tokens
}

// one is offered with the one token that must be there.
func (f *forms) one(c *http.Client) string {
	f.Helper()
	page, tokens := f.offered(c)
	if len(tokens) != 1 {
		f.Fatalf("%d posts are offered, want one:\n%s", len(tokens), page)
	}
	return tokens[0]
}

func TestAFormOfSomebodySignedOutIsKeptAndSentOnceTheyAreBack(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "every byte.bin")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 900 << 10 {
		if _, err := file.Write([]byte{byte(i * 31)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	const path = "/wiki/O'Brien_(a)%20%C3%A9?do=save&x=%26%3b;y"
	f.keeps(c, path, form.FormDataContentType(), body.String())
	f.signIn(c, "alice")
	page, _ := f.offered(c)
	if !strings.Contains(page, "/wiki/O&#39;Brien_(a)%20%C3%A9?do=save&amp;x=%26%3b;y") || !strings.Contains(page, "900 KiB") || strings.Contains(page, "every byte") {
		t.Errorf("the page does not say what is kept, or says too much:\n%s", page)
	}
	token := f.one(c)
	if status, _ := f.post(c, path, urlencoded, "sallyport_kept="+token, "Referer", f.url+"/auth/kept"); status != 200 {
		t.Fatalf("sending it: %d", status)
	}
	want := sentForm{path, form.FormDataContentType(), f.url + "/page?of=the+form", body.String(), "alice", "", int64(body.Len())}
	if all := f.all(); len(all) != 1 || all[0] != want {
		t.Errorf("the app got %.300v\nwant %.300v", all, want)
	}
	if status, location := f.post(c, path, urlencoded, "sallyport_kept="+token); status != 303 || location != "/auth/kept" {
		t.Errorf("sending it again: %d to %q", status, location)
	}
	if page, tokens := f.offered(c); len(tokens) != 0 || !strings.Contains(page, "Nothing is waiting") {
		t.Errorf("it is still offered:\n%s", page)
	}
	if len(f.all()) != 1 {
		t.Error("the app got it twice")
	}
}

func TestOfTwoButtonsPressedAtOnceOneSendsTheForm(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/save", urlencoded, "text=draft")
	f.signIn(c, "alice")
	token := f.one(c)
	var sends sync.WaitGroup
	for range 6 {
		sends.Go(func() { f.post(c, "/save", urlencoded, "sallyport_kept="+token) })
	}
	sends.Wait()
	if all := f.all(); len(all) != 1 || all[0].body != "text=draft" {
		t.Errorf("the app got %v, want the form once", all)
	}
}

func TestOnlyAFormThatThePersonSentFromHereIsKept(t *testing.T) {
	f := startForms(t, `{ paths: ["/open"], policy: bypass }, { paths: ["/shut"], policy: deny }`, "session: { keep_post: 1KiB }")
	c := f.away("alice")
	long := strings.Repeat("a", 1025)
	for _, refused := range []struct {
		name, path, contentType, body string
		headers                       []string
		status                        int
	}{
		{"from another site", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Site", "cross-site"}, 401},
		{"from a neighbour", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Site", "same-site"}, 401},
		{"from nowhere", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Site", "none"}, 401},
		{"from a browser that does not say", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Sec-Fetch-Dest", ""}, 401},
		{"by a script", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 401},
		{"in a frame", "/save", urlencoded, "a=b", []string{"Sec-Fetch-Dest", "iframe"}, 401},
		{"of JSON", "/save", "application/json", "{}", nil, 401},
		{"of no type", "/save", "", "a=b", nil, 401},
		{"over the limit", "/save", urlencoded, long, nil, 401},
		{"to a path that is closed", "/shut", urlencoded, "a=b", nil, 403},
		{"to a path that asks nobody", "/open", urlencoded, "a=b", nil, 200},
	} {
		if status, location := f.post(c, refused.path, refused.contentType, refused.body, refused.headers...); status != refused.status {
			t.Errorf("%s: %d to %q, want %d", refused.name, status, location, refused.status)
		}
	}
	if status, _ := f.post(f.browser(), "/save", urlencoded, "a=b"); status != 401 {
		t.Errorf("from a browser that nobody has signed in with: %d", status)
	}
	f.signIn(c, "alice")
	if _, tokens := f.offered(c); len(tokens) != 0 {
		t.Errorf("%d are offered", len(tokens))
	}
	if all := f.all(); len(all) != 1 || all[0].address != "/open" {
		t.Errorf("the app got %v", all)
	}
	f.expect(c, "POST", "/auth/logout", "", "", 200)
	f.keeps(c, "/save", urlencoded, long[1:])
}

func TestAnUnendingBodyIsReadUpToTheLimitAndNotKept(t *testing.T) {
	f := startForms(t, "", "session: { keep_post: 1KiB }")
	c := f.away("alice")
	r, err := http.NewRequestWithContext(t.Context(), "POST", f.url+"/save", io.MultiReader(strings.NewReader(strings.Repeat("a", 4096)))) // no length
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "text/plain", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		r.Header.Set(name, value)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 401 || !resp.Close {
		t.Errorf("%d, connection closed %v; want 401 on a connection that ends", resp.StatusCode, resp.Close)
	}
}

func TestNothingIsKeptWhereItIsTurnedOff(t *testing.T) {
	f := startForms(t, "", "session: { keep_post: 0 }")
	c := f.away("alice")
	if status, _ := f.post(c, "/save", urlencoded, "a=b"); status != 401 {
		t.Errorf("with keep_post 0: %d", status)
	}
}

func TestAKeptFormIsNeverAnotherPersons(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/save", urlencoded, "a=b")
	stolen := f.away("alice") // alice's token, learnt with her own browser
	f.signIn(c, "alice")
	token := f.one(c)
	f.expect(c, "POST", "/auth/logout", "", "", 200)
	f.signIn(c, "bob")
	f.signIn(stolen, "alice")
	for who, browser := range map[string]*http.Client{"another person": c, "another browser": stolen} {
		if _, tokens := f.offered(browser); len(tokens) != 0 {
			t.Errorf("%s is offered it", who)
		}
		// The marker that lets the gateway look is no proof: anybody may set it.
		u, err := url.Parse(f.url)
		if err != nil {
			t.Fatal(err)
		}
		browser.Jar.SetCookies(u, []*http.Cookie{{Name: "sallyport_kept", Value: "1", Path: "/"}})
		if status, location := f.post(browser, "/save", urlencoded, "sallyport_kept="+token); status != 303 || location != "/auth/kept" {
			t.Errorf("%s sends it: %d to %q", who, status, location)
		}
	}
	if all := f.all(); len(all) != 0 {
		t.Errorf("the app got %v", all)
	}
}

func TestAKeptFormGoesWhereItWasSentAndFromHereOnly(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/save?page=1", urlencoded, "a=b")
	f.signIn(c, "alice")
	token := f.one(c)
	button := "sallyport_kept=" + token
	if status, location := f.post(c, "/save?page=2", urlencoded, button); status != 303 || location != "/auth/kept" {
		t.Errorf("to another address: %d to %q", status, location)
	}
	for _, site := range []string{"cross-site", "same-site", "none"} { // an app's own business, and no button of ours
		f.post(c, "/save?page=1", urlencoded, button, "Sec-Fetch-Site", site)
	}
	for _, got := range f.all() {
		if got.body != button {
			t.Errorf("the app got the kept form: %v", got)
		}
	}
	if f.one(c) != token {
		t.Error("the kept form is gone")
	}
}

func TestFormsOfTheAppsOwnPassWhileOneIsKept(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/save", urlencoded, "a=b")
	f.signIn(c, "alice")
	bodies := []string{"x=y", "sallyport_kept=a&b=c", "x=sallyport_kept=", strings.Repeat("z", 300), ""}
	for _, body := range bodies {
		if status, _ := f.post(c, "/other", urlencoded, body); status != 200 {
			t.Errorf("%.40q: %d", body, status)
		}
	}
	all := f.all()
	if len(all) != len(bodies) {
		t.Fatalf("the app got %d forms", len(all))
	}
	for i, body := range bodies {
		if all[i].body != body || all[i].length != int64(len(body)) || all[i].cookies != "" {
			t.Errorf("%.40q arrives as %v", body, all[i])
		}
	}
}

func TestAButtonPressedAfterTheSessionHasEndedAgainSendsTheFormAfterTheNextSignIn(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/save", urlencoded, "a=b")
	f.signIn(c, "alice")
	token := f.one(c)
	f.expect(c, "POST", "/auth/logout", "", "", 200)
	f.keeps(c, "/save", urlencoded, "sallyport_kept="+token)
	f.signIn(c, "alice")
	if f.one(c) != token {
		t.Error("the button's own form was kept")
	}
}

func TestAKeptFormCanBeDropped(t *testing.T) {
	f := startForms(t, "", "")
	c := f.away("alice")
	f.keeps(c, "/one", urlencoded, "a=1")
	f.keeps(c, "/two", urlencoded, "a=2")
	f.signIn(c, "alice")
	_, tokens := f.offered(c)
	if len(tokens) != 2 {
		t.Fatalf("%d are offered", len(tokens))
	}
	if status, _ := f.post(c, "/auth/kept", urlencoded, "token="+tokens[0], "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); status != 403 {
		t.Errorf("dropping it from another site: %d", status)
	}
	if status, location := f.post(c, "/auth/kept", urlencoded, "token="+tokens[0]); status != 303 || location != "/auth/kept" {
		t.Errorf("dropping it: %d to %q", status, location)
	}
	if left := f.one(c); left != tokens[1] {
		t.Error("the other one is gone")
	}
	if status, _ := f.post(c, "/two", urlencoded, "sallyport_kept="+tokens[0]); status != 303 {
		t.Errorf("sending what was dropped: %d", status)
	}
	if all := f.all(); len(all) != 0 {
		t.Errorf("the app got %v", all)
	}
}

// pageLogin signs in by the page, on the way to rd, and gives where it leads.
func (f *forms) pageLogin(c *http.Client, name, rd string) string {
	f.Helper()
	fields := url.Values{"username": {name}, "password": {testPassword}, "rd": {rd}}
	status, location := f.post(c, "/auth/login", urlencoded, fields.Encode())
	if status != 303 {
		f.Fatalf("signing in: %d", status)
	}
	return location
}

func TestAFormThatNeedsASecondFactorIsKeptUntilThatIsGiven(t *testing.T) {
	f := startForms(t, `{ paths: ["/secret/*"], policy: two_factor }`, "")
	c := f.browser()
	if location := f.pageLogin(c, "alice", "/plain"); location != "/plain" {
		t.Fatalf("to a route of one factor: %q", location)
	}
	if status, location := f.post(c, "/secret/save", urlencoded, "a=b"); status != 303 || location != "/auth/enroll?rd=%2Fauth%2Fkept" {
		t.Fatalf("with one factor: %d to %q", status, location)
	}
	token := f.one(c)
	if status, location := f.post(c, "/secret/save", urlencoded, "sallyport_kept="+token); status != 303 || location != "/auth/enroll?rd=%2Fauth%2Fkept" {
		t.Errorf("the button with one factor: %d to %q", status, location)
	}
	secret := f.expect(c, "POST", "/auth/2fa/setup", "", "", 200)["secret"].(string)
	f.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, f.code(secret, 0)), "", 200)
	if status, _ := f.post(c, "/secret/save", urlencoded, "sallyport_kept="+f.one(c)); status != 200 {
		t.Errorf("the button with two factors: %d", status)
	}
	if all := f.all(); len(all) != 1 || all[0].body != "a=b" {
		t.Errorf("the app got %v", all)
	}
}

func TestTheWayToAKeptFormAsksForNoSecondFactorThatItsRouteDoesNotNeed(t *testing.T) {
	f := startForms(t, `{ paths: ["/secret/*"], policy: two_factor }`, "")
	c := f.browser()
	f.pageLogin(c, "alice", "/plain")
	f.expect(c, "POST", "/auth/logout", "", "", 200)
	f.keeps(c, "/plain", urlencoded, "a=b")
	if location := f.pageLogin(c, "alice", "/auth/kept"); location != "/auth/kept" {
		t.Fatalf("after the password: %q", location)
	}
	if status, _ := f.post(c, "/plain", urlencoded, "sallyport_kept="+f.one(c)); status != 200 {
		t.Errorf("sending it: %d", status)
	}
}

func TestWhatIsKeptIsInNoLogAndSealedInTheStore(t *testing.T) {
	f := startForms(t, "", "log: { level: debug }")
	c := f.away("alice")
	f.keeps(c, "/save?secret-address", urlencoded, "secret-value=1")
	f.signIn(c, "alice")
	token := f.one(c)
	stored, err := os.ReadFile(f.file("data/sallyport.db"))
	if err != nil {
		t.Fatal(err)
	}
	f.post(c, "/save?secret-address", urlencoded, "sallyport_kept="+token)
	if len(f.all()) != 1 {
		t.Fatal("it was not sent")
	}
	for _, word := range []string{"secret-value", "secret-address", token} {
		if bytes.Contains(stored, []byte(word)) {
			t.Errorf("the store shows %q", word)
		}
		if strings.Contains(f.log.String(), word) {
			t.Errorf("the log shows %q", word)
		}
	}
}
