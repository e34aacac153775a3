package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// partsOf are the benchmarks of the repository whose numbers are in the table, by the package.
var partsOf = map[string]string{
	"./proxy":            "^Benchmark(Decision|GatewayInMemory|Exchange)$",
	"./authflow/session": "^BenchmarkLookupOfARememberedSession$",
}

const decision = "Decision/%dupstreams"

// smallParts measures group 7: what does not need a network, by the repository's own benchmarks and benchstat.
func (b *bench) smallParts() ([]row, error) {
	measured := map[string]map[string]float64{}
	for pkg, pattern := range partsOf {
		out, err := b.goBench(pkg, pattern)
		if err != nil {
			return nil, err
		}
		more, err := b.benchstat(out)
		if err != nil {
			return nil, err
		}
		for name, values := range more {
			measured[name] = values
		}
	}
	few, many := measured[fmt.Sprintf(decision, 10)], measured[fmt.Sprintf(decision, 1000)]
	if few == nil || many == nil {
		return nil, errors.New("benchstat names no BenchmarkDecision")
	}
	micro, allocations, rise := few["sec/op"]*1e6, few["allocs/op"], many["sec/op"]/few["sec/op"]
	rows := []row{
		{"route, access decision, cookie check and headers off, 10 upstreams of 20 rules", fmt.Sprintf("%.2f µs, %.0f allocations", micro, allocations),
			"under 2 µs and 5", judge(micro < 2 && allocations < 5)},
		{"the same with 1,000 upstreams", fmt.Sprintf("%.2f times", rise), "2 times", judge(atMost(rise, 2))},
	}
	for _, other := range []struct{ name, what string }{
		{"GatewayInMemory/gateway", "a whole request through the gateway, without a network"},
		{"GatewayInMemory/bare", "the same through the bare proxy"},
		{"Exchange/exchange", "a request and its answer by the exchange, both sides"},
		{"Exchange/http.Transport", "the same by http.Transport"},
		{"LookupOfARememberedSession", "a session of 100,000 that are remembered is looked up"},
	} {
		values := measured[other.name]
		if values == nil {
			return rows, fmt.Errorf("benchstat names no Benchmark%s", other.name)
		}
		rows = append(rows, row{other.what, fmt.Sprintf("%.3g µs, %.0f allocations", values["sec/op"]*1e6, values["allocs/op"]), "", none})
	}
	return rows, nil
}

// goBench runs benchmarks of a package as the gateway is built, and returns the file with what they print.
func (b *bench) goBench(pkg, pattern string) (string, error) {
	profile, err := filepath.Abs("default.pgo")
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(b.ctx, b.goTool, "test", "-trimpath", "-pgo", profile, "-run", "^$", "-bench", pattern,
		"-benchmem", "-benchtime", "200ms", "-count", strconv.Itoa(b.slices(6)), pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", c, err, out)
	}
	file := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".bench")
	return file, os.WriteFile(file, out, 0o600)
}

// benchstat returns the medians of a file of benchmarks, by their names and their units.
func (b *bench) benchstat(file string) (map[string]map[string]float64, error) {
	c := exec.CommandContext(b.ctx, b.goTool, "tool", "-modfile=tools/go.mod", "benchstat", "-format", "csv", file)
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return parseBenchstat(string(out))
}

// parseBenchstat reads tables of which each has its unit in the second column of a line without a name, and below that a
// benchmark in each line.
func parseBenchstat(text string) (map[string]map[string]float64, error) {
	measured := map[string]map[string]float64{}
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	unit := ""
	for {
		line, err := r.Read()
		if err == io.EOF {
			return measured, nil
		}
		if err != nil {
			return nil, fmt.Errorf("benchstat: %w", err)
		}
		switch {
		case len(line) < 2 || line[0] == "geomean":
		case line[0] == "":
			unit = line[1]
		default:
			value, err := strconv.ParseFloat(line[1], 64)
			if err != nil {
				return nil, fmt.Errorf("benchstat: %q of %s is no number", line[1], line[0])
			}
			name := line[0]
			if i := strings.LastIndexByte(name, '-'); i >= 0 {
				name = name[:i] // behind it is the number of processors
			}
			if measured[name] == nil {
				measured[name] = map[string]float64{}
			}
			measured[name][unit] = value
		}
	}
}
