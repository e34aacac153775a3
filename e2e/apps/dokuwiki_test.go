package apps

import (
	"context"
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/crypto/bcrypt"

	"sallyport/e2e/harness"
)

// wikiPort is the port of DokuWiki's page.
const wikiPort = "8080"

// wikiPassword is what people sign in to the wiki with.
const wikiPassword = "a password of its own"

func TestDokuWikiWorksBehindTheGateway(t *testing.T) {
	b := harness.StartBrowser(t)
	for _, c := range []struct{ heading, host, path string }{
		{atTheRoot, "wiki.example.com", "/"},
		{underAPath, "localhost", "/wiki/"}, // without TLS the one host where browsers send Sec-Fetch-*, and posts are kept
	} {
		t.Run(strings.Trim(c.heading, "# \n"), func(t *testing.T) {
			a := startApp(t, "dokuwiki.md", c.heading, wikiPort, (*realApp).dokuwiki)
			w := &wiki{Tab: a.signIn(b, c.host, c.path), t: t, app: a, path: c.path}
			w.wantStranger()
			w.enter()
			w.edit("Written through a //gateway//. ")
			w.save()
			w.wantText("Written through a gateway.")
			if c.host == "localhost" {
				w.loseTheSessionWhileTyping()
			}
			w.find("gateway", "Written through")
			w.leaveByTheWiki()
			w.enter()
			w.leaveByTheGateway()
		})
	}
}

// dokuwiki keeps everything that it writes in the test's folder, and lets only its people read.
func (a *realApp) dokuwiki() *harness.Process {
	here := harness.Port(a.t, a.Address)
	a.section = strings.ReplaceAll(a.section, cookieName(wikiPort), cookieName(here))
	settings := ""
	if strings.Contains(a.section, "```php") {
		settings = a.block("php")
	}
	a.write("local.php", fmt.Sprintf("<?php\n%s$conf['useacl'] = 1;\n$conf['savedir'] = '%s/data';\n", settings, a.Dir))
	a.wikiPeople(wikiPassword)
	a.write("acl.auth.php", "*\t@ALL\t0\n*\t@user\t8\n")
	for _, name := range []string{"attic", "cache", "index", "locks", "log", "media", "media_attic", "media_meta", "meta", "pages", "sessions", "tmp"} {
		if err := os.MkdirAll(filepath.Join(a.Dir, "data", name), 0o700); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.runDokuWiki()
}

// wikiPeople writes who there is in the wiki: carroll with a password, and dodgson, whose password is wikiPassword.
func (a *realApp) wikiPeople(carrolls string) {
	a.t.Helper()
	people := ""
	for _, p := range []struct{ name, password, full string }{{"carroll", carrolls, "Lewis Carroll"}, {"dodgson", wikiPassword, "Charles Dodgson"}} {
		hash, err := bcrypt.GenerateFromPassword([]byte(p.password), bcrypt.MinCost)
		if err != nil {
			a.t.Fatal(err)
		}
		people += fmt.Sprintf("%s:%s:%s:%s@example.com:user\n", p.name, hash, p.full, p.name)
	}
	a.write("users.auth.php", people)
}

// runDokuWiki starts what is set up.
func (a *realApp) runDokuWiki() *harness.Process {
	words := strings.Fields(a.block("sh"))
	last := len(words) - 1
	a.write("router.php", fmt.Sprintf("<?php define('DOKU_CONF', '%s/');\nreturn require '%s';\n", a.Dir, words[last]))
	arguments := append(words[slices.Index(words, "php")+1:last], "-d", "session.save_path="+filepath.Join(a.Dir, "data/sessions"), "router.php")
	return harness.Start(a.t, a.Dir, "php", arguments...)
}

// cookieName is that of the cookie that keeps people signed in under the path of the page.
func cookieName(port string) string { return fmt.Sprintf("DW%x", md5.Sum([]byte("/wiki/"+port))) }

// wiki is a window in which alice uses the wiki through the gateway, where she is carroll.
type wiki struct {
	*harness.Tab
	t    *testing.T
	app  *realApp
	path string // of the wiki, with a slash at the end
}

// wantStranger fails the test where the wiki takes whoever comes for carroll.
func (w *wiki) wantStranger() {
	w.t.Helper()
	w.Visit(w.path)
	if text := w.Text("#dokuwiki__content"); !strings.Contains(text, "Permission Denied") {
		w.t.Fatalf("the wiki shows a stranger:\n%s", text)
	}
}

// enter signs in to the wiki by its own form, and stays for a year: by a cookie that needs no session of PHP's.
func (w *wiki) enter() {
	w.t.Helper()
	w.Fill("#dw__login input[name=u]", "carroll")
	w.Fill("#dw__login input[name=p]", wikiPassword)
	w.Click("#dw__login input[name=r]")
	w.Follow("#dw__login button[type=submit]")
	if text := w.Text("#dokuwiki__usertools"); !strings.Contains(text, "Lewis Carroll") {
		w.t.Fatalf("not signed in to the wiki\n%s", w.State())
	}
}

// edit types into the page that the wiki starts with.
func (w *wiki) edit(text string) {
	w.t.Helper()
	w.Visit(w.path + "doku.php?id=start&do=edit")
	w.Fill("#wiki__text", text)
}

// save presses Enter on the button, since it moves while the page's script puts a toolbar above the text.
func (w *wiki) save() {
	w.t.Helper()
	const whole = `document.readyState === "complete" && document.querySelector("#tool__bar button") !== null`
	harness.Eventually(w.t, "the editor is whole", func() bool { return harness.JS[bool](w.Tab, whole) })
	w.Leave("saving", chromedp.SendKeys(chromedp.CSS("#edbtn__save"), kb.Enter))
}

func (w *wiki) wantText(want string) {
	w.t.Helper()
	if text := w.Text("#dokuwiki__content"); !strings.Contains(text, want) {
		w.t.Errorf("the wiki's page has no %q:\n%s", want, text)
	}
}

// loseTheSessionWhileTyping lets the gateway's session end before a page is saved.
func (w *wiki) loseTheSessionWhileTyping() {
	w.t.Helper()
	w.edit("Nothing was lost. ")
	w.loseTheGatewaysCookie()
	w.save()
	w.signInAgain()
	w.WantPage("Your form has not been sent yet")
	w.Follow("main .primary")
	w.wantText("Nothing was lost.")
}

// loseTheGatewaysCookie ends the gateway's session as its timeout would.
func (w *wiki) loseTheGatewaysCookie() {
	w.t.Helper()
	w.Do("losing the gateway's cookie", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: "sallyport", URL: w.URL})
		return chromedp.Void{}, err
	})
}

// signInAgain passes the gateway's pages.
func (w *wiki) signInAgain() {
	w.t.Helper()
	w.GivePassword("alice", harness.Password)
	w.GiveRecoveryCode(w.app.phone.RecoveryCode())
}

// find waits until the wiki, which keeps its index up to date behind the pages that people look at, finds a page.
func (w *wiki) find(words, want string) {
	w.t.Helper()
	harness.Eventually(w.t, "the search finds the page", func() bool {
		w.Visit(w.path + "doku.php?id=start&do=search&q=" + words)
		return strings.Contains(w.Text("#dokuwiki__content"), want)
	})
}

// leaveByTheWiki signs out of the wiki, and finds itself signed out of the gateway.
func (w *wiki) leaveByTheWiki() {
	w.t.Helper()
	w.Follow("#dokuwiki__usertools .logout a")
	w.signInAgain()
	w.wantStranger()
}

// leaveByTheGateway signs out of the gateway, and finds itself signed out of the wiki.
func (w *wiki) leaveByTheGateway() {
	w.t.Helper()
	w.SignOut()
	w.Visit(w.path)
	w.signInAgain()
	w.wantStranger()
}
