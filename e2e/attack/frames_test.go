package attack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/e2e/harness"
)

// frames is an HTTP/2 connection without TLS, frame by frame (RFC 9113 section 3.3).
type frames struct {
	t       *testing.T
	conn    net.Conn
	framer  *http2.Framer
	block   bytes.Buffer // what encoder has written
	encoder *hpack.Encoder
}

// field is a header field as it goes over the wire, pseudo-header fields included.
type field struct{ name, value string }

func dialFrames(t *testing.T, address string) *frames {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	f := &frames{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	f.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.framer.AllowIllegalWrites = true
	f.encoder = hpack.NewEncoder(&f.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// encode compresses header fields, whatever they are.
func (f *frames) encode(fields []field) []byte {
	f.block.Reset()
	for _, h := range fields {
		// Writing into memory does not fail.
		_ = f.encoder.WriteField(hpack.HeaderField{Name: h.name, Value: h.value})
	}
	return bytes.Clone(f.block.Bytes())
}

// headers sends the fields in one HEADERS frame; end: nothing follows. Of a connection that is gone read tells.
func (f *frames) headers(stream uint32, end bool, fields ...field) {
	_ = f.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: f.encode(fields), EndStream: end, EndHeaders: true,
	})
}

func (f *frames) data(stream uint32, end bool, body string) {
	_ = f.framer.WriteData(stream, end, []byte(body))
}

// outcome reads frames until the stream has ended: its status, or 0 where the gateway reset the stream, or ended the
// connection, and answered nothing.
func (f *frames) outcome(stream uint32) reply {
	f.t.Helper()
	var got reply
	for {
		frame, err := f.framer.ReadFrame()
		if refused := (http2.StreamError{}); errors.As(err, &refused) {
			f.t.Fatalf("the gateway's own answer is malformed: %v", err)
		}
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			f.t.Fatalf("stream %d has not ended within %s", stream, harness.Patience)
		}
		if err != nil {
			return got // the connection is gone
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream && frame.PseudoValue("status") != "" {
				got = headOf(frame)
			}
		case *http2.DataFrame:
			if frame.StreamID == stream {
				got.body += string(frame.Data())
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return got
			}
		}
		if frame.Header().StreamID == stream && frame.Header().Flags.Has(http2.FlagHeadersEndStream) && isMessage(frame) {
			return got
		}
	}
}

// isMessage says whether a frame carries a part of a message, so that the flag END_STREAM means something on it.
func isMessage(frame http2.Frame) bool {
	kind := frame.Header().Type
	return kind == http2.FrameHeaders || kind == http2.FrameData
}

func headOf(frame *http2.MetaHeadersFrame) reply {
	status, _ := strconv.Atoi(frame.PseudoValue("status"))
	r := reply{status: status, header: http.Header{}}
	for _, h := range frame.RegularFields() {
		r.header.Add(h.Name, h.Value)
	}
	return r
}

// request is what every request over HTTP/2 begins with.
func request(method, path, authority string, more ...field) []field {
	return append([]field{{":method", method}, {":scheme", "http"}, {":authority", authority}, {":path", path}}, more...)
}

// askFrames sends one request without a body on a connection of its own and returns the answer.
func askFrames(t *testing.T, address string, fields ...field) reply {
	t.Helper()
	f := dialFrames(t, address)
	f.headers(1, true, fields...)
	return f.outcome(1)
}
