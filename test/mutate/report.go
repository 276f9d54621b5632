package main

import (
	"fmt"
	"strings"
)

// result is what became of a target's mutants.
type result struct {
	path    string
	mutants []*mutant
}

// report prints the figures, and says whether a mutant survived that is not listed, or the list
// has one that did not survive.
func (r *result) report(listed map[string]bool, only string) (failed bool) {
	count, survived := map[string]int{}, map[string]bool{}
	unlisted := 0
	for _, m := range r.mutants {
		count[m.status]++
		if m.status == lived || m.status == missed {
			survived[m.text] = true
			if !listed[m.text] {
				unlisted++
			}
		}
	}
	for text := range listed {
		if strings.HasPrefix(text, r.path) && strings.Contains(text, only) && !survived[text] {
			fmt.Printf("error: in equivalent.txt, but it did not survive: %s\n", text)
			failed = true
		}
	}
	dead := count[killed] + count[timedOut]
	fmt.Printf("%s: %d killed (%d of them timed out), %d lived, %d not covered: %.1f %% killed, %.1f %% covered; %d not in equivalent.txt\n",
		r.path, dead, count[timedOut], count[lived], count[missed],
		100*float64(dead)/float64(max(1, dead+count[lived])), 100*float64(dead+count[lived])/float64(max(1, len(r.mutants))), unlisted)
	return failed || unlisted > 0
}
