package rollout

import (
	"context"
	"sync"

	"github.com/aoifleet/aoifleet/internal/host"
)

// Run is how a run ended: one Result for each selected host, in the
// inventory's order.
type Run struct {
	Results     []Result
	Stopped     bool // by the failure budget
	Interrupted bool // by the operator
}

// Totals counts the results by outcome.
func (r *Run) Totals() map[Outcome]int {
	totals := map[Outcome]int{}
	for _, res := range r.Results {
		totals[res.Outcome]++
	}
	return totals
}

// apply is one run over a plan.
type apply struct {
	*Runner
	plan *Plan
	soft context.Context // ended: start nothing more

	restarts chan struct{} // one for each agent that may be restarted at once

	mu     sync.Mutex
	budget budget
	run    *Run
}

// Apply carries out a plan: it stages on all hosts, then rotates one after
// another, Policy.Parallel at once. When soft ends nothing new starts and what
// is in flight is finished or undone; when ctx ends connections are cut, and
// the hosts undo by themselves.
func (r *Runner) Apply(ctx, soft context.Context, plan *Plan) *Run {
	a := &apply{Runner: r, plan: plan, soft: soft, run: &Run{Results: make([]Result, len(plan.Entries))},
		restarts: make(chan struct{}, plan.Policy.Parallel)}
	a.budget = budget{limit: plan.Policy.MaxFailures(len(plan.Entries)), countUnreachable: plan.Policy.CountUnreachable}
	for i, e := range plan.Entries {
		a.run.Results[i].Entry = e
		a.budget.add(e.Outcome)
	}
	staged := make([]bool, len(plan.Entries))
	each(len(plan.Entries), max(plan.Policy.Parallel, keep), func(i int) {
		staged[i] = a.mayStart(i) && a.stage(ctx, i)
	})
	each(len(plan.Entries), plan.Policy.Parallel, func(i int) {
		if staged[i] && a.mayStart(i) {
			a.rotate(ctx, i)
			staged[i] = false
		}
	})
	each(len(plan.Entries), keep, func(i int) {
		if staged[i] {
			a.discard(ctx, i)
		}
	})
	a.skipRest()
	return a.run
}

// mayStart tells whether host i is still to be done and may begin.
func (a *apply) mayStart(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.Results[i].Outcome == "" && !a.budget.spent() && a.soft.Err() == nil
}

// end gives host i its outcome.
func (a *apply) end(i int, outcome Outcome, problem *host.Problem) {
	a.mu.Lock()
	res := &a.run.Results[i]
	res.Outcome, res.Problem = outcome, problem
	a.budget.add(outcome)
	a.mu.Unlock()
	a.Events(Event{Host: res.Host.Name, Outcome: outcome, Problem: problem})
}

func (a *apply) skipRest() {
	for i := range a.run.Results {
		if a.run.Results[i].Outcome == "" {
			a.end(i, Skipped, nil)
		}
	}
	skipped := a.run.Totals()[Skipped] > 0
	a.run.Stopped = skipped && a.budget.spent()
	a.run.Interrupted = skipped && a.soft.Err() != nil
}

// stage brings the certificate to host i; true if it is there, or not needed.
func (a *apply) stage(ctx context.Context, i int) bool {
	res := &a.run.Results[i]
	a.Events(Event{Host: res.Host.Name, Step: "stage"})
	h, err := a.take(ctx, res.Host)
	if err != nil {
		a.refuse(i, err)
		return false
	}
	if _, unfinished := res.Seen.Unfinished(); unfinished && !a.settle(ctx, h, i) {
		_ = h.Close()
		return false
	}
	if res.Action == Rotate {
		if h, err = a.bring(ctx, h, i); err != nil {
			a.refuse(i, err)
			return false
		}
	}
	a.put(res.Host, h)
	a.Events(Event{Host: res.Host.Name})
	return true
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
		again, dialErr := a.Dial(ctx, res.Host)
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
	res := &a.run.Results[i]
	if err != nil && res.Action == Rotate {
		res.Notes = append(res.Notes, "the staged certificate may be left in /var/lib/aoifleet (root only): "+host.AsProblem(err).Message)
	}
}

// refuse ends a host on which nothing was changed.
func (a *apply) refuse(i int, err error) {
	if cancelled(err) {
		return // becomes skipped
	}
	outcome, problem := failedLook(host.AsProblem(err))
	a.end(i, outcome, problem)
}

// settle carries an interrupted run on host i to its end, looks again and
// decides again; false if the host has ended by that. It restarts an agent, so
// it takes its turn among the others.
func (a *apply) settle(ctx context.Context, h Host, i int) bool {
	a.restarts <- struct{}{}
	defer func() { <-a.restarts }()
	if a.soft.Err() != nil {
		return false // becomes skipped
	}
	res := &a.run.Results[i]
	report := h.Recover(ctx, func(string) {})
	switch report.Ending {
	case host.Unsent:
		a.refuse(i, report.Problem)
		return false
	case host.Refused:
		a.end(i, Refused, report.Problem)
		return false
	case host.Lost:
		a.end(i, Unknown, report.Problem)
		return false
	}
	res.Notes = append(res.Notes, "an interrupted run was settled first: "+string(report.Ending))
	seen, err := h.Observe(ctx)
	if err != nil {
		a.refuse(i, err)
		return false
	}
	res.Entry = decide(res.Target, Look{Seen: seen}, a.plan.Policy.Force)
	if res.Outcome != "" {
		a.end(i, res.Outcome, res.Problem)
		return false
	}
	return true
}

// rotate takes host i through its transaction.
func (a *apply) rotate(ctx context.Context, i int) {
	res := &a.run.Results[i]
	h, report, err := a.transact(ctx, i)
	if err != nil {
		a.left(i, err)
		a.refuse(i, err)
		return
	}
	defer h.Close()
	res.Proof, res.Steps, res.Evidence = report.Proof, report.Steps, report.Evidence
	res.Notes = append(res.Notes, report.Notes...)
	switch report.Ending {
	case host.Rotated:
		a.end(i, Rotated, nil)
	case host.RolledBack:
		a.end(i, RolledBack, report.Problem)
	case host.Refused:
		if res.Action == Rotate {
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
	h, err := a.take(ctx, res.Host)
	onStep := func(step string) { a.Events(Event{Host: res.Host.Name, Step: step}) }
	for attempt := 1; err == nil; attempt++ {
		report := h.Rotate(ctx, change(res.Entry), onStep)
		if report.Ending != host.Unsent {
			return h, report, nil
		}
		_ = h.Close()
		err = report.Problem
		if outcome, _ := failedLook(report.Problem); outcome == Unreachable && attempt == 1 && ctx.Err() == nil {
			h, err = a.Dial(ctx, res.Host)
		}
	}
	return nil, nil, err
}

// change is the transaction that an entry asks for.
func change(e Entry) host.Change {
	return host.Change{
		Seen: e.Seen, Digest: e.Certificate.Digest(), Thumbprint: e.Certificate.Leaf.Thumbprint,
		Swap: e.Action == Rotate, Start: e.Seen.Unit.Active != "inactive",
	}
}

// discard takes away what was staged for a host whose turn never came.
func (a *apply) discard(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if res.Action != Rotate {
		return
	}
	h, err := a.take(ctx, res.Host)
	if err == nil {
		err = h.Discard(ctx)
		_ = h.Close()
	}
	a.left(i, err)
}
