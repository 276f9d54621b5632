package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := json.Marshal(Schema(func(string) string { return "" }))
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("inventory.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("inventory.json")
})

// beyond matches the errors of the reader that a schema can't express.
var beyond = regexp.MustCompile(strings.Join([]string{
	"second YAML document", "not valid YAML", "YAML (anchors|tags|aliases|merge keys)", "control character", // the text
	"given twice", "defined twice", "has the (address|name) ", "no host has the label", "has no hosts", "has no user", "has no known_hosts", // two places
	"custom cloud needs", "more than [0-9]+ (labels|hosts|keys)", "^the name expands to",
	"^host name .* (the range|both ends|is not a range|.\\[. without)", "^address .* (the range|both ends|is not a range|.\\[. without)", // ranges
	"POSIX", "grep -E", "anchor", `a "\\{"`, "bracket", // patterns
	"at most 24h", "more than 4 times", "has \\$\\{name\\}", "must be whole days", "invisible character", "quotes that YAML does not read", "longer than 253 bytes",
}, "|"))

// notation matches values of whose form a schema sees too little: numbers in octal, characters
// beyond ASCII in names, numbers of an address.
var notation = regexp.MustCompile(`port: 0|u202e|ｖｍ|édr|\.256|-258|:::|a\[k-m\]l|a-1-3\]`)

// checkSchema fails t unless the schema accepts what the reader accepts, and refuses what the reader
// refuses with an error that a schema can express. All inventories of this package's tests pass
// here.
func checkSchema(t testing.TB, text []byte, readErr error) {
	t.Helper()
	schema, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := next(yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))))
	if err != nil {
		return
	}
	wrong := schema.Validate(asJSON(doc.Content[0]))
	var errs Errors
	switch {
	case readErr == nil && wrong != nil:
		t.Errorf("the schema refuses what is read: %v\n%.500s", wrong, text)
	case wrong == nil && errors.As(readErr, &errs):
		for _, e := range errs {
			if !beyond.MatchString(e.Message) && !notation.Match(text) {
				t.Errorf("the schema accepts what is not read: %v\n%.500s", e, text)
			}
		}
	}
}

// asJSON returns a node as an editor gives it to a schema.
func asJSON(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = asJSON(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = asJSON(c)
		}
		return list
	}
	var value any = n.Value
	switch n.Tag {
	case "!!int", "!!float", "!!bool", "!!null":
		_ = n.Decode(&value)
	}
	return value
}
