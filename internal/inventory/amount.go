package inventory

import "strconv"

// Amount is a number of hosts, given as a count or as a percentage of the
// hosts selected. The zero value is the count 1.
type Amount struct {
	n       int
	percent bool
}

// Count is the amount of n hosts; less than 1 is taken as 1.
func Count(n int) Amount { return Amount{n: n} }

// Percent is n percent of the hosts; less than 1 is taken as 1, more than 100
// as 100.
func Percent(n int) Amount { return Amount{n: min(n, 100), percent: true} }

// Of gives the amount as a number of hosts out of total: a percentage rounded
// up, and at least 1 in every case. A count may be above total.
func (a Amount) Of(total int) int {
	if !a.percent {
		return max(a.n, 1)
	}
	// In two parts, so that no total overflows.
	n := max(a.n, 1)
	total = max(total, 0)
	return max(total/100*n+(total%100*n+99)/100, 1)
}

// String gives the amount as the inventory writes it: "3" or "10%".
func (a Amount) String() string {
	s := strconv.Itoa(max(a.n, 1))
	if a.percent {
		return s + "%"
	}
	return s
}
