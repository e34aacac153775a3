package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// client asks a server over HTTP and follows nothing. It is for any number of goroutines.
type client struct {
	http    *http.Client
	address string
}

func newClient(address string) *client {
	return &client{address: address, http: &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// ask sends a request with a session's cookie, where there is one, and a body in JSON, where there is one.
func (c *client) ask(method, path, cookie string, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequest(method, "http://"+c.address+path, body)
	if err != nil {
		return 0, nil, err
	}
	if cookie != "" {
		req.Header.Set("Cookie", "sallyport="+cookie)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

func (c *client) get(path, cookie string) (int, error) {
	status, _, err := c.ask(http.MethodGet, path, cookie, nil)
	return status, err
}

// want asks and returns how long the answer took; another status than want is an error.
func (c *client) want(want int, method, path, cookie string) (time.Duration, []byte, error) {
	began := time.Now()
	status, answer, err := c.ask(method, path, cookie, nil)
	took := time.Since(began)
	if err == nil && status != want {
		err = fmt.Errorf("%s %s: status %d, want %d: %.200s", method, path, status, want, answer)
	}
	return took, answer, err
}

// together sends the same request on n connections, which are all open before the first is used, and demands 200.
func together(address, path, cookie string, n int) error {
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = net.DialTimeout("tcp", address, patience); err != nil {
			return err
		}
		if err := conns[i].SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
	}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nCookie: sallyport=%s\r\n\r\n", path, address, cookie)
	start, errs := make(chan struct{}), make(chan error, n)
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() {
			<-start
			head := make([]byte, len("HTTP/1.1 200"))
			_, err := io.WriteString(c, request)
			if err == nil {
				_, err = io.ReadFull(c, head)
			}
			if err == nil && !strings.HasSuffix(string(head), " 200") {
				err = fmt.Errorf("GET %s: %s", path, head)
			}
			errs <- err
		})
	}
	close(start)
	all.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// handles lists the sessions of a cookie's owner, without the one that asks.
func (c *client) handles(cookie string) ([]string, time.Duration, error) {
	took, answer, err := c.want(http.StatusOK, http.MethodGet, "/auth/sessions", cookie)
	if err != nil {
		return nil, 0, err
	}
	var list struct {
		Sessions []struct {
			SessionHandle string
			Current       bool
		}
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, 0, fmt.Errorf("GET /auth/sessions: %w", err)
	}
	var others []string
	for _, s := range list.Sessions {
		if !s.Current {
			others = append(others, s.SessionHandle)
		}
	}
	return others, took, nil
}

// latencies are how long answers took. They are for one goroutine.
type latencies []time.Duration

// worst returns the 99.9th percentile and the longest.
func (l latencies) worst() (p999, longest time.Duration) {
	if len(l) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(l))
	return percentile(sorted, 0.999), sorted[len(sorted)-1]
}
