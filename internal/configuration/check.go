package configuration

import (
	"errors"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
)

// encoded returns an identifier with its reserved characters percent-encoded (RFC 3986, 2.2).
func encoded(value string) string {
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

func port(value string) string {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
		return "it is out of range"
	}
	return ""
}

// timestamp checks a time as Rust's chrono reads RFC 3339: "t", "z" and a space are allowed.
func timestamp(value string) string {
	upper := strings.ToUpper(value)
	if len(upper) > 10 && upper[10] == ' ' {
		upper = upper[:10] + "T" + upper[11:]
	}
	if _, err := time.Parse(time.RFC3339Nano, upper); err != nil {
		text := err.Error()
		return display.Sanitise(text[strings.LastIndex(text, ": ")+2:], shown)
	}
	return ""
}

// absent begins what the agent's regular expressions (Rust's regex) don't have, as Go's.
var absent = regexp.MustCompile(`^(\(\?<?[=!]|\\[1-9])`)

// certain are the errors of Go's regular expressions that are errors of Rust's too. Rust's know
// more: x{,3}, a**, nested classes, verbose mode.
var certain = []syntax.ErrorCode{syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingBracket, syntax.ErrTrailingBackslash, syntax.ErrMissingRepeatArgument}

// onlyInRust matches what could make Go report one of those by mistake.
var onlyInRust = regexp.MustCompile(`\(\?[a-zA-Z]*[xR]|\[[^\]]*(\[|&&|--|~~)|\\[uUxbB<>]`)

// pattern reports what is certainly wrong with a regular expression.
func pattern(value string) string {
	if len(value) > 10_000 {
		return "it is too long"
	}
	var wrong *syntax.Error
	if _, err := syntax.Parse(value, syntax.Perl); !errors.As(err, &wrong) {
		return ""
	}
	if absent.MatchString(wrong.Expr) {
		return "the agent has no look-around and no back references"
	}
	if !slices.Contains(certain, wrong.Code) || onlyInRust.MatchString(value) {
		return ""
	}
	if wrong.Code == syntax.ErrMissingRepeatArgument && strings.HasPrefix(value, "*") {
		return `"*" has nothing before it; for any text write ".*"`
	}
	return string(wrong.Code)
}

// fields are the fields of a schedule, with their lowest and highest number.
var fields = []struct {
	name      string
	low, high int
	names     string // of the numbers, from the lowest
}{
	{"second", 0, 59, ""}, {"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day of the month", 1, 31, ""},
	{"month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"}, {"day of the week", 0, 7, "sun mon tue wed thu fri sat"}, {"year", 1970, 2100, ""},
}

// cron checks a schedule. The short forms such as @daily are those of the agent's reader.
func cron(value string) string {
	given := strings.Fields(value)
	if len(given) == 1 && strings.HasPrefix(value, "@") {
		return ""
	}
	if len(given) != len(fields) {
		return "it has " + strconv.Itoa(len(given))
	}
	for i, text := range given {
		for item := range strings.SplitSeq(text, ",") {
			if !validItem(item, fields[i].low, fields[i].high, strings.Fields(fields[i].names)) {
				return "the " + fields[i].name + " can't be " + display.Quote(item, 20)
			}
		}
	}
	return ""
}

// validItem checks *, ?, a, a-b, and one of them with /step.
func validItem(item string, low, high int, names []string) bool {
	value, step, stepped := strings.Cut(item, "/")
	if n, err := strconv.Atoi(step); stepped && (err != nil || n < 1) {
		return false
	}
	if value == "*" || value == "?" {
		return true
	}
	first, last, isRange := strings.Cut(value, "-")
	from, ok := numberOf(first, low, high, names)
	if !isRange {
		return ok
	}
	to, valid := numberOf(last, low, high, names)
	return ok && valid && from <= to
}

func numberOf(text string, low, high int, names []string) (int, bool) {
	if len(text) >= 3 {
		if i := slices.Index(names, strings.ToLower(text[:3])); i >= 0 {
			return low + i, true
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= low && n <= high
}
