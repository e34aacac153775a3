package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the sallyport under test, built once for all tests.
var binary string

// screenshots is where TestEveryPage... also leaves pictures of the pages; empty: it takes none.
var screenshots = flag.String("screenshots", "", "`folder` to write a picture of every page into")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: making a folder for the binary: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sallyport")
	build := exec.Command("go", "build", "-race", "-o", binary, ".")
	build.Dir = ".."
	if given := os.Getenv("SALLYPORT_BIN"); given != "" {
		build = exec.Command("cp", given, binary)
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
