package inventory

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// shownErrors is the number of errors that Errors.Error prints: enough to see a pattern,
// few enough to keep the first on the screen.
const shownErrors = 20

// maxErrors bounds the errors collected from one file.
const maxErrors = 10_000

// Error is one mistake in an inventory or a selector. It does not contain the value of a
// setting that may be a secret pasted in the wrong place.
type Error struct {
	File         string // "" for a selector
	Line, Column int    // from 1; 0 if unknown
	Message      string // what is wrong
	Hint         string // what to do; "" if it is obvious
}

// Error returns "file:line:column: message", without the hint.
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

// Errors is all mistakes in a file, in the order of the file.
type Errors []Error

// Error returns one line per error, with its hint in brackets: at most 20, then the
// number of the others.
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

// Unwrap returns all errors as one *problem.Error of class inventory, then each Error. A
// single error keeps its hint.
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

// login matches user:password@, with or without a scheme.
var login = regexp.MustCompile(`^[^@:]*:.*@`)

// quote shows a value from the file in a message, without a password before an @.
func quote(s string) string { return display.Quote(login.ReplaceAllString(s, "…@"), 60) }
