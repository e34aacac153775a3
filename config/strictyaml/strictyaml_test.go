package strictyaml

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type animal struct {
	Name  string            `key:"name"`
	Legs  int               `key:"legs"`
	Tame  bool              `key:"tame"`
	Age   time.Duration     `key:"age"`
	Kind  string            `key:"kind" oneof:"cat dog"`
	Foods []string          `key:"foods"`
	Young map[string]animal `key:"young"`
	Token string            `key:"token,secret"`
	Codes []string          `key:"codes,secret"`
	Photo string            `key:"photo,path"`
	_     struct{}          `ignore:"colour weight"`
	Note  string            // no key
}

func decodeAnimal(t *testing.T, text string, opts Options) (animal, *Document, error) {
	t.Helper()
	var a animal
	doc, err := Decode("animal.yaml", []byte(text), &a, opts)
	if err == nil {
		err = doc.Err()
	}
	return a, doc, err
}

func TestADocumentIsReadOverTheDefaults(t *testing.T) {
	a := animal{Name: "none", Legs: 4, Note: "kept"}
	text := "name: Tom\ntame: true\nage: 1d12h\nkind: cat\nfoods: [fish, 007]\nyoung:\n  kit: {legs: 3}\n  12: {}\ncolour: {any: [thing]}\nphoto: tom.png\n"
	doc, err := Decode("zoo/animal.yaml", []byte(text), &a, Options{})
	if err != nil || doc.Err() != nil {
		t.Fatal(err, doc.Err())
	}
	folder, err := filepath.Abs("zoo")
	if err != nil {
		t.Fatal(err)
	}
	want := animal{
		Name: "Tom", Legs: 4, Tame: true, Age: 36 * time.Hour, Kind: "cat", Foods: []string{"fish", "007"}, Note: "kept",
		Young: map[string]animal{"kit": {Legs: 3}, "12": {}}, Photo: filepath.Join(folder, "tom.png"),
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, want %+v", a, want)
	}
}

func TestEachProblemIsOneLineWithFileLineAndKey(t *testing.T) {
	for text, want := range map[string]string{
		"nmae: Tom":                         `animal.yaml:1: nmae: unknown key; did you mean "name"?`,
		"Name: Tom":                         `animal.yaml:1: Name: unknown key; did you mean "name"?`,
		"xyzzy: 1":                          "animal.yaml:1: xyzzy: unknown key; known here: age, codes, codes_file, foods, kind, legs, name, photo, tame, token, token_file, young",
		"\"a\\nb: \\\"\": 1":                "animal.yaml:1: holds an unknown key; a value with a comma or a colon in it needs quotes",
		"young: {a: {token: s3,cr=et,y=z}}": "animal.yaml:1: young.a: holds an unknown key; a value with a comma or a colon in it needs quotes",
		"young: {a: {token: s3,cret}}":      "animal.yaml:1: young.a: holds an unknown key; a value with a comma or a colon in it needs quotes",
		"nmae:":                             `animal.yaml:1: nmae: unknown key; did you mean "name"?`,
		"token: !cret x":                    "animal.yaml:1: token: begins with a character that means something in YAML; a value with * or ! in front needs quotes",
		"name: &cret x\ntoken: *cret":       "animal.yaml:2: token: begins with a character that means something in YAML; a value with * or ! in front needs quotes",
		"token: *cret":                      "animal.yaml:1: not valid YAML: an alias, which is not read; a value with * in front needs quotes",
		"Note: x":                           `animal.yaml:1: Note: unknown key; did you mean "name"?`,
		"name: a\nlegs: 1\nname: b":         "animal.yaml:3: name: given twice; first on line 1",
		"name: [a]":                         "animal.yaml:1: name: want a string, found a list",
		"legs: {a: b}":                      "animal.yaml:1: legs: want a whole number, found a mapping",
		"legs: 1.5":                         `animal.yaml:1: legs: want a whole number, found "1.5"`,
		"tame: []":                          "animal.yaml:1: tame: want true or false, found a list",
		"age: {}":                           "animal.yaml:1: age: want a duration such as 30s, found a mapping",
		"foods: fish":                       "animal.yaml:1: foods: want a list, found a string",
		"foods: 3":                          "animal.yaml:1: foods: want a list, found a number",
		"foods: true":                       "animal.yaml:1: foods: want a list, found true or false",
		"foods:\n  - a\n  - [b]":            "animal.yaml:3: foods[1]: want a string, found a list",
		"young: [a]":                        "animal.yaml:1: young: want a mapping, found a list",
		"young:\n  a.b:\n    legs: x":       `animal.yaml:3: young."a.b".legs: want a whole number, found "x"`,
		"name:":                             "animal.yaml:1: name: has no value; give one, or leave the key out",
		"? [a]\n: b":                        "animal.yaml:1: holds a key that is not a plain name",
		"name: !!str 1":                     "animal.yaml:1: name: tags (!!str) are not read; leave it out",
		"name: &a x\nkind: *a":              "animal.yaml:2: kind: aliases (*a) are not read; write the value out",
		"foods: &a [*a]":                    "animal.yaml:1: foods[0]: aliases (*a) are not read; write the value out",
		"<<: {name: x}":                     `animal.yaml:1: "<<": merge keys are not read; write the keys out`,
		"kind: cow":                         `animal.yaml:1: kind: unknown value "cow"; did you mean "cat"?`,
		"kind: crocodile":                   `animal.yaml:1: kind: unknown value "crocodile"; known here: cat, dog`,
		"name: \"a\\u0085b\"":               "animal.yaml:1: name: holds a control character or a line break",
		"token_file: nowhere":               "FOLDER/nowhere: no such file or directory",
		"token: a\ntoken_file: b":           "animal.yaml:2: token_file: given together with token; keep one of the two",
		"name: a\n--- \nname: b":            "animal.yaml:2: a second document begins here; a file holds one: take the --- out",
		"just words":                        "animal.yaml:1: want keys and values, found a string",
	} {
		folder, err := filepath.Abs(".")
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = decodeAnimal(t, text, Options{})
		if err == nil || !strings.HasSuffix(err.Error(), strings.ReplaceAll(want, "FOLDER", folder)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestBrokenYAMLNamesTheLineThatBreaksIt(t *testing.T) {
	for text, line := range map[string]int{
		"a: b: c":                              1,
		"{":                                    1,
		"name: Tom\nlegs: 4\n tame: true\n":    3,
		"name: Tom\n\tlegs: 4\n":               2,
		"name: Tom\n\n\nyoung:\n  a: {b\nc: d": 5,
		"# one\nname: 'Tom\nlegs: 4\n":         2,
		"name: Tom\nlegs: \x01\n":              2,
		"name: Tom\nlegs: \xff\n":              2,
		"name: Tom\nlegs: *nothing\nage: 1s":   2,
		"name: ok\n---\nname: 'broken":         3,
	} {
		_, _, err := decodeAnimal(t, text, Options{})
		problems, ok := errors.AsType[Errors](err)
		if !ok || len(problems) != 1 || problems[0].Line != line || !strings.Contains(problems[0].Problem, "not valid YAML: ") {
			t.Errorf("%q: got %v, want one problem on line %d", text, err, line)
		}
	}
}

func TestProblemsComeInTheOrderOfTheirLinesAndOnlyOnce(t *testing.T) {
	_, doc, err := decodeAnimal(t, "name: Tom\nlegs: x\nyoung:\n  kit:\n    legs: y\n", Options{})
	if err == nil {
		t.Fatal("no error")
	}
	doc.Report("legs", "an echo")
	doc.Report("young.kit.legs.of", "an echo")
	doc.Report("young.kit.age", "missing")
	doc.Report("name", "too short")
	doc.Report("name", "an echo")
	doc.Report("young", "too young")
	doc.Report("young.kit.name", "missing")
	want := "animal.yaml:1: name: too short\n" +
		"animal.yaml:2: legs: want a whole number, found \"x\"\n" +
		"animal.yaml:3: young: too young\n" +
		"animal.yaml:4: young.kit.age: missing\n" +
		"animal.yaml:4: young.kit.name: missing\n" +
		"animal.yaml:5: young.kit.legs: want a whole number, found \"y\""
	if got := doc.Err().Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestALineIsFoundForAKeyOrItsNearestParent(t *testing.T) {
	_, doc, err := decodeAnimal(t, "# a comment\nname: Tom\nfoods:\n  - a\n  - b\nyoung:\n  a.b: {}\n", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for key, line := range map[string]int{"name": 2, "foods": 3, "foods[1]": 5, "foods[7]": 3, `young."a.b"`: 7, `young."a.b".legs`: 7, "young.x": 6, "nowhere": 2, "": 2} {
		if got := doc.Line(key); got != line {
			t.Errorf("%s: line %d, want %d", key, got, line)
		}
	}
	if !doc.Has("foods[1]") || doc.Has("foods[2]") || doc.Has("legs") || doc.Has("") {
		t.Error("Has does not say which keys the file gives")
	}
}

func TestTheEnvironmentIsTakenAsTextOnly(t *testing.T) {
	env := map[string]string{"NAME": "[a, b]: *c # d", "LEGS": "4", "AGE": "30s", "EMPTY": "", "BREAK": "a\nb", "AGAIN": "${NAME}"}
	opts := Options{LookupEnv: func(name string) (string, bool) { value, ok := env[name]; return value, ok }}
	a, _, err := decodeAnimal(t, "name: x${NAME}y${EMPTY}\nlegs: ${LEGS}\nage: ${AGE}\nkind: cat\nfoods: ['$${NAME}', '$NAME$', '${AGAIN}', '$$${LEGS}']\n", opts)
	if err != nil {
		t.Fatal(err)
	}
	want := animal{Name: "x[a, b]: *c # dy", Legs: 4, Age: 30 * time.Second, Kind: "cat", Foods: []string{"${NAME}", "$NAME$", "${NAME}", "$${LEGS}"}}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, want %+v", a, want)
	}
	for text, want := range map[string]string{
		"name: ${NOPE}":   "${NOPE} is not set in the environment",
		"name: ${1A}":     "write $${ for the characters themselves",
		"name: ${}":       "write $${ for the characters themselves",
		"name: 'x${NAME'": "write $${ for the characters themselves",
		"name: ${BREAK}":  "holds a control character",
		"legs: ${NAME}":   "want a whole number",
		"${NAME}: x":      "unknown key",
		"foods: ${NAME}":  "want a list, found a string",
		"kind: ${NAME}":   "unknown value",
		"age: ${LEGS}":    "4 has no unit, write 4s",
	} {
		if _, _, err := decodeAnimal(t, text, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if a, _, err := decodeAnimal(t, "name: ${NAME}", Options{}); err != nil || a.Name != "${NAME}" {
		t.Errorf("without LookupEnv: got %q, %v; want the text as it is", a.Name, err)
	}
}

func TestASecretCanComeFromAFile(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	for name, content := range map[string]string{"token": " s3cret: #x\r\n", "codes": "one\n\n two\n", "empty": "\n", "folder/x": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"token_file: token\ncodes_file: codes", "token: ''\ntoken_file: token\ncodes_file: codes\ncodes: []"} {
		a, _, err := decodeAnimal(t, text, Options{})
		if err != nil || a.Token != "s3cret: #x" || !reflect.DeepEqual(a.Codes, []string{"one", "two"}) {
			t.Errorf("%q: got %+v, %v", text, a, err)
		}
	}
	for text, want := range map[string]string{
		"token_file: empty":  "empty is empty",
		"token_file: folder": "folder: not a regular file",
		"token_file: [a]":    "want a string, found a list",
		"token_file: codes":  "codes holds a control character or a line break",
	} {
		if _, _, err := decodeAnimal(t, text, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestDurations(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 30 * day, "1d12h": 36 * time.Hour, "0d": 0, "1.5h": 90 * time.Minute, "36500d": MaxDuration,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"30": "30 has no unit, write 30s", "1.5": "1.5 has no unit, write 1.5s", "": `"" is not a duration`, "d": "not a duration",
		"1d 2h": "not a duration", "1h1d": "not a duration", "-1h": "-1h is negative", "1d-1h": "is negative", "1.5d": "not a duration",
		"99999d": "longer than a hundred years", "36500d1s": "longer than a hundred years", "999999h": "longer than a hundred years", "9999999999h": "not a duration",
	} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %s, %v; want %q", text, got, err, want)
		}
	}
}

func TestAKeyWithoutAValueCanCountAsAbsent(t *testing.T) {
	a, _, err := decodeAnimal(t, "name:\nyoung: ~\nfoods: null\n", Options{NullIsAbsent: true})
	if err != nil || !reflect.DeepEqual(a, animal{}) {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestAFileIsBoundedAndRegular(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("at the bound: %q, %v", data, err)
	}
	if _, err := ReadFile(path, 4); err == nil || !strings.Contains(err.Error(), "larger than 4 bytes") {
		t.Errorf("over the bound: %v", err)
	}
	if _, err := ReadFile("/dev/zero", 5); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
	if _, _, err := decodeAnimal(t, strings.Repeat("#", MaxSize+1), Options{}); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a document over the bound: %v", err)
	}
}

func TestSetKeepsCommentsAndTheOtherKeys(t *testing.T) {
	before := "# The users.\nusers: # all of them\n  # the boss\n  alice:\n    password: old # secret\n    groups: [a, b]\n  bob: {password: old}\n# the end\n"
	after := "# The users.\nusers: # all of them\n  # the boss\n  alice:\n    password: $new # secret\n    groups: [a, b]\n    disabled: true\n  bob: {password: old}\n  \"true\":\n    groups:\n      - x\n      - \"1\"\n# the end\n"
	data := []byte(before)
	for _, edit := range []struct {
		value any
		path  []string
	}{
		{"$new", []string{"users", "alice", "password"}},
		{true, []string{"users", "alice", "disabled"}},
		{[]string{"x", "1"}, []string{"users", "true", "groups"}},
	} {
		var err error
		if data, err = Set(data, edit.value, edit.path...); err != nil {
			t.Fatal(err)
		}
	}
	if string(data) != after {
		t.Errorf("got:\n%s\nwant:\n%s", data, after)
	}
}

func TestSetBeginsWhatIsNotThere(t *testing.T) {
	for before, after := range map[string]string{
		"":               "a:\n  b: c\n",
		"# words\n\n# x": "# words\n\n# x\n\na:\n  b: c\n",
		"a:\n":           "a:\n  b: c\n",
		"a: {}\n":        "a:\n  b: c\n",
		"---\n":          "a:\n  b: c\n",
		"x: {y: }\n":     "x: {y: null}\na:\n  b: c\n",
	} {
		if got, err := Set([]byte(before), "c", "a", "b"); err != nil || string(got) != after {
			t.Errorf("%q: got %q, %v; want %q", before, got, err, after)
		}
	}
	if _, err := Set([]byte("a: [1]"), "c", "a", "b"); err == nil {
		t.Error("a key is set in a list")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("name: Tom\nyoung: {a: {foods: [b, 1]}}\n", "Tom")
	f.Add("name: &a x\nkind: *a\n---\n", "\x00")
	f.Add("\t- {'\n# x", "yes")
	f.Fuzz(func(t *testing.T, text, value string) {
		var a, b animal
		doc, err := Decode("fuzz.yaml", []byte(text), &a, Options{NullIsAbsent: true})
		if err != nil || doc.Err() != nil || strings.Contains(text, "_file") {
			return
		}
		edited, err := Set([]byte(text), value, "name")
		if checkText(value) != nil {
			if err == nil {
				t.Fatalf("%q is taken as a value", value)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q cannot be edited: %v", text, err)
		}
		doc, err = Decode("fuzz.yaml", edited, &b, Options{NullIsAbsent: true})
		if err != nil {
			t.Fatalf("%q became %q: %v", text, edited, err)
		}
		if doc.Err() != nil {
			t.Fatalf("%q became %q: %v", text, edited, doc.Err())
		}
		a.Name = value
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q: %+v, want %+v", text, edited, b, a)
		}
	})
}
