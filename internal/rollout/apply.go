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
	Ended       bool // on purpose: Policy.Until, or an answer "no" between waves
	Unaccepted  bool // see Plan.Unaccepted
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

	staged   []bool         // by host: a certificate of this run lies there
	gathered []bool         // by host: diagnostics may lie there
	held     map[domain]int // places of hosts that are not known to be well again

	mu     sync.Mutex
	budget budget
	run    *Run
	ended  []int // by host: as which it ended, counted from 1
	ends   int
}

// Apply carries out a plan: it stages on all hosts, so that what is wrong with
// one is known before the first agent is restarted, and then goes over them
// wave by wave. When soft ends nothing new starts and what is in flight is
// finished or undone; when ctx ends connections are cut, and the hosts undo by
// themselves.
func (r *Runner) Apply(ctx, soft context.Context, plan *Plan) *Run {
	n := len(plan.Entries)
	a := &apply{Runner: r, plan: plan, soft: soft, run: &Run{Results: make([]Result, n), Unaccepted: plan.Unaccepted}, staged: make([]bool, n), gathered: make([]bool, n), ended: make([]int, n), held: map[domain]int{}}
	a.budget = budget{limit: plan.Policy.MaxFailures(n), countUnreachable: plan.Policy.CountUnreachable}
	for i, e := range plan.Entries {
		a.run.Results[i].Entry = e
		if !plan.lenient {
			a.budget.add(e.Outcome, false) // it has no wave
		}
	}
	if !a.budget.spent() {
		each(n, max(plan.Policy.Parallel, keep), func(i int) { a.stage(ctx, i) })
	}
	a.inTurn(a.unfinished(), a.held, func(i int) { a.settle(ctx, i) })
	a.mendCanary()
	for wave := 0; wave < len(plan.Waves) && a.wave(ctx, wave); wave++ {
	}
	undone := a.undoAll(ctx)
	each(n, keep, func(i int) { a.discard(ctx, i) })
	a.bringAllHome(ctx)
	a.skipRest(undone)
	return a.run
}

// unfinished are the hosts on which an interrupted run is to be settled first.
func (a *apply) unfinished() []int {
	var list []int
	for _, i := range a.plan.due() {
		res := &a.run.Results[i]
		if _, unfinished := res.Seen.Unfinished(); unfinished && res.Action != Recover {
			list = append(list, i)
		}
	}
	return list
}

// turn is what a wave does with host i.
func (a *apply) turn(ctx context.Context, i int) {
	switch {
	case !a.mayStart(i):
	case a.run.Results[i].Action == Recover:
		a.recover(ctx, i)
	default:
		a.rotate(ctx, i)
	}
}

// inTurn does the task on hosts in this order: Policy.Parallel at once, and
// never more of a failure domain than it bears. A host that has to wait for its
// domain takes no place of the others. held are places that are not given back:
// of hosts that ended in a way after which the next must not begin.
func (a *apply) inTurn(hosts []int, held map[domain]int, task func(i int)) {
	type ended struct {
		domain domain
		well   bool
	}
	q := newQueue(hosts, func(i int) domain { return a.plan.Policy.domainOf(a.plan.Entries[i]) }, held)
	done := make(chan ended)
	for running := 0; ; running-- {
		for ; running < a.plan.Policy.Parallel; running++ {
			i, d, ok := q.next()
			if !ok {
				break
			}
			go func() {
				task(i)
				done <- ended{d, d.limit == 0 || held == nil || settled(a.outcome(i))}
			}()
		}
		if running == 0 {
			break
		}
		if e := <-done; e.well {
			q.leave(e.domain)
		} else {
			held[e.domain]++
		}
	}
	for _, i := range q.left() {
		a.holdBack(i)
	}
}

// settled tells of an outcome, also none, whether the agent is known to be well,
// or as it was.
func settled(o Outcome) bool { return o != Failed && o != Unknown }

func (a *apply) outcome(i int) Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.Results[i].Outcome
}

// holdBack says why host i, whose turn never comes, is skipped.
func (a *apply) holdBack(i int) {
	const why = "not begun: another host of the same failure domain is not known to be well again"
	if res := &a.run.Results[i]; res.Outcome == "" && a.goesOn() {
		res.Notes = append(res.Notes, why)
	}
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
	a.budget.add(outcome, a.plan.inCanary(res.Wave))
	a.ends++
	a.ended[i] = a.ends
	a.mu.Unlock()
	a.Events(Event{Host: res.Host.Name, Outcome: outcome, Problem: problem, Proof: res.Proof})
}

// skipRest gives the hosts that were not begun their outcome, and says why the
// run ended.
func (a *apply) skipRest(undone int) {
	left := 0
	for i := range a.run.Results {
		if a.run.Results[i].Outcome == "" {
			a.end(i, Skipped, nil)
			left++
		}
	}
	skipped := a.run.Totals()[Skipped] > 0
	a.run.Stopped = a.budget.spent() && (left > 0 || undone > 0)
	a.run.Interrupted = skipped && a.soft.Err() != nil
	a.run.Ended = a.run.Ended && skipped && !a.run.Stopped && !a.run.Interrupted
}

// refuse ends a host on which nothing was changed.
func (a *apply) refuse(i int, err error) {
	if cancelled(err) {
		return // becomes skipped
	}
	outcome, problem := failedLook(host.AsProblem(err))
	a.end(i, outcome, problem)
}
