package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// shownErrors is how many errors Errors.Error prints: enough to see a pattern,
// few enough to leave the first on the screen.
const shownErrors = 20

// maxErrors bounds how many errors are collected from one file.
const maxErrors = 10_000

// Error is one mistake in an inventory or a selector. It never holds the value
// of a setting that may be a secret pasted in the wrong place.
type Error struct {
	File         string // "" for a selector
	Line, Column int    // from 1; 0 when not known
	Message      string // what is wrong
	Hint         string // what to do about it; "" when that is plain
}

// Error gives "file:line:column: message", without the hint.
func (e Error) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return e.File + ": " + e.Message
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is every mistake that was found, in the order of the file.
type Errors []Error

// Error gives one line for each error, hints in brackets; at most 20 of them,
// then how many more there are.
func (errs Errors) Error() string {
	var b strings.Builder
	for i, e := range errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == shownErrors {
			fmt.Fprintf(&b, "and %d more", len(errs)-i)
			break
		}
		b.WriteString(e.Error())
		if e.Hint != "" {
			b.WriteString(" (" + e.Hint + ")")
		}
	}
	return b.String()
}

// Unwrap lets errors.As find the first Error, and all of them as one
// *problem.Error: a single one with its hint beside it.
func (errs Errors) Unwrap() []error {
	all := &problem.Error{Class: problem.Inventory, Message: errs.Error()}
	if len(errs) == 1 {
		all.Message, all.Hint = errs[0].Error(), errs[0].Hint
	}
	list := []error{all}
	for _, e := range errs {
		list = append(list, e)
	}
	return list
}

func (errs Errors) sort() {
	slices.SortStableFunc(errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// quote shows a value from the file in a message.
func quote(s string) string { return display.Quote(s, 60) }
