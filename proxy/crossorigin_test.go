package proxy

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

const neighbour = "Origin: http://shop.example.com"

// background is a request that a script makes, with a session.
func background(method string, headers ...string) string {
	return request(method, "/app/x?y=1", append([]string{aliceOne, "Content-Length: 0"}, headers...)...)
}

// methods gives the methods of the requests that came, in their order.
func (j *journal) methods() (all []string) {
	for _, q := range j.all() {
		all = append(all, strings.Split(q.line, " ")[0])
	}
	return all
}

// answering is an app that answers every preflight with these lines, and everything else with "ok".
func answering(preflight string) func(net.Conn, *bufio.Reader, received) {
	return func(conn net.Conn, _ *bufio.Reader, q received) {
		if strings.HasPrefix(q.line, "OPTIONS ") {
			io.WriteString(conn, preflight)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

func head(all ...string) string { return strings.Join(all, "\r\n") + "\r\n\r\n" }

const (
	allowNeighbour = "Access-Control-Allow-Origin: http://shop.example.com"
	allowCookies   = "Access-Control-Allow-Credentials: true"
)

func TestAScriptOfAnotherOriginChangesOnlyWhatTheAppLetsIt(t *testing.T) {
	const ok, noContent = "HTTP/1.1 200 OK", "HTTP/1.1 204 No Content"
	for _, c := range []struct {
		name, method, answer string
		want                 int
	}{
		{"an app that lets it", "PUT", head(noContent, allowNeighbour, allowCookies, "Access-Control-Allow-Methods: GET, PUT"), 200},
		{"an app that lets it and says more", "POST", head(ok, allowNeighbour, allowCookies, "Content-Length: 4") + "fine", 200},
		{"an app whose answer never ends", "POST", head(ok, allowNeighbour, allowCookies, "Content-Type: text/event-stream"), 200},
		{"an app that knows nothing of origins", "POST", head(ok, "Content-Length: 2") + "ok", 403},
		{"another method", "DELETE", head(noContent, allowNeighbour, allowCookies, "Access-Control-Allow-Methods: PUT"), 403},
		{"a method in other letters", "PUT", head(noContent, allowNeighbour, allowCookies, "Access-Control-Allow-Methods: put, *"), 403},
		{"another origin", "POST", head(noContent, "Access-Control-Allow-Origin: http://wiki.example.com", allowCookies), 403},
		{"any origin, so no cookies", "POST", head(noContent, "Access-Control-Allow-Origin: *", allowCookies), 403},
		{"an origin twice", "POST", head(noContent, allowNeighbour, allowNeighbour, allowCookies), 403},
		{"no cookies", "POST", head(noContent, allowNeighbour), 403},
		{"an app that has no such page", "POST", head("HTTP/1.1 404 Not Found", allowNeighbour, allowCookies, "Content-Length: 0"), 403},
		{"an app that answers garbage", "POST", "garbage\r\n\r\n", 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newJournal(t, answering(c.answer))
			res, _ := send(t, start(t, options(fixture(app.url))), background(c.method, neighbour, "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-site"))
			if res.StatusCode != c.want {
				t.Errorf("got %s, want %d", describe(res), c.want)
			}
			want := []string{"OPTIONS"}
			if c.want == 200 {
				want = append(want, c.method)
			}
			if got := app.methods(); !slices.Equal(got, want) {
				t.Errorf("the app saw %v, want %v", got, want)
			}
		})
	}
}

func TestTheGatewaysPreflightSaysWhoAsksAndCarriesNoCookie(t *testing.T) {
	app := newJournal(t, nil)
	send(t, start(t, options(fixture(app.url))), background("PATCH", neighbour, "Cookie: app=1", "Remote-User: eve", "Sec-Fetch-Mode: cors", "X-Csrf: 1"))
	q := app.only(t)
	if q.line != "OPTIONS /app/x?y=1 HTTP/1.1" || q.body != "" || len(q.values("Cookie"))+len(q.values("X-Csrf")) != 0 {
		t.Errorf("the app was asked %q", q)
	}
	for name, want := range map[string]string{"Origin": "http://shop.example.com", "Access-Control-Request-Method": "PATCH", "Remote-User": "alice", "Host": "app.example.com"} {
		if got := q.values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTheAppIsNotAskedAboutWhatBrowsersDoNotAskAbout(t *testing.T) {
	for name, raw := range map[string]string{
		"reading":                         background("GET", neighbour, "Sec-Fetch-Mode: cors"),
		"a page of the same origin":       background("PUT", "Origin: http://app.example.com", "Sec-Fetch-Mode: cors"),
		"the same origin, says it":        background("PUT", "Origin: https://front.example.com", "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-origin"),
		"a form":                          background("POST", neighbour, "Sec-Fetch-Mode: navigate"),
		"an image or a beacon":            background("POST", neighbour, "Sec-Fetch-Mode: no-cors"),
		"a form of a browser that is old": background("POST", neighbour, "Accept: text/html,*/*;q=0.8"),
		"a program":                       background("DELETE"),
		"an access token":                 request("PUT", "/app/x?y=1", "Authorization: Bearer alice-1", "Content-Length: 0", neighbour, "Sec-Fetch-Mode: cors"),
		"a path that asks nobody":         request("PUT", "/public/x", "Content-Length: 0", neighbour, "Sec-Fetch-Mode: cors"),
	} {
		app := newJournal(t, nil)
		if res, _ := send(t, start(t, options(fixture(app.url))), raw); res.StatusCode != 200 {
			t.Errorf("%s: %s", name, describe(res))
		}
		if strings.HasPrefix(app.only(t).line, "OPTIONS") {
			t.Errorf("%s: the app was asked", name)
		}
	}
}

func TestAPreflightWithoutASessionNeverReachesAnApp(t *testing.T) {
	app := newJournal(t, nil)
	addr := start(t, options(fixture(app.url)))
	for _, path := range []string{"/app/x", "/secret/x", "/closed"} {
		send(t, addr, request("OPTIONS", path, neighbour, "Access-Control-Request-Method: GET"))
	}
	app.empty(t)
}
