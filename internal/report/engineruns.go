package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// engineRunList is what `runs list --engine URL -o json` prints.
type engineRunList struct {
	SchemaVersion int         `json:"schema_version"`
	Runs          []EngineRun `json:"runs"`
}

// EngineRun is one run of an engine in JSON (docs/reference.md).
type EngineRun struct {
	RunID     string         `json:"run_id"`
	Owner     string         `json:"owner"`
	Tool      string         `json:"tool_version"`
	PlanID    string         `json:"plan_id"`
	StartedAt time.Time      `json:"started_at"`
	State     string         `json:"state"`
	Wave      int            `json:"wave"`
	Waves     int            `json:"waves"`
	Hosts     int            `json:"hosts"`
	Totals    map[string]int `json:"totals"` // of the hosts that have ended
}

func engineRun(s engine.State) EngineRun {
	r := EngineRun{shortText(s.Run.ID), shortText(s.Run.Owner), shortText(s.Run.Tool), shortText(s.PlanID), s.Started.UTC(), engineState(s), s.Wave, s.Waves, s.Hosts, map[string]int{}}
	for o, n := range s.Totals {
		r.Totals[shortText(string(o))] += n
	}
	return r
}

// engineState returns what a run does: one word.
func engineState(s engine.State) string {
	switch {
	case s.Result != nil && s.Result.Problem != nil:
		return "failed"
	case s.Result != nil:
		return "ended"
	case s.Stopping:
		return "stopping"
	case s.Asks > 0:
		return "asking"
	case s.Paused:
		return "paused"
	}
	return "running"
}

// EngineRunsJSON prints runs of an engine as JSON.
func EngineRunsJSON(w io.Writer, list []engine.State) error {
	d := engineRunList{SchemaVersion, make([]EngineRun, len(list))}
	for i, s := range list {
		d.Runs[i] = engineRun(s)
	}
	return encode(w, d)
}

// EngineRuns prints a line for each run of an engine.
func (v View) EngineRuns(w io.Writer, list []engine.State) error {
	t := v.table(w, "STARTED")
	fmt.Fprintln(t, "RUN\tSTARTED\tOWNER\tHOSTS\tSTATE\tRESULT")
	for _, s := range list {
		r, counted := engineRun(s), []string{}
		for _, o := range rollout.Outcomes {
			if n := s.Totals[o]; n > 0 {
				counted = append(counted, fmt.Sprintf("%d %s", n, o))
			}
		}
		if s.Waves > 0 && s.Result == nil {
			r.State += fmt.Sprintf(", wave %d of %d", s.Wave, s.Waves)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", r.RunID, r.StartedAt.Format(time.RFC3339), r.Owner, r.Hosts, r.State, strings.Join(counted, ", "))
	}
	return t.Flush()
}
