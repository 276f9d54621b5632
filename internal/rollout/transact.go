package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// rotate takes host i through its transaction.
func (a *apply) rotate(ctx context.Context, i int) {
	res := &a.run.Results[i]
	staged := a.staged[i]
	a.staged[i] = false // the transaction takes it, or it is removed here
	h, report, err := a.transact(ctx, i)
	if err != nil {
		if staged {
			a.left(i, err)
		}
		a.refuse(i, err)
		return
	}
	defer h.Close()
	res.Proof, res.Steps, res.Evidence = report.Proof, report.Steps, report.Evidence
	res.Notes = append(res.Notes, report.Notes...)
	a.gathered[i] = mayHaveGathered(report)
	switch report.Ending {
	case host.Rotated:
		a.end(i, a.done(i), nil)
	case host.RolledBack:
		a.end(i, RolledBack, report.Problem)
	case host.Refused:
		if staged {
			a.left(i, h.Discard(ctx))
		}
		a.end(i, Refused, report.Problem)
	case host.Failed:
		a.end(i, Failed, report.Problem)
	default:
		a.lost(ctx, i, report.Problem)
	}
}

// transact runs the transaction on host i. A connection that has died while it
// was kept for the host's turn is made anew, once; an error means that nothing
// was begun.
func (a *apply) transact(ctx context.Context, i int) (Host, *host.Report, error) {
	res := &a.run.Results[i]
	h, err := a.take(ctx, res.at())
	onStep := func(step string) { a.Events(Event{Host: res.Host.Name, Step: step}) }
	for attempt := 1; err == nil; attempt++ {
		onStep("rotate") // told, and written down, before anything happens
		report := h.Rotate(ctx, a.change(res.Entry), onStep)
		if report.Ending != host.Unsent {
			return h, report, nil
		}
		_ = h.Close()
		err = report.Problem
		if outcome, _ := failedLook(report.Problem); outcome == Unreachable && attempt == 1 && ctx.Err() == nil {
			h, err = a.Dial(ctx, res.at())
		}
	}
	return nil, nil, err
}

// done is the name of success.
func (a *apply) done(i int) Outcome {
	if a.run.Results[i].Action == Restore {
		return Restored
	}
	return Rotated
}

// change is the transaction that an entry asks for.
func (a *apply) change(e Entry) host.Change {
	c := host.Change{Seen: e.Seen, Start: e.Seen.Unit.Active != "inactive", Deadman: !a.plan.Policy.NoDeadman,
		Diagnose: e.Host.Health.Diagnostics && a.Home != nil}
	if e.Backup != nil {
		c.Saved, c.Digest, c.Swap = e.Backup.Run, e.Backup.Old, e.Action == Restore
		c.New = e.Seen.Saved
		return c
	}
	c.Digest, c.New, c.Swap = e.Certificate.Digest(), &e.Certificate.Leaf, e.Action == Rotate
	return c
}
