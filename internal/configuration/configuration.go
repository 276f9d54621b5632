// Package configuration knows the agent's configuration file: it edits one, creates one from a
// template, compares two, and finds what is wrong with one, with a change and across a fleet.
// All of it is pure: no function reads a file, the environment or the clock. What a host sent
// is bounded, and no panic of a library gets out.
package configuration

import "github.com/aoifleet/aoifleet/internal/problem"

// MaxSize is the size of the largest configuration that is read or created, in bytes.
const MaxSize = 1 << 20

// shown is the length of the longest text of a file in a message, in characters.
const shown = 60

// Level tells what a Finding means for a change.
type Level string

// Levels of a Finding. The values are part of the JSON contract.
const (
	Error  Level = "error"  // the agent would not start or not work
	Danger Level = "danger" // allowed, but it loses or duplicates data
	Note   Level = "note"   // worth a look
)

// Finding is something that is wrong with a configuration. Its texts are one line each and
// safe to print.
type Finding struct {
	File    string   `json:"file,omitempty"` // name in a fleet, or file given; "" if there is only one
	Line    int      `json:"line,omitempty"` // from 1; 0 if it is about the whole file
	Column  int      `json:"column,omitempty"`
	Level   Level    `json:"level"`
	Key     string   `json:"key,omitempty"` // where, as pipelines[0].sink.container_name
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`   // the fix
	Others  []string `json:"others,omitempty"` // the other files that it is about
}

// Sentence returns the key and the message, without the place.
func (f Finding) Sentence() string {
	if f.Key == "" {
		return f.Message
	}
	return f.Key + ": " + f.Message
}

// Host is what a Template may use.
type Host struct {
	Name, Address string
	Labels        map[string]string
}

// Named is a configuration of a fleet.
type Named struct {
	Name string
	Data []byte
}

// contain turns a panic into an error of the configuration: libraries panic on crafted input.
func contain(err *error, doing string) {
	if p := recover(); p != nil {
		*err = problem.New(problem.Configuration, "look at the file", "%s: the file can't be processed", doing)
	}
}
