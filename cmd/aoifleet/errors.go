package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

// explain returns err as a problem.Error: what is wrong and what to do.
func explain(err error) problem.Error {
	p := problem.As(err)
	if p == nil {
		return problem.Error{Class: problem.Internal, Message: plainText(err)}
	}
	why := *p
	if why.Class == problem.Configuration { // the command ends before anything is contacted
		why.Class = problem.Usage
	}
	return why
}

// plainText returns the message of an error of the standard library as this program writes
// it; Go's own, such as "open F: permission denied", begins with the name of a call.
func plainText(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Sprintf("cannot use %s: %v", path.Path, path.Err)
	case errors.As(err, &link):
		return fmt.Sprintf("cannot write %s: %v", link.New, link.Err)
	}
	return err.Error()
}

// printError prints an error and, unless it is "", a hint.
func (call *invocation) printError(message, hint string) {
	fmt.Fprintf(call.stderr, "%s %s\n", report.Alarm(call.stderr, "error:"), strings.ReplaceAll(display.MaskLines(message), "\n", "\n       "))
	if hint != "" {
		fmt.Fprintf(call.stderr, "hint: %s\n", display.MaskLines(hint))
	}
}
