package rollout

import (
	"fmt"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Plan is what is to be done, host by host in the inventory's order.
type Plan struct {
	Entries []Entry
	Waves   []Wave // of the hosts to change, each in one
	Policy  Policy
	// decide is what Entries were made with, for a host that has to be looked
	// at again.
	decide func(Target, Look) Entry
	// lenient: what the plan itself refuses does not count as a failure of the
	// run, as one host that can't go back must not keep the others.
	lenient bool
	// Unaccepted: Azure does not accept a certificate, or could not be asked; so
	// nothing is to be done on any host.
	Unaccepted bool
	// fixed: the waves are those of a saved plan, and are not divided anew.
	fixed bool
}

// plan decides for every target.
func plan(targets []Target, looks []Look, policy Policy, decide func(Target, Look) Entry) *Plan {
	p := &Plan{Policy: policy, Entries: make([]Entry, len(targets)), decide: decide}
	for i, t := range targets {
		p.Entries[i] = decide(t, looks[i])
	}
	refuseTwins(p.Entries)
	return p
}

// Changes counts the hosts on which there is something to do.
func (p *Plan) Changes() int {
	n := 0
	for _, e := range p.Entries {
		if e.Outcome == "" {
			n++
		}
	}
	return n
}

// Make decides for every target what is to be done. It is a pure function of
// what was seen.
func Make(targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, func(t Target, look Look) Entry { return decide(t, look, policy.Force) })
	if !policy.Force {
		refuseMixed(p.Entries)
	}
	return p.inWaves()
}

// begin is what is the same in all plans: what could not be looked at, and
// what another run holds. done means that Outcome or Action is set.
func begin(t Target, look Look) (e Entry, done bool) {
	e = Entry{Target: t, Seen: look.Seen, Action: None}
	switch {
	case cancelled(look.Err):
		e.Outcome, e.Reason = Skipped, "interrupted"
		return e, true
	case look.Err != nil:
		return e.stop(failedLook(host.AsProblem(look.Err))), true
	case look.Seen.Provider == nil:
		e.Outcome, e.Reason = NotApplicable, "managed identity: nothing to rotate"
		return e, true
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished && r.Holds() {
		return e.stop(Refused, heldBy(r)), true
	}
	return e, false
}

// heldBy says who holds a host, from where, and until when.
func heldBy(r host.Receipt) *problem.Error {
	p := &problem.Error{Class: problem.Locked, Message: fmt.Sprintf("run %s of %s is at work on this host", r.Run, r.Owner),
		Hint: "wait until it has ended"}
	switch {
	case r.Armed:
		p.Hint = "wait: if nobody confirms it, the host undoes it in " + r.Left.String()
	case r.Timed:
		p.Hint = "wait until it has ended; in " + r.Left.String() + " recover can undo it"
	}
	return p
}

// decide is the plan of a rotation for one host.
func decide(t Target, look Look, force bool) Entry {
	e, done := begin(t, look)
	switch {
	case done:
		return e
	case t.Certificate == nil:
		return e.stop(Refused, &problem.Error{Class: problem.Configuration, Message: "no certificate is named for this host",
			Hint: "set certificate: in the inventory, or use --certificate FILE"})
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		e.Action, e.Reason = Rotate, "run "+r.Run+" was interrupted here; it is settled first"
		return e
	}
	for _, check := range []func(Entry) *problem.Error{fileProblem, unitProblem} {
		if reason := check(e); reason != nil {
			return e.stop(Refused, reason)
		}
	}
	if e.Seen.File.Digest == t.Certificate.Digest() {
		return decideSame(e)
	}
	if reason := certificateProblem(e); reason != nil && !force {
		return e.stop(Refused, reason)
	}
	e.Action, e.Reason = Rotate, "new certificate"
	switch live := e.Seen.Live; {
	case e.Seen.File.Kind == "missing":
		e.Reason = "no certificate yet"
	case live != nil && live.Thumbprint == t.Certificate.Leaf.Thumbprint:
		e.Reason = "same certificate, other file"
	}
	return e
}

func (e Entry) stop(outcome Outcome, reason *problem.Error) Entry {
	e.Outcome, e.Problem, e.Reason = outcome, reason, reason.Message
	return e
}

// failedLook: without a connection a host is unreachable, with one it refused.
func failedLook(reason *problem.Error) (Outcome, *problem.Error) {
	switch reason.Class {
	case problem.Unreachable, problem.Authentication, problem.HostKeyUnknown, problem.HostKeyChanged:
		return Unreachable, reason
	}
	return Refused, reason
}

// decideSame decides where the right file is there already. A restart is for what one may
// cure; a port that is closed and the user's command are for status to report.
func decideSame(e Entry) Entry {
	const right = "the file is right, but "
	why := e.Seen.Health(host.AsFound(e.Host.Health)).First()
	switch why.Kind {
	case host.Stopped:
		e.Outcome, e.Reason = Current, "the file is right; the agent is stopped"
	case host.Failing, host.Restarting:
		e.Action, e.Reason = Restart, right+"the agent has failed"
	case host.Exited, host.Restarted:
		e.Action, e.Reason = Restart, right+why.Message
	case host.Settling:
		return e.stop(Refused, &problem.Error{Class: problem.AgentNotRunning,
			Message: "the certificate is live already, but " + e.Host.Agent.Unit + " is " + e.Seen.Unit.Active,
			Hint:    "run this again when the unit has come to rest"})
	default:
		return decideRunning(e)
	}
	return e
}

// decideRunning decides where the agent runs with the right file in its place.
func decideRunning(e Entry) Entry {
	switch {
	case e.Seen.ProcessIsOlder():
		e.Action, e.Reason = Restart, "the file is right, but the agent started before it changed"
	case e.Seen.Denied != "":
		return e.stop(Refused, &problem.Error{Class: problem.Unhealthy,
			Message: "the certificate is live already, but the log says: " + e.Seen.Denied,
			Hint:    "is the certificate registered for the agent's service principal? rotate to one that is"})
	default:
		e.Outcome, e.Reason = Current, "already live"
	}
	return e
}

// Offline is a plan without a look at any host: what would be installed, and
// how it would be gone about.
func Offline(targets []Target, policy Policy) *Plan {
	p := &Plan{Policy: policy}
	for _, t := range targets {
		e := Entry{Target: t, Action: NotSeen, Reason: "not looked at (--offline)"}
		switch {
		case t.Certificate == nil && t.Source != "":
			e.Reason += "; its certificate is in a Key Vault"
		case t.Certificate == nil:
			e.Reason += "; no certificate is named"
		}
		p.Entries = append(p.Entries, e)
	}
	return p.inWaves()
}

// ToVerify are the hosts whose certificate Azure is to be asked about, by their
// place in the plan: those that are to be changed and whose inventory wants it.
func (p *Plan) ToVerify() []int {
	var list []int
	for _, i := range p.due() {
		if p.Entries[i].Host.VerifyEntra {
			list = append(list, i)
		}
	}
	return list
}

// SkipVerify notes that nobody is asked.
func (p *Plan) SkipVerify() {
	for _, i := range p.ToVerify() {
		p.Entries[i].Verified = new(bool)
	}
}

// Verify puts in what was said about the certificates of some hosts, by their
// place in the plan; nil is yes. Where one is not accepted nothing is to be done on
// any host: the others would be restarted for a certificate that somebody has
// yet to look after.
func (p *Plan) Verify(answers map[int]*problem.Error) {
	for i, reason := range answers {
		e := &p.Entries[i]
		accepted := reason == nil
		e.Verified = &accepted
		if accepted {
			continue
		}
		p.Unaccepted = true
		outcome, reason := failedLook(reason)
		*e = e.stop(outcome, reason)
	}
	if p.Unaccepted {
		p.leave("not begun: the certificate of other hosts is not accepted")
	}
}

// leave lets every host be that is to be changed.
func (p *Plan) leave(why string) {
	for _, i := range p.due() {
		p.Entries[i].Outcome, p.Entries[i].Reason = Skipped, why
	}
	for i := range p.Entries {
		p.Entries[i].Wave = 0
	}
	p.Waves = nil
}
