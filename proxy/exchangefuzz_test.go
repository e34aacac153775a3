package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// ending is a reader that notes whether more was wanted than there is.
type ending struct {
	bytes.Reader
	wanted bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.wanted = e.wanted || err == io.EOF
	return n, err
}

// isWhole says whether an answer ends by itself, so that whoever reads it waits for nothing.
func isWhole(answer []byte, method string) bool {
	e := &ending{}
	e.Reset(answer)
	br := bufio.NewReader(e)
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return !e.wanted
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			io.Copy(io.Discard, res.Body)
			return !e.wanted
		}
	}
}

// answersOnce is an upstream on a socket that gives its first connection an answer, and hangs up where told to. Every other
// request gets its own answer. written is closed when the first is.
func answersOnce(socket string, answer []byte, hangUp bool) (written chan struct{}, end func(), err error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, err
	}
	written = make(chan struct{})
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			go func() {
				defer conn.Close()
				br := bufio.NewReader(conn)
				if first {
					readRequest(br)
					conn.Write(answer)
					if hangUp {
						conn.Close()
					}
					close(written)
				}
				for {
					if _, err := readRequest(br); err != nil {
						return
					}
					io.WriteString(conn, ownAnswer)
				}
			}()
		}
	}()
	return written, func() {
		listener.Close()
		<-done
		for _, conn := range conns {
			conn.Close()
		}
	}, nil
}

// outcome is all that a caller has of an exchange.
func outcome(res *http.Response, err error) string {
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		if res != nil {
			res.Body.Close()
		}
		return "an error" // ReverseProxy makes one of the answer that http.Transport lets pass
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%s %d %v %d %q %v %q, error %v", res.Proto, res.StatusCode, res.Header, res.ContentLength, res.TransferEncoding, res.Trailer, body, err != nil)
}

func FuzzAnAnswerIsReadAsByTheStandardLibraryAndNothingOfItByTheNextRequest(f *testing.F) {
	for _, c := range answers {
		if len(c.text) < 20_000 {
			f.Add([]byte(c.text), c.method == "HEAD")
		}
	}
	log.SetOutput(io.Discard) // http.Transport tells of what it has not asked for
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		hangUp := !isWhole(answer, method)
		var first [2]string
		for i := range first {
			socket := filepath.Join(t.TempDir(), "s")
			w := wire{socket: socket}
			way := []connections{w.transport(), w.connections()}[i]
			written, end, err := answersOnce(socket, answer, hangUp)
			if err != nil {
				t.Fatal(err)
			}
			request := func() *http.Request {
				r := toFirst(t, "http://"+socketHost)
				r.Method = method
				return r
			}
			first[i] = outcome(way.RoundTrip(request()))
			<-written
			if i == 1 { // by the standard library it depends on who is quicker
				r := request()
				r.Method = "GET"
				if second := outcome(way.RoundTrip(r)); !strings.HasPrefix(second, "HTTP/1.1 200 map[Content-Length:[6]] 6 ") || !strings.HasSuffix(second, `"second", error false`) {
					t.Errorf("the next request got %s", second)
				}
			}
			way.CloseIdleConnections()
			end()
		}
		if first[0] != first[1] {
			t.Errorf("got\n%.1000s\nand by http.Transport\n%.1000s", first[1], first[0])
		}
	})
}
