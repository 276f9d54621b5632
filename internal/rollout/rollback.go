package rollout

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// MakeRollback returns the plan that restores what run replaced. The looks must have
// been made with Runner.Saved set to run.
func MakeRollback(run string, targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, func(t Target, look Look) Entry { return decideRollback(run, t, look, policy.Force) }).withOneWave()
	p.ignoreRefusals = true
	return p
}

func decideRollback(run string, t Target, look Look, force bool) Entry {
	if look.Seen != nil {
		if b := backupOf(look.Seen, run); b != nil && len(b.Files) > 0 {
			t.Files, t.FilesOnly = savedFiles(*b, look.Seen.Configuration), true
		}
	}
	e, done := decideCommon(t, look)
	if done {
		return e
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		e.Action, e.Reason = Restore, "run "+r.Run+" was interrupted here; it is recovered first"
		return e
	}
	for _, check := range []func(Entry) *problem.Error{fileProblem, unitProblem, func(e Entry) *problem.Error { return e.packageProblem(force) }} {
		if reason := check(e); reason != nil {
			return e.withOutcome(Refused, reason)
		}
	}
	backup := backupOf(e.Seen, run)
	if backup == nil && slices.ContainsFunc(e.Seen.Receipts, func(r host.Receipt) bool { return r.Run == run && r.State == "rolled-back" }) {
		e.Outcome, e.Reason = Current, "the host has undone run "+run+" by itself"
		return e
	}
	if backup == nil {
		return e.withOutcome(Refused, &problem.Error{Class: problem.Configuration,
			Message: "there is no backup of run " + run + " on this host",
			Hint:    "see the existing backups: aoifleet backups list"})
	}
	if backup.Others > 0 && len(backup.Files) == 0 {
		return e.withOutcome(Refused, &problem.Error{Class: problem.Configuration,
			Message: fmt.Sprintf("run %s changed %d files on this host, and the helper restores only a certificate", run, 1+backup.Others),
			Hint:    "restore them as a login user who may run any command as root: without helper in the inventory"})
	}
	e.Backup = backup
	if e.FilesOnly && len(changing(e.Files)) == 0 && !e.Package.Installs() || !e.FilesOnly && e.Seen.File.Digest == backup.Old {
		return decideSameFile(e)
	}
	if reason := backupProblem(e); reason != nil && !force {
		return e.withOutcome(Refused, reason)
	}
	e.Action, e.Reason = Restore, "the "+whatOf(*backup)+" from before run "+run
	return e
}

// whatOf names what a run has changed: its files but the certificate, and the certificate.
func whatOf(b host.Backup) string {
	what := []string{cmp.Or(b.What, "certificate")}
	if b.Package != nil {
		what = append([]string{"version " + b.Package.From}, what...)
	}
	for _, f := range b.Files[min(1, len(b.Files)):] {
		if f.Data != nil {
			what = append(what, configurationFile)
		} else {
			what = append(what, "a file")
		}
	}
	return strings.Join(what, " and ")
}

// savedFiles returns the files of a backup as they should be once it is restored.
func savedFiles(b host.Backup, live *host.Content) (files []Wanted) {
	for i, f := range b.Files {
		w := Wanted{What: "file " + oneLine(f.Path), Seen: f.File, New: f.Old, Owner: f.Owner, Mode: f.Mode}
		switch {
		case b.What == SecretFile: // and so are its other files
			w.What = SecretFile + " " + path.Base(oneLine(f.Path))
		case i == 0:
			w.What = cmp.Or(b.What, "certificate")
		case f.Data != nil:
			w.What = configurationFile
		}
		if f.Data != nil && live != nil && live.Data != nil {
			w.Diff = configuration.Diff(f.Path, live.Data, f.Data)
		}
		if w.Seen.Real != f.Real {
			w.Problem = &problem.Error{Class: problem.Drift, Message: w.What + ": " + oneLine(f.Path) + " leads to another file than when it was changed"}
		}
		files = append(files, w)
	}
	return files
}

// restoring returns c with the files of e's backup.
func (e Entry) restoring(c host.Change) host.Change {
	b := e.Backup
	c.Saved, c.Digest, c.Swap = b.Run, b.Old, e.Action == Restore
	if b.What == "" {
		c.New = e.Seen.Saved
	}
	for i, f := range b.Files {
		swap := e.Files[i].Changes() // bytes, owner or mode
		if f.Data != nil && swap {
			c.Configuration = f.Data
		}
		if i == 0 {
			c.File, c.What, c.Swap, c.Trust = &b.Files[0].File, cmp.Or(b.What, "certificate"), swap, true
			continue
		}
		c.Others = append(c.Others, host.FileChange{Seen: f.File, Digest: f.Old, Swap: swap, Saved: b.Run, Trust: true})
	}
	c.Package = e.packageChange()
	return c
}

// backupOf returns the backup of run on a host, nil if there is none.
func backupOf(seen *host.Observation, run string) *host.Backup {
	for i := range seen.Backups {
		if seen.Backups[i].Run == run {
			return &seen.Backups[i]
		}
	}
	return nil
}

// backupProblem returns why the backup should not be restored, nil if it may be.
func backupProblem(e Entry) *problem.Error {
	const anyway = "; --force restores it anyway"
	switch saved := e.Seen.Saved; {
	case !e.Seen.Replaced(*e.Backup):
		return &problem.Error{Class: problem.Drift, Message: "the " + whatOf(*e.Backup) + " was replaced again since run " + e.Backup.Run,
			Hint: "see: aoifleet backups list" + anyway}
	case e.Backup.Old == "none" && e.Backup.Others == 0: // with others, a certificate that has moved
		return &problem.Error{Class: problem.Certificate,
			Message: "run " + e.Backup.Run + " installed the first " + whatOf(*e.Backup) + ": there is none to restore",
			Hint:    "install another one" + anyway}
	case saved != nil && e.Backup.What == "" && e.Seen.Clock.After(saved.NotAfter):
		return &problem.Error{Class: problem.Certificate,
			Message: "the saved certificate expired on " + saved.NotAfter.UTC().Format(time.DateOnly),
			Hint:    "rotate to a valid one" + anyway}
	}
	return nil
}

// UndoID returns the id of the run that undoes on a host what run has confirmed. It is
// a transaction of its own, with its own receipt and backup.
func UndoID(run string) string { return run + "UNDO" }

// undoAll undoes what this run has rotated, the newest first, if the budget has stopped
// it and the policy wants that. It returns the number of hosts that it tried.
func (a *apply) undoAll(ctx context.Context) int {
	if !a.plan.Policy.UndoAll || !a.budget.spent() || a.DialUndo == nil && a.Parts == nil {
		return 0
	}
	var hosts []int
	for i := range a.run.Results {
		if res := &a.run.Results[i]; res.Outcome.HasNew() && res.Action.Installs() {
			hosts = append(hosts, i)
		}
	}
	slices.SortFunc(hosts, func(x, y int) int { return a.endOrder[y] - a.endOrder[x] })
	a.part("undo", a.hosts(hosts))
	a.do(ctx, UndoVerb, hosts)
	return len(hosts)
}

// undoUnlessStopped undoes host i because the budget has stopped the run.
func (a *apply) undoUnlessStopped(ctx context.Context, i int) {
	if a.stopping.Err() != nil {
		res := &a.run.Results[i]
		res.Notes = append(res.Notes, "not undone: the run was interrupted")
		return
	}
	a.undo(ctx, i, Restored, nil)
}

// undo restores on host i what this run has replaced there, by the same transaction as
// the rollback command. Host i ends as to, with why, if the old certificate is live again
// and the agent healthy; else it ends as unknown or failed and needs the operator.
func (a *apply) undo(ctx context.Context, i int, to Outcome, why *problem.Error) {
	res := &a.run.Results[i]
	if !res.Action.Installs() || a.DialUndo == nil {
		a.end(i, Failed, why) // its file was right before: there is nothing to restore
		return
	}
	undone := a.rollBack(ctx, res)
	res.Steps = append(res.Steps, undone.Steps...)
	res.Evidence = append(res.Evidence, undone.Evidence...)
	res.Notes = append(res.Notes, undone.Notes...)
	res.Proof, res.SettlesAt = undone.Proof, undone.SettlesAt
	switch undone.Outcome {
	case Restored, Current, Rotated, Changed: // rotated, changed: the old file was live already, and the agent was restarted
		res.Reason = "undone"
		if to == Restored {
			res.Notes = append(res.Notes, "undone because the run was stopped")
		}
		a.end(i, to, why)
	case Unknown:
		a.end(i, Unknown, res.undoProblem(why, undone.Problem))
	default:
		a.end(i, Failed, res.undoProblem(why, undone.Problem))
	}
}

// rollBack rolls one host back, as a run of its own.
func (a *apply) rollBack(ctx context.Context, res *Result) Result {
	events := func(e Event) {
		if e.Outcome == "" { // this run sends the host's outcome
			a.Events(e)
		}
	}
	r := &Runner{Dial: a.DialUndo, Events: events, RunID: UndoID(a.RunID), Saved: a.RunID, Scheduler: a.scheduler(), LongestPause: a.LongestPause}
	defer r.Close()
	target := Target{Host: res.Host}
	r.Events(Event{Host: res.Host.Name, Step: "undo"})
	options := host.ObserveOptions{Saved: a.RunID, Configuration: len(res.Files) > 0}
	observe := func(h Host) (*host.Observation, error) {
		seen, err := h.Observe(ctx, options)
		if err == nil {
			err = r.observePackage(ctx, h, &target, seen, false)
		}
		return seen, err
	}
	look := r.over(ctx, *res.Host, observe)
	for attempt := 1; attempt < 3 && mayReconnect(look.Err) && a.sleep(ctx, ctx, firstPause<<attempt); attempt++ {
		look = r.over(ctx, *res.Host, observe)
	}
	e := decideRollback(a.RunID, target, look, false)
	if e.Outcome == "" && e.Backup == nil {
		e = e.withOutcome(Refused, &problem.Error{Class: problem.Locked, Message: e.Reason})
	}
	if cancelled(look.Err) {
		e = e.withOutcome(Unreachable, &problem.Error{Class: problem.Unreachable, Message: "the connection was cut"})
	}
	u := &apply{Runner: r, plan: &Plan{Entries: []Entry{e}, Policy: a.plan.Policy}, stopping: ctx,
		run: &Run{Results: []Result{{Entry: e}}}, staged: make([]bool, 1), gathered: make([]bool, 1), endOrder: make([]int, 1), budget: budget{counts: a.plan.Policy.Counts}}
	if e.Outcome == "" {
		u.rotate(ctx, 0)
	}
	return u.run.Results[0]
}

// mayReconnect reports whether the next attempt to connect may succeed.
func mayReconnect(err error) bool {
	return err != nil && !cancelled(err) && host.AsProblem(err).Class == problem.Unreachable
}

// undoProblem returns the problem of a host that was to be undone because of why and
// may still have the new files.
func (e Entry) undoProblem(why, undo *problem.Error) *problem.Error {
	if undo == nil {
		undo = &problem.Error{Class: problem.Internal, Message: "no reason was given"}
	}
	p := &problem.Error{Class: undo.Class, Message: "the old " + e.wanted() + " could not be restored: " + undo.Message,
		Hint: undo.Hint}
	if why != nil {
		p.Message = why.Message + "; " + p.Message
	}
	return p
}
