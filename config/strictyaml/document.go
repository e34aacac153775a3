// Package strictyaml decodes one YAML document into Go structs and says everything that is wrong with it at
// once, each problem with its file, line and key.
//
// It is not a general YAML library: it reads configuration that people write by hand, and refuses what such a
// file does not need (aliases, merge keys, tags, a second document).
package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one problem of a file.
type Error struct {
	File    string
	Line    int    // counted from 1; 0 where the problem has no line
	Key     string // as in "upstreams[0].url"; empty where the problem is of the whole file
	Problem string // what was found and what to do
}

// Error gives the problem on one line: "config.yaml:12: upstreams[0].url: missing".
func (e Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	if e.Key != "" {
		where += ": " + e.Key
	}
	return where + ": " + e.Problem
}

// Errors are all the problems of a file, in the order of their lines.
type Errors []Error

// Error gives one problem on each line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, problem := range e {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Document remembers where each key of a decoded file stands, and gathers what is wrong with the file. It is
// for one goroutine.
type Document struct {
	file   string
	lines  map[string]int
	faulty map[string]bool // true: the whole value could not be read; false: there is a problem with it
	errs   Errors
}

// Has says whether the file gives the key itself, not only its parent.
func (d *Document) Has(key string) bool {
	_, ok := d.lines[key]
	return ok && key != ""
}

// Line returns the line of a key, or of its nearest parent where the file does not give the key.
func (d *Document) Line(key string) int {
	for ; key != ""; key = parent(key) {
		if line, ok := d.lines[key]; ok {
			return line
		}
	}
	return max(d.lines[""], 1)
}

// Report adds a problem that the caller found in a value. Where the value, or a parent, could not be read in the
// first place, or the key has been reported before, nothing is added: it would only be an echo.
func (d *Document) Report(key, format string, args ...any) {
	for k := key; k != ""; k = parent(k) {
		if unread, known := d.faulty[k]; unread || known && k == key {
			return
		}
	}
	d.faulty[key] = false
	d.add(d.Line(key), key, format, args...)
}

// Err returns what is wrong with the file as [Errors], or nil.
func (d *Document) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errs, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	return d.errs
}

// fail adds a problem that kept the value under key from being read.
func (d *Document) fail(line int, key, format string, args ...any) {
	d.faulty[key] = true
	d.add(line, key, format, args...)
}

func (d *Document) add(line int, key, format string, args ...any) {
	d.errs = append(d.errs, Error{File: d.file, Line: line, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// Join names the entry of a mapping: Join("server", "listen") is "server.listen". A name that is not plain,
// which only keys chosen by people can be, is quoted, so that no name can look like another key or break a line.
func Join(key, name string) string {
	plain := name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '@')
	})
	if !plain {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

func item(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}
