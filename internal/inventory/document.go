package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// decode returns the root node of the file's only document, or reports an error and
// returns nil. The node has no cycles: aliases are reported and stay leaves.
func (r *reader) decode(data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !r.fewItems(data) || !r.plainText(data) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := next(dec)
	if err != nil {
		r.syntaxError(data, err)
		return nil
	}
	switch second, err := next(dec); {
	case err == nil:
		r.fail(second, "leave only one document in the file", "a second YAML document (after ---) is not read")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntaxError(data, err)
		return nil
	}
	root := doc.Content[0]
	if root.Tag == "!!null" {
		r.syntaxError(data, io.EOF)
		return nil
	}
	if root.Kind != yaml.MappingNode && iniSection.Match(data) {
		r.fail(root, iniHint, "the file is not an inventory")
		return nil
	}
	r.refuseIndirection(root)
	return root
}

const iniHint = `this looks like an Ansible inventory in INI; here it is YAML: "version: 1" and a "hosts:" section`

// next decodes one document. yaml.v3 panics on some crafted input, which next returns
// as an error.
func next(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the file can't be parsed")
		}
	}()
	doc = new(yaml.Node)
	if err := dec.Decode(doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, io.EOF
	}
	return doc, nil
}

// plainText reports a byte that is not UTF-8 text, because the YAML library reports
// neither line nor column for it. It returns false if there is one.
func (r *reader) plainText(data []byte) bool {
	line, column := 1, 0
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		column++
		at := &yaml.Node{Line: line, Column: column}
		switch {
		case c == utf8.RuneError && size == 1:
			r.fail(at, "save it as UTF-8", "the file is not UTF-8 text")
			return false
		case c == '\n':
			line, column = line+1, 0
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85:
			r.fail(at, "delete it; cat -v shows where", "the file has a control character (%U)", c)
			return false
		}
		i += size
	}
	return true
}

// maxItems bounds the keys, values, lists and lines of the file: 15 for each host of the
// largest fleet. The YAML library takes about 300 bytes for each before anything else can
// count them.
const maxItems = 15 * maxHosts

// fewItems returns false, and reports the line, if the file has more than maxItems items.
func (r *reader) fewItems(data []byte) bool {
	items, line := 0, 1
	for i := range data {
		if items += itemsAt(data, i); items > maxItems {
			r.fail(&yaml.Node{Line: line}, fmt.Sprintf("a fleet has at most %d hosts; put what they share under \"defaults\" or a group", maxHosts), "more than %d keys and values", maxItems)
			return false
		}
		if data[i] == '\n' {
			line++
		}
	}
	return true
}

// itemsAt returns the number of nodes that the byte at i separates from others: at least
// half of those that YAML reads there, and few more. An indicator has a space or a line end
// after it, or a character that may be a line end (YAML 1.1, 4.1.4).
func itemsAt(data []byte, i int) int {
	switch data[i] {
	case '\n', '\r', '[', '{':
		return 1
	case ',':
		return 2
	case ':', '-', '?':
		if i+1 == len(data) || data[i+1] <= ' ' || data[i+1] >= utf8.RuneSelf {
			return 1
		}
	}
	return 0
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

	// An error of the library's parser, not of its scanner.
	parserError = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or '[]}]'|<|node content)`)

	// An unquoted range in a flow mapping: after "{", "," or ": ".
	rangeInFlow = regexp.MustCompile(`(?:[{,]|: )\s*([^\s"'{},\[\]]*\[\s*\w+\s*[-:]\s*\w+\s*\][^\s"'{},]*)`)

	// An unquoted {name} in the same place.
	nameInFlow = regexp.MustCompile(`(?:[{,]|: )\s*([^\s"'{},\[\]]*\{\s*name\s*\}[^\s"'{},]*)`)

	// A section of an Ansible inventory in INI, alone on its line.
	iniSection = regexp.MustCompile(`(?m)^\[[\w.:-]+\]\s*$`)

	// A string outside of a flow mapping that starts with a range, which YAML reads as
	// a list with something after it.
	rangeFirst = regexp.MustCompile(`(?:^|: )\s*(\[\w+[-:]\w+\][^\s"'{},]+)`)
)

// syntaxError reports an error of the YAML library, with its line and a hint.
func (r *reader) syntaxError(data []byte, err error) {
	if errors.Is(err, io.EOF) {
		r.fail(&yaml.Node{Line: 1, Column: 1}, `start it with "version: 1" and a "hosts:" section`, "the file is empty")
		return
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	if name, ok := strings.CutPrefix(m[2], "unknown anchor '"); ok { // do not show it: it may be a password
		r.fail(find(data, "*"+strings.TrimSuffix(name, "' referenced")), noAlias, "YAML aliases (*name) are not read")
		return
	}
	lines := strings.Split(string(data), "\n")
	at, hint, where := &yaml.Node{}, "", " at or after this line"
	at.Line, _ = strconv.Atoi(m[1])
	if parserError.MatchString(m[2]) {
		at.Line++ // the library counts these from 0
	}
	at.Line = min(at.Line, len(lines))
	if bare, why := unquoted(lines, at.Line, m[2]); bare.Line > 0 {
		at, hint, where = &bare, why+" needs quotes: "+quote(bare.Value), ""
	} else if iniSection.Match(data) {
		hint = iniHint
	} else if strings.Contains(m[2], "hexdecimal number") || strings.Contains(m[2], "unknown escape character") {
		hint = `a \ between double quotes needs another before it: write a path of Windows without quotes, or with /`
	} else if indentedByTab(lines, at.Line) {
		hint = "YAML indents with spaces, not tabs"
	} else {
		hint = lookalikeHint(strings.Join(lines[max(at.Line-2, 0):at.Line], "\n"))
	}
	if at.Line == 0 {
		where = ""
	}
	r.fail(at, hint, "not valid YAML%s: %s", where, m[2])
}

// find returns the place of the first text in the file.
func find(data []byte, text string) *yaml.Node {
	before, _, found := bytes.Cut(data, []byte(text))
	if !found {
		return &yaml.Node{}
	}
	line := bytes.LastIndexByte(before, '\n') + 1
	return &yaml.Node{Line: bytes.Count(before, []byte("\n")) + 1, Column: utf8.RuneCount(before[line:]) + 1}
}

// unquoted finds the string without quotes that caused a syntax error. at.Line is 0 if
// there is none.
func unquoted(lines []string, from int, problem string) (at yaml.Node, what string) {
	if !strings.Contains(problem, "',' or '}'") {
		return findUnquoted(lines, from, rangeFirst, false), `text that starts with "["`
	}
	if at = findUnquoted(lines, from, rangeInFlow, true); at.Line > 0 {
		return at, "a range inside {…}"
	}
	return findUnquoted(lines, from, nameInFlow, true), "{name} inside {…}"
}

// findUnquoted finds the first match of pattern, inside or outside of a flow mapping. It
// searches from a line on, because the library reports the line where a mapping starts,
// not the line of the error. The node's Line is 0 if there is no match.
func findUnquoted(lines []string, from int, pattern *regexp.Regexp, flow bool) yaml.Node {
	const reach = 20 // lines; one host has fewer
	inFlow := false
	for n := max(from, 1); n <= min(from+reach, len(lines)); n++ {
		line := lines[n-1][:min(len(lines[n-1]), maxText)]
		s := strings.TrimSpace(line)
		inFlow = flow && (inFlow || strings.Contains(s, "{"))
		if m := pattern.FindStringSubmatchIndex(line); m != nil && inFlow == flow {
			text := strings.TrimSuffix(line[m[2]:m[3]], ":")
			column := utf8.RuneCountInString(line[:m[2]]) + 1
			return yaml.Node{Line: n, Column: column, Value: text}
		}
		if inFlow && !strings.HasSuffix(s, "{") && !strings.HasSuffix(s, ",") {
			break // the mapping ends here or is unclosed
		}
	}
	return yaml.Node{}
}

// indentedByTab reports whether a line or one of its neighbours is indented by a tab.
func indentedByTab(lines []string, near int) bool {
	for n := max(near-1, 1); n <= min(near+1, len(lines)); n++ {
		text := strings.TrimLeft(lines[n-1], " \t")
		if strings.Contains(strings.TrimSuffix(lines[n-1], text), "\t") {
			return true
		}
	}
	return false
}

const noAlias = `put what hosts share under "defaults" or a group`

// refuseIndirection reports anchors, aliases, merge keys and tags. Defaults and groups
// already set values for many hosts, and without aliases a small file can't expand into
// a huge one.
func (r *reader) refuseIndirection(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		r.fail(n, noAlias, "YAML aliases (*name) are not read")
	case n.Anchor != "":
		r.fail(n, noAlias, "YAML anchors (&name) are not read")
	case n.Tag == "!!merge":
		r.fail(n, noAlias, "YAML merge keys (<<) are not read")
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n, "", "YAML tags (!name) are not read")
	}
	for _, c := range n.Content {
		r.refuseIndirection(c)
	}
}

// refused reports whether refuseIndirection has reported a node whose content has no
// meaning: a second error about it would confuse.
func refused(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Tag == "!!merge" || n.Style&yaml.TaggedStyle != 0
}
