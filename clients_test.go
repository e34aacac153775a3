package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// impatient serves h to clients who have little time, and returns the address.
func impatient(t *testing.T, h http.HandlerFunc, secure *tls.Config) string {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newClients(plain)
	l.firstHead, l.nextHead = 300*time.Millisecond, 600*time.Millisecond
	srv := newPublicServer(h, l, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { l.watch(ctx); done <- struct{}{} }()
	go func() {
		if secure != nil {
			srv.TLSConfig = secure
			srv.ServeTLS(l, "", "")
		} else {
			srv.Serve(l)
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		stop()
		srv.Close()
		<-done
		<-done
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.open) != 0 {
			t.Errorf("%d connections are still listed", len(l.open))
		}
	})
	return plain.Addr().String()
}

func dialed(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn, bufio.NewReader(conn)
}

// wantClosed reads until the other side has closed the connection.
func wantClosed(t *testing.T, br *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(br); errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
		t.Errorf("got %q, %v; want the connection closed", rest, err)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }

const ask = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// asked sends a request and reads its answer.
func asked(t *testing.T, conn net.Conn, br *bufio.Reader) {
	t.Helper()
	io.WriteString(conn, ask)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
		t.Fatalf("got %q, %v", body, err)
	}
}

func TestAClientWhoNeverFinishesAskingLosesTheConnection(t *testing.T) {
	address := impatient(t, ok, nil)
	for name, sent := range map[string]string{"nothing": "", "half a line": "GET /", "half a head": "GET / HTTP/1.1\r\nHost: x\r\n"} {
		t.Run(name, func(t *testing.T) {
			conn, br := dialed(t, address)
			io.WriteString(conn, sent)
			wantClosed(t, br)
		})
	}
	t.Run("a head byte by byte", func(t *testing.T) {
		conn, br := dialed(t, address)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					conn.Write([]byte("G"))
				}
			}
		}()
		br.ReadByte() // a reset is an end too
	})
}

func TestAClientWhoAsksNoMoreLosesTheConnection(t *testing.T) {
	address := impatient(t, ok, nil)
	for name, sent := range map[string]string{"nothing": "", "half a head": "GET / HTTP/1.1\r\n"} {
		t.Run(name, func(t *testing.T) {
			conn, br := dialed(t, address)
			asked(t, conn, br)
			asked(t, conn, br)
			io.WriteString(conn, sent)
			wantClosed(t, br)
		})
	}
}

func TestAHandshakeThatDoesNotComeToItsEndLosesTheConnection(t *testing.T) {
	certificate, err := tls.X509KeyPair(certificateFor(t, 1, time.Now().Add(-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	address := impatient(t, ok, &tls.Config{Certificates: []tls.Certificate{certificate}})
	_, br := dialed(t, address)
	wantClosed(t, br)
	raw, _ := dialed(t, address)
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	br = bufio.NewReader(conn)
	asked(t, conn, br)
	wantClosed(t, br)
}

func TestWhatIsUnderWayHasAllTheTimeThatItNeeds(t *testing.T) {
	address := impatient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
			return
		}
		time.Sleep(2 * time.Second)
		ok(w, r)
	}, nil)
	t.Run("a slow answer", func(t *testing.T) {
		t.Parallel()
		conn, br := dialed(t, address)
		asked(t, conn, br)
	})
	t.Run("a slow body", func(t *testing.T) {
		t.Parallel()
		conn, br := dialed(t, address)
		io.WriteString(conn, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
		for _, c := range "body" {
			time.Sleep(500 * time.Millisecond)
			io.WriteString(conn, string(c))
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "body") {
			t.Errorf("got %q, %v", body, err)
		}
	})
}
