package main

import (
	"fmt"
	"strings"
)

// table is docs/mutants.md.
func table(all []*mutant) string {
	var b strings.Builder
	b.WriteString("# Mutants\n\n")
	fmt.Fprintf(&b, "Each row takes one defence out of the gateway. `make mutants` does so for all %d, one at a time and never in the tree itself, and\n", len(all))
	b.WriteString("demands that the test named here fails. The lists are in `tools/mutants/`; this page is written by `make mutants`.\n")
	area := ""
	for _, m := range all {
		if m.area != area {
			area = m.area
			fmt.Fprintf(&b, "\n## %s\n\n| mutant | what the gateway lacks | in | killed by |\n| --- | --- | --- | --- |\n", area)
		}
		var files []string
		for _, c := range m.changes {
			if file := "`" + c.file + "`"; len(files) == 0 || files[len(files)-1] != file {
				files = append(files, file)
			}
		}
		pkg := m.pkg
		if pkg == "." {
			pkg = "main"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` in `%s` |\n", m.name, m.takes, strings.Join(files, ", "), m.test, pkg)
	}
	return b.String()
}
