package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is the names of hosts that differ in a number only, as --limit accepts it, or one name.
type Range struct {
	Text  string
	Hosts int
}

// Fold returns a list of host names with ranges that --limit accepts: london-edr-01 …
// london-edr-12 becomes london-edr-[01-12]. It folds only the last number in a name. The
// order of names does not matter.
func Fold(names []string) []string { return texts(Ranges(names)) }

// Ranges is Fold with the number of hosts of each range.
func Ranges(names []string) []Range {
	stems := map[string][]numbered{}
	var order []string
	for _, name := range names {
		stem, n := splitNumber(name)
		if _, seen := stems[stem]; !seen {
			order = append(order, stem)
		}
		stems[stem] = append(stems[stem], n)
	}
	slices.Sort(order)
	var folded []Range
	for _, stem := range order {
		folded = append(folded, foldStem(stem, stems[stem])...)
	}
	return folded
}

func texts(ranges []Range) []string {
	list := make([]string, len(ranges))
	for i, r := range ranges {
		list[i] = r.Text
	}
	return list
}

// numbered is the last number of a name; the rest of the name is the stem.
type numbered struct {
	value  int
	digits string // as written; "" if the name has no number
}

// splitNumber returns the last number of a name, of at most nine digits, and the name
// with a NUL in its place, which no host name contains.
func splitNumber(name string) (stem string, n numbered) {
	end := strings.LastIndexAny(name, "0123456789") + 1
	start := end
	for start > 0 && name[start-1] >= '0' && name[start-1] <= '9' {
		start--
	}
	if start == end || end-start > 9 {
		return name, numbered{}
	}
	value, err := strconv.Atoi(name[start:end])
	if err != nil {
		return name, numbered{}
	}
	return name[:start] + "\x00" + name[end:], numbered{value, name[start:end]}
}

// foldStem returns the names of one stem, with ranges.
func foldStem(stem string, numbers []numbered) []Range {
	if numbers[0].digits == "" {
		return []Range{{stem, 1}}
	}
	slices.SortFunc(numbers, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(len(a.digits), len(b.digits)), cmp.Compare(a.value, b.value))
	})
	var folded []Range
	for len(numbers) > 0 {
		n := 1
		for n < len(numbers) && len(numbers[n].digits) == len(numbers[0].digits) && numbers[n].value == numbers[n-1].value+1 {
			n++
		}
		text := numbers[0].digits
		if n > 1 {
			text = fmt.Sprintf("[%s-%s]", text, numbers[n-1].digits)
		}
		folded = append(folded, Range{strings.Replace(stem, "\x00", text, 1), n})
		numbers = numbers[n:]
	}
	return folded
}

// FoldInOrder is Fold for a list whose order matters: it folds only neighbours.
func FoldInOrder(names []string) []string {
	var folded []string
	for len(names) > 0 {
		n := 1
		for n < len(names) && follows(names[n-1], names[n]) {
			n++
		}
		folded = append(folded, Fold(names[:n])...)
		names = names[n:]
	}
	return folded
}

// follows reports whether b is the next number after a.
func follows(a, b string) bool {
	stemA, numberA := splitNumber(a)
	stemB, numberB := splitNumber(b)
	return stemA == stemB && numberA.digits != "" && len(numberA.digits) == len(numberB.digits) && numberB.value == numberA.value+1
}

// HostCount returns a number of hosts as text: "1 host", "12 hosts".
func HostCount(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}
