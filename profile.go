//go:build profile

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// init takes the place of main in a binary for `make pgo`: the same run, with a CPU profile of it in the file that
// SALLYPORT_CPU_PROFILE names, from the start until the end. It is a file and no listener, and the ordinary build has
// none of it: a gateway that anybody could ask for a profile would tell them about its secrets.
func init() {
	path := os.Getenv("SALLYPORT_CPU_PROFILE")
	if path == "" {
		return
	}
	os.Exit(profiled(path))
}

func profiled(path string) int {
	f, err := os.Create(path)
	if err == nil {
		defer f.Close()
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "SALLYPORT_CPU_PROFILE: %v\n", err)
		return exitFailed
	}
	defer pprof.StopCPUProfile()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr})
}
