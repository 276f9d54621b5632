package rollout

import (
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// MakeRehearsal returns the plan of a rehearsal: every part of a rotation but the restart,
// with a copy of each host's certificate. It needs no new certificate.
func MakeRehearsal(targets []Target, looks []Look, policy Policy) *Plan {
	// No agent is restarted, so one host says nothing about another.
	policy.MaxUnavailable, policy.NoDeadman, policy.Force = inventory.Unavailable{}, false, false
	policy.Parallel, policy.MaxFailures = max(policy.Parallel, maxConnections), inventory.Count(len(targets)+1)
	p := plan(targets, looks, policy, decideRehearsal).withOneWave()
	p.ignoreRefusals = true
	return p
}

// decideRehearsal decides about one host. It refuses what a rotation would refuse of the
// host, whatever the certificate.
func decideRehearsal(t Target, look Look) Entry {
	e, done := decideCommon(t, look)
	if done {
		return e
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		return e.withOutcome(Refused, &problem.Error{Class: problem.Locked, Message: "run " + r.Run + " was interrupted here",
			Hint: "aoifleet recover"})
	}
	for _, check := range []func(Entry) *problem.Error{fileProblem, unitProblem} {
		if reason := check(e); reason != nil {
			return e.withOutcome(Refused, reason)
		}
	}
	e.Action, e.Reason = Rehearse, "every step but the restart, on a copy of the certificate"
	return e
}

// Rehearsal reports whether the plan rehearses on a host.
func (p *Plan) Rehearsal() bool {
	for _, i := range p.due() {
		if p.Entries[i].Action == Rehearse {
			return true
		}
	}
	return false
}

// stages reports whether files are staged on the host before its turn. What they are is not known
// until an interrupted run is recovered, but for a certificate alone.
func (e Entry) stages() bool {
	return e.Action.Installs() && (len(e.Files) == 0 || countUnfinished(e.Seen) == 0) || e.Action == Rehearse
}

// toStage returns the bytes to stage on a host, and their digest. A rehearsal has no
// certificate: what it stages only ever replaces its copy of the live one.
func (a *apply) toStage(e Entry) (data []byte, digest string) {
	if e.Action != Rehearse && len(e.Files) == 0 {
		return e.Certificate.Canonical(), e.Certificate.Digest()
	}
	if e.Action != Rehearse {
		for _, p := range e.parts() {
			data = append(data, p.data...)
		}
		return data, digestOf(data)
	}
	data = []byte("rehearsal of aoifleet " + a.RunID + ", not a certificate\n")
	return data, digestOf(data)
}
