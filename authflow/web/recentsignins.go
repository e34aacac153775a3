package web

import (
	"net/http"
	"sync"
	"time"
)

// recentSignIns has the requests of one session share a sign-in to an app: a page has many parts, and all of them find
// themselves signed out at once, or a moment later with the cookies of before. The zero value is ready.
type recentSignIns struct {
	mu  sync.Mutex
	all map[string]*recentSignIn
}

// sharedFor is how long a finished sign-in serves requests that had not heard of it.
const sharedFor = 5 * time.Second

type recentSignIn struct {
	begun  time.Time
	done   chan struct{} // closed when result is there
	result signInResult
}

// signInResult is what became of a sign-in to an app.
type signInResult struct {
	lines []string // Set-Cookie
	ask   bool     // the person has to be asked for the password
	err   error
}

// once returns what signIn returns, or what it returned to another call for the session a moment ago: unless the request
// came with just that, so that it is no longer good. What has come to nothing is not shared with later calls.
func (r *recentSignIns) once(sessionKey string, now time.Time, req *http.Request, signIn func() signInResult) signInResult {
	r.mu.Lock()
	if other := r.all[sessionKey]; other != nil && now.Sub(other.begun) < sharedFor {
		r.mu.Unlock()
		<-other.done
		if !other.result.cameWith(req) {
			return other.result
		}
		r.mu.Lock()
	}
	if r.all == nil {
		r.all = map[string]*recentSignIn{}
	}
	for key, old := range r.all {
		if now.Sub(old.begun) >= sharedFor {
			delete(r.all, key)
		}
	}
	own := &recentSignIn{begun: now, done: make(chan struct{})}
	r.all[sessionKey] = own
	r.mu.Unlock()
	defer close(own.done)
	own.result = signIn()
	if len(own.result.lines) == 0 {
		r.mu.Lock()
		delete(r.all, sessionKey)
		r.mu.Unlock()
	}
	return own.result
}

// cameWith says whether a request carries one of the cookies already.
func (s signInResult) cameWith(req *http.Request) bool {
	for _, line := range s.lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			continue
		}
		for _, sent := range req.CookiesNamed(c.Name) {
			if sent.Value == c.Value && c.Value != "" {
				return true
			}
		}
	}
	return false
}
