package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Verb is what a run does on a set of its hosts before it goes on.
type Verb string

// The verbs, in the order of a run.
const (
	StageVerb   Verb = "stage"   // connect, and stage what a change needs
	CheckVerb   Verb = "check"   // the canary of an earlier run
	RecoverVerb Verb = "recover" // an interrupted run, before the change; each host in its turn
	ChangeVerb  Verb = "change"  // or recover, as planned; each host in its turn
	SoakVerb    Verb = "soak"    // until its end, and undo what is unhealthy
	UndoVerb    Verb = "undo"    // what this run has changed
	DiscardVerb Verb = "discard" // what was staged and not used
	// With many hosts outside their windows, one canary after another would take the place of the
	// one before: all such hosts end.
	OutsideVerb Verb = "outside"
	ClosedVerb  Verb = "closed" // note that the windows of the canary have closed
)

// Parts carries out the verbs of a run elsewhere: its hosts are divided into parts, and each
// does the verb on its own hosts (Part.Do).
type Parts interface {
	// Do does a verb on hosts, which are indexes of the plan's entries, and returns once it is
	// done. ended is called, once at a time, for each host whose State has changed; it reports
	// whether anything new may start.
	Do(ctx context.Context, verb Verb, hosts []int, ended func(i int, s State) bool)
}

// State is what a run must know of a host that a part of it has.
type State struct {
	Action  Action            `json:"action,omitempty"`
	Outcome Outcome           `json:"outcome,omitempty"`
	Problem *problem.Error    `json:"problem,omitempty"`
	Proof   string            `json:"proof,omitempty"`
	Window  inventory.Opening `json:"window"`
}

// do does a verb on hosts: in this process, or in the parts of the run.
func (a *apply) do(ctx context.Context, verb Verb, hosts []int) {
	if a.Parts != nil && len(hosts) > 0 {
		a.Parts.Do(ctx, verb, hosts, a.merge)
	} else if a.Parts == nil {
		a.doHere(ctx, verb, hosts)
	}
}

func (a *apply) doHere(ctx context.Context, verb Verb, hosts []int) {
	each := func(limit int, task func(ctx context.Context, i int)) {
		a.forEach(ctx, len(hosts), limit, func(ctx context.Context, n int) { task(ctx, hosts[n]) })
	}
	switch verb {
	case StageVerb:
		each(a.atOnce(verb), a.stage)
	case CheckVerb:
		each(a.atOnce(verb), a.checkProven)
	case RecoverVerb:
		a.inTurn(ctx, verb, hosts, a.recoverFirst)
	case ChangeVerb:
		a.inTurn(ctx, verb, hosts, a.process)
	case SoakVerb:
		a.soak(ctx, hosts)
	case UndoVerb:
		a.inTurn(ctx, verb, hosts, a.undoUnlessStopped)
	case DiscardVerb:
		each(a.atOnce(verb), a.discard)
	case OutsideVerb:
		each(1, func(ctx context.Context, i int) { a.outside(ctx, i) })
	case ClosedVerb:
		each(1, func(_ context.Context, i int) { a.noteClosed(i) })
	}
}

// AtOnce returns on how many hosts of a run a verb is done at once.
func (p Policy) AtOnce(verb Verb) int {
	switch verb {
	case StageVerb:
		return max(p.Parallel, maxConnections)
	case CheckVerb, DiscardVerb:
		return maxConnections
	}
	return p.Parallel
}

// atOnce returns on how many hosts of this run, or of this part of one, a verb is done at once.
func (a *apply) atOnce(verb Verb) int {
	if a.share > 0 {
		return a.share
	}
	return a.plan.Policy.AtOnce(verb)
}

// merge takes over the state of host i from the part that has it.
func (a *apply) merge(i int, s State) bool {
	res := &a.run.Results[i]
	res.Window = s.Window
	if res.Action = s.Action; s.Outcome != "" && s.Outcome != a.outcome(i) {
		res.Proof = s.Proof
		a.end(i, s.Outcome, s.Problem)
	}
	return a.canContinue()
}

// state returns what a run must know of host i of this part.
func (a *apply) state(i int) State {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := &a.run.Results[i]
	return State{res.Action, res.Outcome, res.Problem, res.Proof, res.Window}
}
