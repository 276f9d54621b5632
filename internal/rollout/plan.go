package rollout

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Policy is what the inventory and the command line say about how to go about
// it.
type Policy struct {
	Parallel         int                 // restarts at once
	MaxFailures      func(hosts int) int // the run stops when so many have failed
	CountUnreachable bool
	Force            bool // also where the certificate looks like the wrong one
	NoDeadman        bool // do not arm the hosts' dead-man switch

	Canary         int // hosts of the first wave; 0: no canary
	Batches        []inventory.Amount
	Soak           time.Duration // watched on between two waves
	MaxUnavailable inventory.Unavailable

	UndoAll    bool  // undo what the run has rotated when the budget stops it
	PauseAfter Pause // ask Runner.Ask whether to go on
	Until      int   // end after this wave; 0: the last
}

// Pause is after which waves somebody is asked.
type Pause string

// The pauses.
const (
	NoPause     Pause = ""
	AfterCanary Pause = "canary"
	AfterWave   Pause = "wave"
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
func heldBy(r host.Receipt) *host.Problem {
	p := &host.Problem{Class: "locked", Message: fmt.Sprintf("run %s of %s is at work on this host", r.Run, r.Owner), Hint: "wait until it has ended"}
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
		return e.stop(Refused, &host.Problem{Class: "configuration", Message: "no certificate is named for this host",
			Hint: "set certificate: in the inventory, or use --certificate FILE"})
	}
	if r, unfinished := e.Seen.Unfinished(); unfinished {
		e.Action, e.Reason = Rotate, "run "+r.Run+" was interrupted here; it is settled first"
		return e
	}
	for _, check := range []func(Entry) *host.Problem{fileProblem, unitProblem} {
		if problem := check(e); problem != nil {
			return e.stop(Refused, problem)
		}
	}
	if e.Seen.File.Digest == t.Certificate.Digest() {
		return decideSame(e)
	}
	if problem := certificateProblem(e); problem != nil && !force {
		return e.stop(Refused, problem)
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

func (e Entry) stop(outcome Outcome, problem *host.Problem) Entry {
	e.Outcome, e.Problem, e.Reason = outcome, problem, problem.Message
	return e
}

// failedLook: without a connection a host is unreachable, with one it refused.
func failedLook(problem *host.Problem) (Outcome, *host.Problem) {
	switch problem.Class {
	case "unreachable", "authentication", "host_key_unknown", "host_key_changed":
		return Unreachable, problem
	}
	return Refused, problem
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
		return e.stop(Refused, &host.Problem{Class: "agent_not_running", Message: "the certificate is live already, but " + e.Host.Agent.Unit + " is " + e.Seen.Unit.Active,
			Hint: "run this again when the unit has come to rest"})
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
		return e.stop(Refused, &host.Problem{Class: "unhealthy", Message: "the certificate is live already, but the log says: " + e.Seen.Denied,
			Hint: "is the certificate registered for the agent's service principal? rotate to one that is"})
	default:
		e.Outcome, e.Reason = Current, "already live"
	}
	return e
}

// fileProblem: a file that can't or must not be replaced, or no room for it.
func fileProblem(e Entry) *host.Problem {
	if problem := e.Seen.File.Problem(); problem != nil {
		return problem
	}
	return e.Seen.SpaceProblem()
}

// unitProblem: a unit that a person stopped or disabled is left alone, unless
// the inventory says otherwise. A unit that has failed is not: the new
// certificate may be the cure.
func unitProblem(e Entry) *host.Problem {
	u, name := e.Seen.Unit, e.Host.Agent.Unit
	if problem := u.LoadProblem(name); problem != nil {
		return problem
	}
	replace := e.Host.Agent.WhenStopped == "replace"
	if problem := u.Oneshot(name); problem != nil && !(replace && u.Active == "inactive") {
		return problem
	}
	switch {
	case replace:
		return nil
	case u.Active == "inactive":
		return &host.Problem{Class: "agent_not_running", Message: name + " is stopped", Hint: "start it, or set agent.when_stopped: replace to replace the file and start nothing"}
	case u.File == "disabled":
		return &host.Problem{Class: "agent_not_running", Message: name + " is disabled", Hint: "enable it, or set agent.when_stopped: replace"}
	}
	return nil
}

// certificateProblem: a certificate that is valid, but wrong for this host.
func certificateProblem(e Entry) *host.Problem {
	leaf, clock := e.Certificate.Leaf, e.Seen.Clock
	at := clock.UTC().Format("2006-01-02 15:04")
	switch live := e.Seen.Live; {
	case clock.IsZero():
		return &host.Problem{Class: "certificate", Message: "the host's clock can't be told, so neither can the certificate's validity there"}
	case clock.Before(leaf.NotBefore):
		return &host.Problem{Class: "certificate", Message: "by the host's clock (" + at + ") the certificate is not valid yet", Hint: "compare the host's clock with yours"}
	case clock.After(leaf.NotAfter):
		return &host.Problem{Class: "certificate", Message: "by the host's clock (" + at + ") the certificate has expired", Hint: "compare the host's clock with yours"}
	case live != nil && live.Thumbprint != leaf.Thumbprint && !leaf.NotAfter.After(live.NotAfter):
		return &host.Problem{Class: "certificate",
			Message: fmt.Sprintf("the new certificate expires on %s, no later than the live one (%s)", leaf.NotAfter.Format(time.DateOnly), live.NotAfter.Format(time.DateOnly)),
			Hint:    "is it the right file? --force rotates all the same"}
	}
	return nil
}

// refuseMixed refuses one certificate for several service principals: for all
// but one of them it must be the wrong one, and which can't be told from here.
func refuseMixed(entries []Entry) {
	clients := map[string]map[string]bool{}
	for _, e := range entries {
		if id := clientID(e); id != "" {
			thumb := e.Certificate.Leaf.Thumbprint
			if clients[thumb] == nil {
				clients[thumb] = map[string]bool{}
			}
			clients[thumb][id] = true
		}
	}
	for i, e := range entries {
		ids := clients[thumbprintOf(e)]
		if e.Outcome != "" || len(ids) < 2 || clientID(e) == "" {
			continue
		}
		entries[i] = e.stop(Refused, &host.Problem{Class: "certificate",
			Message: "one certificate for several service principals: client_id " + listed(ids),
			Hint:    "give each its own (certificate: in a group, or certs/{name}.p12.b64), or use --force if it is registered for all of them"})
		entries[i].Action = None
	}
}

func thumbprintOf(e Entry) string {
	if e.Certificate == nil {
		return ""
	}
	return e.Certificate.Leaf.Thumbprint
}

func clientID(e Entry) string {
	if e.Certificate == nil || e.Seen == nil || e.Seen.Provider == nil {
		return ""
	}
	return strings.ToLower(e.Seen.Provider.ClientID) // a GUID, in any case
}

// listed names at most three of a set, sorted.
func listed(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	sort.Strings(all)
	if len(all) > 3 {
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}
