package inventory

import (
	"iter"

	"github.com/aoifleet/aoifleet/internal/display"
)

// DidYouMean returns a hint for a mistyped word, also of the command line: `did you mean
// "word"?`, "" if no candidate is similar.
func DidYouMean(word string, candidates iter.Seq[string]) string {
	if s := display.Nearest(word, candidates); s != "" {
		return "did you mean " + quote(s) + "?"
	}
	return ""
}
