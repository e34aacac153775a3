package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one defence and how to take it out.
type mutant struct {
	where   string // file and line of the list
	area    string // the heading under which the table has it
	name    string
	takes   string // what the gateway lacks with it, in words
	test    string // that kills it; after a slash a part of it, where all of it would take long
	pkg     string // the folder of the test's package, "." for the root
	changes []change
}

// change puts lines in the place of others in one file.
type change struct {
	file     string // from the root of the tree
	old, new []string
}

// readLists reads every list in a folder, in the order of the file names.
func readLists(folder string) ([]*mutant, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no list of mutants in %s", folder)
	}
	var all []*mutant
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		list, err := parse(filepath.Base(name), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	known := map[string]string{}
	for _, m := range all {
		if other, ok := known[m.name]; ok {
			return nil, fmt.Errorf("%s: mutant %s is in %s too: give it another name", m.where, m.name, other)
		}
		known[m.name] = m.where
	}
	return all, nil
}

// parse reads a list. Its lines are, by their first word:
//
//	# …                      a comment
//	area HEADING             for the mutants that follow
//	mutant NAME WORDS…       begins a mutant, and says what the gateway lacks with it
//	test FOLDER NAME         the test that kills it, in the package of that folder, or NAME/PART
//	file PATH                the file that the lines below change
//	-LINE                    a line of the file, whole; how far it is indented does not matter
//	+LINE                    a line in the place of the - lines above it; a - after a + begins another change
func parse(name, text string) ([]*mutant, error) {
	var all []*mutant
	area, file := "", ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		where := fmt.Sprintf("%s:%d", name, number)
		word, rest, _ := strings.Cut(line, " ")
		var m *mutant
		if len(all) > 0 {
			m = all[len(all)-1]
		}
		switch {
		case strings.TrimSpace(line) == "" || word == "#":
		case word == "area" && rest != "":
			area = rest
		case word == "mutant" && strings.Contains(rest, " ") && area != "":
			m, file = &mutant{where: where, area: area}, ""
			m.name, m.takes, _ = strings.Cut(rest, " ")
			all = append(all, m)
		case word == "test" && strings.Contains(rest, " ") && m != nil:
			m.pkg, m.test, _ = strings.Cut(rest, " ")
		case word == "file" && rest != "" && m != nil:
			file = rest
			m.changes = append(m.changes, change{file: file})
		case (line[0] == '-' || line[0] == '+') && file != "":
			m.add(line[0], strings.TrimSpace(line[1:]))
		default:
			return nil, fmt.Errorf("%s: %q is no line of a list of mutants, or not in its place", where, line)
		}
	}
	for _, m := range all {
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("%s: mutant %s %w", m.where, m.name, err)
		}
	}
	return all, nil
}

// add takes a line of a change over.
func (m *mutant) add(sign byte, line string) {
	c := &m.changes[len(m.changes)-1]
	if sign == '+' {
		c.new = append(c.new, line)
		return
	}
	if len(c.new) > 0 {
		m.changes = append(m.changes, change{file: c.file})
		c = &m.changes[len(m.changes)-1]
	}
	c.old = append(c.old, line)
}

func (m *mutant) check() error {
	if m.test == "" {
		return fmt.Errorf("has no test")
	}
	if len(m.changes) == 0 {
		return fmt.Errorf("changes no file")
	}
	for _, c := range m.changes {
		if len(c.old) == 0 {
			return fmt.Errorf("changes %s and names no line of it with -", c.file)
		}
	}
	return nil
}

// function is the name of the test without its part.
func (m *mutant) function() string {
	name, _, _ := strings.Cut(m.test, "/")
	return name
}

// apply returns the changed files of a tree, by their path from its root.
func (m *mutant) apply(root string) (map[string]string, error) {
	changed := map[string]string{}
	for _, c := range m.changes {
		text, ok := changed[c.file]
		if !ok {
			raw, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				return nil, fmt.Errorf("%s: mutant %s: %w", m.where, m.name, err)
			}
			text = string(raw)
		}
		text, found := c.replace(text)
		if found != 1 {
			return nil, fmt.Errorf("%s: mutant %s no longer applies: its lines, from %q on, are in %s %d times and must be there once: change the list as the source was changed",
				m.where, m.name, c.old[0], c.file, found)
		}
		changed[c.file] = text
	}
	return changed, nil
}

// replace changes a text, and says how often it holds the old lines.
func (c *change) replace(text string) (string, int) {
	lines := strings.Split(text, "\n")
	at, found := 0, 0
	for i := 0; i+len(c.old) <= len(lines); i++ {
		if c.fits(lines[i:]) {
			at = i
			found++
		}
	}
	if found != 1 {
		return text, found
	}
	changed := append(append([]string{}, lines[:at]...), c.new...)
	return strings.Join(append(changed, lines[at+len(c.old):]...), "\n"), 1
}

func (c *change) fits(lines []string) bool {
	for i, old := range c.old {
		if strings.TrimSpace(lines[i]) != old {
			return false
		}
	}
	return true
}
