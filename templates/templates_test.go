package templates

import (
	"html"
	"html/template"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/static"
)

// pages are the zero values of every page's data.
var pages = map[string]any{
	LoginPage:         Login{},
	ChallengePage:     Challenge{},
	EnrollPage:        Enroll{},
	RecoveryCodesPage: RecoveryCodes{},
	AccountPage:       Account{},
	LogoutPage:        Logout{},
	SignedInPage:      SignedIn{},
	KeptPage:          Kept{},
	AppPasswordPage:   AppPassword{},
	ErrorPage:         Error{},
}

// tag is one start tag of a rendered page.
type tag struct {
	name  string
	attrs map[string]string
}

var (
	parsed    = template.Must(Parse())
	startTag  = regexp.MustCompile(`<([a-zA-Z][a-zA-Z0-9]*)((?:[^<>"]|"[^"]*")*)>`)
	attribute = regexp.MustCompile(`([^\s="/]+)(?:="([^"]*)")?`)
	titleText = regexp.MustCompile(`(?s)<title>(.*?)</title>`)
)

func tags(page string) []tag {
	var found []tag
	for _, m := range startTag.FindAllStringSubmatch(page, -1) {
		t := tag{name: m[1], attrs: map[string]string{}}
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			t.attrs[a[1]] = html.UnescapeString(a[2])
		}
		found = append(found, t)
	}
	return found
}

// fill sets every string below v to text, every bool to yes, and gives every list two elements.
// Trusted types such as template.URL stay as they are: they are the caller's promise.
func fill(v reflect.Value, text string, yes bool) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(text)
		}
	case reflect.Bool:
		v.SetBool(yes)
	case reflect.Int:
		v.SetInt(2)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), text, yes)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text, yes)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text, yes)
		}
	}
}

// variants gives the data of a page with every text set: all choices off, all on, and each one alone turned over.
func variants(zero any, text string) []any {
	build := func(yes bool, flip int) any {
		v := reflect.New(reflect.TypeOf(zero)).Elem()
		fill(v, text, yes)
		if flip >= 0 {
			v.Field(flip).SetBool(!yes)
		}
		return v.Interface()
	}
	all := []any{build(false, -1), build(true, -1)}
	for i := range reflect.TypeOf(zero).NumField() {
		if reflect.TypeOf(zero).Field(i).Type.Kind() == reflect.Bool {
			all = append(all, build(false, i), build(true, i))
		}
	}
	return all
}

func render(t *testing.T, page string, data any) string {
	t.Helper()
	var b strings.Builder
	if err := parsed.ExecuteTemplate(&b, page, data); err != nil {
		t.Fatalf("rendering %s: %v", page, err)
	}
	return b.String()
}

// rendered is every page with nothing in it and in every variant.
func rendered(t *testing.T, text string) map[string][]string {
	all := map[string][]string{}
	for page, zero := range pages {
		for _, data := range append(variants(zero, text), zero) {
			all[page] = append(all[page], render(t, page, data))
		}
	}
	return all
}

func TestEveryTemplateFileIsAPageWithATest(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := pages[e.Name()]; !ok && e.Name() != "layout.html" {
			t.Errorf("%s is not in the list of pages", e.Name())
		}
	}
	if len(entries) != len(pages)+1 {
		t.Errorf("%d files for %d pages and the layout", len(entries), len(pages))
	}
}

// A text that could leave its place would change the tags or attributes around it.
func TestMarkupInAnyFieldStaysText(t *testing.T) {
	shape := func(page string) (s []string) {
		for _, tg := range tags(page) {
			var names []string
			for name := range tg.attrs {
				names = append(names, name)
			}
			slices.Sort(names)
			s = append(s, tg.name+" "+strings.Join(names, " "))
		}
		return s
	}
	for _, hostile := range []string{`"><script>alert(1)</script>`, `' onclick=alert(1) x='`, `</title></textarea><img src=x onerror=alert(1)>`, `" autofocus onfocus="alert(1)`, "{{.Secret}}<!--", "`${alert(1)}`"} {
		harmless, attacked := rendered(t, "x"), rendered(t, hostile)
		for page := range pages {
			for i := range harmless[page] {
				if want, got := shape(harmless[page][i]), shape(attacked[page][i]); !slices.Equal(want, got) {
					t.Errorf("%s, variant %d: %q changed the tags", page, i, hostile)
				}
			}
		}
	}
}

func TestNoLinkRunsScript(t *testing.T) {
	for page, all := range rendered(t, "javascript:alert(1)") {
		for _, out := range all {
			for _, tg := range tags(out) {
				for _, name := range []string{"href", "src", "action"} {
					if strings.HasPrefix(strings.ToLower(strings.TrimSpace(tg.attrs[name])), "javascript:") {
						t.Errorf("%s: <%s %s=%q>", page, tg.name, name, tg.attrs[name])
					}
				}
			}
		}
	}
}

func TestNothingIsInlineThatTheContentSecurityPolicyForbids(t *testing.T) {
	for page, all := range rendered(t, "/x") {
		for _, out := range all {
			for _, tg := range tags(out) {
				for name := range tg.attrs {
					if name == "style" || strings.HasPrefix(name, "on") {
						t.Errorf("%s: <%s> has the attribute %s", page, tg.name, name)
					}
				}
				if tg.name == "style" || tg.name == "base" || tg.name == "script" && tg.attrs["src"] == "" {
					t.Errorf("%s: inline <%s>", page, tg.name)
				}
			}
		}
	}
}

func TestEveryReferenceStaysOnTheGatewayAndEveryAssetResolves(t *testing.T) {
	const prefix = "/auth/static/"
	for page, zero := range pages {
		v := reflect.New(reflect.TypeOf(zero)).Elem()
		fill(v, "x", true)
		base := v.FieldByName("Base").Addr().Interface().(*Base)
		base.AuthPath = "/auth"
		base.CSS, base.JS, base.Icon = prefix+static.Asset("app.css"), prefix+static.Asset("app.js"), prefix+static.Asset("favicon.svg")
		assets := 0
		for _, tg := range tags(render(t, page, v.Interface())) {
			for _, name := range []string{"href", "src", "action"} {
				ref := tg.attrs[name]
				if strings.Contains(ref, "://") || strings.HasPrefix(ref, "//") {
					t.Errorf("%s: <%s %s=%q> leads elsewhere", page, tg.name, name, ref)
				}
				if asset, ok := strings.CutPrefix(ref, prefix); ok {
					assets++
					if _, _, ok := static.Open(asset); !ok {
						t.Errorf("%s: %s is not an asset", page, ref)
					}
				}
			}
		}
		if assets != 3 {
			t.Errorf("%s refers to %d assets, want style sheet, script and icon", page, assets)
		}
	}
}

func TestEveryPageIsADocumentThatAssistiveTechnologyCanRead(t *testing.T) {
	for page, all := range rendered(t, "x") {
		for _, out := range all {
			count, ids := map[string]int{}, map[string]bool{}
			for _, tg := range tags(out) {
				count[tg.name]++
				if tg.name == "html" && tg.attrs["lang"] == "" {
					t.Errorf("%s has no language", page)
				}
				if id := tg.attrs["id"]; id != "" {
					if ids[id] {
						t.Errorf("%s: two elements have the id %q", page, id)
					}
					ids[id] = true
				}
			}
			if count["h1"] != 1 || count["main"] != 1 || count["header"] != 1 || count["title"] != 1 {
				t.Errorf("%s: h1, main, header, title = %d, %d, %d, %d; want one of each", page, count["h1"], count["main"], count["header"], count["title"])
			}
			if m := titleText.FindStringSubmatch(out); m == nil || strings.TrimSpace(m[1]) == "" {
				t.Errorf("%s has no title", page)
			}
			checkReferences(t, page, out, ids)
		}
	}
}

// checkReferences holds that whatever names another element's id names one that is there, and that every
// field of a form has a label.
func checkReferences(t *testing.T, page, out string, ids map[string]bool) {
	t.Helper()
	labelled := map[string]bool{}
	for _, tg := range tags(out) {
		labelled[tg.attrs["for"]] = true
		for _, name := range []string{"for", "aria-describedby", "aria-labelledby", "data-copy", "data-download", "data-reveal"} {
			for id := range strings.FieldsSeq(tg.attrs[name]) {
				if !ids[id] {
					t.Errorf("%s: <%s %s=%q> names no element of the page", page, tg.name, name, id)
				}
			}
		}
	}
	for _, tg := range tags(out) {
		_, hidden := tg.attrs["hidden"]
		if tg.name == "input" && tg.attrs["type"] != "hidden" && !hidden && !labelled[tg.attrs["id"]] {
			t.Errorf("%s: the field %q has no label", page, tg.attrs["name"])
		}
	}
}

func TestFormsPostTheFieldsOfTheContract(t *testing.T) {
	base := Base{AuthPath: "/auth"}
	for _, c := range []struct {
		name, page string
		data       any
		want       []string
	}{
		{"signing in", LoginPage, Login{Base: base, ReturnTo: "/wiki", OfferRemember: true}, []string{"/auth/login rd username password remember"}},
		{"signing in, with no choice to be remembered", LoginPage, Login{Base: base}, []string{"/auth/login username password"}},
		{"second factor", ChallengePage, Challenge{Base: base, ReturnTo: "/wiki"}, []string{"/auth/2fa rd code", "/auth/2fa rd code"}},
		{"enrolment", EnrollPage, Enroll{Base: base}, []string{"/auth/enroll code"}},
		{"enrolment by invitation", EnrollPage, Enroll{Base: base, NeedInvite: true, ReturnTo: "/wiki"}, []string{"/auth/enroll rd invite code"}},
		{"recovery codes", RecoveryCodesPage, RecoveryCodes{Base: base}, []string{"/auth/recovery-codes"}},
		{"account with a fresh second factor", AccountPage, Account{Base: base, TOTP: true, Fresh: true, CanChangePassword: true, Sessions: []SessionRow{{Handle: "a", Current: true}, {Handle: "b"}}}, []string{
			"/auth/account/recovery-codes", "/auth/account/disable-2fa", "/auth/account/password username currentPassword newPassword", "/auth/account/revoke handle", "/auth/account/revoke-others"}},
		{"account where policy demands two factors", AccountPage, Account{Base: base, TOTP: true, Fresh: true, Required: true}, []string{"/auth/account/recovery-codes"}},
		{"account whose second factor is stale", AccountPage, Account{Base: base, TOTP: true}, nil},
		{"account without a second factor", AccountPage, Account{Base: base, Fresh: true}, nil},
		{"signing out", LogoutPage, Logout{Base: base}, []string{"/auth/logout"}},
		{"kept forms", KeptPage, Kept{Base: base, Posts: []KeptPost{{Action: `action="/a?b=(c)&amp;d"`}, {Action: `action="/e"`}}}, []string{
			"/a?b=(c)&d sallyport_kept", "/auth/kept token", "/e sallyport_kept", "/auth/kept token"}},
		{"the password of an app", AppPasswordPage, AppPassword{Base: base, App: "wiki", Username: "alice", ReturnTo: "/wiki"}, []string{"/auth/app-password rd app  password"}},
		{"no kept form", KeptPage, Kept{Base: base}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, tg := range tags(render(t, c.page, c.data)) {
				switch {
				case tg.name == "form" && tg.attrs["method"] != "post":
					t.Errorf("the form to %s is sent by %q", tg.attrs["action"], tg.attrs["method"])
				case tg.name == "form":
					got = append(got, tg.attrs["action"])
				case tg.name == "input":
					got[len(got)-1] += " " + tg.attrs["name"]
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("forms = %q, want %q", got, c.want)
			}
		})
	}
}

func TestAStaleSecondFactorIsSentToConfirmAndBack(t *testing.T) {
	out := render(t, AccountPage, Account{Base: Base{AuthPath: "/auth"}, TOTP: true})
	var paths []string
	for _, tg := range tags(out) {
		u, err := url.Parse(tg.attrs["href"])
		if err != nil {
			t.Errorf("a link does not parse: %v", err)
			continue
		}
		paths = append(paths, u.Path+" "+u.Query().Get("rd"))
	}
	if !slices.Contains(paths, "/auth/2fa /auth/account") {
		t.Errorf("no link leads to /auth/2fa and back to the account: %q", paths)
	}
	if slices.Contains(paths, "/auth/enroll ") {
		t.Error("the page offers to replace the authenticator, which would be refused")
	}
}

func TestTheSecretAndItsPictureAreShownAsGiven(t *testing.T) {
	out := render(t, EnrollPage, Enroll{QRCode: "data:image/png;base64,AAAA", OtpauthURL: "otpauth://totp/a:b?secret=JBSW", Secret: "JBSW Y3DP", SecretPlain: "JBSWY3DP"})
	for _, tg := range tags(out) {
		if tg.name == "img" && tg.attrs["src"] != "data:image/png;base64,AAAA" {
			t.Errorf("the picture is %q", tg.attrs["src"])
		}
	}
	for _, want := range []string{`src="data:image/png;base64,AAAA"`, `href="otpauth://totp/a:b?secret=JBSW"`, `data-plain="JBSWY3DP"`, `>JBSW Y3DP</p>`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestRecoveryCodesKeepTheirOrderAndAreSaidToBeShownOnce(t *testing.T) {
	out := render(t, RecoveryCodesPage, RecoveryCodes{Base: Base{AuthPath: "/auth"}, Codes: []string{"aaaa-bbbb", "cccc-dddd"}})
	for _, want := range []string{"<li>aaaa-bbbb</li>\n<li>cccc-dddd</li>", "only time", "works once", `action="/auth/recovery-codes"`, `data-file="recovery-codes.txt"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestWhatWentWrongIsAnnouncedAndNamedInTheTitle(t *testing.T) {
	for _, page := range []string{LoginPage, ChallengePage, EnrollPage, AccountPage, LogoutPage, KeptPage, AppPasswordPage} {
		v := reflect.New(reflect.TypeOf(pages[page])).Elem()
		v.FieldByName("Base").Set(reflect.ValueOf(Base{Error: "That did not match."}))
		out := render(t, page, v.Interface())
		if !strings.Contains(out, `id="error" role="alert"`) || !strings.Contains(out, "<p>That did not match.</p>") {
			t.Errorf("%s does not announce its error", page)
		}
		if m := titleText.FindStringSubmatch(out); m == nil || !strings.HasPrefix(m[1], "Error: ") {
			t.Errorf("%s: the title does not say that something is wrong: %q", page, m)
		}
	}
}

func TestOtherSessionsCanBeEndedAndThisOneIsMarked(t *testing.T) {
	out := render(t, AccountPage, Account{Sessions: []SessionRow{
		{Handle: "mine", Device: "Firefox on Linux", Current: true, LastActiveAt: Moment{Text: "today", ISO: "2026-11-23T14:40:00Z"}},
		{Handle: "other", Device: "Safari on iPhone", Kind: "browser"},
	}})
	if strings.Contains(out, `value="mine"`) || !strings.Contains(out, `name="handle" value="other"`) {
		t.Error("want a button to end the other session, and none for the one in use")
	}
	if !strings.Contains(out, `<time datetime="2026-11-23T14:40:00Z">today</time>`) {
		t.Error("the time of last use is not marked up")
	}
}
