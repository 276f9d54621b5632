package inventory

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// compileGlob returns a regular expression that matches whole strings like the glob, nil
// if the glob is literal text. A regular expression matches in linear time, and a number
// range of any length stays small: path.Match has no number ranges, and comparing with
// every name of a range would be quadratic in the size of the fleet.
func compileGlob(glob string) (*regexp.Regexp, error) {
	if !strings.ContainsAny(glob, "*?[]") {
		return nil, nil
	}
	if len(glob) > maxText { // the time to match is its length times that of a name
		return nil, fmt.Errorf("the name is longer than %d bytes", maxText)
	}
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for glob != "" {
		stop := strings.IndexAny(glob, "*?[]")
		if stop < 0 {
			stop = len(glob)
		}
		b.WriteString(regexp.QuoteMeta(glob[:stop]))
		glob = glob[stop:]
		if glob == "" {
			break
		}
		size, err := writeMeta(&b, glob)
		if err != nil {
			return nil, err
		}
		glob = glob[size:]
	}
	b.WriteString(`)\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, errors.New("it is too long or not a glob")
	}
	return re, nil
}

// writeMeta translates the wildcard, range or class at the start of glob and returns its
// length.
func writeMeta(b *strings.Builder, glob string) (int, error) {
	switch glob[0] {
	case '*':
		b.WriteString(".*")
		return 1, nil
	case '?':
		b.WriteString(".")
		return 1, nil
	}
	length := strings.IndexByte(glob, ']')
	if length <= 0 {
		return 0, errors.New("it has an unmatched bracket")
	}
	content := glob[1:length]
	if lo, hi, ok := strings.Cut(content, "-"); ok && lo != "" && hi != "" && strings.Trim(lo+hi, "0123456789") == "" {
		s, err := parseSpan(content)
		if err != nil {
			return 0, err
		}
		b.WriteString(s.pattern())
		return length + 1, nil
	}
	return length + 1, writeClass(b, content)
}

// writeClass translates the content of a class such as [abc], [a-c] or [!a-c].
func writeClass(b *strings.Builder, content string) error {
	body, negated := strings.CutPrefix(content, "!")
	if body == "" {
		return errors.New("it has empty brackets")
	}
	var class strings.Builder
	class.WriteByte('[')
	if negated {
		class.WriteByte('^')
	}
	runes := []rune(body)
	for i := 0; i < len(runes); i++ {
		class.WriteString(classRune(runes[i]))
		if i+2 < len(runes) && runes[i+1] == '-' {
			class.WriteString("-" + classRune(runes[i+2]))
			i += 2
		}
	}
	class.WriteByte(']')
	if _, err := regexp.Compile(class.String()); err != nil {
		return fmt.Errorf("%s is neither a range nor a set of characters", quote("["+content+"]"))
	}
	b.WriteString(class.String())
	return nil
}

// classRune returns a character for a class, as its code so that nothing needs escaping.
func classRune(c rune) string { return fmt.Sprintf(`\x{%x}`, c) }

// pattern returns a regular expression for the numbers of the span, with its padding.
func (s span) pattern() string {
	if s.width > 0 {
		return "(?:" + digits(fmt.Sprintf("%0*d", s.width, s.lo), fmt.Sprintf("%0*d", s.width, s.hi)) + ")"
	}
	var parts []string
	for lo := s.lo; lo <= s.hi; {
		from := strconv.Itoa(lo)
		hi := s.hi
		if to := strconv.Itoa(s.hi); len(to) > len(from) {
			hi, _ = strconv.Atoi(strings.Repeat("9", len(from)))
		}
		parts = append(parts, digits(from, strconv.Itoa(hi)))
		lo = hi + 1
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// digits returns a regular expression for the numbers from lo to hi, which have the same
// number of digits: 12 to 34 is 1[2-9]|2[0-9]|3[0-4].
func digits(lo, hi string) string {
	switch {
	case lo == hi:
		return lo
	case len(lo) == 1:
		return "[" + lo + "-" + hi + "]"
	case lo[0] == hi[0]:
		return lo[:1] + "(?:" + digits(lo[1:], hi[1:]) + ")"
	}
	rest := len(lo) - 1
	parts := []string{lo[:1] + "(?:" + digits(lo[1:], strings.Repeat("9", rest)) + ")"}
	if from, to := lo[0]+1, hi[0]-1; from <= to {
		parts = append(parts, fmt.Sprintf("[%c-%c][0-9]{%d}", from, to, rest))
	}
	parts = append(parts, hi[:1]+"(?:"+digits(strings.Repeat("0", rest), hi[1:])+")")
	return strings.Join(parts, "|")
}
