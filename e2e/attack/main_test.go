package attack

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"sallyport/e2e/harness"
)

func TestMain(m *testing.M) {
	status := harness.RunTests(m)
	if !whole.end() && status == 0 {
		status = 1
	}
	os.Exit(status)
}

// whole is the run of all tests of this package: what is started for it ends after the last of them.
var whole = &run{ctx: context.Background()}

// run stands for a test where the fixture is started, so that it outlives the test that asks for it first. Only what
// the harness uses of a test is there.
type run struct {
	testing.TB
	ctx context.Context

	mu      sync.Mutex
	ends    []func()
	failing bool
}

func (r *run) Helper()                  {}
func (r *run) Context() context.Context { return r.ctx }

func (r *run) Cleanup(end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = append(r.ends, end)
}

func (r *run) TempDir() string {
	dir, err := os.MkdirTemp("", "sallyport-attack-")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (r *run) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "the fixture of the attacks: "+format+"\n", args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = true
}

func (r *run) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

// Fatal ends the goroutine, and so the test that runs in it, which fails by that.
func (r *run) Fatal(args ...any)                 { r.Errorf("%s", fmt.Sprint(args...)); runtime.Goexit() }
func (r *run) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }

// end takes down what was started, the last first, in a goroutine that Fatal may end, and says whether all went well.
func (r *run) end() bool {
	for _, end := range slices.Backward(r.ends) {
		var wait sync.WaitGroup
		wait.Go(end)
		wait.Wait()
	}
	return !r.failing
}
