package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

// answering is the address of an upstream that gives every request the same bytes and hangs up; none: it never says
// anything.
func answering(t *testing.T, raw string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				if raw == "" {
					io.Copy(io.Discard, c) // until the gateway has had enough
				}
				io.WriteString(c, raw) // an error is the gateway's, that need not hear all of it
			}()
		}
	}()
	return listener.Addr().String()
}

func TestAnUpstreamsFaultShowsNothingOfIt(t *testing.T) {
	endless := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1012)+"\r\n", 10<<10) + "\r\n" // 10 MiB
	faults := []struct {
		name, address string
		status        int
		timeouts      string
	}{
		{"gone", harness.FreeAddress(t), 502, ""},
		{"garbage", answering(t, "this is not HTTP\r\n\r\n"), 502, ""},
		{"broken", answering(t, "HTTP/1.1 200 OK\r\nContent-Type: text/ht"), 502, ""},
		{"endless", answering(t, endless), 502, ""},
		{"stuck", stuckAddress(t), 504, "connect: 1s"},
		{"silent", answering(t, ""), 504, "first_byte: 1s"},
	}
	var upstreams strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&upstreams, "  - { name: app-%[1]s, path: /%[1]s, url: \"http://%[2]s\", access: { policy: bypass }, timeouts: { %[3]s } }\n",
			f.name, f.address, f.timeouts)
	}
	g := harness.StartGateway(t, harness.Settings{Upstreams: upstreams.String()})
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			program, page := g.Client().Get("/"+f.name+"/x"), g.Client().Page("/"+f.name+"/x")
			for _, a := range []harness.Answer{program.Want(f.status), page.Want(f.status)} {
				shown := fmt.Sprint(a.Header) + a.Body
				for _, secret := range []string{f.address, "127.0.0.1", "app-" + f.name, "X-Filler", "not HTTP", "dial", "goroutine", "refused", "malformed"} {
					if strings.Contains(shown, secret) {
						t.Errorf("%s: the answer holds %q: %s", a.What, secret, shown)
					}
				}
			}
			number := regexp.MustCompile(`<h1>(?s:.*)<code>(\w{10})</code>`).FindStringSubmatch(page.Body)
			if number == nil {
				t.Fatalf("a page load gets no page with a number to quote: %s", page.Body)
			}
			for _, id := range []string{program.Text("requestId"), number[1]} {
				said, line := regexp.MustCompile(`.* level=WARN .*request_id=`+id+`.*\n`), ""
				harness.Eventually(t, "the log speaks of the request "+id, func() bool {
					line = said.FindString(g.Log())
					return line != ""
				})
				if !strings.Contains(line, "upstream=app-"+f.name) || !strings.Contains(line, fmt.Sprintf("status=%d", f.status)) {
					t.Errorf("the log says of the request %s: %q", id, line)
				}
			}
		})
	}
}
