package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/e2e/harness"
)

// The headings of the page of kept forms, with one and with none.
const (
	keptPage   = "Your form has not been sent yet"
	noKeptPage = "Nothing is waiting"
)

// formApp is an app of one page with a form, and keeps what it was sent.
type formApp struct {
	*httptest.Server
	mu   sync.Mutex
	sent []sentForm
}

// sentForm is what a form held and where it came from.
type sentForm struct{ address, text, file, referer string }

const formPage = `<!doctype html><html lang="en"><title>Notes</title><h1>Notes</h1>
<form method="post" enctype="multipart/form-data" action="save/O'Brien_(a)?x=%%26">
<textarea id="text" name="text"></textarea><input id="file" type="file" name="file"><button id="send">Save</button></form>
<a id="relative" href="next">next</a> %s`

func startFormApp(t *testing.T) *formApp {
	t.Helper()
	f := &formApp{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := "Write."
		if r.Method == http.MethodPost {
			file, _, err := r.FormFile("file")
			if err != nil {
				t.Errorf("the app was sent no file: %v", err)
				return
			}
			content, err := io.ReadAll(file)
			if err != nil {
				t.Error(err)
			}
			f.mu.Lock()
			f.sent = append(f.sent, sentForm{r.RequestURI, r.FormValue("text"), string(content), r.Referer()})
			f.mu.Unlock()
			said = "Saved."
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, formPage, said)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *formApp) all() []sentForm {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]sentForm(nil), f.sent...)
}

// writeNote fills the form in, ends the session as if in another window, and sends it.
func writeNote(p *harness.Tab, text, file string) {
	p.T.Helper()
	p.Fill("#text", text)
	p.Fill("#file", file)
	p.EndSession()
	p.Follow("#send")
}

func TestAPersonWhoTypesForLongerThanTheSessionLastsLosesNothing(t *testing.T) {
	app := startFormApp(t)
	g := harness.StartGateway(t, harness.Settings{
		Users:     []harness.User{{Name: "alice"}, {Name: "bob"}},
		Upstreams: "  - { url: \"" + app.URL + "\", access: { policy: one_factor } }",
	})
	p := harness.StartBrowser(t).Open(t, g.URL)
	content := make([]byte, 700<<10)
	rand.Read(content)
	file := filepath.Join(t.TempDir(), "attachment")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	const text = `an hour's "work" <b>& é`
	p.Visit("/wiki/edit?page=1")
	p.GivePassword("alice", harness.Password)
	writeNote(p, text, file)
	p.GivePassword("alice", harness.Password)
	p.WantPage(keptPage)
	if shown := p.Text("main"); !strings.Contains(shown, "/wiki/save/O'Brien_(a)?x=%26") || strings.Contains(shown, "work") {
		t.Errorf("the page shows %s", shown)
	}
	p.Follow("main .primary")
	p.WantPage("Notes")
	if path := p.Path(); path != "/wiki/save/O'Brien_(a)?x=%26" {
		t.Errorf("after sending it the address is %s", path)
	}
	want := sentForm{"/wiki/save/O'Brien_(a)?x=%26", text, string(content), g.URL + "/wiki/edit?page=1"}
	if got := app.all(); len(got) != 1 || got[0] != want {
		t.Fatalf("the app was sent %.200v, want %.200v", got, want)
	}
	p.Visit("/auth/kept")
	p.WantPage(noKeptPage)
	if got := app.all(); len(got) != 1 {
		t.Errorf("the app was sent it %d times", len(got))
	}
}

func TestAKeptFormIsNotShownToWhoeverSignsInNext(t *testing.T) {
	app := startFormApp(t)
	g := harness.StartGateway(t, harness.Settings{
		Users:     []harness.User{{Name: "alice"}, {Name: "bob"}},
		Upstreams: "  - { url: \"" + app.URL + "\", access: { policy: one_factor } }",
	})
	p := harness.StartBrowser(t).Open(t, g.URL)
	file := filepath.Join(t.TempDir(), "attachment")
	if err := os.WriteFile(file, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Visit("/")
	p.GivePassword("alice", harness.Password)
	writeNote(p, "for nobody else", file)
	p.GivePassword("bob", harness.Password)
	p.WantPage(noKeptPage)
	if got := app.all(); len(got) != 0 {
		t.Errorf("the app was sent %v", got)
	}
}
