package rollout

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// The checks of a simulated run, in the words of the documents rather than of the program.

// note notes a call. What begins with dials has begun with the first of them.
func (v *simVM) note(name string) {
	if v.last != "dial" && v.last != "unsent" {
		v.began = time.Now()
	}
	v.last = name
	v.sim.log(v.name, name)
	if name == "stage" {
		if !v.copied && v.sim.late(v.began) {
			v.sim.fail("%s is staged after the run was interrupted", v.name)
		}
		v.copied = true
	}
}

// late reports whether the operator had interrupted the run by then.
func (s *sim) late(at time.Time) bool { return !s.stopAt.IsZero() && at.After(s.stopAt) }

func needsOperator(o Outcome) bool { return o == Failed || o == Unknown }

// begin checks that the host may be changed now.
func (v *simVM) begin(turn string) {
	v.note(turn)
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	if v.turn == turn {
		return // a second attempt
	}
	domain, limit := v.domain()
	inDomain, atOnce := 0, 0
	for _, o := range v.sim.list {
		d, _ := o.domain()
		if o != v && o.turn != "" {
			atOnce++
		}
		if o != v && d == domain && (o.turn != "" || turn != "undo" && needsOperator(o.outcome)) {
			inDomain++
		}
	}
	if inDomain >= limit || atOnce >= v.sim.plan.Policy.Parallel {
		v.sim.fail("%s of %s begins beside %d hosts, %d of its domain %q, limit %d", turn, v.name, atOnce, inDomain, domain, limit)
	}
	if v.turn = turn; turn == "undo" {
		return
	}
	if spent := !v.sim.spentAt.IsZero() && v.began.After(v.sim.spentAt); spent || v.sim.late(v.began) {
		v.sim.fail("%s of %s begins after the run has stopped (budget spent: %v)", turn, v.name, spent)
	}
	if turn == "rotate" {
		if v.outside(v.began) && v.outside(time.Now()) {
			v.sim.fail("%s begins outside its windows: %v", v.name, v.sim.plan.Policy.Windows)
		}
		v.beginInWave()
	}
}

// domain returns the failure domain of the host and its limit.
func (v *simVM) domain() (string, int) {
	most := v.sim.plan.Policy.MaxUnavailable
	site, has := v.target.Host.Labels[most.Label]
	switch {
	case has:
		return site, most.Count
	case most.Label != "":
		return v.name, most.Count
	case v.seen.Config.ListenerPort != 0:
		return v.target.Host.Group, 1
	}
	return "", math.MaxInt
}

// beginInWave checks that the waves before that of the host have ended, that their soak is over
// and that a canary was rotated.
func (v *simVM) beginInWave() {
	wave := slices.IndexFunc(v.sim.plan.Waves, func(w Wave) bool {
		return slices.ContainsFunc(w.Hosts, func(i int) bool { return v.sim.list[i] == v })
	})
	if v.sim.plan.Policy.Canary > 0 && v.sim.plan.Waves[0].Number > 1 {
		v.sim.checkProof()
	}
	for n, w := range v.sim.plan.Waves[:max(wave, 0)] {
		var ended time.Time
		rotated := false
		for _, i := range w.Hosts {
			o := v.sim.list[i]
			if o.turn != "" {
				v.sim.fail("%s of wave %d begins before %s of wave %d has ended", v.name, wave+1, o.name, n+1)
			}
			rotated = rotated || o.outcome == Rotated
			if v.sim.plan.Policy.Soak > 0 && o.outcome == Rotated && (o.drifted || o.seen.Denied != "" && !o.denied) {
				v.sim.fail("wave %d begins although %s did not pass its soak", wave+1, o.name)
			}
			if o.ended.After(ended) {
				ended = o.ended
			}
		}
		if w.Canary && !rotated {
			v.sim.fail("%s begins, but no canary was rotated", v.name)
		}
		if rotated && n == wave-1 && time.Since(ended) < v.sim.plan.Policy.Soak {
			v.sim.fail("%s of wave %d begins %v after wave %d", v.name, wave+1, time.Since(ended), n+1)
		}
	}
}

// checkProof checks that the run may begin with a later wave: earlier runs have rotated a
// whole canary, to the certificate of the other hosts or at least since all of theirs were
// issued, and it has been healthy since for as long as a soak.
func (s *sim) checkProof() {
	others := map[*certificate.Certificate]bool{}
	var issued time.Time
	for _, w := range s.plan.Waves {
		for _, i := range w.Hosts {
			c := s.list[i].target.Certificate
			if others[c] = true; c.Leaf.NotBefore.After(issued) {
				issued = c.Leaf.NotBefore
			}
		}
	}
	proven := 0
	for _, v := range s.list {
		same := len(others) == 1 && others[v.target.Certificate]
		if v.current && v.outcome == Current && !v.since.IsZero() && (same || !v.since.Before(issued)) && time.Since(v.since) >= s.plan.Policy.Soak {
			proven++
		}
	}
	if proven < s.plan.Policy.Canary {
		s.fail("the run begins with wave %d, but only %d hosts are rotated and healthy", s.plan.Waves[0].Number, proven)
	}
}

// send checks that a transaction may be sent to the host.
func (v *simVM) send(turn string) {
	if turn == "undo" {
		return
	}
	if v.current || v.sent {
		v.sim.fail("%s is changed twice (%v), or although it is current (%v)", v.name, v.sent, v.current)
	}
	v.sent, v.before = true, v.seen.File.Digest
}

// recovered ends the turn of a host that is recovered first.
func (v *simVM) recovered() {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	if v.turn == "recover" {
		v.turn = ""
	}
}

// atRest checks that no host is being changed while the operator is asked.
func (s *sim) atRest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.list {
		if v.turn != "" {
			s.fail("the operator is asked during the %s of %s", v.turn, v.name)
		}
	}
}

// event notes how a host ends.
func (s *sim) event(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vms[e.Host]
	if v == nil {
		return
	}
	if e.Step == "undo" {
		v.undo = time.Now()
	}
	if e.Outcome == "" {
		return
	}
	s.log(e.Host, "ends", e.Outcome, v.seen.File.Digest)
	recheck := v.outcome == Current && (e.Outcome == Refused || e.Outcome == Unreachable) // of an earlier canary
	if v.outcome != "" && v.outcome != Rotated && !recheck || e.Outcome == Restored && s.late(v.undo) {
		s.fail("%s ends as %s after %s, or its undo begins after the run was interrupted", e.Host, e.Outcome, v.outcome)
	}
	if v.turn, v.outcome = "", e.Outcome; v.ended.IsZero() {
		v.ended = time.Now()
	}
	canary := len(s.plan.Waves) > 0 && s.plan.Waves[0].Canary &&
		slices.ContainsFunc(s.plan.Waves[0].Hosts, func(i int) bool { return s.list[i] == v })
	if s.count(e.Outcome, canary); recheck && s.spentAt.IsZero() {
		s.spentAt = time.Now()
	}
}

// count counts an outcome for the failure budget.
func (s *sim) count(o Outcome, canary bool) {
	changed := needsOperator(o) || o == RolledBack
	if changed || o == Refused || o == Unreachable && s.plan.Policy.CountUnreachable {
		s.failed++
	}
	if s.spentAt.IsZero() && (s.failed >= s.plan.Policy.MaxFailures.Of(len(s.list)) || canary && changed) {
		s.spentAt = time.Now()
	}
}

// check checks the end of a run.
func (s *sim) check(run *Run, cut bool) {
	signal := 0
	if !s.stopAt.IsZero() && !time.Now().Before(s.stopAt) {
		signal = problem.ExitInterrupted
	}
	totals := map[Outcome]int{}
	for i, v := range s.list {
		totals[v.outcome]++
		s.checkHost(v, run.Results[i], cut)
		if v.outcome == Skipped && signal == 0 {
			s.checkSkipped(v)
		}
	}
	if s.fleet.open != 0 || len(run.Results) != len(s.list) {
		s.fail("%d connections are left open; %d results", s.fleet.open, len(run.Results))
	}
	if got, want := run.ExitCode(signal), s.code(totals, signal); got != want {
		s.fail("exit code %d, want %d: %v, %+v", got, want, totals, s.plan.Policy)
	}
}

// checkHost checks that the outcome of a host is what its event said and what the host has.
func (s *sim) checkHost(v *simVM, res Result, cut bool) {
	digest, unfinished := v.seen.File.Digest, v.unfinished()
	if res.Host.Name != v.name || res.Outcome != v.outcome || !slices.Contains(Outcomes, v.outcome) || v.turn != "" {
		s.fail("%s: %s in the report, %q in the events", v.name, res.Outcome, v.outcome)
	}
	right := true
	switch v.outcome {
	case Rotated, Current:
		right = digest == v.target.Certificate.Digest() && !unfinished || v.drifted
	case RolledBack, Restored:
		right = digest == v.before && !unfinished
	case Refused, Unreachable:
		right = !v.sent || digest == v.before && !unfinished
	case Skipped:
		right = !v.sent
	}
	if !right {
		s.fail("%s ends as %s with %s (unfinished: %v), had %s", v.name, v.outcome, digest, unfinished, v.before)
	}
	if v.staged && !cut && v.outcome != Unknown && !strings.Contains(strings.Join(res.Notes, "\n"), "may be left") {
		s.fail("%s ends as %s, and a staged certificate is left", v.name, v.outcome)
	}
}

// checkSkipped checks that the run had a reason to skip a host: the budget, the policy, or
// another host of its failure domain that may be unhealthy.
func (s *sim) checkSkipped(v *simVM) {
	domain, _ := v.domain()
	held := slices.ContainsFunc(s.list, func(o *simVM) bool {
		d, _ := o.domain()
		return d == domain && needsOperator(o.outcome)
	})
	p := s.plan.Policy
	closed := v.outside(v.ended) || p.Hold && v.outside(p.Now) || s.plan.fixedWaves && s.canaryClosed()
	if !held && !closed && s.spentAt.IsZero() && p.Until == 0 && p.PauseAfter == NoPause && !s.unproven() {
		s.fail("%s is skipped without a reason", v.name)
	}
}

// unproven reports whether no canary was changed, and the next hosts can't replace it: the plan
// is a saved one, or the failure domain of a canary is blocked.
func (s *sim) unproven() bool {
	if len(s.plan.Waves) == 0 || !s.plan.Waves[0].Canary {
		return false
	}
	blocked := s.plan.fixedWaves
	for _, i := range s.plan.Waves[0].Hosts {
		switch s.list[i].outcome {
		case Refused, Unreachable, Current, NotApplicable:
		case Skipped:
			blocked = true
		default:
			return false
		}
	}
	return blocked
}

// canaryClosed reports whether a host of the canary was not started. In a run without a failure
// that is because of its windows.
func (s *sim) canaryClosed() bool {
	return len(s.plan.Waves) > 0 && s.plan.Waves[0].Canary &&
		slices.ContainsFunc(s.plan.Waves[0].Hosts, func(i int) bool { return s.list[i].outcome == Skipped })
}

// code returns the exit code that docs/reference.md documents; the worst wins.
func (s *sim) code(totals map[Outcome]int, signal int) int {
	stopped := !s.spentAt.IsZero() || s.unproven() && !s.canaryClosed()
	for _, c := range []struct {
		when bool
		code int
	}{
		{totals[Failed]+totals[Unknown] > 0, 7}, {signal != 0, signal}, {totals[RolledBack] > 0, 6},
		{stopped && totals[Skipped]+totals[Restored] > 0, 8}, {totals[Skipped] > 0, 9}, {totals[Unreachable] > 0, 4}, {totals[Refused] > 0, 5},
	} {
		if c.when {
			return c.code
		}
	}
	return 0
}
