package rollout

import (
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
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
	for _, check := range []func(Entry) *host.Problem{fileProblem, unitProblem} {
		if problem := check(e); problem != nil {
			return e.stop(Refused, problem)
		}
	}
	backup := backupOf(e.Seen, run)
	if backup == nil && slices.ContainsFunc(e.Seen.Receipts, func(r host.Receipt) bool { return r.Run == run && r.State == "rolled-back" }) {
		e.Outcome, e.Reason = Current, "the host has undone run "+run+" by itself"
		return e
	}
	if backup == nil {
		return e.stop(Refused, &host.Problem{Class: "configuration", Message: "there is no backup of run " + run + " on this host",
			Hint: "see which there are: aoifleet backups list"})
	}
	e.Backup = backup
	if e.Seen.File.Digest == backup.Old {
		return decideSame(e)
	}
	if problem := backupProblem(e); problem != nil && !force {
		return e.stop(Refused, problem)
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
func backupProblem(e Entry) *host.Problem {
	const anyway = "; --force restores it all the same"
	switch saved := e.Seen.Saved; {
	case e.Seen.File.Digest != e.Backup.New:
		return &host.Problem{Class: "drift", Message: "the certificate was replaced again since run " + e.Backup.Run,
			Hint: "see: aoifleet backups list" + anyway}
	case e.Backup.Old == "none":
		return &host.Problem{Class: "certificate", Message: "run " + e.Backup.Run + " installed the first certificate: there is none to go back to",
			Hint: "rotate to another one" + anyway}
	case saved != nil && e.Seen.Clock.After(saved.NotAfter):
		return &host.Problem{Class: "certificate", Message: "the saved certificate has expired on " + saved.NotAfter.UTC().Format(time.DateOnly),
			Hint: "rotate to a valid one" + anyway}
	}
	return nil
}
