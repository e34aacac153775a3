package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkExchange asks one upstream on the loopback interface by both ways, from as many goroutines as there are cores.
func BenchmarkExchange(b *testing.B) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		io.WriteString(w, "a page of few words")
	}))
	b.Cleanup(backend.Close)
	for _, way := range bothWays(b, wire{firstByte: time.Minute}) {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 512)
				for pb.Next() {
					res, err := way.RoundTrip(toFirst(b, backend.URL))
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(res.Body, buf); err != io.ErrUnexpectedEOF {
						b.Fatal(err)
					}
					res.Body.Close()
				}
			})
		})
	}
}
