package inventory

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
)

// patternsOrNone is patterns; none is an empty list.
func (v value) patternsOrNone(to *[]string) {
	if v.describes(anyOf(among(none), listShape(textShape(), 0, maxList))) {
		return
	}
	if isText(none)(v.node) {
		*to = nil
		return
	}
	v.patterns(to)
}

// patterns reads a list of POSIX extended regular expressions.
func (v value) patterns(to *[]string) {
	if v.describes(listShape(textShape(), 0, maxList)) {
		return
	}
	if v.node.Kind != yaml.SequenceNode {
		v.fail(`write ["pattern"]`, "%s must be a list of regular expressions", v.key)
		return
	}
	if !v.short() {
		return
	}
	list, ok := make([]string, 0, len(v.node.Content)), true
	for _, n := range v.node.Content {
		item := v
		item.node = n
		s, good := item.text()
		if good {
			problem, hint := patternProblem(s)
			if good = problem == ""; !good {
				item.fail(hint, "%s: %s", v.key, problem)
			}
		}
		list, ok = append(list, s), ok && good
	}
	if ok {
		*to = list
	}
}

// patternProblem returns what is wrong with a pattern and a hint, "" if it is valid. Go's
// POSIX syntax is similar to that of grep -E on the host, but not the same: a pattern that
// grep refuses would disable all of them, and one that it interprets differently would
// not match as intended.
func patternProblem(s string) (problem, hint string) {
	if _, err := regexp.CompilePOSIX(s); err != nil {
		reason := display.Mask(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return "not a POSIX extended regular expression: " + reason, ""
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if escape := otherEscape.FindString(s[i:]); escape != "" {
				return "grep -E gives " + quote(escape) + " another meaning", "write the character itself, or a class such as [[:space:]] or [0-9]"
			}
			i++ // CompilePOSIX refuses a trailing backslash
		case '^', '$':
			if i+1 < len(s) && strings.IndexByte("*+?{", s[i+1]) >= 0 {
				return `an anchor (^ or $) is repeated`, "write [$] for the character"
			}
		case '{':
			if !interval.MatchString(s[i:]) {
				return `a "{" that starts no repetition such as {2,3}`, `write [{] for the character`
			}
		case '[':
			length, problem, hint := bracketProblem(s[i:])
			if problem != "" {
				return problem, hint
			}
			i += length - 1
		}
	}
	return "", ""
}

var (
	otherEscape = regexp.MustCompile("^\\\\[A-Za-z0-9<>'`]")
	interval    = regexp.MustCompile(`^\{[0-9]+(,[0-9]*)?\}`)
)

// classes are the character classes of POSIX (XBD section 9.3.5).
var classes = []string{"alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"}

// bracketProblem validates the bracket expression at the start of s. It returns the
// expression's length, or what is wrong and a hint.
func bracketProblem(s string) (length int, problem, hint string) {
	i := len("[")
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	if strings.HasPrefix(s[i:], ":") {
		return 0, `a bracket expression starts with ":"`, "write a class in two pairs of brackets: [[:space:]]"
	}
	for first := true; i < len(s); first = false {
		switch {
		case s[i] == ']' && !first:
			return i + 1, "", ""
		case s[i] == '\\':
			return 0, `a backslash inside [...] is a literal character for grep -E`, `remove it: [.] is a dot; write "]" first, as in []x]`
		case strings.HasPrefix(s[i:], "[:"), strings.HasPrefix(s[i:], "[."), strings.HasPrefix(s[i:], "[="):
			name, _, ended := strings.Cut(s[i+2:], ":]")
			if s[i+1] != ':' || !ended || !slices.Contains(classes, name) {
				return 0, "unknown class in a bracket expression", "classes are [:" + strings.Join(classes, ":], [:") + ":]"
			}
			i += len("[:" + name + ":]")
		default:
			i++
		}
	}
	return 0, `it has a "[" without a "]"`, ""
}
