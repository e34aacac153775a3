package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Binary is the sallyport under test, built once for all tests of a package.
var Binary string

// RunTests builds the binary, with the race detector on, runs the tests of a package and returns the exit status.
// The binary that SALLYPORT_BIN names is taken as it is.
func RunTests(m *testing.M) int { return run(m, "-race", "-pgo=off") } // the profile would have every package compiled anew

// RunTestsAsShipped is RunTests with a binary as people run it, for tests that look at how much it takes.
func RunTestsAsShipped(m *testing.M) int { return run(m, "-trimpath") }

func run(m *testing.M, flags ...string) int {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: making a folder for the binary: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	Binary = filepath.Join(dir, "sallyport")
	build := exec.Command("go", append(append([]string{"build"}, flags...), "-o", Binary, ".")...)
	build.Dir = repository()
	if given := os.Getenv("SALLYPORT_BIN"); given != "" {
		build = exec.Command("cp", given, Binary)
	}
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %s in %s: %v\n%s", build, build.Dir, err, out)
		return 1
	}
	// By default a program built with -race sleeps for a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		return 1
	}
	return m.Run()
}

// repository is the folder of the gateway's own module, above that of the package under test.
var repository = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "config.example.yaml")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	panic("the tests do not run inside the repository")
})
