package rollout

import (
	"context"
	"slices"
	"sync"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
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
	plan  *Plan
	drain context.Context // ended: start nothing more

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
// wave by wave. When drain ends nothing new starts and what is in flight is
// finished or undone; when ctx ends connections are cut, and the hosts undo by
// themselves.
func (r *Runner) Apply(ctx, drain context.Context, plan *Plan) *Run {
	n := len(plan.Entries)
	a := &apply{
		Runner: r, plan: plan, drain: drain, run: &Run{Results: make([]Result, n), Unaccepted: plan.Unaccepted},
		staged: make([]bool, n), gathered: make([]bool, n), ended: make([]int, n), held: map[domain]int{},
	}
	a.budget = budget{limit: plan.Policy.MaxFailures.Of(n), countUnreachable: plan.Policy.CountUnreachable}
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
	a.replaceCanary()
	for wave := 0; wave < len(plan.Waves) && a.wave(ctx, wave); wave++ {
	}
	undone := a.undoAll(ctx)
	each(n, keep, func(i int) { a.discard(ctx, i) })
	a.downloadAll(ctx)
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
		a.noteWaiting(i)
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

// noteWaiting says why host i, whose turn never comes, is skipped.
func (a *apply) noteWaiting(i int) {
	const why = "not begun: another host of the same failure domain is not known to be well again"
	if res := &a.run.Results[i]; res.Outcome == "" && a.goesOn() {
		res.Notes = append(res.Notes, why)
	}
}

// mayStart tells whether host i is still to be done and may begin.
func (a *apply) mayStart(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.Results[i].Outcome == "" && !a.budget.spent() && a.drain.Err() == nil
}

// end gives host i its outcome.
func (a *apply) end(i int, outcome Outcome, reason *problem.Error) {
	a.mu.Lock()
	res := &a.run.Results[i]
	res.Outcome, res.Problem = outcome, reason
	if outcome != Rotated && outcome != Restored {
		res.Proof = "" // of a certificate that is not live any more
	}
	a.budget.add(outcome, a.plan.inCanary(res.Wave))
	a.ends++
	a.ended[i] = a.ends
	a.mu.Unlock()
	a.Events(Event{Host: res.Host.Name, Outcome: outcome, Problem: reason, Proof: res.Proof})
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
	a.run.Interrupted = skipped && a.drain.Err() != nil
	a.run.Ended = a.run.Ended && skipped && !a.run.Stopped && !a.run.Interrupted
}

// refuse ends a host on which nothing was changed.
func (a *apply) refuse(i int, err error) {
	if cancelled(err) {
		return // becomes skipped
	}
	outcome, reason := failedLook(host.AsProblem(err))
	a.end(i, outcome, reason)
}

// wave takes one wave through and then stands at the gate to the next; false:
// there is no next one, or it is not to be begun.
func (a *apply) wave(ctx context.Context, n int) bool {
	p := a.plan.Policy
	last := n == len(a.plan.Waves)-1
	if !a.goesOn() {
		return false
	}
	if len(a.plan.Waves) > 1 {
		a.Events(Event{Wave: n + 1, Step: "wave"})
	}
	hosts := a.plan.Waves[n].Hosts
	a.inTurn(hosts, a.held, func(i int) { a.turn(ctx, i) })
	if a.goesOn() && a.canaryUnchanged(n) {
		if a.replaceCanary(); len(a.plan.Waves) == 0 {
			return false
		}
		return a.wave(ctx, n)
	}
	if last || !a.goesOn() {
		return false
	}
	if p.Soak > 0 {
		a.soak(ctx, n+1, hosts)
	}
	if !a.goesOn() {
		return false
	}
	a.run.Ended = p.Until == n+1 || a.pauses(n) && !a.Ask(n+1, a.run)
	return !a.run.Ended
}

// canaryUnchanged tells whether wave n is a canary of which no host was changed:
// each was refused, or not reached, when its turn came. The waves of a saved plan
// stay what they are, so its run stops there.
func (a *apply) canaryUnchanged(n int) bool {
	if !a.plan.Waves[n].Canary {
		return false
	}
	for _, i := range a.plan.Waves[n].Hosts {
		if o := a.outcome(i); o != Refused && o != Unreachable {
			return false
		}
	}
	if a.plan.fixed {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.budget.canary = true
		return false
	}
	return true
}

// replaceCanary divides anew what is still due where a host of the canary has
// ended without a change: a canary of nobody would prove nothing.
func (a *apply) replaceCanary() {
	p := a.plan
	ended := func(i int) bool { return a.run.Results[i].Outcome != "" }
	if p.fixed || len(p.Waves) == 0 || !p.Waves[0].Canary || !slices.ContainsFunc(p.Waves[0].Hosts, ended) {
		return
	}
	p.Waves = waves(slices.DeleteFunc(p.due(), ended), p.Policy.Canary, p.Policy.Batches)
	for i := range a.run.Results {
		a.run.Results[i].Wave = 0
	}
	for n, w := range p.Waves {
		for _, i := range w.Hosts {
			a.run.Results[i].Wave = n + 1
		}
	}
}

// goesOn tells whether anything new may begin.
func (a *apply) goesOn() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.budget.spent() && a.drain.Err() == nil
}

// pauses tells whether somebody is to be asked after wave n.
func (a *apply) pauses(n int) bool {
	switch a.plan.Policy.PauseAfter {
	case AfterCanary:
		return a.plan.Waves[n].Canary
	case AfterWave:
		return true
	}
	return false
}
