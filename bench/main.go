// Command bench measures the built gateway beside a bare reverse proxy of the standard library, in one run and by
// ratio, and what a store, a flood of sign-ins, many sessions and many replicas cost. `make bench` runs it.
//
// It is no test: a row that misses its limit is reported and fails nothing, and only what could not be measured does.
// Nor is it a benchmark of the machine: two runs are compared by their ratios and never by their requests a second.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// group is a set of rows that are measured together.
type group struct {
	name  string // by which -rows picks it
	title string
	run   func(*bench) ([]row, error)
}

var groups = []group{
	{"1", "A signed-in, proxied request beside the bare proxy", (*bench).proxied},
	{"2", "What the store is asked", (*bench).storeCommands},
	{"3", "A flood of sign-ins", (*bench).flood},
	{"4", "Millions of sessions", (*bench).storedSessions},
	{"5", "Replicas", (*bench).replicas},
	{"6", "Memory, start and leaks", (*bench).footprint},
	{"7", "The small parts", (*bench).smallParts},
}

// manySessions is how many a whole run has in Redis.
const manySessions = 1_000_000

// bench is one run: where it keeps its files, and what it has started.
type bench struct {
	ctx      context.Context
	began    time.Time
	dir      string // on a disk: data folders, configurations, logs
	memory   string // in memory, where the system has such a place: bodies, seeds
	self     string // this program, for the parts of it that are processes of their own
	binary   string // the gateway
	goTool   string // builds it
	quick    bool   // half of the slices
	sessions int    // how many sessions group 4 has in Redis

	started []*process
	bars    []bar // for the plot
	users   *usersFile
	web     *nginx
}

func main() {
	if len(os.Args) > 1 && parts[os.Args[1]] != nil {
		if err := parts[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// parts are what of this program runs as a process of its own, by its first argument.
var parts = map[string]func(args []string) error{
	"bare-proxy": bareProxyPart,
	"upstream":   upstreamPart,
	"seed":       seedPart,
}

func run(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	picked := set.String("rows", "1,2,3,4,5,6,7", "the groups of rows to measure")
	quick := set.Bool("quick", false, "half of the slices: for work on the benchmark, not for numbers")
	sessions := set.Int("sessions", manySessions, "how many sessions group 4 has in Redis, 2000 or more")
	binary := set.String("gateway", "", "the gateway's binary; empty: built from the working tree, stripped")
	goTool := set.String("go", "go", "the go command")
	out := set.String("out", "", "the folder for bench.md and bench.svg; empty: neither is written")
	profile := set.String("pgo", "", "measure nothing; write a CPU profile of the gateway under this load to that file")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *sessions < 2000 {
		return fmt.Errorf("bench: -sessions %d: want 2000 or more", *sessions)
	}
	b := &bench{ctx: ctx, began: time.Now(), goTool: *goTool, quick: *quick, sessions: *sessions, binary: *binary}
	defer b.close()
	if err := b.open(*profile != ""); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if *profile != "" {
		return b.writeProfile(*profile)
	}
	r, failed := b.measure(strings.Split(*picked, ","))
	if *quick || *sessions != manySessions {
		r.remark = fmt.Sprintf("No whole run: -quick %t, -sessions %d. Its numbers are for work on the benchmark.", *quick, *sessions)
	}
	fmt.Print(r.text())
	if *out != "" {
		failed = errors.Join(failed, r.write(*out))
	}
	return failed
}

// measure goes through the groups. One that fails does not keep the others from being measured.
func (b *bench) measure(picked []string) (report, error) {
	r := report{began: b.began}
	var failed error
	for _, g := range groups {
		if !slices.Contains(picked, g.name) {
			continue
		}
		rows, err := g.run(b)
		b.stopAll()
		if err != nil {
			err = fmt.Errorf("bench: group %s could not be measured: %w", g.name, err)
			failed = errors.Join(failed, err)
			rows = append(rows, row{what: "the rest of this group", measured: "could not be measured", verdict: unmeasured})
		}
		r.sections = append(r.sections, section{g.name + ". " + g.title, rows})
		fmt.Fprintf(os.Stderr, "bench: %4.0f s: group %s done\n", time.Since(r.began).Seconds(), g.name)
		if b.ctx.Err() != nil {
			break
		}
	}
	r.bars, r.took = b.bars, time.Since(r.began)
	return r, failed
}

// open makes the folders and builds the gateway.
func (b *bench) open(profile bool) (err error) {
	if b.dir, err = os.MkdirTemp("", "sallyport-bench-"); err != nil {
		return err
	}
	b.memory = b.dir
	if dir, err := os.MkdirTemp("/dev/shm", "sallyport-bench-"); err == nil {
		b.memory = dir
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.binary == "" {
		b.binary = filepath.Join(b.dir, "sallyport")
		if err := b.build(profile); err != nil {
			return err
		}
	}
	b.users, err = b.writeUsers()
	return err
}

// close stops what still runs and removes the folders.
func (b *bench) close() {
	b.stopAll()
	for _, dir := range []string{b.memory, b.dir} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
}

// slices returns how many slices of a second to measure where n are wanted.
func (b *bench) slices(n int) int {
	if b.quick {
		return max(n/2, 1)
	}
	return n
}

// note tells whoever watches what is being done.
func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
