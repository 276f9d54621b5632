package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

// shownProblems is how many bad certificates are named.
const shownProblems = 20

// certificates are the files that a run needs, each read once.
type certificates struct {
	read     map[string]*certificate.Certificate // nil: it has a problem
	problems []*certificate.Problem
	unnamed  []string            // hosts for which none is named
	order    []string            // of notes
	notes    map[string][]string // what was odd → the files
}

// readCertificates reads every certificate that the targets need, and says all
// that is wrong with them at once.
func (f *fleet) readCertificates() error {
	c := certificates{read: map[string]*certificate.Certificate{}, notes: map[string][]string{}}
	for i, t := range f.targets {
		path := t.Host.Certificate
		if f.app.certificateFile != "" {
			path = f.app.certificateFile
		}
		if path == "" {
			c.unnamed = append(c.unnamed, t.Host.Name)
			continue
		}
		if err := c.add(f, path); err != nil {
			return err
		}
		f.targets[i].Certificate = c.read[path]
	}
	if len(c.unnamed) < len(f.targets) {
		c.unnamed = nil // whether they need one can be told when they are seen
	}
	if err := c.failure(); err != nil {
		return err
	}
	for _, note := range c.order {
		fmt.Fprintf(f.app.stderr, "note: %s %s\n", printable(andMore(c.notes[note])), note)
	}
	return nil
}

func (c *certificates) add(f *fleet, path string) error {
	if _, done := c.read[path]; done {
		return nil
	}
	cert, err := certificate.ReadFile(path, f.started)
	c.read[path] = cert
	var problem *certificate.Problem
	switch {
	case errors.As(err, &problem):
		c.problems = append(c.problems, problem)
	case err != nil:
		return err
	default:
		for _, note := range cert.Notes {
			if c.notes[note] == nil {
				c.order = append(c.order, note)
			}
			c.notes[note] = append(c.notes[note], path)
		}
	}
	return nil
}

// failure is everything that is wrong, nil if nothing is; the hint is the first's.
func (c *certificates) failure() error {
	const hint = "set certificate: in the inventory, or use --certificate FILE"
	var lines []string
	hosts := strings.Join(report.Fold(c.unnamed), ", ")
	if len(c.unnamed) > 0 {
		lines = append(lines, fmt.Sprintf("no certificate is named for %s: %s", hostCount(len(c.unnamed)), hosts))
	}
	switch {
	case len(c.problems) == 0 && lines == nil:
		return nil
	case len(c.problems) == 0:
		return usage(lines[0], hint)
	case len(c.problems) == 1 && lines == nil:
		return c.problems[0]
	}
	for i, p := range c.problems {
		if i == shownProblems {
			lines = append(lines, fmt.Sprintf("and %d more", len(c.problems)-i))
			break
		}
		lines = append(lines, p.Error())
	}
	return &certificate.Problem{Message: strings.Join(lines, "\n"), Hint: c.problems[0].Hint}
}

// andMore is the first of several files, and how many there are beside it.
func andMore(paths []string) string {
	if len(paths) == 1 {
		return paths[0]
	}
	return fmt.Sprintf("%s and %d more:", paths[0], len(paths)-1)
}
