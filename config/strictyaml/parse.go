package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 1 << 20

// ReadFile reads a regular file of at most limit bytes. A pipe or a device is refused: it could keep the
// reader waiting, or never end.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return data, nil
}

// parse returns the root of the one document in data, an empty mapping where there is nothing in it.
func parse(file string, data []byte) (*yaml.Node, error) {
	if len(data) > MaxSize {
		return nil, Errors{{File: file, Problem: fmt.Sprintf("larger than %d bytes", MaxSize)}}
	}
	first, second, err := documents(data)
	switch {
	case err != nil:
		return nil, broken(file, data, err)
	case second != nil:
		return nil, Errors{{File: file, Line: second.Line, Problem: "a second document begins here; a file holds one: take the --- out"}}
	case first == nil:
		empty := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Line: 1}}}
		if text := string(bytes.TrimSpace(data)); strings.HasPrefix(text, "#") {
			empty.HeadComment = text // nothing but comments, which Set keeps
		}
		return empty, nil
	}
	if root := first.Content[0]; isNull(root) {
		root.Kind, root.Tag, root.Value = yaml.MappingNode, "!!map", ""
	}
	return first, nil
}

func documents(data []byte) (first, second *yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for _, node := range []**yaml.Node{&first, &second} {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return first, second, nil
		} else if err != nil {
			return nil, nil, err
		}
		*node = &document
	}
	return first, second, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line \d+: )?`)

// broken says where and why data is not YAML. The line that yaml.v3 names is often that of the enclosing block,
// and missing for the first line, so the line is looked for: the end of the shortest beginning of the file that
// fails for the same reason.
func broken(file string, data []byte, err error) error {
	reason := func(err error) string { return yamlError.ReplaceAllString(err.Error(), "") }
	want := reason(err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	n := sort.Search(len(lines)-1, func(i int) bool {
		_, _, err := documents(bytes.Join(lines[:i+1], nil))
		return err != nil && reason(err) == want
	})
	if strings.HasPrefix(want, "unknown anchor") { // its name may be that of a secret
		want = "an alias, which is not read; a value with * in front needs quotes"
	}
	line := string(lines[n])
	if indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(indent, "\t") {
		want = "indented with a tab; YAML takes spaces"
	}
	return Errors{{File: file, Line: n + 1, Problem: "not valid YAML: " + want}}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kind names what a node is, for a message.
func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	}
	return "a string"
}
