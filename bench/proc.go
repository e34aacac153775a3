package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of utime and stime in proc_pid_stat(5): USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// memoryOf returns a line of proc_pid_status(5) that is in kB, such as VmHWM or VmRSS, in bytes.
func (p *process) memoryOf(field string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := statusField(string(raw), field)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func statusField(status, field string) (int64, error) {
	for line := range strings.Lines(status) {
		value, found := strings.CutPrefix(line, field+":")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is %q, want a number of kB", field, strings.TrimSpace(value))
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("no line %s", field)
}

// cpu returns the time that the process has spent on the processors, its own and the kernel's for it.
func (p *process) cpu() (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	used, err := statCPU(string(raw))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return used, nil
}

// statCPU reads utime and stime, fields 14 and 15. The second field is a name in brackets that may hold anything.
func statCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("%d fields after the name, want 13 or more", len(fields))
	}
	var sum int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no number of ticks", f)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// written returns how many bytes the process has handed to write calls so far (wchar of proc_pid_io(5)).
func (p *process) written() (int64, error) {
	path := fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, found := strings.CutPrefix(line, "wchar: "); found {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no wchar", path)
}
