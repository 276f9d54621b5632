package rollout

import (
	"context"
	"slices"

	"github.com/aoifleet/aoifleet/internal/host"
)

// UndoID is the id of the run by which a run undoes what its hosts have
// confirmed: a transaction of its own, with receipts and a backup of its own.
func UndoID(run string) string { return run + "UNDO" }

// undoAll undoes what this run has rotated, the newest first, where the budget
// has stopped it and the policy wants that. It returns on how many it tried.
func (a *apply) undoAll(ctx context.Context) int {
	if !a.plan.Policy.UndoAll || !a.budget.spent() || a.DialUndo == nil {
		return 0
	}
	var hosts []int
	for i := range a.run.Results {
		if res := &a.run.Results[i]; res.Outcome == Rotated && res.Action == Rotate {
			hosts = append(hosts, i)
		}
	}
	slices.SortFunc(hosts, func(x, y int) int { return a.ended[y] - a.ended[x] })
	a.inTurn(hosts, nil, func(i int) {
		res := &a.run.Results[i]
		if a.soft.Err() != nil {
			res.Notes = append(res.Notes, "not undone: the run was interrupted")
			return
		}
		a.undo(ctx, i, Restored, nil)
	})
	return len(hosts)
}

// undo puts back on host i what this run has replaced there, by the same
// transaction as the rollback command. Host i ends as to, with why, if the old
// certificate is live again and the agent healthy; else it needs a person.
func (a *apply) undo(ctx context.Context, i int, to Outcome, why *host.Problem) {
	res := &a.run.Results[i]
	if res.Action != Rotate || a.DialUndo == nil {
		a.end(i, Failed, why) // its file was right before: there is nothing to go back to
		return
	}
	back := a.back(ctx, res)
	res.Steps = append(res.Steps, back.Steps...)
	res.Evidence = append(res.Evidence, back.Evidence...)
	res.Notes = append(res.Notes, back.Notes...)
	res.Proof, res.SettlesAt = back.Proof, back.SettlesAt
	switch back.Outcome {
	case Restored, Current, Rotated: // as rotated ends a restart where the old file was back already
		res.Reason = "undone"
		if to == Restored {
			res.Notes = append(res.Notes, "undone because the run was stopped")
		}
		a.end(i, to, why)
	case Unknown:
		a.end(i, Unknown, notUndone(why, back.Problem))
	default:
		a.end(i, Failed, notUndone(why, back.Problem))
	}
}

// back is the rollback of one host, as a run of its own.
func (a *apply) back(ctx context.Context, res *Result) Result {
	events := func(e Event) {
		if e.Outcome == "" { // that of the host is this run's to tell
			a.Events(e)
		}
	}
	r := &Runner{Dial: a.DialUndo, Events: events, RunID: UndoID(a.RunID), Saved: a.RunID}
	defer r.Close()
	target := Target{Host: res.Host}
	r.Events(Event{Host: res.Host.Name, Step: "undo"})
	look := r.look(ctx, *res.Host, host.ObserveOptions{Saved: a.RunID})
	for attempt := 1; attempt < 3 && outOfReach(look.Err) && rest(ctx, firstPause<<attempt); attempt++ {
		look = r.look(ctx, *res.Host, host.ObserveOptions{Saved: a.RunID})
	}
	e := decideRollback(a.RunID, target, look, false)
	if e.Outcome == "" && e.Backup == nil && e.Action != Restart {
		e = e.stop(Refused, &host.Problem{Class: "locked", Message: e.Reason})
	}
	if cancelled(look.Err) {
		e = e.stop(Unreachable, &host.Problem{Class: "unreachable", Message: "the connection was cut"})
	}
	u := &apply{Runner: r, plan: &Plan{Entries: []Entry{e}, Policy: a.plan.Policy}, soft: ctx,
		run: &Run{Results: []Result{{Entry: e}}}, staged: make([]bool, 1), gathered: make([]bool, 1), ended: make([]int, 1)}
	if e.Outcome == "" {
		u.rotate(ctx, 0)
	}
	return u.run.Results[0]
}

// outOfReach: a connection that may come about at the next attempt.
func outOfReach(err error) bool {
	return err != nil && !cancelled(err) && host.AsProblem(err).Class == "unreachable"
}

// notUndone is the problem of a host that has the new certificate for all that
// is known.
func notUndone(why, undo *host.Problem) *host.Problem {
	if undo == nil {
		undo = &host.Problem{Class: "internal", Message: "no reason was given"}
	}
	p := &host.Problem{Class: undo.Class, Message: "the old certificate could not be put back: " + undo.Message, Hint: undo.Hint}
	if why != nil {
		p.Message = why.Message + "; " + p.Message
	}
	return p
}
