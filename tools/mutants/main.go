package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

func main() {
	only := flag.String("only", "", "run the mutants whose name fits this regular expression, and write no table")
	atOnce := flag.Int("at-once", 2, "how many to run at the same time")
	goTool := flag.String("go", "go", "the go command")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := hunt(ctx, "..", *only, *atOnce, *goTool); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// hunt runs the mutants of a tree. The table is written where all were run and all are dead.
func hunt(ctx context.Context, root, only string, atOnce int, goTool string) error {
	began := time.Now()
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	fits, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	all, err := readLists(filepath.Join(root, "tools", "mutants"))
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(m *mutant) bool { return !fits.MatchString(m.name) })
	if len(chosen) == 0 {
		return fmt.Errorf("no mutant has a name that fits %q", only)
	}
	folder, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := &bench{root: root, folder: folder, goTool: goTool}
	if err := b.baseline(ctx, chosen, max(atOnce, 1)); err != nil {
		return err
	}
	if err := b.killAll(ctx, chosen, max(atOnce, 1)); err != nil {
		return err
	}
	fmt.Printf("%d mutants, all dead, in %s\n", len(chosen), time.Since(began).Round(time.Second))
	if only != "" {
		return nil
	}
	return os.WriteFile(filepath.Join(root, "docs", "mutants.md"), []byte(table(all)), 0o644)
}

// killAll says what becomes of each mutant as it is known, and returns what went wrong with those that are not dead.
func (b *bench) killAll(ctx context.Context, chosen []*mutant, atOnce int) error {
	errs := make([]error, len(chosen))
	inParallel(atOnce, len(chosen), func(i int) {
		m := chosen[i]
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		began := time.Now()
		errs[i] = b.kill(ctx, m)
		word := "dead"
		if errs[i] != nil {
			word = "NOT DEAD"
		}
		fmt.Printf("%-8s %5.1fs  %-34s %s\n", word, time.Since(began).Seconds(), m.name, m.test)
	})
	return errors.Join(errs...)
}
