package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// verdict is what became of a limit.
type verdict string

const (
	met        verdict = "met"
	missed     verdict = "missed"
	none       verdict = "–" // a comparison, which has no limit
	unmeasured verdict = "not measured"
)

// judge says whether a limit is kept.
func judge(kept bool) verdict {
	if kept {
		return met
	}
	return missed
}

// row is one line of the table.
type row struct {
	what     string
	measured string
	limit    string
	verdict  verdict
}

type section struct {
	title string
	rows  []row
}

// report is what a run has found.
type report struct {
	began    time.Time
	took     time.Duration
	sections []section
	bars     []bar
	remark   string // what was different from a whole run; empty: nothing
}

// text is the report for a terminal.
func (r report) text() string {
	var b strings.Builder
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n%s\n", s.title)
		what, measured, limit := 0, 0, 0
		for _, row := range s.rows {
			what, measured, limit = max(what, width(row.what)), max(measured, width(row.measured)), max(limit, width(row.limit))
		}
		for _, row := range s.rows {
			fmt.Fprintf(&b, "  %s  %s  %s  %s\n", pad(row.what, what), pad(row.measured, measured), pad(row.limit, limit), row.verdict)
		}
	}
	return b.String() + "\n" + r.sum() + "\n"
}

// sum says how many limits were met.
func (r report) sum() string {
	count := map[verdict]int{}
	for _, s := range r.sections {
		for _, row := range s.rows {
			count[row.verdict]++
		}
	}
	text := fmt.Sprintf("%d limits met, %d missed", count[met], count[missed])
	if n := count[unmeasured]; n > 0 {
		text += fmt.Sprintf(", %d groups not measured to their end", n)
	}
	return text + fmt.Sprintf(", in %s.", r.took.Round(time.Second))
}

func width(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, to int) string { return s + strings.Repeat(" ", to-width(s)) }

// aboutRun is how it was measured, for whoever reads the numbers without having run them.
const aboutRun = `` + "`make bench`" + ` measures the built gateway beside a bare reverse proxy of the standard library, in one run and by ratio, and writes this file and the plot anew.

![Throughput of a signed-in, proxied request as a share of the bare proxy's](bench.svg)

## How

- **The gateway** is the binary of this tree as a release builds it, stripped. Where ` + "`default.pgo`" + ` lies in the root, ` + "`go build`" + ` uses it. Its configuration is the default but for addresses, users, store and upstreams; in group 1 ` + "`admin_listen`" + ` is off, as by default.
- **The bare proxy** is ` + "`httputil.ReverseProxy`" + ` with ` + "`SetURL`, `SetXForwarded`" + `, a buffer pool and a transport that keeps all its connections, and nothing else: no session, no decision, no identity. It is built by the same toolchain and, being another main package, without the profile.
- **The upstream** is nginx on one worker, with bodies in memory and connections kept. WebSockets, failures and long bodies have a small upstream in Go.
- **The load** is wrk with one thread. Gateway and bare proxy get the same requests from the same script, cookies included.
- **A cell of group 1** is several pairs of slices of a second, gateway and bare proxy in ABBA order, after both were warmed up: the gateway has then seen each session, or has had 15 seconds for it. The ratio of throughputs is the median of the pairs' ratios, with the least and the greatest in brackets; that of the 99th percentiles is the ratio of their medians, and is judged over the eight cells of one number of connections, by the geometric mean. A ratio is compared with its limit at two digits, as it is printed.
- **Sessions** in large numbers are begun by the gateway's own code (` + "`bench/sessions.go`" + `), since signing in so often would hash for an hour. All else goes through what anybody can reach: the configuration, HTTP, ` + "`/metrics`" + `, ` + "`/proc`" + ` and Redis's ` + "`INFO`" + `.
- **The embedded store that is swept** lies in memory: the flushes of a disk, of which each write has two, are no pause of a sweep's and would be longer than all that is. ` + "`docs/design/state.md`" + ` has figures of a disk.
- **The small parts** are benchmarks of the repository, built with the profile, six runs each and the medians of ` + "`benchstat`" + `.
- **Store commands** are those that gateways send, by ` + "`INFO commandstats`" + ` and without the benchmark's own. What a script does inside Redis is counted there too, and named beside it: the one that notes when sessions were used last gets and sets the record of each.

## What the numbers can bear

Load, proxy, upstream and store share the processors, so the requests a second are those of the whole chain, and a ratio here is nearer to 1 than one that had the processors to itself. A slice of a second varies by some percent from one to the next, and on a shared or virtual machine by more: of a single cell the second digit means little, those with 32 connections have more pairs, and what matters is that the cells agree. A 99th percentile of a second's requests moves more than a mean does (by 7 % from one cell of six pairs to the same one again, where the throughput moved by 2 %), the longest of thousands of requests more than that, and a neighbour on the machine can spoil either. Run it twice before believing a difference of 2 %.
`

// markdown is the report as a page of the documentation.
func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark\n\n*%s · %d cores, %s · %s · took %s*\n\n", r.began.Format("2006-01-02"), runtime.NumCPU(), processor(), runtime.Version(), r.took.Round(time.Second))
	if r.remark != "" {
		fmt.Fprintf(&b, "**%s**\n\n", r.remark)
	}
	fmt.Fprintf(&b, "%s\n\n%s\n## The table\n", r.sum(), aboutRun)
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n### %s\n\n| | measured | limit | |\n| --- | --- | --- | --- |\n", s.title)
		for _, row := range s.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", cellText(row.what), cellText(row.measured), cellText(row.limit), row.verdict)
		}
	}
	return b.String()
}

// cellText keeps what a program has written from ending a cell of the table.
func cellText(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// processor is its name as the kernel has it.
func processor() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

// write writes the page and the plot into a folder. A run without group 1 has no bars, and leaves the plot alone.
func (r report) write(folder string) error {
	if err := os.WriteFile(filepath.Join(folder, "bench.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	if len(r.bars) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(folder, "bench.svg"), []byte(plot(r.bars)), 0o644)
}
