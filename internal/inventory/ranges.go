package inventory

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// span is a range such as [01-12] or [a-c], both ends included.
type span struct {
	lo, hi int // numbers, or letters as their code
	width  int // digits, with leading zeros; 0: not padded
	letter bool
}

var (
	numberSpan = regexp.MustCompile(`^([0-9]{1,9})-([0-9]{1,9})$`)
	letterSpan = regexp.MustCompile(`^([a-z])-([a-z])$|^([A-Z])-([A-Z])$`)
)

// parseSpan parses the text between the brackets of a range.
func parseSpan(s string) (span, error) {
	if m := letterSpan.FindStringSubmatch(s); m != nil {
		return span{lo: int(s[0]), hi: int(s[2]), letter: true}.check(s)
	}
	m := numberSpan.FindStringSubmatch(s)
	if m == nil {
		return span{}, fmt.Errorf("%s is not a range such as [01-12] or [a-c]", quote("["+s+"]"))
	}
	sp := span{}
	sp.lo, _ = strconv.Atoi(m[1])
	sp.hi, _ = strconv.Atoi(m[2])
	if padded := m[1][0] == '0' && len(m[1]) > 1 || m[2][0] == '0' && len(m[2]) > 1; padded {
		if len(m[1]) != len(m[2]) {
			return span{}, fmt.Errorf("both ends of [%s] must have the same number of digits", s)
		}
		sp.width = len(m[1])
	}
	return sp.check(s)
}

// check returns s, or an error if the range runs backwards.
func (s span) check(text string) (span, error) {
	if s.lo > s.hi {
		return span{}, fmt.Errorf("the range [%s] runs backwards", text)
	}
	return s, nil
}

func (s span) size() int { return s.hi - s.lo + 1 }

// at returns the i-th text of the range, from 0.
func (s span) at(i int) string {
	if s.letter {
		return string(rune(s.lo + i))
	}
	return fmt.Sprintf("%0*d", s.width, s.lo+i)
}

// template is a name or an address with ranges:
// texts[0] spans[0] texts[1] … texts[len(spans)].
type template struct {
	texts []string
	spans []span
}

// parseTemplate splits s at its ranges.
func parseTemplate(s string) (template, error) {
	var t template
	for {
		text, rest, found := strings.Cut(s, "[")
		t.texts = append(t.texts, text)
		if !found {
			return t, nil
		}
		inside, after, closed := strings.Cut(rest, "]")
		if !closed {
			return t, fmt.Errorf(`a "[" without a "]"`)
		}
		sp, err := parseSpan(inside)
		if err != nil {
			return t, err
		}
		t.spans = append(t.spans, sp)
		s = after
	}
}

// size returns the number of texts of the template, at most maxHosts+1.
func (t template) size() int {
	n := 1
	for _, s := range t.spans {
		if n *= min(s.size(), maxHosts+1); n > maxHosts {
			return maxHosts + 1
		}
	}
	return n
}

// at returns the i-th text, from 0; the last range varies fastest.
func (t template) at(i int) string {
	parts := []string{t.texts[len(t.spans)]}
	for k := len(t.spans) - 1; k >= 0; k-- {
		n := t.spans[k].size()
		parts = append(parts, t.spans[k].at(i%n), t.texts[k])
		i /= n
	}
	slices.Reverse(parts)
	return strings.Join(parts, "")
}
