package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// MakeRollback decides for every target how to put back what run replaced
// there. The looks must have been made with Runner.Saved set to run.
func MakeRollback(run string, targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, func(t Target, look Look) Entry { return decideRollback(run, t, look, policy.Force) }).inOneWave()
	p.lenient = true
	return p
}

func decideRollback(run string, t Target, look Look, force bool) Entry {
	e, done := begin(t, look)
	if done {
		return e
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		e.Action, e.Reason = Restore, "run "+r.Run+" was interrupted here; it is settled first"
		return e
	}
	for _, check := range []func(Entry) *problem.Error{fileProblem, unitProblem} {
		if reason := check(e); reason != nil {
			return e.stop(Refused, reason)
		}
	}
	backup := backupOf(e.Seen, run)
	if backup == nil && slices.ContainsFunc(e.Seen.Receipts, func(r host.Receipt) bool { return r.Run == run && r.State == "rolled-back" }) {
		e.Outcome, e.Reason = Current, "the host has undone run "+run+" by itself"
		return e
	}
	if backup == nil {
		return e.stop(Refused, &problem.Error{Class: problem.Configuration,
			Message: "there is no backup of run " + run + " on this host",
			Hint:    "see which there are: aoifleet backups list"})
	}
	e.Backup = backup
	if e.Seen.File.Digest == backup.Old {
		return decideSame(e)
	}
	if reason := backupProblem(e); reason != nil && !force {
		return e.stop(Refused, reason)
	}
	e.Action, e.Reason = Restore, "the certificate from before run "+run
	return e
}

func backupOf(seen *host.Observation, run string) *host.Backup {
	for i := range seen.Backups {
		if seen.Backups[i].Run == run {
			return &seen.Backups[i]
		}
	}
	return nil
}

// backupProblem: what to go back to would undo other work, or can't work.
func backupProblem(e Entry) *problem.Error {
	const anyway = "; --force restores it all the same"
	switch saved := e.Seen.Saved; {
	case !e.Seen.Replaced(*e.Backup):
		return &problem.Error{Class: problem.Drift, Message: "the certificate was replaced again since run " + e.Backup.Run,
			Hint: "see: aoifleet backups list" + anyway}
	case e.Backup.Old == "none":
		return &problem.Error{Class: problem.Certificate,
			Message: "run " + e.Backup.Run + " installed the first certificate: there is none to go back to",
			Hint:    "rotate to another one" + anyway}
	case saved != nil && e.Seen.Clock.After(saved.NotAfter):
		return &problem.Error{Class: problem.Certificate,
			Message: "the saved certificate has expired on " + saved.NotAfter.UTC().Format(time.DateOnly),
			Hint:    "rotate to a valid one" + anyway}
	}
	return nil
}

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
		if a.drain.Err() != nil {
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
func (a *apply) undo(ctx context.Context, i int, to Outcome, why *problem.Error) {
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
	for attempt := 1; attempt < 3 && outOfReach(look.Err) && sleep.For(ctx, firstPause<<attempt); attempt++ {
		look = r.look(ctx, *res.Host, host.ObserveOptions{Saved: a.RunID})
	}
	e := decideRollback(a.RunID, target, look, false)
	if e.Outcome == "" && e.Backup == nil && e.Action != Restart {
		e = e.stop(Refused, &problem.Error{Class: problem.Locked, Message: e.Reason})
	}
	if cancelled(look.Err) {
		e = e.stop(Unreachable, &problem.Error{Class: problem.Unreachable, Message: "the connection was cut"})
	}
	u := &apply{Runner: r, plan: &Plan{Entries: []Entry{e}, Policy: a.plan.Policy}, drain: ctx,
		run: &Run{Results: []Result{{Entry: e}}}, staged: make([]bool, 1), gathered: make([]bool, 1), ended: make([]int, 1)}
	if e.Outcome == "" {
		u.rotate(ctx, 0)
	}
	return u.run.Results[0]
}

// outOfReach: a connection that may come about at the next attempt.
func outOfReach(err error) bool {
	return err != nil && !cancelled(err) && host.AsProblem(err).Class == problem.Unreachable
}

// notUndone is the problem of a host that has the new certificate for all that
// is known.
func notUndone(why, undo *problem.Error) *problem.Error {
	if undo == nil {
		undo = &problem.Error{Class: problem.Internal, Message: "no reason was given"}
	}
	p := &problem.Error{Class: undo.Class, Message: "the old certificate could not be put back: " + undo.Message,
		Hint: undo.Hint}
	if why != nil {
		p.Message = why.Message + "; " + p.Message
	}
	return p
}
