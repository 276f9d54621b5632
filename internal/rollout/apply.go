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
		if !plan.lenient {
			a.budget.add(e.Outcome)
		}
	}
	staged := make([]bool, len(plan.Entries))
	each(len(plan.Entries), max(plan.Policy.Parallel, keep), func(i int) {
		staged[i] = a.mayStart(i) && a.stage(ctx, i)
	})
	each(len(plan.Entries), plan.Policy.Parallel, func(i int) {
		if !staged[i] || !a.mayStart(i) {
			return
		}
		staged[i] = false
		if plan.Entries[i].Action == Recover {
			a.recover(ctx, i)
			return
		}
		a.rotate(ctx, i)
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
	if outcome != Rotated && outcome != Restored {
		res.Proof = "" // of a certificate that is not live any more
	}
	a.budget.add(outcome)
	a.mu.Unlock()
	a.Events(Event{Host: res.Host.Name, Outcome: outcome, Problem: problem, Proof: res.Proof})
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

// refuse ends a host on which nothing was changed.
func (a *apply) refuse(i int, err error) {
	if cancelled(err) {
		return // becomes skipped
	}
	outcome, problem := failedLook(host.AsProblem(err))
	a.end(i, outcome, problem)
}
