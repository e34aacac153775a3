package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestAReplacementLeftOpenAsksForASecondFactorAgain(t *testing.T) {
	f := startForms(t, "", "two_factor: { fresh_for: 1h }")
	c := f.browser()
	f.signIn(c, "alice")
	secret := f.expect(c, "POST", "/auth/2fa/setup", "", "", 200)["secret"].(string)
	f.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, f.code(secret, 0)), "", 200)
	next := f.expect(c, "POST", "/auth/2fa/setup", "", "", 200)["secret"].(string)
	f.freshFor("1ns")
	code := f.code(next, 0)
	answer := f.expect(c, "POST", "/auth/2fa/verify-setup", fmt.Sprintf(`{"token":%q}`, code), "", 403)
	if answer["code"] != "REAUTH_REQUIRED" {
		t.Errorf("the program is told %v", answer)
	}
	form := url.Values{"code": {code}, "rd": {"/auth/account"}}.Encode()
	status, location := f.post(c, "/auth/enroll", urlencoded, form)
	if want := "/auth/2fa?rd=%2Fauth%2Fenroll%3Frd%3D%252Fauth%252Faccount"; status != http.StatusSeeOther || location != want {
		t.Errorf("the person is sent to %q with %d, want %q", location, status, want)
	}
	f.freshFor("1h")
	if status, location = f.post(c, "/auth/enroll", urlencoded, form); status != http.StatusSeeOther || location != "/auth/recovery-codes" {
		t.Errorf("while it is fresh: %d to %q", status, location)
	}
}

// freshFor has the gateway take another fresh_for over.
func (f *forms) freshFor(d string) {
	f.Helper()
	raw, err := os.ReadFile(f.file("config.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	settings, _, _ := strings.Cut(string(raw), "two_factor:")
	f.write("config.yaml", settings+"two_factor: { fresh_for: "+d+" }\n")
	f.server.reload(f.Context())
}
