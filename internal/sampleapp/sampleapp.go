// Package sampleapp is the application that `sallyport demo` puts behind the gateway: a small
// intranet of the kind that was written around 2009 and has no notion of signing in.
//
// It is not part of the gateway, shares no code with it, and must not be reachable without it.
package sampleapp

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxRequests = 50      // holiday requests kept; the oldest goes first
	maxField    = 80      // characters of a form field
	maxBody     = 8 << 10 // bytes of a form
	maxStreams  = 64      // event streams open at once
	dateLayout  = "2006-01-02"
)

//go:embed pages.html
var pagesHTML string

var pages = template.Must(template.New("").Parse(pagesHTML))

// item is one line of the stock list.
type item struct {
	Code, Name, Place string
	Count, Reorder    int
}

var stock = []item{
	{"BK-0412", "Ring binder, A4, blue", "Store room 2, shelf A", 148, 40},
	{"BK-0413", "Ring binder, A4, grey", "Store room 2, shelf A", 22, 40},
	{"CL-1020", "Desk calendar", "Store room 2, shelf C", 61, 20},
	{"EL-2207", "Extension lead, 3 m", "Basement, cage 4", 17, 10},
	{"EL-2230", "Projector lamp, type E", "Basement, cage 4", 2, 4},
	{"EN-0301", "Envelopes, C5, box of 500", "Store room 1, shelf B", 34, 15},
	{"FU-5502", "Desk chair, swivel", "Basement, cage 1", 6, 2},
	{"PA-0080", "Copier paper, A4, 5 reams", "Store room 1, floor", 212, 60},
	{"PE-0117", "Ball pen, black, box of 50", "Store room 2, shelf B", 9, 12},
	{"TO-3306", "Toner, black, 4200 series", "Store room 1, cupboard", 11, 6},
}

// holiday is one request for leave.
type holiday struct {
	Name, From, To, Note string
	Days                 int
}

// app is the state of one running sample application.
type app struct {
	mu       sync.Mutex
	holidays []holiday // newest first, at most maxRequests
	streams  chan struct{}
}

// view is what the pages show.
type view struct {
	Title, Page, Problem, Query, Greeting string
	Stock                                 []item
	Holidays                              []holiday
	Form                                  holiday
	Saved                                 bool
	RequestLine                           string
	Headers                               []header
}

type header struct {
	Name, Value string
	Identity    bool
}

// Handler returns a new sample application with a memory of its own. What it keeps is bounded: the last
// 50 holiday requests, and 64 event streams at once. It may serve several requests at the same time.
func Handler() http.Handler {
	a := &app{streams: make(chan struct{}, maxStreams), holidays: []holiday{
		{"J. Fielding", "2009-08-03", "2009-08-14", "Cornwall", 12},
		{"P. Okafor", "2009-07-20", "2009-07-24", "", 5},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		show(w, http.StatusOK, view{Title: "Notice board", Page: "home"})
	})
	mux.HandleFunc("GET /stock", a.listStock)
	mux.HandleFunc("GET /holidays", func(w http.ResponseWriter, r *http.Request) {
		show(w, http.StatusOK, a.holidayView(holiday{}, "", r.URL.Query().Has("saved")))
	})
	mux.HandleFunc("POST /holidays", a.addHoliday)
	mux.HandleFunc("GET /headers", showHeaders)
	mux.HandleFunc("GET /events", a.clock)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		show(w, http.StatusNotFound, view{Title: "Page not found", Page: "missing"})
	})
	return mux
}

// show renders into memory first, so that an answer is whole or a plain 500.
func show(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "page", v); err != nil {
		http.Error(w, "The page could not be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a reader that has gone needs no answer
}

func (a *app) listStock(w http.ResponseWriter, r *http.Request) {
	query := clip(r.URL.Query().Get("q"))
	found := slices.DeleteFunc(slices.Clone(stock), func(i item) bool {
		return !strings.Contains(strings.ToLower(i.Code+" "+i.Name+" "+i.Place), strings.ToLower(query))
	})
	show(w, http.StatusOK, view{Title: "Stationery and stock", Page: "stock", Query: query, Stock: found})
}

func (a *app) holidayView(form holiday, problem string, saved bool) view {
	a.mu.Lock()
	defer a.mu.Unlock()
	return view{Title: "Holiday requests", Page: "holidays", Holidays: slices.Clone(a.holidays), Form: form, Problem: problem, Saved: saved}
}

func (a *app) addHoliday(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		show(w, http.StatusBadRequest, a.holidayView(holiday{}, "The form could not be read. Please fill it in again.", false))
		return
	}
	h := holiday{Name: clip(r.PostFormValue("name")), From: clip(r.PostFormValue("from")), To: clip(r.PostFormValue("to")), Note: clip(r.PostFormValue("note"))}
	problem := h.check()
	if problem != "" {
		show(w, http.StatusBadRequest, a.holidayView(h, problem, false))
		return
	}
	a.mu.Lock()
	a.holidays = slices.Insert(a.holidays, 0, h)
	a.holidays = a.holidays[:min(len(a.holidays), maxRequests)]
	a.mu.Unlock()
	http.Redirect(w, r, "/holidays?saved=1", http.StatusSeeOther)
}

// check counts the days, both ends included, and says what is wrong with the request; empty is fine.
func (h *holiday) check() string {
	if h.Name == "" {
		return "Please enter your name."
	}
	from, err := time.Parse(dateLayout, h.From)
	if err != nil {
		return "Please enter the first day as YYYY-MM-DD."
	}
	to, err := time.Parse(dateLayout, h.To)
	if err != nil {
		return "Please enter the last day as YYYY-MM-DD."
	}
	if to.Before(from) {
		return "The last day is before the first day."
	}
	h.Days = int(to.Sub(from)/(24*time.Hour)) + 1
	if h.Days > 60 {
		return "Requests of more than 60 days go to the personnel office on paper."
	}
	return ""
}

// clip makes a field valid UTF-8 of at most maxField characters.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "")
	if utf8.RuneCountInString(s) > maxField {
		s = string([]rune(s)[:maxField])
	}
	return s
}

var identityHeaders = []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Forwarded-User"}

func showHeaders(w http.ResponseWriter, r *http.Request) {
	list := []header{{Name: "Host", Value: r.Host}}
	for name, values := range r.Header {
		for _, value := range values {
			list = append(list, header{name, value, slices.Contains(identityHeaders, name)})
		}
	}
	slices.SortStableFunc(list, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	show(w, http.StatusOK, view{Title: "What this server was sent", Page: "headers", Greeting: r.Header.Get("Remote-Name"),
		RequestLine: fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), r.Proto), Headers: list})
}

// clock sends the time of day once a second, as server-sent events, until the reader goes.
func (a *app) clock(w http.ResponseWriter, r *http.Request) {
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		http.Error(w, "Too many clocks are open.", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flusher := http.NewResponseController(w)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for at := time.Now(); ; {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", at.Format("15:04:05")); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case at = <-tick.C:
		}
	}
}
