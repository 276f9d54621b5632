package rollout

import (
	"context"
	"path"
	"slices"

	"github.com/aoifleet/aoifleet/internal/host"
)

// stage connects to host i and stages its certificate, if it needs one.
func (a *apply) stage(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if res.Outcome != "" || a.stopping.Err() != nil {
		return
	}
	if res.stages() {
		a.Events(Event{Host: res.Host.Name, Step: "stage"})
	}
	h, err := a.connect(ctx, res.hostByUnitName())
	if err != nil {
		a.refuse(i, err)
		return
	}
	if res.stages() {
		if h, err = a.stageWithRetry(ctx, h, i); err != nil {
			a.refuse(i, err)
			return
		}
		a.staged[i] = true
	}
	a.release(*res.Host, h)
	a.Events(Event{Host: res.Host.Name})
}

// stageWithRetry stages on host i over h and returns the connection to use from now on.
// If h was dead it connects again, once.
func (a *apply) stageWithRetry(ctx context.Context, h Host, i int) (Host, error) {
	res := &a.run.Results[i]
	err := a.stageOver(ctx, h, i)
	if err == nil {
		return h, nil
	}
	if outcome, _ := outcomeOf(host.AsProblem(err)); outcome == Unreachable {
		_ = h.Close()
		again, dialErr := a.Dial(ctx, res.hostByUnitName())
		if dialErr != nil {
			a.noteStagedLeft(i, dialErr)
			return nil, dialErr
		}
		h = again
		_ = h.Discard(ctx) // the rest of the first attempt
		if err = a.stageOver(ctx, h, i); err == nil {
			return h, nil
		}
	}
	a.noteStagedLeft(i, h.Discard(ctx))
	_ = h.Close()
	return nil, err
}

// stageOver stages over h what the change of host i needs: its new files, and those of the package.
func (a *apply) stageOver(ctx context.Context, h Host, i int) error {
	data, digest := a.toStage(a.run.Results[i].Entry)
	if len(data) > 0 || !a.run.Results[i].Package.Installs() { // perhaps only the package changes
		if err := h.Stage(ctx, data, digest); err != nil {
			return err
		}
	}
	return a.fetchPackage(ctx, h, i)
}

// noteStagedLeft notes that what was staged on host i could not be removed, if err is
// not nil.
func (a *apply) noteStagedLeft(i int, err error) {
	if err != nil {
		res := &a.run.Results[i]
		res.Notes = append(res.Notes, "what was staged may be left in /var/lib/aoifleet (root only): "+host.AsProblem(err).Message)
	}
}

// discard removes what was staged on host i and not used.
func (a *apply) discard(ctx context.Context, i int) {
	if !a.staged[i] {
		return
	}
	h, err := a.connect(ctx, a.run.Results[i].hostByUnitName())
	if err == nil {
		err = h.Discard(ctx)
		_ = h.Close()
	}
	a.noteStagedLeft(i, err)
}

// rotate changes host i by its transaction, and ends it.
func (a *apply) rotate(ctx context.Context, i int) {
	res := &a.run.Results[i]
	staged := a.staged[i]
	a.staged[i] = false // the transaction uses it, or it is removed here
	h, report, err := a.transact(ctx, i)
	if err != nil {
		if staged {
			a.noteStagedLeft(i, err)
		}
		a.refuse(i, err)
		return
	}
	defer h.Close()
	res.Proof, res.Known, res.Steps, res.Evidence = report.Proof, report.Known, report.Steps, report.Evidence
	res.Notes = append(res.Notes, report.Notes...)
	a.gathered[i] = mayHaveGathered(report)
	switch report.Ending {
	case host.Rotated:
		a.end(i, res.succeeded(), nil)
	case host.Rehearsed:
		a.end(i, Rehearsed, nil)
	case host.RolledBack:
		a.end(i, RolledBack, report.Problem)
	case host.Refused:
		if staged {
			a.noteStagedLeft(i, h.Discard(ctx))
		}
		a.end(i, Refused, report.Problem)
	case host.Failed:
		a.end(i, Failed, report.Problem)
	default:
		a.resolveLost(ctx, i, report.Problem)
	}
}

// transact runs the transaction on host i. If the kept connection was dead it connects
// again, once. An error means that nothing was started.
func (a *apply) transact(ctx context.Context, i int) (Host, *host.Report, error) {
	res := &a.run.Results[i]
	h, err := a.connect(ctx, res.hostByUnitName())
	onStep := func(name string) { a.Events(step(res.Host, name)) }
	for again := false; err == nil; again = true {
		onStep("rotate") // before anything happens, so that the journal has it
		if err := makeFolders(ctx, h, res); err != nil {
			return h, &host.Report{Ending: host.Refused, Problem: host.AsProblem(err)}, nil
		}
		report := h.Rotate(ctx, a.change(res.Entry), onStep)
		if report.Ending != host.Unsent {
			return h, report, nil
		}
		_ = h.Close()
		err = report.Problem
		if outcome, _ := outcomeOf(report.Problem); outcome == Unreachable && !again && ctx.Err() == nil {
			h, err = a.Dial(ctx, res.hostByUnitName())
		}
	}
	return nil, nil, err
}

// makeFolders creates the folders of new secrets where they are missing. They stay, whatever
// becomes of the change: an empty folder is no harm.
func makeFolders(ctx context.Context, h Host, res *Result) error {
	for i, w := range res.Files {
		if !w.makesFolder() {
			continue
		}
		seen, err := h.MakeFolder(ctx, w.Seen.Path)
		if err != nil {
			return err
		}
		res.Files = slices.Clone(res.Files) // the plan's are as it saw them
		res.Files[i].Seen = seen
		if note := "created the folder " + path.Dir(oneLine(seen.Path)); !slices.Contains(res.Notes, note) {
			res.Notes = append(res.Notes, note)
		}
	}
	return nil
}

// succeeded returns the outcome of e if its transaction succeeds.
func (e Entry) succeeded() Outcome {
	switch {
	case e.Action == Restore:
		return Restored
	case e.Action == Upgrade:
		return Upgraded
	case e.Action == Change, e.FilesOnly:
		return Changed
	}
	return Rotated
}

// change returns the transaction for an entry.
func (a *apply) change(e Entry) host.Change {
	c := host.Change{Seen: e.Seen, Start: e.Seen.Unit.Active != "inactive", Deadman: !a.plan.Policy.NoDeadman,
		Diagnose: e.Host.Health.Diagnostics && a.Diagnostics != nil}
	if c.Rehearse = e.Action == Rehearse; c.Rehearse {
		_, c.Digest = a.toStage(e)
		c.Swap, c.Diagnose = true, false
		return c
	}
	if e.Backup != nil {
		return e.restoring(c)
	}
	c.Require = a.plan.Policy.RequireProof
	if len(e.Files) > 0 {
		return e.withFiles(c)
	}
	c.Digest, c.New, c.Swap = e.Certificate.Digest(), &e.Certificate.Leaf, e.Action == Rotate
	return c
}
