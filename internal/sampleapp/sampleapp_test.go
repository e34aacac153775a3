package sampleapp

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func get(h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func post(h http.Handler, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/holidays", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryPageIsShown(t *testing.T) {
	h := Handler()
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/", 200, "Notice board"},
		{"/stock", 200, "Copier paper"},
		{"/stock?q=TONER", 200, "TO-3306"},
		{"/stock?q=%3Cb%3E", 200, "Nothing found for “&lt;b&gt;”"},
		{"/holidays", 200, "J. Fielding"},
		{"/headers", 200, "did not say who you are"},
		{"/nowhere", 404, "no such page"},
	} {
		w := get(h, c.path, nil)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("GET %s = %d, want %d and %q in:\n%s", c.path, w.Code, c.status, c.want, w.Body)
		}
	}
	if strings.Contains(get(h, "/stock?q=toner", nil).Body.String(), "Copier paper") {
		t.Error("a search shows what it did not find")
	}
}

func TestTheHeaderPageShowsWhatWasSentSortedAndEscaped(t *testing.T) {
	out := get(Handler(), "/headers?x=1", http.Header{
		"Remote-User": {"alice"}, "Remote-Name": {"Alice <b>Liddell"}, "Accept": {"text/html"}, "X-Twice": {"one", "two"},
	}).Body.String()
	at := 0
	for _, want := range []string{"Hello, Alice &lt;b&gt;Liddell!", "GET /headers?x=1 HTTP/1.1", ">Accept<", ">Host<", ">Remote-Name<", `<tr class="who"><td class="name">Remote-User</td><td>alice</td>`, ">one<", ">two<"} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing, or out of order, in:\n%s", want, out)
		}
		at += i
	}
}

func TestOnlyTheHeaderPageKnowsAName(t *testing.T) {
	h := Handler()
	for _, path := range []string{"/", "/stock", "/holidays"} {
		if strings.Contains(get(h, path, http.Header{"Remote-Name": {"Alice Liddell"}}).Body.String(), "Alice") {
			t.Errorf("%s uses the name of the reader", path)
		}
	}
}

func TestAHolidayRequestIsKeptAndShownEscaped(t *testing.T) {
	h := Handler()
	w := post(h, url.Values{"name": {"Bob <i>"}, "from": {"2026-03-30"}, "to": {"2026-04-02"}, "note": {"Skye"}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/holidays?saved=1" {
		t.Fatalf("POST = %d to %q, want 303 to the list", w.Code, w.Header().Get("Location"))
	}
	want := `<tr><td>Bob &lt;i&gt;</td><td>2026-03-30</td><td>2026-04-02</td><td class="n">4</td><td>Skye</td></tr>`
	if out := get(h, "/holidays", nil).Body.String(); !strings.Contains(out, want) {
		t.Errorf("%s is missing in:\n%s", want, out)
	}
	if strings.Contains(get(Handler(), "/holidays", nil).Body.String(), "Bob") {
		t.Error("a second application shares the first one's memory")
	}
}

func TestAWrongHolidayRequestIsExplainedAndNotKept(t *testing.T) {
	valid := url.Values{"name": {"Mallory"}, "from": {"2026-03-30"}, "to": {"2026-04-02"}}
	for _, c := range []struct{ field, value, want string }{
		{"name", " ", "enter your name"},
		{"from", "tomorrow", "first day"},
		{"to", "2026-02-30", "last day"},
		{"to", "2026-03-29", "before the first day"},
		{"to", "2027-03-30", "more than 60 days"},
		{"note", strings.Repeat("x", maxBody), "could not be read"},
	} {
		h := Handler()
		form := url.Values{}
		for k, v := range valid {
			form[k] = v
		}
		form.Set(c.field, c.value)
		w := post(h, form)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s=%.20q: %d, want 400 and %q", c.field, c.value, w.Code, c.want)
		}
		if strings.Contains(get(h, "/holidays", nil).Body.String(), "<td>Mallory</td>") {
			t.Errorf("%s=%.20q was kept", c.field, c.value)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	h := Handler()
	for i := range 2 * maxRequests {
		post(h, url.Values{"name": {fmt.Sprintf("N%d %s", i, strings.Repeat("ä", 500))}, "from": {"2026-01-01"}, "to": {"2026-01-01"}})
	}
	out := get(h, "/holidays", nil).Body.String()
	if rows := strings.Count(out, "<td>N"); rows != maxRequests {
		t.Errorf("%d requests are kept, want %d", rows, maxRequests)
	}
	if !strings.Contains(out, fmt.Sprintf("<td>N%d ä", 2*maxRequests-1)) {
		t.Error("the newest request is not among those kept")
	}
	if n := strings.Count(out, "ä"); n > maxRequests*maxField {
		t.Errorf("%d characters are kept, want at most %d of each request", n, maxField)
	}
}

func TestTheClockTicksUntilItsReaderGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", nil).WithContext(ctx))
		if got := strings.Count(w.Body.String(), "data: "); got != 3 || !w.Flushed {
			t.Errorf("%d events in two and a half seconds, flushed %v; want 3, flushed:\n%s", got, w.Flushed, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("Content-Type = %q", got)
		}
	})
}

func TestOnlySoManyClocksAreOpenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler()
		ctx, cancel := context.WithCancel(t.Context())
		open := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", nil).WithContext(ctx))
			return w
		}
		for range maxStreams {
			go open()
		}
		synctest.Wait()
		if w := open(); w.Code != http.StatusServiceUnavailable {
			t.Errorf("one clock too many = %d, want 503", w.Code)
		}
		cancel()
		synctest.Wait()
		if w := open(); w.Code != http.StatusOK {
			t.Errorf("after the others have gone = %d, want 200", w.Code)
		}
	})
}
