package rollout

import (
	"context"
	"slices"
)

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
	if a.goesOn() && a.provedNothing(n) {
		if a.mendCanary(); len(a.plan.Waves) == 0 {
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

// provedNothing tells whether wave n is a canary of which no host was changed:
// each was refused, or not reached, when its turn came. The waves of a saved plan
// stay what they are, so its run stops there.
func (a *apply) provedNothing(n int) bool {
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

// mendCanary divides anew what is still due where a host of the canary has
// ended without a change: a canary of nobody would prove nothing.
func (a *apply) mendCanary() {
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
	return !a.budget.spent() && a.soft.Err() == nil
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
