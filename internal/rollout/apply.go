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
	Ended       bool // as asked for: Policy.Until, or an answer "no" between waves
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
	plan     *Plan
	stopping context.Context // when it is done, nothing new starts

	staged   []bool         // by host: a certificate of this run is staged there
	gathered []bool         // by host: it may have diagnostics
	share    int            // of a part: on how many hosts at once; 0: this is a whole run
	held     map[domain]int // places of hosts whose agent may not be healthy

	mu       sync.Mutex
	budget   budget
	closed   bool // the window of the canary has closed, and no other host may take its place
	run      *Run
	endOrder []int // by host: its place among those that ended, from 1
	endCount int
}

// Apply carries out a plan. It stages on all hosts, so that a problem with one is
// known before the first agent is restarted, and then changes them wave by wave.
// When stopping is done nothing new starts, and what is in flight is finished or
// undone. When ctx is done connections are cut, and the hosts undo by themselves.
func (r *Runner) Apply(ctx, stopping context.Context, plan *Plan) *Run {
	n := len(plan.Entries)
	a := r.newApply(stopping, plan)
	a.budget.limit = plan.Policy.MaxFailures.Of(n)
	for _, e := range plan.Entries {
		if !plan.ignoreRefusals {
			a.budget.add(e.Outcome, false) // it is in no wave
		}
	}
	if !a.budget.spent() {
		a.part(plan.staging(), a.hosts(plan.due()))
		a.do(ctx, StageVerb, a.all())
	}
	if a.canContinue() {
		a.checkCanary(ctx)
	}
	if unfinished := a.unfinished(); len(unfinished) > 0 && a.canContinue() {
		a.part("recover", a.hosts(unfinished))
		a.do(ctx, RecoverVerb, unfinished)
	}
	a.replaceCanary(ctx)
	for wave := 0; wave < len(plan.Waves) && a.wave(ctx, wave); wave++ {
	}
	undone := a.undoAll(ctx)
	a.do(ctx, DiscardVerb, a.all())
	a.downloadAll(ctx)
	a.skipRest(undone)
	return a.run
}

func (r *Runner) newApply(stopping context.Context, plan *Plan) *apply {
	n := len(plan.Entries)
	a := &apply{
		Runner: r, plan: plan, stopping: stopping, run: &Run{Results: make([]Result, n), Unaccepted: plan.Unaccepted},
		staged: make([]bool, n), gathered: make([]bool, n), endOrder: make([]int, n), held: map[domain]int{},
		budget: budget{counts: plan.Policy.Counts},
	}
	for i, e := range plan.Entries {
		a.run.Results[i].Entry = e
	}
	return a
}

// left returns the hosts that have not ended.
func (a *apply) left() []int {
	return slices.DeleteFunc(a.all(), func(i int) bool { return a.outcome(i) != "" })
}

// all returns all hosts.
func (a *apply) all() []int {
	list := make([]int, len(a.run.Results))
	for i := range list {
		list[i] = i
	}
	return list
}

// unfinished returns the hosts on which an interrupted run must be recovered first.
func (a *apply) unfinished() []int {
	var list []int
	for _, i := range a.plan.due() {
		if a.plan.isRecoveredFirst(i) {
			list = append(list, i)
		}
	}
	return list
}

// process recovers or changes host i, unless it has ended or the run stops.
func (a *apply) process(ctx context.Context, i int) {
	switch {
	case !a.canStart(i), a.outside(ctx, i):
	case a.run.Results[i].Action == Recover:
		a.recoverHost(ctx, i)
	default:
		a.rotate(ctx, i)
	}
}

// inTurn runs task for each of hosts in this order: Policy.Parallel at once, and
// never more of a failure domain than its limit. A host that waits for its domain
// does not delay the others. a.held counts the places of hosts that are not safe;
// they are not given back, so that the next host of the domain does not start. What undoes
// disregards them.
func (a *apply) inTurn(ctx context.Context, verb Verb, hosts []int, task func(ctx context.Context, i int)) {
	held := a.held
	if verb == SoakVerb || verb == UndoVerb {
		held = nil
	}
	type ended struct {
		domain  domain
		release bool
	}
	q := newQueue(hosts, func(i int) domain { return a.plan.Policy.domainOf(a.plan.Entries[i]) }, held)
	s, done := a.scheduler(), []ended{}
	for running := 0; ; running-- {
		for ; running < a.plan.Policy.Parallel; running++ {
			if a.Gate != nil && q.waits() {
				a.Gate(ctx, verb)
			}
			i, d, ok := q.next()
			if !ok {
				break
			}
			s.Go(ctx, func(ctx context.Context) { task(ctx, i) }, func() {
				done = append(done, ended{d, d.limit == 0 || held == nil || isSafe(a.outcome(i))})
			})
		}
		if running == 0 {
			break
		}
		var e ended
		s.Await(ctx, func() bool {
			if len(done) == 0 {
				return false
			}
			e, done = done[0], done[1:]
			return true
		})
		if e.release {
			q.release(e.domain)
		} else {
			held[e.domain]++
		}
	}
	for _, i := range q.waiting() {
		a.noteNotStarted(i)
	}
}

// isSafe reports whether an outcome, or none yet, means that the agent is healthy
// or unchanged.
func isSafe(o Outcome) bool { return o != Failed && o != Unknown }

func (a *apply) outcome(i int) Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.Results[i].Outcome
}

// noteNotStarted notes why host i, which waits for its domain, is skipped.
func (a *apply) noteNotStarted(i int) {
	const why = "not started: another host of the same failure domain may be unhealthy"
	if res := &a.run.Results[i]; res.Outcome == "" && a.canContinue() {
		res.Notes = append(res.Notes, why)
	}
}

// canStart reports whether host i has not ended and the run may start it.
func (a *apply) canStart(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.Results[i].Outcome == "" && !a.closed && !a.budget.spent() && a.stopping.Err() == nil
}

// end gives host i its outcome.
func (a *apply) end(i int, outcome Outcome, reason *problem.Error) {
	a.mu.Lock()
	res := &a.run.Results[i]
	res.Outcome, res.Problem = outcome, reason
	if !outcome.HasNew() && outcome != Restored {
		res.Proof = "" // the certificate is no longer live
	}
	a.budget.add(outcome, a.plan.inCanary(res.Wave))
	a.endCount++
	a.endOrder[i] = a.endCount
	a.mu.Unlock()
	a.Events(Event{Host: res.Host.Name, Outcome: outcome, Problem: reason, Proof: res.Proof})
}

// skipRest ends the hosts that were not started as skipped, and sets why the run
// ended. undone is the number of hosts that the run has tried to undo.
func (a *apply) skipRest(undone int) {
	left := 0
	for i := range a.run.Results {
		switch res := &a.run.Results[i]; {
		case res.Outcome == "":
			a.end(i, Skipped, nil)
			left++
		case res.wasHeld():
			left++
		}
	}
	skipped := a.run.Totals()[Skipped] > 0
	a.run.Stopped = a.budget.spent() && (left > 0 || undone > 0)
	a.run.Interrupted = skipped && a.stopping.Err() != nil
	a.run.Ended = a.run.Ended && skipped && !a.run.Stopped && !a.run.Interrupted
}

// refuse ends host i, on which nothing was changed, because of err.
func (a *apply) refuse(i int, err error) {
	if cancelled(err) {
		return // skipRest ends it
	}
	outcome, reason := outcomeOf(host.AsProblem(err))
	a.end(i, outcome, reason)
}

// wave changes the hosts of the wave at index n and soaks them. It reports whether the next wave
// is to start.
func (a *apply) wave(ctx context.Context, n int) bool {
	p, wave := a.plan.Policy, a.plan.Waves[n]
	last := n == len(a.plan.Waves)-1
	if !a.canContinue() {
		return false
	}
	if p.Until > 0 && wave.Number > p.Until { // an earlier run has done what is asked for
		a.run.Ended = true
		return false
	}
	hosts := wave.Hosts
	a.Events(Event{Step: "wave", Wave: wave.Number, Waves: a.plan.lastWave(), Lasts: p.Soak, Hosts: a.hosts(hosts)})
	a.do(ctx, ChangeVerb, hosts)
	if a.canContinue() && a.canaryUnchanged(ctx, n) {
		if a.replaceCanary(ctx); len(a.plan.Waves) == 0 {
			return false
		}
		return a.wave(ctx, n)
	}
	if last || !a.canContinue() {
		return false
	}
	if soaking := a.soaking(hosts); p.Soak > 0 && len(soaking) > 0 {
		a.Events(Event{Step: "soak", Wave: wave.Number, Waves: a.plan.lastWave(), Lasts: p.Soak, Hosts: a.hosts(soaking)})
		a.do(ctx, SoakVerb, soaking)
	}
	if !a.canContinue() {
		return false
	}
	a.run.Ended = p.Until == wave.Number || a.pausesAfter(n) && !a.Ask(wave.Number, a.run)
	return !a.run.Ended
}

// canaryUnchanged reports whether the wave at index n is a canary of which no host was changed, and the
// next hosts replace it: each was refused or unreachable, needed nothing more once it was
// recovered, or is outside its windows. The run stops there instead if the waves are those of
// a saved plan, which are fixed, or if a canary still waits for its failure domain.
func (a *apply) canaryUnchanged(ctx context.Context, n int) bool {
	if !a.plan.Waves[n].Canary {
		return false
	}
	stops, closed := a.plan.fixedWaves, false
	for _, i := range a.plan.Waves[n].Hosts {
		switch a.outcome(i) {
		case Refused, Unreachable, Current, NotApplicable:
		case Skipped:
			closed = true
		case "":
			stops = true
		default:
			return false
		}
	}
	if closed {
		a.do(ctx, OutsideVerb, a.left())
	}
	if stops {
		if closed {
			a.do(ctx, ClosedVerb, a.left())
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.closed, a.budget.canary = closed, !closed
	}
	return !stops
}

// replaceCanary divides the hosts that are still due into new waves if a host of the
// canary has ended without a change: an empty canary would prove nothing.
func (a *apply) replaceCanary(ctx context.Context) {
	p := a.plan
	ended := func(i int) bool { return a.run.Results[i].Outcome != "" }
	if p.fixedWaves || len(p.Waves) == 0 || !p.Waves[0].Canary || !slices.ContainsFunc(p.Waves[0].Hosts, ended) {
		return
	}
	p.divide(func(i int) bool { return !ended(i) })
	for i := range a.run.Results {
		a.run.Results[i].Wave = p.Entries[i].Wave
	}
	a.checkCanary(ctx)
}

// canContinue reports whether anything new may start.
func (a *apply) canContinue() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.closed && !a.budget.spent() && a.stopping.Err() == nil
}

// pausesAfter reports whether the operator is asked after wave n.
func (a *apply) pausesAfter(n int) bool {
	switch a.plan.Policy.PauseAfter {
	case AfterCanary:
		return a.plan.Waves[n].Canary
	case AfterWave:
		return true
	}
	return false
}
