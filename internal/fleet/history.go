package fleet

import (
	"errors"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// rotationRuns is how many runs are read to find the one that made a certificate live.
const rotationRuns = 200

// Rotation is when a live certificate became live, from the journal.
type Rotation struct {
	RunID string
	At    time.Time
	Proof string
}

// FindRun reads the journal in dir of the run that id names: the run's ID, the beginning or
// end of it if that is unique, or "last". The error is a *journal.NoRunError if there is no
// such run.
func FindRun(dir, id string) (*journal.Run, error) {
	full, err := journal.Resolve(dir, id)
	if err != nil {
		return nil, err
	}
	return journal.Read(dir, full)
}

// selectHostsOf narrows the targets to those on which a run changed something, according to
// its journal, and returns the run's full ID. Without a complete journal all selected hosts
// remain: each knows its backups.
func (f *Fleet) selectHostsOf(run string) (string, error) {
	past, err := f.pastRun(run)
	var none *journal.NoRunError
	switch {
	case errors.As(err, &none) && journal.IsID(run):
		f.caller.Say("note: no journal of run " + run + " on this workstation; checking all selected hosts for its backups")
		return run, nil
	case err != nil:
		return "", err
	}
	if past.Unfinished() || past.Damaged > 0 {
		f.caller.Say("note: the journal of run " + past.Run + " is incomplete; checking all selected hosts for its backups")
		return past.Run, nil
	}
	began := map[string]bool{}
	for _, e := range past.Entries {
		began[e.Host] = began[e.Host] || e.Event == journal.Step && e.Step == "rotate"
	}
	f.Targets = slices.DeleteFunc(f.Targets, func(t rollout.Target) bool {
		return !began[t.Host.Name] || !mayHaveChanged(past.Ends[t.Host.Name])
	})
	if len(f.Targets) == 0 {
		return "", usage("run "+past.Run+" changed none of the selected hosts", "see: aoifleet runs show "+past.Run)
	}
	return past.Run, nil
}

// pastRun finds the run to undo. "last" is the newest rotation that changed something, not
// the newest run: a repeated rollback must not undo the first.
func (f *Fleet) pastRun(run string) (*journal.Run, error) {
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	if err != nil {
		return nil, err
	}
	if run != "last" {
		return FindRun(dir, run)
	}
	runs, err := journal.List(dir, 0)
	for _, r := range runs {
		ends := r.Outcomes()
		if r.Command == "rotate" && (r.Unfinished() || ends[string(rollout.Rotated)]+ends[string(rollout.Unknown)]+ends[string(rollout.Failed)] > 0) {
			return journal.Read(dir, r.Run)
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, usage("no run of this workstation has rotated a host yet",
		"the backups on the hosts name the runs of others: aoifleet backups list; then: aoifleet rollback RUN")
}

// mayHaveChanged reports whether a run may have changed the host. A host without an end was
// in progress when the run was killed.
func mayHaveChanged(end journal.Entry) bool {
	switch rollout.Outcome(end.Outcome) {
	case rollout.Rotated, rollout.Restored, rollout.Unknown, rollout.Failed, "":
		return true
	}
	return false
}

// Rotations finds in the journals of this workstation the newest run that made
// each host's live certificate live. Hosts without one are not in the map.
func (f *Fleet) Rotations(entries []rollout.Entry) map[string]Rotation {
	live := map[string]string{}
	for _, e := range entries {
		if info := e.Live(); info != nil {
			live[e.Host.Name] = info.Thumbprint
		}
	}
	found := map[string]Rotation{}
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	if err != nil {
		return found
	}
	runs, _ := journal.List(dir, rotationRuns) // a journal that cannot be read proves nothing
	for _, run := range runs {
		for name, end := range run.Ends {
			_, newer := found[name]
			if !newer && end.New != "" && end.New == live[name] && end.Outcome == string(rollout.Rotated) && end.Proof != "" {
				found[name] = Rotation{run.Run, end.At, end.Proof}
			}
		}
	}
	return found
}
