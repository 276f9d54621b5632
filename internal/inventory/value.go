package inventory

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

// maxText bounds every single value, in bytes. It is more than a path, a pattern
// or a command needs, and less than a base64 P12 pasted in place of its file name.
const maxText = 1024

// maxList bounds every list of values.
const maxList = 1000

// maxDuration bounds every duration: a longer one is a mistake.
const maxDuration = 24 * time.Hour

const leaveOut = "leave it out"

// value is one value of the file with its key. Its methods validate it and store it
// through their first argument, or report an error and store nothing. An error does not
// quote a value that may be a pasted secret: its position is enough.
type value struct {
	r    *reader
	key  string     // as in "health.window"
	name *yaml.Node // the key
	node *yaml.Node // the value

	shape *shape // not nil: the method describes the values of the key there, and reads none
}

func (v value) fail(hint, format string, args ...any) {
	v.r.fail(v.node, hint, format, args...)
}

// isText returns a function that reports whether a node is the scalar s.
func isText(s string) func(*yaml.Node) bool {
	return func(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Value == s }
}

// text returns a string on one line, without control characters other than tab. It reports
// any other value and returns false.
func (v value) text() (string, bool) {
	n := v.node
	switch {
	case refused(n):
		return "", false
	case n.Tag == "!!null":
		v.fail(leaveOut, "%s has no value", v.key)
	case n.Kind != yaml.ScalarNode:
		v.fail("", "%s must be a single string", v.key)
	case n.Tag == "!!int", n.Tag == "!!float", n.Tag == "!!bool":
		v.fail("put it in quotes to make it a string", "%s must be a string", v.key)
	case n.Value == "":
		v.fail(leaveOut, "%s is empty", v.key)
	case len(n.Value) > maxText:
		v.fail("", "%s is longer than %d bytes", v.key, maxText)
	case strings.ContainsFunc(n.Value, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }):
		v.fail("", "%s must be one line without control characters", v.key)
	case typed(n.Value) != "":
		v.fail("", "%s %s", v.key, typed(n.Value))
	default:
		return n.Value, true
	}
	return "", false
}

// short returns whether a list has at most maxList entries, and reports a longer one.
func (v value) short() bool {
	if len(v.node.Content) > maxList {
		v.fail("", "%s has more than %d entries", v.key, maxList)
		return false
	}
	return true
}

func (v value) line(to *string) {
	if v.describes(textShape()) {
		return
	}
	if s, ok := v.text(); ok {
		*to = s
	}
}

// orNone calls read, except that none stores "".
func (v value) orNone(to *string, read func(*string)) {
	if v.shape != nil {
		read(to)
		*v.shape = anyOf(among(none), *v.shape)
		return
	}
	if isText(none)(v.node) {
		*to = ""
		return
	}
	read(to)
}

// oneOrMore returns the values of a key that takes one value or a list, and no value for
// none. It reports anything else; form describes a value in the message.
func (v value) oneOrMore(form, hint string) (items []value, ok bool) {
	nodes := v.node.Content
	switch {
	case isText(none)(v.node):
		return nil, true
	case v.node.Kind == yaml.ScalarNode:
		nodes = []*yaml.Node{v.node}
	case v.node.Kind != yaml.SequenceNode || len(nodes) == 0:
		v.fail(hint, "%s must be %s or a list of them", v.key, form)
		return nil, false
	case !v.short():
		return nil, false
	}
	items = make([]value, len(nodes))
	for i, n := range nodes {
		items[i] = v
		items[i].node = n
	}
	return items, true
}

// plain returns a scalar with a tag as it is written.
func (v value) plain(tag string) (string, bool) {
	n := v.node
	return n.Value, n.Kind == yaml.ScalarNode && n.Tag == tag
}

// decimal matches a whole number without a sign, a leading zero (octal in YAML 1.1) or an
// underscore.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

func (v value) number(to *int, least, most int) {
	if v.describes(shape{"type": "integer", "minimum": least, "maximum": most}) {
		return
	}
	s, ok := v.plain("!!int")
	n, _ := strconv.Atoi(s)
	if !ok || !decimal.MatchString(s) || n < least || n > most {
		v.fail("", "%s must be a whole number from %d to %d", v.key, least, most)
		return
	}
	*to = n
}

func (v value) version() {
	if v.describes(among(1)) {
		return
	}
	if s, ok := v.plain("!!int"); !ok || s != "1" {
		v.fail("this program reads version: 1", "the inventory's version is unknown")
	}
}

// flag reads a boolean, also as yes/no and on/off (YAML 1.1), which yaml.v3 reads as
// strings.
func (v value) flag(to *bool) {
	if v.describes(anyOf(shape{"type": "boolean"}, shape{"type": "string", "pattern": "^([Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$"})) {
		return
	}
	if v.node.Kind == yaml.ScalarNode && v.node.Style == 0 {
		switch strings.ToLower(v.node.Value) {
		case "true", "yes", "on":
			*to = true
			return
		case "false", "no", "off":
			*to = false
			return
		}
	}
	v.fail("", "%s must be true or false", v.key)
}

// oneOf reads one of the allowed strings.
func (v value) oneOf(to *string, allowed ...string) {
	if v.describes(shape{"enum": allowed}) {
		return
	}
	if v.node.Kind == yaml.ScalarNode && slices.Contains(allowed, v.node.Value) {
		*to = v.node.Value
		return
	}
	v.fail(DidYouMean(v.node.Value, slices.Values(allowed)), "%s must be %s", v.key, strings.Join(allowed, " or "))
}

// either reads one of two values.
func (v value) either(to *bool, no, yes string) {
	word := ""
	if v.oneOf(&word, no, yes); word != "" {
		*to = word == yes
	}
}

// amount reads a count of hosts or a percentage. If it is neither, it reports that and
// returns false.
func (v value) amount(to *Amount) bool {
	if v.describes(amountShape()) {
		return true
	}
	if a, ok := ParseAmount(v.node.Value); ok && v.node.Kind == yaml.ScalarNode && (a.percent || v.node.Tag == "!!int") {
		*to = a
		return true
	}
	v.fail("", "%s must be a count of at least 1, or a percentage from 1%% to 100%%", v.key)
	return false
}

// duration reads a duration in Go's notation with days ("1d12h"). It refuses less than
// least: 0 to accept zero, 1 to refuse it.
func (v value) duration(to *time.Duration, least time.Duration) {
	if v.describes(durationShape(least)) {
		return
	}
	if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" {
		v.fail("", "%s must be a duration such as 15s or 2m", v.key)
		return
	}
	d, problem, hint := Duration(v.node.Value)
	switch {
	case problem != "":
		v.fail(hint, "%s %s", v.key, problem)
	case d < least:
		v.fail("", "%s must be above 0", v.key)
	case d > maxDuration:
		v.fail("", "%s must be at most 24h", v.key)
	default:
		*to = d
	}
}

// Duration parses a duration in Go's notation with days first ("15s", "1d12h"), for a setting
// or a flag. Otherwise problem says what is wrong with it, as in "must not be negative", and
// hint what to write, or is "".
func Duration(s string) (d time.Duration, problem, hint string) {
	d, err := parseDuration(s)
	switch {
	case err != nil && decimal.MatchString(s):
		return 0, "needs a unit", fmt.Sprintf("write %[1]ss, %[1]sm, %[1]sh or %[1]sd: seconds, minutes, hours or days", s)
	case err != nil:
		return 0, "must be a duration such as 15s or 2m, not " + quote(s), "units are ms, s, m, h and d"
	case s[0] == '-':
		return 0, "must not be negative", ""
	}
	return d, "", ""
}

// days reads a whole number of days ("90d"), at most ten years.
func (v value) days(to *time.Duration) {
	if v.describes(durationShape(1)) {
		return
	}
	const day = 24 * time.Hour
	d, err := parseDuration(v.node.Value)
	if v.node.Kind != yaml.ScalarNode || err != nil || d < day || d > 3650*day || d%day != 0 {
		v.fail("", "%s must be whole days, such as 90d", v.key)
		return
	}
	*to = d
}

var days = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,9})?)d(.*)$`)

// parseDuration is time.ParseDuration with optional days of 24 hours first.
func parseDuration(s string) (time.Duration, error) {
	m := days.FindStringSubmatch(s)
	if m == nil {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	rest := time.Duration(0)
	if m[2] != "" {
		if m[2][0] == '-' || m[2][0] == '+' {
			return 0, fmt.Errorf("a sign inside a duration")
		}
		if rest, err = time.ParseDuration(m[2]); err != nil {
			return 0, err
		}
	}
	whole := n * float64(24*time.Hour)
	if whole+float64(rest) >= math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return time.Duration(whole) + rest, nil
}
