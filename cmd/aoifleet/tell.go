package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/secret"
)

// explain is the one place where errors become words: what, and what to do.
func explain(err error) report.Error {
	var (
		many    inventory.Errors
		problem *certificate.Problem
		lacking *secret.Problem
		f       *failure
	)
	switch {
	case errors.As(err, &f) && f.code == exitUsage:
		return report.Error{Class: "usage", Message: f.message, Hint: f.hint}
	case errors.As(err, &f) && f.code == exitRefused:
		return report.Error{Class: string(azure.Refused), Message: f.message, Hint: f.hint}
	case errors.As(err, &f):
		return report.Error{Class: "internal", Message: f.message, Hint: f.hint}
	case errors.As(err, &many) && len(many) == 1:
		return report.Error{Class: "inventory", Message: many[0].Error(), Hint: many[0].Hint}
	case errors.As(err, &many):
		return report.Error{Class: "inventory", Message: many.Error()}
	case errors.As(err, &problem):
		return report.Error{Class: "certificate", Message: problem.Error(), Hint: problem.Hint}
	case errors.As(err, &lacking):
		return report.Error{Class: "usage", Message: lacking.Message, Hint: lacking.Hint}
	}
	if e := azure.AsError(err); e != nil && e.Class == azure.Configuration {
		return report.Error{Class: "usage", Message: e.Message, Hint: e.Hint}
	} else if e != nil {
		return report.Error{Class: string(e.Class), Message: e.Message, Hint: e.Hint}
	}
	return report.Error{Class: "internal", Message: err.Error()}
}

// words tells a person.
func (a *app) words(message, hint string) {
	fmt.Fprintf(a.stderr, "error: %s\n", strings.ReplaceAll(printable(message), "\n", "\n       "))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", printable(hint))
	}
}

// printable replaces what must not reach a terminal: arguments and file names
// may hold escape sequences.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) || c == '\n' {
			return c
		}
		return '?'
	}, s)
}

// hostText is a name out of an agent's configuration, which is compared and asked
// about as it is, fit to be shown.
func hostText(s string) string { return remote.Sanitise(s, 200) }
