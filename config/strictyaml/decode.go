package strictyaml

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Options say how a file is read.
type Options struct {
	// LookupEnv, where set, turns ${NAME} in any value into the value of that environment variable, and $${
	// into a plain ${. The replacement is never read as YAML. [os.LookupEnv] fits.
	LookupEnv func(name string) (value string, ok bool)

	// Types reads values of types that are not built in, from their text. The value returned must be of the
	// type that it stands under. An error should say what was found and what to write; it must not show a secret.
	Types map[reflect.Type]func(text string) (any, error)

	// NullIsAbsent takes a key without a value for a key that is not there. Otherwise it is an error, since
	// "groups:" with nothing behind it is more often a slip than a wish for the default.
	NullIsAbsent bool
}

// Decode reads the document in data into the struct that into points to, over the defaults that stand there.
// The error says that data is no single YAML mapping, and is of type [Errors]; everything else that is wrong is
// in the Document, to which the caller adds its own findings before it asks for [Document.Err].
//
// Fields are marked with struct tags:
//
//	Listen string `key:"listen"`             // the key; a field without one is left alone
//	Driver string `key:"driver" oneof:"a b"` // the values that are allowed
//	File   string `key:"file,path"`          // made absolute, from the folder of the YAML file; in a map or list, each
//	Token  string `key:"token,secret"`       // also token_file, whose content is the value; for a list, its lines
//	_      struct{} `ignore:"website locale"` // keys that are accepted and not looked at
//
// Known types are structs, maps with string keys, slices, strings, booleans, ints and [time.Duration], and pointers to
// them, which are nil where the file does not give the key. A struct that [Options.Types] knows too is read from a text
// where the file has a text, and from keys where it has keys.
func Decode(file string, data []byte, into any, opts Options) (*Document, error) {
	d := &decoder{
		Document: &Document{file: file, lines: map[string]int{}, faulty: map[string]bool{}},
		opts:     opts,
	}
	var err error
	if d.folder, err = filepath.Abs(filepath.Dir(file)); err != nil {
		return nil, Errors{{File: file, Problem: err.Error()}}
	}
	document, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, Errors{{File: file, Line: root.Line, Problem: "want keys and values, found " + kind(root)}}
	}
	d.lines[""] = root.Line
	d.value(root, reflect.ValueOf(into).Elem(), "", field{})
	return d.Document, nil
}

type decoder struct {
	*Document
	folder string // of the file, absolute
	opts   Options
}

// field is what the struct tags say of a key.
type field struct {
	index    int
	option   string   // "", "path" or "secret"
	oneOf    []string // nil: any value
	fromFile bool     // the key is the _file twin of a secret
	ignored  bool
}

func fieldsOf(t reflect.Type) map[string]field {
	fields := map[string]field{}
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		for name := range strings.FieldsSeq(tag.Get("ignore")) {
			fields[name] = field{ignored: true}
		}
		name, option, _ := strings.Cut(tag.Get("key"), ",")
		if name == "" {
			continue
		}
		f := field{index: i, option: option, oneOf: strings.Fields(tag.Get("oneof"))}
		fields[name] = f
		if option == "secret" {
			f.fromFile = true
			fields[name+"_file"] = f
		}
	}
	return fields
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, key string, f field) {
	switch {
	case f.option == "secret" && (n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0): // which may be the secret
		d.fail(n.Line, key, "begins with a character that means something in YAML; a value with * or ! in front needs quotes")
	case n.Kind == yaml.AliasNode:
		d.fail(n.Line, key, "aliases (*%s) are not read; write the value out", n.Value)
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n.Line, key, "tags (%s) are not read; leave it out", n.Tag)
	case isNull(n):
		if !d.opts.NullIsAbsent {
			d.fail(n.Line, key, "has no value; give one, or leave the key out")
		}
	case f.fromFile:
		d.secretFile(n, v, key, f)
	case d.opts.Types[v.Type()] != nil && (n.Kind == yaml.ScalarNode || v.Kind() != reflect.Struct):
		d.scalar(n, v, key, f)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), key, f)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, key)
	case v.Kind() == reflect.Map:
		d.stringMap(n, v, key, f)
	case v.Kind() == reflect.Slice:
		d.list(n, v, key, f)
	default:
		d.scalar(n, v, key, f)
	}
}

type pair struct {
	name, key string
	value     *yaml.Node
}

// pairs returns the entries of a mapping without the ones that are wrong in themselves.
func (d *decoder) pairs(n *yaml.Node, key string) []pair {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, key, "want a mapping, found %s", kind(n))
		return nil
	}
	var found []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		switch child := Join(key, k.Value); {
		case k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 || isNull(k):
			d.fail(k.Line, key, "holds a key that is not a plain name")
		case k.Tag == "!!merge":
			d.fail(k.Line, child, "merge keys are not read; write the keys out")
		case d.Has(child):
			d.add(k.Line, child, "given twice; first on line %d", d.lines[child])
		default:
			d.lines[child] = k.Line
			found = append(found, pair{k.Value, child, value})
		}
	}
	return found
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, key string) {
	fields := fieldsOf(v.Type())
	secretFrom := map[int]string{}
	for _, p := range d.pairs(n, key) {
		f, known := fields[p.name]
		empty := p.value.Kind != yaml.AliasNode && p.value.Value == "" && len(p.value.Content) == 0 && !isNull(p.value)
		switch {
		case !known:
			d.unknown(key, p, fields, n.Style&yaml.FlowStyle != 0)
		case f.ignored:
		case f.option == "secret" && empty: // so that an empty x does not undo x_file
		case f.option == "secret" && secretFrom[f.index] != "":
			d.fail(d.lines[p.key], p.key, "given together with %s; keep one of the two", secretFrom[f.index])
		default:
			if f.option == "secret" {
				secretFrom[f.index] = p.name
			}
			d.value(p.value, v.Field(f.index), p.key, f)
		}
	}
}

// unknown reports a key that the structure does not have. A name that is not plain is not shown, nor, beside a secret
// inside { }, one without a value: it is most likely the rest of a value that lacks quotes, which may be that secret.
func (d *decoder) unknown(key string, p pair, fields map[string]field, inFlow bool) {
	rest := strings.HasSuffix(p.key, `"`)
	names := make([]string, 0, len(fields))
	for name, f := range fields {
		rest = rest || inFlow && f.option == "secret" && isNull(p.value)
		if !f.ignored {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if rest {
		if !d.faulty[key] {
			d.fail(d.lines[p.key], key, "holds an unknown key; a value with a comma or a colon in it needs quotes")
		}
		return
	}
	d.fail(d.lines[p.key], p.key, "unknown key%s", suggest(p.name, names))
}

func (d *decoder) stringMap(n *yaml.Node, v reflect.Value, key string, f field) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range d.pairs(n, key) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(p.value, element, p.key, f)
		v.SetMapIndex(reflect.ValueOf(p.name), element)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, key string, f field) {
	if n.Kind != yaml.SequenceNode {
		d.fail(d.Line(key), key, "want a list, found %s", kind(n))
		return
	}
	v.SetZero() // an empty list is nil, as one that is left out
	if len(n.Content) > 0 {
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	}
	for i, element := range n.Content {
		d.lines[item(key, i)] = element.Line
		d.value(element, v.Index(i), item(key, i), f)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, key string, f field) {
	if n.Kind != yaml.ScalarNode {
		d.fail(d.Line(key), key, "want %s, found %s", wanted(v), kind(n))
		return
	}
	text, err := expand(n.Value, d.opts.LookupEnv)
	if err == nil && len(f.oneOf) > 0 && !slices.Contains(f.oneOf, text) {
		err = fmt.Errorf("unknown value %q%s", text, suggest(text, f.oneOf))
	}
	if err == nil && f.option == "path" && text != "" && !filepath.IsAbs(text) {
		text = filepath.Join(d.folder, text)
	}
	if err == nil {
		err = d.assign(v, text)
	}
	if err != nil {
		d.fail(d.Line(key), key, "%s", err)
	}
}

// secretFile reads the value from the file that n names. Space around it is no part of it: editors and
// "echo" end a file with a newline.
func (d *decoder) secretFile(n *yaml.Node, v reflect.Value, key string, f field) {
	var path string
	d.scalar(n, reflect.ValueOf(&path).Elem(), key, field{option: "path"})
	if path == "" {
		return
	}
	content, err := ReadFile(path, 64<<10)
	text := strings.TrimSpace(string(content))
	switch {
	case err != nil:
		d.fail(d.Line(key), key, "%s", err)
	case text == "":
		d.fail(d.Line(key), key, "%s is empty", path)
	case v.Kind() == reflect.Slice && d.opts.Types[v.Type()] == nil:
		for i, line := range strings.Fields(text) {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := d.assign(element, line); err != nil {
				d.fail(d.Line(key), key, "%s: entry %d %s", path, i+1, err)
				continue
			}
			v.Set(reflect.Append(v, element))
		}
	default:
		if err := d.assign(v, text); err != nil {
			d.fail(d.Line(key), key, "%s %s", path, err)
		}
	}
}
