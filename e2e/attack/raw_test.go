package attack

import (
	"errors"
	"io"
	"os"

	"sallyport/e2e/harness"
)

// everything returns the bytes of all answers until the gateway closes the connection.
func (w *wire) everything() string {
	w.t.Helper()
	raw, err := io.ReadAll(io.LimitReader(w.in, 1<<20))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("the connection is still open after %s", harness.Patience)
	}
	return string(raw)
}
