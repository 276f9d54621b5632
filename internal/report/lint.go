package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/display"
)

// Lint is what `configuration lint -o json` prints.
type Lint struct {
	Head
	Files    []string                    `json:"files"`
	Findings []configuration.Finding     `json:"findings"`
	Totals   map[configuration.Level]int `json:"totals"`
}

// NewLint checks configurations, and each against the others.
func NewLint(files []configuration.Named) *Lint {
	l := &Lint{Findings: []configuration.Finding{}, Totals: map[configuration.Level]int{configuration.Error: 0, configuration.Danger: 0, configuration.Note: 0}}
	for _, file := range files {
		l.Files = append(l.Files, display.Mask(file.Name))
		for _, f := range configuration.Lint(file.Data) {
			f.File = file.Name
			l.Findings = append(l.Findings, f)
		}
	}
	l.Findings = append(l.Findings, configuration.Fleet(files)...)
	for i, f := range l.Findings {
		l.Findings[i].File = display.Mask(f.File)
		for j, other := range f.Others {
			f.Others[j] = display.Mask(other)
		}
		l.Totals[f.Level]++
	}
	return l
}

// Failed reports whether a file has an error or a danger.
func (l *Lint) Failed() bool {
	return l.Totals[configuration.Error]+l.Totals[configuration.Danger] > 0
}

// Text prints each finding as compilers do, so that editors and pipelines find the place.
func (l *Lint) Text(w io.Writer) {
	for _, f := range l.Findings {
		where := f.File
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d:%d", f.File, f.Line, max(f.Column, 1))
		}
		fmt.Fprintf(w, "%s: %s: %s\n", where, f.Level, f.Sentence())
		if len(f.Others) > 0 {
			fmt.Fprintln(w, "    also: "+strings.Join(f.Others, ", "))
		}
		if f.Hint != "" {
			fmt.Fprintln(w, "    hint: "+f.Hint)
		}
	}
	total := number(len(l.Files), "file") + ": "
	for i, level := range []configuration.Level{configuration.Error, configuration.Danger, configuration.Note} {
		total += []string{"", ", ", ", "}[i] + number(l.Totals[level], string(level))
	}
	fmt.Fprintln(w, total)
}

func number(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
