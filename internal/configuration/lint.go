package configuration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
)

// maxFindings is the number of findings in a list, at most.
const maxFindings = 100

// Lint returns all that is wrong with a configuration, in the order of its lines: what keeps the
// agent from starting or working (Error), and keys that only the agent may know (Note).
func Lint(data []byte) []Finding {
	root, found := load(data)
	if root == nil {
		return found
	}
	l := &linter{found: found, providers: providersOf(root)}
	l.keys(root, "", "")
	l.together(root)
	return ordered(l.found)
}

// ordered sorts findings by line and returns at most maxFindings of them, no error dropped for a note.
func ordered(found []Finding) []Finding {
	byPlace := func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	}
	if len(found) > maxFindings {
		rank := map[Level]int{Error: 0, Danger: 1, Note: 2}
		slices.SortFunc(found, func(a, b Finding) int { return cmp.Or(rank[a.Level]-rank[b.Level], byPlace(a, b)) })
		found = append(found[:maxFindings-1], Finding{Level: found[maxFindings].Level, Message: fmt.Sprintf("%d more are not shown", len(found)-maxFindings+1)})
	}
	slices.SortStableFunc(found, byPlace)
	return found
}

// linter collects the findings of one file.
type linter struct {
	found     []Finding
	providers map[string]bool // by name; true: a file_system one
}

func (l *linter) add(level Level, n *yaml.Node, at, hint, format string, args ...any) {
	l.found = append(l.found, Finding{Line: n.Line, Column: n.Column, Level: level, Key: display.Shorten(at, 2*shown), Message: fmt.Sprintf(format, args...), Hint: hint})
}

// value checks the value of a known key.
func (l *linter) value(n *yaml.Node, at, path string) {
	switch rule := rules[path]; rule.kind {
	case "keys":
		l.keys(n, at, path)
	case "list":
		l.list(n, at, path, rule)
	default:
		l.scalar(n, at, rule)
	}
}

// keys checks a mapping. One without a value is one without keys.
func (l *linter) keys(n *yaml.Node, at, path string) {
	if n.Kind != yaml.MappingNode && n.Tag != "!!null" {
		l.add(Error, n, at, "write its keys below it, indented, and no value after the colon", "it must have keys")
		return
	}
	first, merged := map[string]*yaml.Node{}, false
	var unknown []string
	for key, value := range pairs(n) {
		name, here := key.Value, join(at, key.Value)
		switch before := first[name]; {
		case key.Tag == "!!merge":
			merged = true
			l.add(Note, key, here, "write the keys out", "the agent may not read merge keys (<<)")
			continue
		case before != nil:
			l.add(Error, key, here, fmt.Sprintf("remove this one or the one of line %d", before.Line), "the key is there twice")
			continue
		}
		first[name] = key
		if _, known := rules[canonical(path, name)]; !known || key.Kind != yaml.ScalarNode {
			unknown = append(unknown, name)
			l.add(Note, key, here, didYouMean(name, slices.Values(siblings(path))), "an unknown key; the agent may know it")
			continue
		}
		l.value(value, here, canonical(path, name))
	}
	if !merged && !slices.Contains(grouping, path[strings.LastIndexByte(path, '.')+1:]) {
		l.needs(n, at, path, unknown)
	}
}

// needs reports the keys that a mapping does not have, and those that exclude each other.
func (l *linter) needs(n *yaml.Node, at, path string, unknown []string) {
	given := map[string]int{}
	for key := range fieldsOf(n, path) {
		given[key.Value]++
	}
	for _, name := range children[path] {
		level := map[string]Level{"required": Error, "expected": Note}[rules[canonical(path, name)].need]
		switch {
		case given[name] == 0 && level != "":
			hint := didYouMean(name, slices.Values(unknown))
			l.add(level, n, at, strings.Replace(hint, "did you mean", "is it the key", 1), "%s is missing", name)
		case given[name] > 1 && path == sftpPull:
			l.add(Note, n, at, "remove one", "%s is there twice: directly and in a group", name)
		}
	}
	either := oneOf[path]
	found := slices.DeleteFunc(slices.Clone(either), func(name string) bool { return given[name] == 0 })
	switch {
	case len(found) > 1:
		l.add(Error, n, at, "remove all but one", "it has %s", strings.Join(found, " and "))
	case len(either) > 0 && len(found) == 0 && len(unknown) > 0:
		l.add(Note, n, at, "", "it has neither %s", strings.Join(either, " nor "))
	case len(either) > 0 && len(found) == 0:
		l.add(Error, n, at, "add one of them", "it has neither %s", strings.Join(either, " nor "))
	}
}

// list checks a list of mappings, and that what must be unique is.
func (l *linter) list(n *yaml.Node, at, path string, rule rule) {
	if n.Kind != yaml.SequenceNode {
		l.add(Error, n, at, `begin each item with "- "`, "it must be a list")
		return
	}
	if len(n.Content) == 0 && rule.need == "required" {
		l.add(Error, n, at, "", "the list is empty")
	}
	first := map[string]int{}
	for i, item := range n.Content {
		item, here := resolve(item), fmt.Sprintf("%s[%d]", at, i)
		l.keys(item, here, path+"[]")
		for key, value := range pairs(item) {
			if value.Value == "" || !slices.Contains(unique, path+"[]."+key.Value) {
				continue
			}
			if line := first[value.Value]; line > 0 {
				l.add(Error, value, join(here, key.Value), "give each its own", "%s is also that of line %d", display.Quote(value.Value, shown), line)
			}
			first[value.Value] = value.Line
		}
	}
}

// scalar checks the value of a key that holds text or a number.
func (l *linter) scalar(n *yaml.Node, at string, rule rule) {
	k := kinds[rule.kind]
	switch {
	case n.Kind != yaml.ScalarNode:
		l.add(Error, n, at, k.fix, "it must be %s", k.be)
	case n.Tag == "!!null" && rule.need != "required":
	case n.Tag == "!!null" || n.Value == "":
		l.add(Error, n, at, k.fix, "it has no value: it must be %s", k.be)
	case k.pattern != nil && !k.pattern.MatchString(n.Value):
		l.add(Error, n, at, cmp.Or(k.fix, "write it as "+display.Quote(encoded(n.Value), shown)), "it must be %s", k.be)
	case k.number && n.Tag != "!!int":
		l.add(Error, n, at, "remove the quotes", "it is text, and must be a number")
	case !k.number && !isText(n):
		l.add(Error, n, at, "put it between quotes: "+display.Quote(n.Value, shown), "it is a number or yes/no for YAML, and must be text")
	case k.check != nil && k.check(n.Value) != "":
		l.add(Error, n, at, k.fix, "it must be %s: %s", k.be, k.check(n.Value))
	case rule.kind == "provider" || rule.kind == "files":
		l.provider(n, at, rule.kind == "files")
	}
}

// provider checks the name of a secret provider.
func (l *linter) provider(n *yaml.Node, at string, files bool) {
	isFiles, known := l.providers[n.Value]
	switch {
	case !known:
		l.add(Error, n, at, didYouMean(n.Value, maps.Keys(l.providers)), "no secret provider has the name %s", display.Quote(n.Value, shown))
	case files && !isFiles:
		l.add(Error, n, at, "name a provider with file_system, and store the secret as a file in its folder", "the provider must be a file_system one")
	}
}

// together notes sources of two kinds in one agent, which the vendor advises against.
func (l *linter) together(root *yaml.Node) {
	all := sources(root)
	pulls := slices.IndexFunc(all, func(s source) bool { return s.kind == "sftp_pull" })
	listens := slices.IndexFunc(all, func(s source) bool { return s.kind == "mcc_edrs" })
	if pulls >= 0 && listens >= 0 {
		l.add(Note, all[max(pulls, listens)].node, "pipelines", "use two agents in production", "an MCC EDR source and an SFTP source are in the same agent")
	}
}

func join(at, key string) string {
	if at == "" {
		return display.Sanitise(key, shown)
	}
	return at + "." + display.Sanitise(key, shown)
}

// siblings are the known keys of a mapping.
func siblings(path string) []string {
	if canonical(path, "") == sftpPull+"." {
		path = sftpPull
	}
	return children[path]
}

// didYouMean returns a hint for a mistyped word, or "".
func didYouMean(word string, known func(func(string) bool)) string {
	if nearest := display.Nearest(word, known); nearest != "" {
		return "did you mean " + display.Quote(nearest, shown) + "?"
	}
	return ""
}
