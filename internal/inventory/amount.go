package inventory

import (
	"strconv"
	"strings"
)

// Amount is a number of hosts: a count, or a percentage of the selected hosts. The
// zero value is the count 1.
type Amount struct {
	n       int
	percent bool
}

// Count returns the amount of n hosts, at least 1.
func Count(n int) Amount { return Amount{n: n} }

// Percent returns the amount of n percent of the hosts, limited to 1 to 100.
func Percent(n int) Amount { return Amount{n: min(n, 100), percent: true} }

// ParseAmount returns the amount of a text, as String returns it.
func ParseAmount(s string) (Amount, bool) {
	digits, percent := strings.CutSuffix(s, "%")
	n, _ := strconv.Atoi(digits)
	switch {
	case !decimal.MatchString(digits):
	case percent && n >= 1 && n <= 100:
		return Percent(n), true
	case !percent && n >= 1 && n <= maxHosts:
		return Count(n), true
	}
	return Amount{}, false
}

// Of returns the number of hosts out of total, at least 1. It rounds a percentage up;
// a count may exceed total.
func (a Amount) Of(total int) int {
	if !a.percent {
		return max(a.n, 1)
	}
	// In two parts, so that a large total does not overflow.
	n := max(a.n, 1)
	total = max(total, 0)
	return max(total/100*n+(total%100*n+99)/100, 1)
}

// IsPercent reports whether the amount is a percentage.
func (a Amount) IsPercent() bool { return a.percent }

// String returns the amount as in the inventory: "3" or "10%".
func (a Amount) String() string {
	s := strconv.Itoa(max(a.n, 1))
	if a.percent {
		return s + "%"
	}
	return s
}
