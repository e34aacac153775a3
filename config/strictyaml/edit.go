package strictyaml

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Set returns data with the value at a path of mapping keys set, every other key and every comment kept.
// Mappings that are missing on the way are added at the end. The file is written out anew, so blank lines and
// the width of the indentation may change. The value is a string without control characters, a bool or a list of strings.
func Set(data []byte, value any, path ...string) ([]byte, error) {
	if text, ok := value.(string); ok {
		if err := checkText(text); err != nil { // a line break at the front would also be lost by yaml.v3
			return nil, fmt.Errorf("set %v: the value %w", path, err)
		}
	}
	document, err := parse("the file to edit", data)
	if err != nil {
		return nil, err
	}
	n := document.Content[0]
	for _, name := range path {
		if n, err = entry(n, name); err != nil {
			return nil, err
		}
	}
	var replacement yaml.Node
	if err := replacement.Encode(value); err != nil {
		return nil, fmt.Errorf("set %v: %w", path, err)
	}
	n.Kind, n.Tag, n.Value, n.Style, n.Content = replacement.Kind, replacement.Tag, replacement.Value, replacement.Style, replacement.Content
	spellNulls(document, false)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("set %v: %w", path, err)
	}
	return out.Bytes(), nil
}

// entry returns the value under name in a mapping, where need be a new one.
func entry(n *yaml.Node, name string) (*yaml.Node, error) {
	if isNull(n) {
		n.Kind, n.Tag, n.Value = yaml.MappingNode, "!!map", ""
	}
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: %q cannot be set in %s", n.Line, name, kind(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1], nil
		}
	}
	if len(n.Content) == 0 {
		n.Style = 0 // an empty mapping is written {}, and would stay in that form
	}
	var key yaml.Node
	key.SetString(name)
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	n.Content = append(n.Content, &key, value)
	return value, nil
}

// spellNulls writes out the keys without a value inside { } and [ ], which yaml.v3 would turn into empty strings.
func spellNulls(n *yaml.Node, inFlow bool) {
	inFlow = inFlow || n.Style&yaml.FlowStyle != 0
	for _, child := range n.Content {
		if inFlow && isNull(child) {
			child.Value = "null"
		}
		spellNulls(child, inFlow)
	}
}
