package configuration

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
)

const (
	// maxItems bounds the keys, values and list items of a file, also with aliases followed.
	maxItems = 50_000
	// maxRepairs bounds the values with keys below them that are reported at once.
	maxRepairs = 20
)

// load returns the root of a configuration, a mapping without endless aliases, and what is wrong
// before anything can be checked. The root is nil if the file can't be understood.
func load(data []byte) (*yaml.Node, []Finding) {
	if bad := unreadable(data); bad != nil {
		return nil, []Finding{*bad}
	}
	lines := strings.Split(string(data), "\n")
	var found []Finding
	for range maxRepairs {
		root, bad := parse([]byte(strings.Join(lines, "\n")))
		if bad == nil {
			return root, found
		}
		repaired := repair(lines, bad)
		found = append(found, *bad)
		if !repaired {
			break
		}
	}
	return nil, found
}

// unreadable reports what is no text or too large for the YAML library.
func unreadable(data []byte) *Finding {
	items := 0
	for _, separator := range "\n\r[{,:-?" {
		items += bytes.Count(data, []byte(string(separator)))
	}
	if len(data) > MaxSize || items > maxItems {
		return &Finding{Level: Error, Message: "the file is too large for a configuration", Hint: "a configuration has some kilobytes"}
	}
	line, column := 1, 0
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		column++
		if c == '\n' {
			line, column = line+1, 0
		}
		if c == utf8.RuneError && size == 1 || c < ' ' && !strings.ContainsRune("\t\r\n", c) || c >= 0x7f && c < 0xa0 && c != 0x85 {
			return &Finding{Line: line, Column: column, Level: Error, Message: "the file is not plain text in UTF-8", Hint: "delete the character, or save the file as UTF-8"}
		}
		i += size
	}
	return nil
}

// parse returns the root of the only document.
func parse(data []byte) (root *yaml.Node, bad *Finding) {
	defer func() { // yaml.v3 panics on some crafted input
		if recover() != nil {
			root, bad = nil, &Finding{Level: Error, Message: "not valid YAML"}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxError(data, err)
	}
	if len(document.Content) == 0 || document.Content[0].Tag == "!!null" {
		return nil, &Finding{Line: 1, Column: 1, Level: Error, Message: "the file is empty", Hint: "start it with agent_id"}
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &Finding{Line: second.Line, Column: second.Column, Level: Error, Message: "a second YAML document begins (after ---)", Hint: "leave only one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(data, err)
	}
	root = document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &Finding{Line: root.Line, Column: root.Column, Level: Error, Message: "the file has no keys", Hint: "start it with agent_id"}
	}
	if expanded(root, map[*yaml.Node]int{}) > maxItems {
		return nil, &Finding{Line: root.Line, Level: Error, Message: "the aliases (*name) make the file too large, or endless", Hint: "write the values out"}
	}
	return root, nil
}

// expanded returns the number of nodes with aliases followed, more than maxItems if there is no end.
func expanded(n *yaml.Node, known map[*yaml.Node]int) int {
	if count, found := known[n]; found {
		return count
	}
	known[n] = maxItems + 1 // until it is counted: an alias to it is endless
	count := 1
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		count += expanded(n.Alias, known)
	}
	for _, c := range n.Content {
		count = min(count+expanded(c, known), maxItems+1)
	}
	known[n] = count
	return count
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)
	// The errors of the library's parser; it counts their lines from 0.
	parserError = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or '[]}]'|<|node content)`)
)

// syntaxError returns the finding for an error of the YAML library.
func syntaxError(data []byte, err error) *Finding {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	if parserError.MatchString(m[2]) {
		line++
	}
	lines := strings.Split(string(data), "\n")
	line = min(line, len(lines))
	bad := &Finding{Line: line, Level: Error, Message: "not valid YAML: " + display.Sanitise(m[2], 200), Hint: "look at this line and the one before"}
	for n := max(line-1, 1); n <= min(line+1, len(lines)); n++ {
		if indent := indentOf(lines[n-1]); strings.Contains(indent, "\t") {
			bad.Line, bad.Column, bad.Hint = n, strings.IndexByte(indent, '\t')+1, "indent with spaces, not with tabs"
		}
	}
	return bad
}

// valued matches a line with a key and a value.
var valued = regexp.MustCompile(`^([ -]*)([A-Za-z0-9_.-]+):[ \t]+([^ \t#|>&{\[].*)$`)

// repair looks for a key with both a value and keys below it, as the vendor's own reference page
// has: it explains bad and removes the value from lines, so that the rest can be checked.
func repair(lines []string, bad *Finding) bool {
	if !strings.Contains(bad.Message, "mapping values are not allowed") && !strings.Contains(bad.Message, "did not find expected key") {
		return false
	}
	for n := min(bad.Line, len(lines)); n >= max(bad.Line-1, 2); n-- {
		above := n - 1
		for above > 0 && blank(lines[above-1]) {
			above--
		}
		if above == 0 {
			continue
		}
		m := valued.FindStringSubmatchIndex(lines[above-1])
		if m == nil || len(indentOf(lines[n-1])) <= m[3] {
			continue
		}
		name := lines[above-1][m[4]:m[5]]
		*bad = Finding{Line: above, Column: m[6] + 1, Level: Error, Key: name, Message: "it has a value, and keys below it", Hint: "remove the value, or put # before it"}
		lines[above-1] = lines[above-1][:m[6]]
		return true
	}
	return false
}

func indentOf(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

func blank(line string) bool {
	text := strings.TrimSpace(line)
	return text == "" || text[0] == '#'
}
