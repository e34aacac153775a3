package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience bounds one run of one test. All of them are done in seconds on a machine that is not busy.
const patience = 2 * time.Minute

// bench runs tests on a tree and on its mutants.
type bench struct {
	root   string // absolute
	folder string // for binaries and changed files
	goTool string
}

// compile makes the test binary of a package, with the files of the overlay in the place of the tree's.
func (b *bench) compile(ctx context.Context, pkg, name, overlay string) (binary string, err error) {
	binary = filepath.Join(b.folder, name+".test")
	args := []string{"test", "-c", "-vet=off", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	c := exec.CommandContext(ctx, b.goTool, append(args, "./"+pkg)...)
	c.Dir = b.root
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, clip(out))
	}
	return binary, nil
}

// run runs the tests of a package that fit a pattern of -run, and returns what they printed.
func (b *bench) run(ctx context.Context, binary, pkg, pattern string) (out []byte, passed bool) {
	ctx, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, binary, "-test.v", "-test.timeout", patience.String(), "-test.run", pattern)
	c.Dir = filepath.Join(b.root, pkg)
	c.WaitDelay = 5 * time.Second // for what a test that was cut off has left with its output open
	out, err := c.CombinedOutput()
	return out, err == nil
}

// baseline runs the tests of all mutants on the tree as it is: a test that fails by itself kills nothing.
func (b *bench) baseline(ctx context.Context, all []*mutant, atOnce int) error {
	tests := map[string][]string{}
	for _, m := range all {
		if !slices.Contains(tests[m.pkg], m.function()) {
			tests[m.pkg] = append(tests[m.pkg], m.function())
		}
	}
	var packages []string
	for pkg := range tests {
		packages = append(packages, pkg)
	}
	slices.Sort(packages)
	errs := make([]error, len(packages))
	inParallel(atOnce, len(packages), func(i int) {
		errs[i] = b.passes(ctx, packages[i], tests[packages[i]], fmt.Sprintf("baseline%d", i))
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) passes(ctx context.Context, pkg string, tests []string, name string) error {
	binary, err := b.compile(ctx, pkg, name, "")
	if err != nil {
		return fmt.Errorf("%s: %w", pkg, err)
	}
	defer os.Remove(binary)
	out, _ := b.run(ctx, binary, pkg, "^("+strings.Join(tests, "|")+")$")
	for _, test := range tests {
		if !bytes.Contains(out, []byte("--- PASS: "+test+" ")) {
			return fmt.Errorf("%s: %s does not pass on the source as it is, so it can kill nothing:\n%s", pkg, test, clip(out))
		}
	}
	return nil
}

// kill runs a mutant's test against it. The error says why it is not dead.
func (b *bench) kill(ctx context.Context, m *mutant) error {
	overlay, err := b.overlay(m)
	if err != nil {
		return err
	}
	binary, err := b.compile(ctx, m.pkg, m.name, overlay)
	if err != nil {
		return fmt.Errorf("%s: mutant %s %w", m.where, m.name, err)
	}
	defer os.Remove(binary)
	out, passed := b.run(ctx, binary, m.pkg, "^"+strings.ReplaceAll(m.test, "/", "$/^")+"$")
	switch {
	case passed:
		return fmt.Errorf("%s: mutant %s SURVIVES %s: %s", m.where, m.name, m.test, m.takes)
	case !bytes.Contains(out, []byte("--- FAIL: "+m.function()+" ")):
		return fmt.Errorf("%s: mutant %s: %s has not failed but broken off or hung:\n%s", m.where, m.name, m.test, clip(out))
	}
	return nil
}

// overlay writes the changed files of a mutant and the file that tells the go command of them.
func (b *bench) overlay(m *mutant) (string, error) {
	changed, err := m.apply(b.root)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(b.folder, m.name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	var table struct{ Replace map[string]string }
	table.Replace = map[string]string{}
	for file, text := range changed {
		at := filepath.Join(folder, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			return "", err
		}
		table.Replace[filepath.Join(b.root, file)] = at
	}
	raw, err := json.Marshal(table)
	if err != nil {
		return "", err
	}
	at := filepath.Join(folder, "overlay.json")
	return at, os.WriteFile(at, raw, 0o600)
}

// inParallel calls do for 0 to n-1, so many at a time.
func inParallel(atOnce, n int, do func(int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// clip keeps the end of an output, where what went wrong stands.
func clip(out []byte) []byte {
	const most = 2000
	if len(out) > most {
		return append([]byte("…"), out[len(out)-most:]...)
	}
	return out
}
