package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheListenerSpeaksHTTP2WithoutTLS(t *testing.T) {
	a := startApp(t, "")
	client := &http.Transport{Protocols: new(http.Protocols)}
	client.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(client.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.url+"/auth/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		t.Errorf("got %s by %s, want 200 by HTTP/2", res.Status, res.Proto)
	}
}

func TestTheSettingsOfAnUpstreamReachIt(t *testing.T) {
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://"+r.Host+"/next")
		w.WriteHeader(http.StatusSeeOther)
		io.WriteString(w, r.URL.Path+" "+r.Header.Get("X-Tag"))
	}))
	t.Cleanup(backend.Close)
	a := startApp(t, `  - path: /legacy
    url: `+backend.URL+`
    preserve_host: false
    strip_path: true
    max_body_size: 10B
    tls: { insecure_skip_verify: true }
    request_headers: { set: { X-Tag: gate } }
    access: { policy: bypass }
`)
	if log := a.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "key=upstreams[1].tls.insecure_skip_verify") {
		t.Errorf("the log does not warn of the certificate that nobody verifies:\n%s", log)
	}
	res, err := a.browser().Get(a.url + "/legacy/page")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if want := a.url + "/legacy/next"; err != nil || string(body) != "/page gate" || res.Header.Get("Location") != want {
		t.Errorf("the upstream saw %q, %v; the browser is sent to %s, want %s", body, err, res.Header.Get("Location"), want)
	}
	if answer := a.expect(a.browser(), "POST", "/legacy/page", "more than ten", "", http.StatusRequestEntityTooLarge); answer["code"] != "INVALID_REQUEST" {
		t.Errorf("a body that is too long: %v", answer)
	}
}
