package main

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatWrkSawIsReadFromItsOwnLine(t *testing.T) {
	const out = "Running 1s test\n  Requests/sec: 9\nRESULT requests=12650 took=1001000 p50=2100 p99=18500 bytes=99 connect=1 read=2 write=3 status=4 timeout=5\n"
	r, err := parseWrk(out)
	if err != nil {
		t.Fatal(err)
	}
	want := result{requests: 12650, took: 1001 * time.Millisecond, p50: 2100 * time.Microsecond, p99: 18500 * time.Microsecond, bytes: 99, failed: 15}
	if r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	for what, broken := range map[string]string{
		"no line":           "Requests/sec: 9",
		"a number is none":  strings.Replace(out, "p99=18500", "p99=nan", 1),
		"a number is gone":  strings.Replace(out, "timeout=5", "", 1),
		"nothing was asked": strings.Replace(out, "requests=12650", "requests=0", 1),
	} {
		if _, err := parseWrk(broken); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestTheRatioIsTheMedianOfThePairs(t *testing.T) {
	second := func(n int64, p99 time.Duration) result { return result{requests: n, took: time.Second, p99: p99} }
	p := pairs{
		ours: []result{second(90, 3), second(100, 5), second(10, 100)},
		bare: []result{second(100, 4), second(100, 4), second(100, 2)},
	}
	if ratio, least, most := p.throughput(); ratio != 0.9 || least != 0.1 || most != 1 {
		t.Errorf("ratio %v, %v to %v, want 0.9, 0.1 to 1", ratio, least, most)
	}
	if ours, bare := p.slowest(); ours != 5 || bare != 4 {
		t.Errorf("p99 %d of %d, want 5 of 4", ours, bare)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("the median of 1 to 4 is %v", m)
	}
}

func TestLimitsAreComparedAsTheyArePrinted(t *testing.T) {
	if !atLeast(0.9951, 1) || atLeast(0.9949, 1) || !atMost(1.1049, 1.1) || atMost(1.1051, 1.1) {
		t.Error("a ratio is not compared at two digits")
	}
}

func TestMemoryAndTimeAreReadFromProc(t *testing.T) {
	status, err := statusField("Name:\tx\nVmHWM:\t   18500 kB\nVmRSS:\t 900 kB\n", "VmHWM")
	if err != nil || status != 18500<<10 {
		t.Errorf("VmHWM is %d (%v), want 18500 KiB", status, err)
	}
	if _, err := statusField("Name:\tx\n", "VmHWM"); err == nil {
		t.Error("a missing line is no error")
	}
	// A program may call itself what looks like more fields.
	used, err := statCPU("42 (a b) S 9) R 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0\n")
	if err != nil || used != 1500*time.Millisecond {
		t.Errorf("CPU is %s (%v), want 1.5s", used, err)
	}
	if _, err := statCPU("42 (x) R 1 2"); err == nil {
		t.Error("a line that is cut short is no error")
	}
	own := &process{}
	own.cmd = selfCommand(t)
	if rss, err := own.memoryOf("VmRSS"); err != nil || rss <= 0 {
		t.Errorf("this process has %d bytes (%v)", rss, err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := own.written(); err != nil || n <= 0 {
		t.Errorf("this process has written %d bytes (%v)", n, err)
	}
}

func TestCommandsOfRedisAreCountedWithoutTheQuestionItself(t *testing.T) {
	c, err := parseCalls("# Commandstats\r\ncmdstat_get:calls=7,usec=1\r\ncmdstat_info:calls=3,usec=9\r\ncmdstat_client|setinfo:calls=2,usec=2\r\n")
	if err != nil || c.total() != 9 || c.reads() != 7 {
		t.Errorf("%v (%v), want get 7 and client|setinfo 2", c, err)
	}
	if d := c.since(calls{"get": 5, "client|setinfo": 2}); d.String() != "get 2" {
		t.Errorf("since then: %s, want get 2", d)
	}
	if _, err := parseCalls("cmdstat_get:calls=many\n"); err == nil {
		t.Error("a number that is none is no error")
	}
}

func TestAnswersOfRedisAreRead(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("+OK\r\n:42\r\n$5\r\na\r\nbc\r\n-ERR no\r\n$-1\r\n*2\r\n"))
	for _, want := range []string{"OK", "42", "a\r\nbc"} {
		if got, err := readAnswer(r); err != nil || got != want {
			t.Errorf("%q (%v), want %q", got, err, want)
		}
	}
	for _, what := range []string{"an error", "no value", "a list"} {
		if got, err := readAnswer(r); err == nil {
			t.Errorf("%s is read as %q", what, got)
		}
	}
	if _, err := readAnswer(r); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

func TestMetricsAreReadByTheirWholeName(t *testing.T) {
	h, err := parseHeld("# HELP go_goroutines x\ngo_goroutines_total 9\ngo_goroutines 27\nprocess_open_fds 1.4e+01\n")
	if err != nil || h != (held{27, 14}) {
		t.Errorf("%+v (%v), want 27 and 14", h, err)
	}
	if _, err := parseHeld("go_goroutines 27\n"); err == nil {
		t.Error("a missing metric is no error")
	}
}

func TestASweepIsSeenAndSeenToEnd(t *testing.T) {
	quiet := []int64{1 << 20, 2 << 20}
	ends := sweepEnds(quiet)
	for _, c := range []struct {
		written []int64
		want    bool
	}{
		{nil, false},
		{[]int64{1 << 20, 1 << 20, 1 << 20}, false},
		{[]int64{1 << 20, 90 << 20}, false},
		{[]int64{90 << 20, 1 << 20}, false},
		{[]int64{90 << 20, 80 << 20, 1 << 20, 2 << 20}, true},
	} {
		if got := ends(0, c.written); got != c.want {
			t.Errorf("%v: over is %t, want %t", c.written, got, c.want)
		}
	}
}

func TestForgedCookiesAreNeverTheCookie(t *testing.T) {
	cookie := strings.Repeat("MTc2NDQ0AB", 16)
	seen := map[string]bool{}
	for i := range 300 {
		if forge(cookie, i) == cookie {
			t.Errorf("forgery %d is the cookie itself", i)
		}
		seen[forge(cookie, i)] = true
	}
	if len(seen) < 150 {
		t.Errorf("300 forgeries are %d different ones", len(seen))
	}
}

var sample = report{
	began: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), took: 90 * time.Second,
	sections: []section{{"1. A & B", []row{
		{"short", "0.99", "1.00", missed}, {"a | b", "1.20", "", none}, {"much longer than it", "3", "4", met}, {"the rest", "", "", unmeasured},
	}}},
	bars: []bar{{"redis, 1 session <1 KiB>", 0.5, 1}, {"embedded", 1.02, 0.97}, {"nginx", 2.54, 0}},
}

func TestTheTableSaysWhatWasMetAndWhatWasMissed(t *testing.T) {
	text := sample.text()
	for _, want := range []string{
		"  short                0.99  1.00  missed\n", "1 limits met, 1 missed, 1 groups not measured to their end, in 1m30s.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	page := sample.markdown()
	for _, want := range []string{"# Benchmark\n", "2026-11-29", "(bench.svg)", `| a \| b | 1.20 |  | – |`, "### 1. A & B"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestThePlotIsWellFormedAndHasEachRatioBesideItsBar(t *testing.T) {
	svg := plot(sample.bars)
	d := xml.NewDecoder(strings.NewReader(svg))
	bars := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			for _, a := range e.Attr {
				if a.Name.Local == "class" {
					bars[a.Value]++
				}
			}
		}
	}
	if bars["below"] != 1 || bars["bar"] != 1 || bars["other"] != 1 {
		t.Errorf("bars %v, want one below its limit, one not and one without", bars)
	}
	for _, want := range []string{">0.50<", ">1.02<", ">2.54<", "prefers-color-scheme: dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}

func TestTheReportIsWrittenAndKeepsThePlotOfARunThatHasNone(t *testing.T) {
	dir := t.TempDir()
	if err := sample.write(dir); err != nil {
		t.Fatal(err)
	}
	withoutBars := sample
	withoutBars.bars = nil
	if err := withoutBars.write(dir); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(dir + "/bench.svg"); err != nil || string(raw) != plot(sample.bars) {
		t.Errorf("the plot is another one (%v)", err)
	}
}
