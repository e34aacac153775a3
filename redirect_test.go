package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"sallyport/config"
)

// plain sends a request to the redirecting port, and returns status, Location and body.
func (a *app) plain(request string) (status, location, body string) {
	a.Helper()
	conn, err := net.Dial("tcp", a.server.redirectListener.Addr().String())
	if err != nil {
		a.Fatal(err)
	}
	defer conn.Close()
	head, body := a.exchange(conn, request)
	status = strings.TrimPrefix(head, "HTTP/1.1 ")[:3]
	if found := regexp.MustCompile(`(?m)^Location: (.*)\r$`).FindStringSubmatch(head); found != nil {
		location = found[1]
	}
	if strings.Contains(head, "Strict-Transport-Security") {
		a.Errorf("%q is answered with Strict-Transport-Security, which has no meaning over http:\n%s", request, head)
	}
	return status, location, body
}

func TestPlainHTTPLeadsToHTTPSOfOurOwnHostsAndNowhereElse(t *testing.T) {
	a := startTLSApp(t)
	cases := []struct{ request, host, status, location string }{
		{"GET /wiki/x?y=1&z=%2F", "apps.example.com", "308", "https://apps.example.com/wiki/x?y=1&z=%2F"},
		{"HEAD /", "apps.example.com", "308", "https://apps.example.com/"},
		{"GET /", "Wiki.Example.com.", "308", "https://wiki.example.com/"},
		{"GET /", "wiki.example.com:80", "308", "https://wiki.example.com/"},
		{"GET /", "[2001:db8::1]", "308", "https://[2001:db8::1]:8443/"},
		{"GET /", "[2001:db8::1]:80", "308", "https://[2001:db8::1]:8443/"},
		{"GET //evil.example/x", "apps.example.com", "308", "https://apps.example.com//evil.example/x"},
		{"GET /.well-known/acme-challenge/token", "apps.example.com", "308", "https://apps.example.com/.well-known/acme-challenge/token"},
		{"GET http://apps.example.com/x", "evil.example", "308", "https://apps.example.com/x"}, // RFC 9112 section 3.2.2: the target counts

		{"GET /", "evil.example", "404", ""},
		{"GET /", "apps.example.com.evil.example", "404", ""},
		{"GET /", "apps.example.com@evil.example", "400", ""},
		{"GET /", "", "400", ""},
		{"GET http://evil.example/x", "apps.example.com", "404", ""},
		{"GET /", "evil.example\r\nX-Forwarded-Host: apps.example.com", "404", ""},

		{"POST /auth/login", "apps.example.com", "403", ""},
		{"PUT /", "apps.example.com", "403", ""},
		{"OPTIONS /", "apps.example.com", "403", ""},
		{"POST /", "evil.example", "403", ""},
		{"CONNECT apps.example.com:443", "apps.example.com:443", "405", ""},
		{"TRACE /", "apps.example.com", "405", ""},
	}
	for _, c := range cases {
		t.Run(c.request+" at "+c.host, func(t *testing.T) {
			status, location, _ := a.plain(c.request + " HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")
			if status != c.status || location != c.location {
				t.Errorf("%s to %q, want %s to %q", status, location, c.status, c.location)
			}
		})
	}
}

func TestAPasswordSentInTheOpenIsNotTakenForDelivered(t *testing.T) {
	const form = "username=alice&password=hunter2"
	status, _, body := startTLSApp(t).plain(fmt.Sprintf(
		"POST /auth/login HTTP/1.1\r\nHost: apps.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form))
	if status != "403" || !strings.Contains(body, "Nothing was done") || !strings.Contains(body, "change that") {
		t.Errorf("%s: %s", status, body)
	}
}

func TestTheAuthorityOfAHostHasThePortThatBrowsersNeed(t *testing.T) {
	folder := t.TempDir()
	a := app{T: t, folder: folder}
	a.write("config.yaml", `
server: { public_url: "https://apps.example.com:8443" }
upstreams:
  - { hosts: [apps.example.com, wiki.example.com, "shop.example.com:9443", "shop.example.com:9444", "[2001:db8::1]"], url: "http://127.0.0.1:3000" }
`)
	cfg, err := config.Load(a.file("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"apps.example.com": "apps.example.com:8443", "wiki.example.com": "wiki.example.com:8443",
		"shop.example.com": "shop.example.com:9443", "2001:db8::1": "[2001:db8::1]:8443",
	}
	if got := httpsAuthorities(cfg); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
