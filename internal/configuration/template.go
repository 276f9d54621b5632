package configuration

import (
	"bytes"
	"errors"
	"regexp"
	"text/template"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Template is a configuration with actions of text/template, executed once for each host.
type Template struct{ parsed *template.Template }

// ParseTemplate returns the template of a file's data. The error is a *problem.Error of class
// usage that names the file and the line.
func ParseTemplate(name string, data []byte) (*Template, error) {
	if len(data) > MaxSize {
		return nil, problem.New(problem.Usage, "a configuration has some kilobytes", "the template has more than %d bytes", MaxSize)
	}
	parsed, err := template.New(display.Sanitise(name, 200)).Option("missingkey=error").Parse(string(data))
	if err != nil {
		return nil, problem.New(problem.Usage, "the actions are those of Go's text/template", "%s", display.Sanitise(err.Error(), 300))
	}
	return &Template{parsed}, nil
}

// Execute returns the configuration of a host. A label that the host does not have is an error,
// a *problem.Error of class configuration.
func (t *Template) Execute(h Host) (out []byte, err error) {
	defer contain(&err, "template")
	var b bounded
	if err := t.parsed.Execute(&b, h); err != nil {
		return nil, problem.New(problem.Configuration, "use .Name, .Address and .Labels of the host", "%s", display.Sanitise(executing.ReplaceAllString(err.Error(), " at "), 300))
	}
	return b.Bytes(), nil
}

// executing is what the library repeats in the middle of an error: the name of the template.
var executing = regexp.MustCompile(` executing ".*?" at `)

// bounded is a buffer of at most MaxSize bytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxSize {
		return 0, errors.New("the result has more than 1 MiB")
	}
	return b.Buffer.Write(p)
}
