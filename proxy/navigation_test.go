package proxy

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAPageLoadIsToldFromOtherRequests(t *testing.T) {
	const browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
	cases := []struct {
		name, method string
		headers      []string
		want         bool
	}{
		{"a browser's navigation", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", browser}, true},
		{"in a frame", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, true},
		{"by HEAD", "HEAD", []string{"Sec-Fetch-Mode: navigate"}, true},
		{"a form", "POST", []string{"Sec-Fetch-Mode: navigate", browser}, false},
		{"a script's fetch that accepts HTML", "GET", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", browser}, false},
		{"an image", "GET", []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, false},
		{"a browser that names the site alone", "GET", []string{"Sec-Fetch-Site: same-origin", browser}, false},
		{"an old browser", "GET", []string{browser}, true},
		{"an old browser's script", "GET", []string{browser, "X-Requested-With: XMLHttpRequest"}, false},
		{"the same in lower case", "GET", []string{browser, "X-Requested-With: xmlhttprequest"}, false},
		{"an app in a web view", "GET", []string{browser, "X-Requested-With: com.example.app"}, true},
		{"curl", "GET", []string{"Accept: */*"}, false},
		{"a program without Accept", "GET", nil, false},
		{"a program that wants JSON", "GET", []string{"Accept: application/json"}, false},
		{"HTML in capitals with parameters", "GET", []string{"Accept: application/json, TEXT/HTML ; charset=utf-8; q=0.1"}, true},
		{"HTML on a second line", "GET", []string{"Accept: application/json", "Accept: text/html"}, true},
		{"HTML refused", "GET", []string{"Accept: text/html;q=0, */*"}, false},
		{"HTML with a weight that is none", "GET", []string{"Accept: text/html;q=NaN"}, false},
		{"HTML inside a quoted string", "GET", []string{`Accept: a/b;c="x,text/html,y"`}, false},
		{"a name that only begins like it", "GET", []string{"Accept: text/htmlx"}, false},
		{"a WebSocket", "GET", []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-Fetch-Mode: navigate", browser}, false},
	}
	for _, c := range cases {
		r := httptest.NewRequest(c.method, "/", nil)
		for _, h := range c.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Add(name, value)
		}
		if got := PageLoad(r); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzPageLoad(f *testing.F) {
	f.Add("text/html", "")
	f.Add(`a/b;c="x\",text/html";q=0.5, text/html;q=1.1`, "navigate")
	f.Fuzz(func(t *testing.T, accept, mode string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = []string{accept}
		if mode != "" {
			r.Header["Sec-Fetch-Mode"] = []string{mode}
		}
		got := PageLoad(r)
		if mode != "" && got != (mode == "navigate") {
			t.Errorf("Sec-Fetch-Mode %q: got %v", mode, got)
		}
		if mode == "" && got && !strings.Contains(strings.ToLower(accept), "text/html") {
			t.Errorf("Accept %q does not name HTML", accept)
		}
		r.Method = "POST"
		if PageLoad(r) {
			t.Error("a POST is taken for a page load")
		}
	})
}
