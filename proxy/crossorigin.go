package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A preflight carries no cookie, so nobody can be let through to the app by it. [Answers.SignIn] allows it to pages of
// the gateway's own origins instead, so that the request itself comes and its caller can read a 401. That promises
// nothing for the app: where the request then comes with a session, the app is asked what the browser wanted to ask.

// needsConsent says whether a script on a page of another origin makes a request that could change something. What a
// form or an image could send as well, no browser asks about, and the app has to look after itself as it would anywhere.
func needsConsent(r *http.Request, from *origin) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "same-origin" || !foreignOrigin(r, from) {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "cors"
	}
	// A browser that does not say: only a form asks for a page, by POST.
	return r.Method != http.MethodPost || !acceptsHTML(r.Header["Accept"])
}

// consents asks the app by a preflight of the gateway's own (Fetch standard, section 4.8) whether pages of the
// request's origin may make it with a person's cookies, and answers the request itself where they may not. The
// question goes out with the identity, which the request has, and without cookies, as every preflight.
func (g *Gateway) consents(p *passage) bool {
	var over vigil
	over.keep(p.in.Context(), p, 0, false)
	defer over.end()
	// Without what net/http knows of the client's connection: an answer that is not read to its end is no failure here.
	asking, end := context.WithCancel(context.Background())
	defer end()
	defer context.AfterFunc(&over, end)()
	ask := p.in.Clone(p.in.Context())
	ask.Method, ask.Body, ask.ContentLength, ask.TransferEncoding = http.MethodOptions, http.NoBody, 0, nil
	ask.Trailer = nil
	from := p.in.Header.Get("Origin")
	ask.Header = http.Header{
		"Origin": {from}, "Access-Control-Request-Method": {p.in.Method}, "User-Agent": {p.in.UserAgent()},
	}
	said := &heard{header: http.Header{}, end: end}
	question := &passage{gateway: g, verdict: p.verdict, origin: p.origin, host: p.host, id: p.id, credentials: p.credentials, w: said, in: ask}
	question.serve(asking)
	if said.agrees(from, p.in.Method) {
		return true
	}
	if said.status == http.StatusBadGateway || said.status == http.StatusGatewayTimeout {
		requestID := newRequestID()
		g.options.Log.Warn("the upstream has not answered a preflight", "request_id", requestID, "upstream", p.verdict.route.name, "status", said.status)
		g.options.Answers.Refuse(p.w, p.in, said.status, requestID)
		return false
	}
	g.refuse(p.w, p.in, refusal{status: http.StatusForbidden, user: p.username(), why: fmt.Sprintf(
		"the app does not let pages of %.100q make it: it answered a preflight with %d and allows %.100q", from, said.status, said.header.Get("Access-Control-Allow-Origin"))})
	return false
}

// heard takes down what the app answers to a preflight. A body is not waited for: it may be one that never ends.
type heard struct {
	header http.Header
	status int
	end    context.CancelFunc
}

func (h *heard) Header() http.Header { return h.header }

func (h *heard) WriteHeader(status int) {
	if h.status != 0 || status < http.StatusOK {
		return
	}
	h.status = status
	if status != http.StatusNoContent && h.header.Get("Content-Length") != "0" {
		h.end()
	}
}

func (h *heard) Write(p []byte) (int, error) { return len(p), nil }

// agrees reads the answer as a browser does that sends cookies: the origin by its name, not by a wildcard.
func (h *heard) agrees(origin, method string) bool {
	is := func(name, want string) bool { v := h.header[name]; return len(v) == 1 && v[0] == want }
	if h.status < 200 || h.status > 299 || !is("Access-Control-Allow-Origin", origin) || !is("Access-Control-Allow-Credentials", "true") {
		return false
	}
	if method == http.MethodPost {
		return true // needs no naming, as GET and HEAD
	}
	for _, line := range h.header["Access-Control-Allow-Methods"] {
		if slices.ContainsFunc(strings.Split(line, ","), func(m string) bool { return strings.TrimSpace(m) == method }) {
			return true
		}
	}
	return false
}
