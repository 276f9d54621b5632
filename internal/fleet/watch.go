package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// watchEvery is how often a journal is read that is watched.
const watchEvery = 200 * time.Millisecond

// SteerRun asks the process of a run to do what verb says: one of package control. dir has the journals.
func SteerRun(dir string, run *journal.Run, verb string) error {
	if !run.Unfinished() {
		return usage("run "+run.Run+" has ended", "see: aoifleet runs show "+run.Run)
	}
	err := control.Ask(dir, run.Run, verb)
	if errors.Is(err, control.ErrNotRunning) {
		return killed(run.Run, run.Owner)
	}
	return err
}

// killed returns the error of a run that has neither a process that answers nor an end in its journal.
// The journal may be one of another workstation that has the same home.
func killed(run, owner string) error {
	return problem.New(problem.Usage, "if it was killed, its hosts undo what was in progress; see: aoifleet runs show "+run+"; then: aoifleet status, and rotate again",
		"run %s has no process on this workstation and no end in its journal: it was killed, or it runs on another one (%s began it)", run, display.Sanitise(owner, 100))
}

// WatchRun calls each with the entries of a run's journal, as they are written, until the run or ctx
// ends. It returns the run without its entries.
func WatchRun(ctx context.Context, dir, id string, each func([]journal.Entry)) (*journal.Run, error) {
	f, err := journal.Follow(dir, id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ended, err := control.Wait(ctx, dir, id)
	alive := err == nil
	silent := err != nil && !errors.Is(err, control.ErrNotRunning) // only its journal says what it does
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		entries, err := f.More()
		if each(entries); err != nil {
			return nil, err
		}
		switch {
		case !f.Run.Unfinished() && !alive, ctx.Err() != nil:
			return f.Run, nil
		case !alive && !silent:
			return f.Run, killed(id, f.Run.Owner)
		}
		select {
		case <-ended:
			alive = false // what it wrote before is read once more
		case <-tick.C:
		}
	}
}
