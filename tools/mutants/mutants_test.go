package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

func lists(t *testing.T) []*mutant {
	t.Helper()
	all, err := readLists(".")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryMutantStillAppliesAndItsTestIsThere(t *testing.T) {
	for _, m := range lists(t) {
		if _, err := m.apply(root); err != nil {
			t.Error(err)
		}
		names, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "\nfunc "+m.function()+"(")
		}
		if !found {
			t.Errorf("%s: mutant %s: there is no test %s in %s", m.where, m.name, m.function(), m.pkg)
		}
	}
}

func TestThePageOfTheMutantsIsThatOfTheLists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "mutants.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != table(lists(t)) {
		t.Error("docs/mutants.md is not what the lists say: run make mutants, which writes it when every mutant is dead")
	}
}

func TestAMutantChangesItsLinesWhereTheyStandOnce(t *testing.T) {
	folder := t.TempDir()
	source := "package p\n\nfunc f() int {\n\tx := 1\n\treturn x\n}\n\nfunc g() int {\n\tx := 1\n\treturn -x\n}\n"
	if err := os.WriteFile(filepath.Join(folder, "p.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	const head = "area a\nmutant m w\ntest . T\nfile p.go\n"
	for changes, want := range map[string]string{
		"-return x\n+return 2\n":                              strings.Replace(source, "\treturn x", "return 2", 1),
		"-x := 1\n-return -x\n":                               strings.Replace(source, "\tx := 1\n\treturn -x\n", "", 1),
		"-return x\n+return 2\n-return -x\n+a\n+b\n":          strings.NewReplacer("\treturn x", "return 2", "\treturn -x", "a\nb").Replace(source),
		"-x := 1\n+x := 2\n":                                  "2 times",
		"-return y\n+return 2\n":                              "0 times",
		"-return x\n+return 2\nfile q.go\n-return x\n+gone\n": "q.go",
	} {
		all, err := parse("list", head+changes)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := all[0].apply(folder)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && changed["p.go"] != want {
			t.Errorf("%q: %v, %q; want %q", changes, err, changed["p.go"], want)
		}
	}
}

func TestAListThatSaysTooLittleIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"mutant m w":                                      "list:1", // no area
		"area a\nmutant m":                                "list:2",
		"area a\nmutant m w\ntest . T":                    "changes no file",
		"area a\nmutant m w\nfile p.go\n-x":               "has no test",
		"area a\nmutant m w\ntest . T\nfile p.go\n+x":     "names no line",
		"area a\nmutant m w\ntest . T\nfile p.go\nx := 1": "list:5",
		"area a\nmutant m w\n-x":                          "list:3",
	} {
		if all, err := parse("list", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %s", text, all, err, want)
		}
	}
}

func TestATestThatFailsByItselfKillsNothing(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module p\n\ngo 1.26.0\n",
		"p.go":      "package p\n\nfunc two() int {\n\treturn 2\n}\n",
		"p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestFails(t *testing.T) { t.Error(two()) }\n\nfunc TestTwo(t *testing.T) {\n\tif two() != 2 {\n\t\tt.Error(two())\n\t}\n}\n\nfunc TestIdle(*testing.T) { two() }\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{root: folder, folder: t.TempDir(), goTool: "go"}
	for test, want := range map[string]struct{ baseline, kill string }{
		"TestTwo":   {},
		"TestIdle":  {"", "SURVIVES"},
		"TestFails": {"does not pass on the source as it is", ""},
		"TestNone":  {"does not pass on the source as it is", "SURVIVES"},
	} {
		all, err := parse("list", "area a\nmutant m w\ntest . "+test+"\nfile p.go\n-return 2\n+return 3\n")
		if err != nil {
			t.Fatal(err)
		}
		says(t, test, b.baseline(t.Context(), all, 1), want.baseline)
		says(t, test, b.kill(t.Context(), all[0]), want.kill)
	}
	broken, err := parse("list", "area a\nmutant m w\ntest . TestTwo\nfile p.go\n-return 2\n+return two\n")
	if err != nil {
		t.Fatal(err)
	}
	says(t, "a mutant that is no Go", b.kill(t.Context(), broken[0]), "does not compile")
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}
