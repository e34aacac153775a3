package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// upstreamPart is an app for what nginx cannot do: long bodies in both directions, WebSockets, and answers that break
// off. Its argument is the address to listen on.
func upstreamPart(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want an address, found %q", args)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /discard", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("GET /produce", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.FormValue("bytes"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, n) // the other side counts what comes
	})
	mux.HandleFunc("GET /break", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half of it")
		panic(http.ErrAbortHandler) // closes the connection in the middle of the answer
	})
	mux.HandleFunc("GET /socket", socket)
	// Idle connections, used or not, are no leak of the gateway's.
	server := &http.Server{Addr: args[0], Handler: mux, IdleTimeout: time.Second, ReadHeaderTimeout: time.Second}
	return server.ListenAndServe()
}

// socket takes a WebSocket and sends back what comes, without a look at the frames.
func socket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 section 4.2.2
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	_, _ = io.Copy(conn, bufio.NewReader(rw)) // until the other side closes
}

// startUpstream runs it and returns its URL.
func (b *bench) startUpstream() (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	p, err := b.start(b.dir, b.self, "upstream", address)
	if err != nil {
		return "", err
	}
	return "http://" + address, p.listens(address)
}
