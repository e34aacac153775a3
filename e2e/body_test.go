package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"sallyport/e2e/harness"
)

// zeros are as many bytes as they count, on no disk and in no memory.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	*z -= zeros(n)
	return int(n), nil
}

// drain reads to the end, in pieces that keep the test itself from being what is slow, and says how much there was.
func drain(from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, from, make([]byte, 1<<20))
}

func TestFourGiBUpAndDownLeaveTheMemoryFlat(t *testing.T) {
	const long, allowed = 4 << 30, 32 << 20
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := drain(r.Body)
		if want := max(0, r.ContentLength); n != want || err != nil {
			t.Errorf("the app got %d bytes of %d, %v", n, want, err)
		}
		if r.Method == "GET" {
			w.Header().Set("Content-Length", strconv.Itoa(long))
			body := zeros(long)
			if _, err := io.CopyBuffer(struct{ io.Writer }{w}, &body, make([]byte, 1<<20)); err != nil {
				t.Errorf("the app could not send its answer: %v", err)
			}
		}
	}))
	t.Cleanup(up.Close)
	g := harness.StartGateway(t, harness.Settings{Upstreams: "  - { url: " + up.URL + ", access: { policy: one_factor } }"})
	token := g.AsApp().Login("alice").Want(200).Text("accessToken")
	client := &http.Transport{DisableCompression: true, WriteBufferSize: 1 << 20, ReadBufferSize: 1 << 20}
	t.Cleanup(client.CloseIdleConnections)
	before := g.Process.PeakMemory()
	for method, want := range map[string]int64{"PUT": 0, "GET": long} {
		r, err := http.NewRequestWithContext(t.Context(), method, g.URL+"/disc.img", nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == "PUT" {
			body := zeros(long)
			r.Body, r.ContentLength = io.NopCloser(&body), long
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := client.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := drain(response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || n != want || err != nil {
			t.Errorf("%s: status %d and %d bytes, %v; want 200 and %d bytes", method, response.StatusCode, n, err, want)
		}
		if grown := g.Process.PeakMemory() - before; grown > allowed {
			t.Errorf("%s: the gateway has taken %d bytes more, want at most %d", method, grown, allowed)
		}
	}
}
