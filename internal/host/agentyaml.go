package host

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// decodeNode decodes a document of the host into a pointer to a struct. The error names the
// line and the key, what is wanted and what is there: yaml.v3 names Go's types and the
// value, but not the key.
func decodeNode(doc *yaml.Node, to any) error {
	err := doc.Decode(to)
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return err
	}
	if at := mismatch(doc, reflect.TypeOf(to), "the file", 0); at != nil {
		return at
	}
	line, _, typed := strings.Cut(wrong.Errors[0], ": cannot unmarshal")
	if typed { // it is in a merge key
		return errors.New(line + ": a value has not the form that the agent reads")
	}
	return errors.New(line) // such as a key that is given twice
}

// maxYAMLDepth is more than the levels of the agent's configuration, which an alias may
// make endless.
const maxYAMLDepth = 20

// mismatch returns an error for the first node that does not have the form of its Go type,
// nil if there is none.
func mismatch(n *yaml.Node, t reflect.Type, key string, depth int) error {
	for n.Kind == yaml.DocumentNode || n.Kind == yaml.AliasNode {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		} else {
			n = n.Content[0]
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.ShortTag() == "!!null" || t == reflect.TypeFor[yaml.Node]() || depth > maxYAMLDepth {
		return nil
	}
	want := ""
	switch t.Kind() {
	case reflect.Struct:
		if n.Kind == yaml.MappingNode {
			return mismatchIn(n, t, key, depth)
		}
		want = "a mapping (lines of key: value)"
	case reflect.Slice:
		if n.Kind == yaml.SequenceNode {
			for i, item := range n.Content {
				if err := mismatch(item, t.Elem(), fmt.Sprintf("%s[%d]", key, i), depth+1); err != nil {
					return err
				}
			}
			return nil
		}
		want = `a list (lines that begin with "- ")`
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			want = "a text"
		}
	case reflect.Int:
		if n.Decode(new(int)) != nil {
			want = "a whole number"
		}
	}
	if want == "" {
		return nil
	}
	return fmt.Errorf("line %d: %s must be %s, not %s", n.Line, key, want, formOf(n))
}

// mismatchIn is mismatch for the values of a mapping.
func mismatchIn(n *yaml.Node, t reflect.Type, key string, depth int) error {
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		for k := 0; k+1 < len(n.Content); k += 2 {
			if n.Content[k].Value != name {
				continue
			}
			if err := mismatch(n.Content[k+1], t.Field(i).Type, strings.TrimPrefix(key+"."+name, "the file."), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// formOf returns what a node is, without its value.
func formOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!int", n.ShortTag() == "!!float":
		return "a number"
	case n.ShortTag() == "!!bool":
		return "true or false"
	}
	return "a text"
}
