package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/authflow/session"
)

// asserting is the fixture with assertions, in a form that a test can read.
func asserting(to *url.URL) Options {
	o := options(fixture(to))
	o.Upstreams[0].Assertion = true
	o.Identify = identifySubject
	o.Assert = func(id *session.Identity, upstream string) (string, error) {
		if id.Username == "root" {
			return "", errors.New("no key signs")
		}
		return upstream + "." + id.Username, nil
	}
	return o
}

// identifySubject is identify with the subject, which an assertion names.
func identifySubject(r *http.Request) (*session.Identity, error) {
	id, err := identify(r)
	if id == nil {
		return nil, err
	}
	with := *id
	with.Subject = "file:" + id.Username
	return &with, err
}

var forgedAssertions = []string{"X-Sallyport-Assertion: forged", "x-sallyport-assertion: forged", "X_Sallyport_Assertion: forged", "X-Sallyport.Assertion-: forged"}

func TestAnAssertionIsTheGatewaysOrNobodys(t *testing.T) {
	for _, forged := range forgedAssertions {
		for _, c := range []struct {
			path, who string
			want      []string
		}{
			{"/app/x", aliceOne, []string{"app.alice"}},
			{"/app/x", rootTwo, []string{""}}, // which cannot be signed for, so that the app takes nobody for anybody
			{"/public/x", aliceOne, nil},
		} {
			j := newJournal(t, nil)
			if res, _ := send(t, start(t, asserting(j.url)), get(c.path, c.who, forged)); res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", c.path, describe(res))
			}
			q := j.only(t)
			if got := q.values(headerAssertion); !slices.Equal(got, c.want) {
				t.Errorf("%s of %s with %q: the app was sent %q, want %q", c.path, c.who, forged, got, c.want)
			}
			for _, line := range q.headers {
				if strings.Contains(line, "forged") {
					t.Errorf("the app was sent %q", line)
				}
			}
		}
	}
}

func TestAnAppThatAsksForNoAssertionIsSentNone(t *testing.T) {
	for _, forged := range forgedAssertions {
		j := newJournal(t, nil)
		send(t, start(t, options(fixture(j.url))), get("/app/x", aliceOne, forged))
		for _, line := range j.only(t).headers {
			if strings.Contains(line, "forged") || strings.HasPrefix(line, headerAssertion) {
				t.Errorf("with %q the app was sent %q", forged, line)
			}
		}
	}
}

func TestAFrontProxyIsGivenAnAssertionAndAnEmptyOneWhereThereIsNone(t *testing.T) {
	for who, want := range map[string]string{aliceTwo: "app.alice", rootTwo: "", "X-Harmless: 1": ""} {
		addr := startAuthz(t, func(o *Options) {
			with := asserting(nil)
			o.Assert, o.Identify, o.Upstreams[0].Assertion = with.Assert, with.Identify, true
		})
		eachAsk(t, func(t *testing.T, ask func(string, string, ...string) string) {
			path := "/app/x"
			if want == "" && who != rootTwo {
				path = "/public/x"
			}
			res, _ := send(t, addr, ask("GET", path, who))
			if got := res.Header[headerAssertion]; res.StatusCode != http.StatusOK || !slices.Equal(got, []string{want}) {
				t.Errorf("%q: %s and %q, want one assertion, %q", who, describe(res), got, want)
			}
		})
	}
}
