package main

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// explain is the one place where errors become words: what, and what to do.
func explain(err error) problem.Error {
	p := problem.As(err)
	if p == nil {
		return problem.Error{Class: problem.Internal, Message: err.Error()}
	}
	why := *p
	if why.Class == problem.Configuration { // the command ends before anything is contacted
		why.Class = problem.Usage
	}
	return why
}

// words tells a person.
func (a *app) words(message, hint string) {
	fmt.Fprintf(a.stderr, "error: %s\n", strings.ReplaceAll(display.MaskLines(message), "\n", "\n       "))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", display.MaskLines(hint))
	}
}

// hostText is a name out of an agent's configuration, which is compared and asked
// about as it is, fit to be shown.
func hostText(s string) string { return display.Sanitise(s, 200) }
