package strictyaml

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxDuration is the longest duration that a file may give: a hundred years, so that adding it to a time of
// this age cannot overflow.
const MaxDuration = 36500 * 24 * time.Hour

var durationType = reflect.TypeFor[time.Duration]()

// assign sets v from the text of a scalar.
func (d *decoder) assign(v reflect.Value, text string) error {
	if read := d.opts.Types[v.Type()]; read != nil {
		value, err := read(text)
		if err == nil {
			v.Set(reflect.ValueOf(value))
		}
		return err
	}
	if v.Type() == durationType {
		duration, err := ParseDuration(text)
		if err == nil {
			v.SetInt(int64(duration))
		}
		return err
	}
	switch v.Kind() {
	case reflect.String:
		if err := checkText(text); err != nil {
			return err
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("want true or false, found %q", text)
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("want a whole number, found %q", text)
		}
		v.SetInt(int64(n))
	default:
		panic(fmt.Sprintf("strictyaml: a field of type %s needs an entry in Options.Types", v.Type()))
	}
	return nil
}

func checkText(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("holds a control character or a line break")
	}
	return nil
}

// wanted names what a type is written as, for a message.
func wanted(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a duration such as 30s"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Int:
		return "a whole number"
	}
	return "a string"
}

var reference = regexp.MustCompile(`\$\$\{|\$\{([^}]*)(\}?)`)
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces each ${NAME} in text. The first thing wrong is the error.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
	if lookup == nil || !strings.Contains(text, "${") {
		return text, nil
	}
	var problem error
	expanded := reference.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$${" {
			return "${"
		}
		part := reference.FindStringSubmatch(found)
		value, ok := lookup(part[1])
		switch {
		case problem != nil:
		case part[2] == "" || !variable.MatchString(part[1]):
			problem = errors.New("${ does not begin a name such as ${NAME}; write $${ for the characters themselves")
		case !ok:
			problem = fmt.Errorf("${%s} is not set in the environment; set it, or write $${ for the characters themselves", part[1])
		}
		return value
	})
	return expanded, problem
}

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// ParseDuration reads Go's durations, with whole days in front where there are any: 30d, 1d12h, 90s, 0.
func ParseDuration(text string) (time.Duration, error) {
	var whole, rest time.Duration
	clock := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, err
		}
		whole, clock = time.Duration(n)*24*time.Hour, m[2]
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && n != 0 {
		return 0, fmt.Errorf("%s has no unit, write %ss", text, text)
	}
	if clock != "" || text == "" {
		var err error
		if rest, err = time.ParseDuration(clock); err != nil {
			return 0, fmt.Errorf("%q is not a duration; write for example 90s, 15m, 12h or 30d", text)
		}
	}
	if whole > MaxDuration || rest > MaxDuration || whole+rest > MaxDuration {
		return 0, fmt.Errorf("%s is longer than a hundred years", text)
	}
	if rest < 0 {
		return 0, fmt.Errorf("%s is negative", text)
	}
	return whole + rest, nil
}

// suggest ends a message about a name that is not known: with the nearest known one where one is near, else
// with all of them.
func suggest(name string, known []string) string {
	nearest, least := "", len(name)/3+2
	for _, candidate := range known {
		if n := distance(strings.ToLower(name), candidate); n < least {
			nearest, least = candidate, n
		}
	}
	if nearest != "" {
		return fmt.Sprintf("; did you mean %q?", nearest)
	}
	return "; known here: " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance in bytes. A name much longer than any key is far from all of them.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
