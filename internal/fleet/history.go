package fleet

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
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
	past, err := f.pastRun(run, func(r *journal.Run) bool {
		ends := r.Outcomes()
		return r.Unfinished() || ends[string(rollout.Rotated)]+ends[string(rollout.Changed)]+ends[string(rollout.Upgraded)]+ends[string(rollout.Unknown)]+ends[string(rollout.Failed)] > 0
	})
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
		steps := began[t.Host.Name] || past.Engine != "" // which says no steps
		return !steps || !mayHaveChanged(past.Ends[t.Host.Name])
	})
	if len(f.Targets) == 0 {
		return "", usage("run "+past.Run+" changed none of the selected hosts", "see: aoifleet runs show "+past.Run)
	}
	return past.Run, nil
}

// isChange reports whether a run has put new files on hosts, which a rollback undoes.
func isChange(r *journal.Run) bool {
	return slices.Contains([]string{"rotate", "configure", "upgrade", "secret set", "secret hostkey set"}, r.Command)
}

// pastRun finds a run. "last" is the newest change for which wanted returns true, not the
// newest run: a repeated rollback must not undo the first.
func (f *Fleet) pastRun(run string, wanted func(*journal.Run) bool) (*journal.Run, error) {
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	if err != nil {
		return nil, err
	}
	if run != "last" {
		return FindRun(dir, run)
	}
	runs, err := journal.List(dir, 0)
	for _, r := range runs {
		if isChange(r) && wanted(r) {
			return journal.Read(dir, r.Run)
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, usage("no run of this workstation has changed a host yet",
		"the backups on the hosts name the runs of others: aoifleet backups list; then: aoifleet rollback RUN")
}

// SelectUnwell narrows the targets to the hosts that a rotation has not left well, according
// to its journal: neither rotated nor current before. The certificate must be that of the
// rotation, unless the request names one.
func (f *Fleet) SelectUnwell(run string) error {
	path, err := filepath.Abs(f.Inventory.Path)
	if err != nil {
		return err
	}
	past, err := f.pastRun(run, func(r *journal.Run) bool { return r.Command == "rotate" && r.Inventory == path })
	switch {
	case err != nil:
		return err
	case past.Command != "rotate":
		return usage("run "+past.Run+" is not a rotation but: "+display.Mask(past.Command), "name the ID of a rotation: aoifleet runs list")
	case past.Inventory != path: // its hosts may have the same names
		return usage("run "+past.Run+" had another inventory: "+display.Mask(past.Inventory), "name that file with -i, or the hosts with --limit instead of --retry")
	}
	f.noteGone(past)
	f.Targets = slices.DeleteFunc(f.Targets, func(t rollout.Target) bool {
		return !slices.Contains(past.Hosts, t.Host.Name) || rollout.Outcome(past.Ends[t.Host.Name].Outcome).IsWell()
	})
	for _, t := range f.Targets {
		if was := past.Ends[t.Host.Name].New; f.request.Certificate == "" && was != "" && t.Certificate != nil && was != t.Certificate.Leaf.Thumbprint {
			return usage("run "+past.Run+" had another certificate for "+t.Host.Name+": "+display.Mask(was), "name a certificate with --certificate FILE, or leave out --retry")
		}
	}
	if len(f.Targets) == 0 {
		return usage("run "+past.Run+" left every selected host well", "see: aoifleet runs show "+past.Run)
	}
	return nil
}

// noteGone says how many hosts that a rotation has not left well are not in the inventory now.
func (f *Fleet) noteGone(past *journal.Run) {
	if f.request.Limit != "" {
		return // the operator has left some out
	}
	known := map[string]bool{}
	for _, t := range f.Targets {
		known[t.Host.Name] = true
	}
	gone := slices.DeleteFunc(slices.Clone(past.Hosts), func(name string) bool {
		return known[name] || rollout.Outcome(past.Ends[name].Outcome).IsWell()
	})
	if len(gone) > 0 {
		f.caller.Say("note: not in the inventory now: " + inventory.HostCount(len(gone)) + " that run " + past.Run + " did not leave well; see: aoifleet runs show " + past.Run)
	}
}

// mayHaveChanged reports whether a run may have changed the host. A host without an end was
// in progress when the run was killed.
func mayHaveChanged(end journal.Entry) bool {
	switch rollout.Outcome(end.Outcome) {
	case rollout.Rotated, rollout.Changed, rollout.Upgraded, rollout.Restored, rollout.Unknown, rollout.Failed, "":
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

// How much of the past an estimate is made from: the newest runs, until so many hosts are known.
const (
	costRuns  = 5
	costHosts = 10
)

// longestTurn bounds what a journal says of a host's turn; more is not a rotation without a failure.
const longestTurn = time.Hour

// Cost returns what a host's turn took in the last changes of this inventory, in those of an upgrade
// in the last upgrades, without the health window: the median, from the journals of this workstation.
func (f *Fleet) Cost() rollout.Cost {
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	path, pathErr := filepath.Abs(f.Inventory.Path)
	if err != nil || pathErr != nil {
		return rollout.AssumedCost
	}
	runs, _ := journal.List(dir, costRuns) // a journal that cannot be read says nothing
	var turns []time.Duration
	upgrade := f.request.Configuration.Version != ""
	for _, r := range runs {
		if !isChange(r) || (r.Command == "upgrade") != upgrade || r.Inventory != path || len(turns) >= costHosts {
			continue
		}
		if run, err := journal.Read(dir, r.Run); err == nil {
			turns = append(turns, turnsOf(run)...)
		}
	}
	if len(turns) == 0 {
		return rollout.AssumedCost
	}
	slices.Sort(turns)
	cost := rollout.Cost{Turn: turns[len(turns)/2], Measured: true, Install: rollout.AssumedCost.Install}
	if upgrade {
		cost.Install = 0 // it is in the turns
	}
	return cost
}

// turnsOf returns the time of each rotated host from the start of its turn to its watch, and
// a second for its verdict and confirmation.
func turnsOf(run *journal.Run) []time.Duration {
	began, watched := map[string]time.Time{}, map[string]time.Time{}
	var turns []time.Duration
	for _, e := range run.Entries {
		switch turn := watched[e.Host].Sub(began[e.Host]); {
		case e.Event == journal.Step && e.Step == "rotate":
			began[e.Host] = e.At
		case e.Event == journal.Step && e.Step == "watch":
			watched[e.Host] = e.At
		case e.Event == journal.End && rollout.Outcome(e.Outcome).HasNew() && !began[e.Host].IsZero() && turn >= 0 && turn < longestTurn:
			turns = append(turns, turn+time.Second)
			delete(began, e.Host)
		}
	}
	return turns
}
