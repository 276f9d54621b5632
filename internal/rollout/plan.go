package rollout

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Plan says what is to be done on each host, in the inventory's order.
type Plan struct {
	Entries []Entry
	Waves   []Wave // each host to change is in one
	Policy  Policy
	// decide made the Entries. It decides again about a host that was recovered.
	decide func(Target, Look) Entry
	// ignoreRefusals leaves what the plan itself refuses out of the failure budget: one
	// host that can't be restored must not stop the others.
	ignoreRefusals bool
	// Unaccepted is whether Azure refuses a certificate or could not be asked, or a file must
	// not be installed. Then nothing is done on any host.
	Unaccepted bool
	// Local is what would stop the plan on the workstation, as its maker found.
	Local []Warning
	// fixedWaves is whether the waves are those of a saved plan, which never change.
	fixedWaves bool
}

// plan returns a plan with the decision for every target, without waves.
func plan(targets []Target, looks []Look, policy Policy, decide func(Target, Look) Entry) *Plan {
	p := &Plan{Policy: policy, Entries: make([]Entry, len(targets)), decide: decide}
	for i, t := range targets {
		p.Entries[i] = decide(t, looks[i])
	}
	refuseDuplicates(p.Entries)
	return p
}

// Changes returns the number of hosts on which something is to be done.
func (p *Plan) Changes() int {
	n := 0
	for _, e := range p.Entries {
		if e.Outcome == "" {
			n++
		}
	}
	return n
}

// Make returns the plan of a rotation. It is a pure function of its arguments; looks
// has one Look for each target.
func Make(targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, policy.decide)
	if !policy.Force {
		refuseSharedCertificate(p.Entries)
	}
	p.refuseUnfit()
	p.hold()
	return p.withWaves()
}

// decideCommon decides what all plans decide alike: hosts that could not be observed,
// that have a managed identity, or on which another run is at work. It reports in done
// whether it has decided.
func decideCommon(t Target, look Look) (e Entry, done bool) {
	e = Entry{Target: t, Seen: look.Seen, Action: None}
	switch {
	case cancelled(look.Err):
		e.Outcome, e.Reason = Skipped, "interrupted"
		return e, true
	case look.Err != nil:
		return e.withOutcome(outcomeOf(host.AsProblem(look.Err))), true
	case look.Seen.Provider == nil && look.Seen.Unnamed != nil && !t.FilesOnly:
		return e.withOutcome(Refused, look.Seen.Unnamed), true
	case look.Seen.Provider == nil && len(t.Files) == 0:
		e.Outcome, e.Reason = NotApplicable, "managed identity: nothing to rotate"
		return e, true
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished && r.Holds() {
		return e.withOutcome(Refused, lockedProblem(r)), true
	}
	return e, false
}

// lockedProblem says whose run is at work on a host, and until when.
func lockedProblem(r host.Receipt) *problem.Error {
	p := &problem.Error{Class: problem.Locked, Message: fmt.Sprintf("run %s of %s is in progress on this host", r.Run, r.Owner),
		Hint: "wait until it ends"}
	switch {
	case r.Armed:
		p.Hint = "wait: unless it is confirmed, the host undoes it in " + r.Left.String()
	case r.Timed:
		p.Hint = "wait until it ends; in " + r.Left.String() + " recover can undo it"
	}
	return p
}

// decide decides about one host in a rotation.
func decide(t Target, look Look, force bool) Entry {
	e, done := decideCommon(t, look)
	switch {
	case done:
		return e
	case e.rotates() && t.Certificate == nil:
		return e.withOutcome(Refused, &problem.Error{Class: problem.Configuration, Message: "no certificate is named for this host",
			Hint: "set certificate: in the inventory, or use --certificate FILE"})
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		e.Action, e.Reason = e.install(), "run "+r.Run+" was interrupted here; it is recovered first"
		return e
	}
	for _, check := range []func(Entry) *problem.Error{fileProblem, unitProblem} {
		if reason := check(e); reason != nil {
			return e.withOutcome(Refused, reason)
		}
	}
	if reason := e.packageProblem(force); reason != nil {
		return e.withOutcome(Refused, reason)
	}
	files := changing(t.Files)
	if !e.newCertificate() && len(files) == 0 && !e.Package.Installs() {
		return decideSameFile(e)
	}
	if reason := certificateProblem(e); reason != nil && !force {
		return e.withOutcome(Refused, reason)
	}
	e.Action, e.Reason = e.install(), reasonFor(e, files)
	return e
}

// reasonFor returns why files are installed on a host.
func reasonFor(e Entry, files []Wanted) string {
	var reasons []string
	if e.newCertificate() {
		switch live := e.Seen.Live; {
		case e.Seen.File.Kind == "missing" && e.Moved:
			reasons = append(reasons, "no certificate at the new path yet")
		case e.Seen.File.Kind == "missing":
			reasons = append(reasons, "no certificate yet")
		case live != nil && live.Thumbprint == e.Certificate.Leaf.Thumbprint:
			reasons = append(reasons, "same certificate, other file")
		default:
			reasons = append(reasons, "new certificate")
		}
	}
	if e.Package.Installs() {
		reasons = append(reasons, "new version")
	}
	for _, w := range files {
		reasons = append(reasons, "new "+w.What)
	}
	return strings.Join(reasons, ", ")
}

// withOutcome returns e ended with outcome because of reason.
func (e Entry) withOutcome(outcome Outcome, reason *problem.Error) Entry {
	e.Outcome, e.Problem, e.Reason = outcome, reason, reason.Message
	return e
}

// outcomeOf returns the outcome of a host on which nothing was changed because of
// reason: unreachable without a connection, else refused.
func outcomeOf(reason *problem.Error) (Outcome, *problem.Error) {
	switch reason.Class {
	case problem.Unreachable, problem.Authentication, problem.HostKeyUnknown, problem.HostKeyChanged:
		return Unreachable, reason
	}
	return Refused, reason
}

// decideSameFile decides about a host that already has the right file. It restarts an
// agent that a restart may cure; a closed port and the user's command are left to status.
func decideSameFile(e Entry) Entry {
	is := "the file is right"
	if e.Package != nil {
		is = "version " + e.Package.Seen.Installed + " is installed"
	}
	right := is + ", but "
	why := e.Seen.Health(host.AsFound(e.Host.Health)).First()
	switch why.Kind {
	case host.Stopped:
		e.Outcome, e.Reason = Current, is+"; the agent is stopped"
	case host.Failing, host.Restarting:
		e.Action, e.Reason = Restart, right+"the agent has failed"
	case host.Exited, host.Restarted:
		e.Action, e.Reason = Restart, right+why.Message
	case host.Settling:
		return e.withOutcome(Refused, &problem.Error{Class: problem.AgentNotRunning,
			Message: "the " + e.wanted() + " is live already, but " + e.Host.Agent.Unit + " is " + e.Seen.Unit.Active,
			Hint:    "wait until the unit is active or inactive, then run this again"})
	default:
		return decideRunning(e, right)
	}
	return e
}

// decideRunning decides about a host whose agent runs and whose file is right, which right says.
func decideRunning(e Entry, right string) Entry {
	switch {
	case e.processIsOlder():
		e.Action, e.Reason = Restart, right+"the agent started before it changed"
	case e.Seen.Denied != "":
		hint := "register it for the agent's service principal, or rotate to a certificate that is registered"
		if !e.rotates() {
			hint = "see the agent's log; aoifleet doctor checks the host"
		}
		return e.withOutcome(Refused, &problem.Error{Class: problem.Unhealthy, Message: "the " + e.wanted() + " is live already, but the log says: " + e.Seen.Denied, Hint: hint})
	default:
		e.Outcome, e.Reason = Current, "already live"
	}
	return e
}

// Offline returns a plan without observing any host: the certificates and the waves.
func Offline(targets []Target, policy Policy) *Plan {
	p := &Plan{Policy: policy}
	for _, t := range targets {
		e := Entry{Target: t, Action: NotSeen, Reason: "not checked (--offline)"}
		switch {
		case t.Certificate == nil && t.Command != "":
			e.Reason += "; its certificate comes from a command"
		case t.Certificate == nil && t.Source != "":
			e.Reason += "; its certificate is in a Key Vault"
		case t.Certificate == nil:
			e.Reason += "; no certificate is named"
		}
		p.Entries = append(p.Entries, e)
	}
	p.hold()
	return p.withWaves()
}

// ToVerify returns the indexes of the entries whose certificate Azure should be asked
// about: those to be changed whose inventory wants it.
func (p *Plan) ToVerify() []int {
	var list []int
	for _, i := range p.due() {
		if p.Entries[i].Host.VerifyEntra && !p.Entries[i].FilesOnly && p.Entries[i].Certificate != nil {
			list = append(list, i)
		}
	}
	return list
}

// SkipVerify marks the entries of ToVerify as not verified.
func (p *Plan) SkipVerify() {
	for _, i := range p.ToVerify() {
		p.Entries[i].Verified = new(bool)
	}
}

// Verify enters the answers about the certificates, by the index of the entry; nil
// means accepted. If one is not accepted nothing is done on any host: the
// operator has to fix that certificate first.
func (p *Plan) Verify(answers map[int]*problem.Error) {
	for i, reason := range answers {
		e := &p.Entries[i]
		accepted := reason == nil
		e.Verified = &accepted
		if accepted {
			continue
		}
		p.Unaccepted = true
		outcome, reason := outcomeOf(reason)
		*e = e.withOutcome(outcome, reason)
	}
	if p.Unaccepted {
		p.skipAll("not started: the certificate of other hosts is not accepted")
	}
}

// skipAll skips every host that is to be changed, because of why.
func (p *Plan) skipAll(why string) {
	for _, i := range p.due() {
		p.Entries[i].Outcome, p.Entries[i].Action, p.Entries[i].Reason = Skipped, None, why
	}
	for i := range p.Entries {
		p.Entries[i].Wave = 0
	}
	p.Waves = nil
}
