package display

import "iter"

// Nearest returns the candidate most similar to word, "" if none is similar enough for a
// typo: two edits, one in a short word.
func Nearest(word string, candidates iter.Seq[string]) string {
	const longest = 64 // not worth the quadratic time for longer words
	if len(word) > longest {
		return ""
	}
	limit := 2
	if len(word) <= 4 {
		limit = 1
	}
	best := ""
	for c := range candidates {
		if c == word || len(c) > longest || len(c)-len(word) > limit || len(word)-len(c) > limit {
			continue
		}
		if d := distance(word, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}

// distance returns the Levenshtein distance in which swapping two neighbours is one edit
// ("optimal string alignment"), because that is a common typo.
func distance(a, b string) int {
	var before []int
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
