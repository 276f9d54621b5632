package report

import (
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Head is the start of every JSON document; Document has the same keys.
type Head struct {
	SchemaVersion int    `json:"schema_version"`
	ToolVersion   string `json:"tool_version"`
	Command       string `json:"command"`
	ExitCode      int    `json:"exit_code"`
}

// NewHead returns the head of a document of this version of the schema.
func NewHead(version, command string, code int) Head {
	return Head{SchemaVersion, version, command, code}
}

// Failure is what -o json prints of a command that ended with an error.
type Failure struct {
	Head
	Error problem.Error `json:"error"`
}

// NewDocument returns the document of a run that ends now. It counts the hosts by outcome.
func NewDocument(h Head, runID string, started time.Time, hosts []Host) *Document {
	d := &Document{
		SchemaVersion: h.SchemaVersion, ToolVersion: h.ToolVersion, RunID: runID, Command: h.Command,
		StartedAt: started.UTC(), FinishedAt: time.Now().UTC(), DurationMS: time.Since(started).Milliseconds(), ExitCode: h.ExitCode, Hosts: hosts, Totals: map[string]int{},
	}
	for _, h := range hosts {
		if h.Outcome != nil {
			d.Totals[*h.Outcome]++
		}
	}
	return d
}
