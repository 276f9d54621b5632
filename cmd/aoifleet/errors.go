package main

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// explain returns err as a problem.Error: what is wrong and what to do.
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

// printError prints an error and, unless it is "", a hint.
func (call *invocation) printError(message, hint string) {
	fmt.Fprintf(call.stderr, "error: %s\n", strings.ReplaceAll(display.MaskLines(message), "\n", "\n       "))
	if hint != "" {
		fmt.Fprintf(call.stderr, "hint: %s\n", display.MaskLines(hint))
	}
}
