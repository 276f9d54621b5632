package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// stage brings the certificate to host i, if it needs one.
func (a *apply) stage(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if res.Outcome != "" || a.drain.Err() != nil {
		return
	}
	if res.Action == Rotate {
		a.Events(Event{Host: res.Host.Name, Step: "stage"})
	}
	h, err := a.take(ctx, res.at())
	if err != nil {
		a.refuse(i, err)
		return
	}
	if res.Action == Rotate {
		if h, err = a.bring(ctx, h, i); err != nil {
			a.refuse(i, err)
			return
		}
		a.staged[i] = true
	}
	a.put(*res.Host, h)
	a.Events(Event{Host: res.Host.Name})
}

// bring stages on host i and returns the connection to go on with. One that has
// died while it was kept for this host is made anew, once.
func (a *apply) bring(ctx context.Context, h Host, i int) (Host, error) {
	res := &a.run.Results[i]
	data, digest := res.Certificate.Canonical(), res.Certificate.Digest()
	err := h.Stage(ctx, data, digest)
	if err == nil {
		return h, nil
	}
	if outcome, _ := failedLook(host.AsProblem(err)); outcome == Unreachable {
		_ = h.Close()
		again, dialErr := a.Dial(ctx, res.at())
		if dialErr != nil {
			a.left(i, dialErr)
			return nil, dialErr
		}
		h = again
		_ = h.Discard(ctx) // what came of the first attempt
		if err = h.Stage(ctx, data, digest); err == nil {
			return h, nil
		}
	}
	a.left(i, h.Discard(ctx))
	_ = h.Close()
	return nil, err
}

// left notes that what was staged on host i could not be removed.
func (a *apply) left(i int, err error) {
	if err != nil {
		res := &a.run.Results[i]
		res.Notes = append(res.Notes, "the staged certificate may be left in /var/lib/aoifleet (root only): "+host.AsProblem(err).Message)
	}
}

// discard takes away what was staged for a host whose turn never came.
func (a *apply) discard(ctx context.Context, i int) {
	if !a.staged[i] {
		return
	}
	h, err := a.take(ctx, a.run.Results[i].at())
	if err == nil {
		err = h.Discard(ctx)
		_ = h.Close()
	}
	a.left(i, err)
}

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
	res.Proof, res.Known, res.Steps, res.Evidence = report.Proof, report.Known, report.Steps, report.Evidence
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
