package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Policy is how a plan is applied, by the inventory and the command line.
type Policy struct {
	inventory.Rollout

	Force      bool  // also with a certificate that looks wrong
	NoDeadman  bool  // do not arm the hosts' dead-man switch
	UndoAll    bool  // undo what the run has rotated if the budget stops it
	PauseAfter Pause // call Runner.Ask before the next wave
	Until      int   // end after this wave; 0: the last
	// RequireProof is the proof without which an agent is unhealthy: Uploaded, LogClean; "": none.
	RequireProof string

	Now          time.Time // when the plan is made
	Hold         bool      // skip the hosts that are outside their windows then
	IgnoreWindow string    // why hosts are changed outside their windows; "": they are not
}

// Pause is after which waves the operator is asked.
type Pause string

// The pauses.
const (
	NoPause     Pause = ""
	AfterCanary Pause = "canary"
	AfterWave   Pause = "wave"
)

// The proofs that a rotation may require.
const (
	Uploaded = "uploaded"  // the agent says that it has uploaded something
	LogClean = "log_clean" // the agent has written to its log, and no denied line
)

// decide decides about one host in a rotation. It refuses a host that can't have the proof
// that is required, before its agent is restarted in vain.
func (p Policy) decide(t Target, look Look) Entry {
	e := decide(t, look, p.Force)
	if e.Outcome != "" || p.RequireProof == "" || e.Seen.Unit.Active == "inactive" {
		return e
	}
	reason := &problem.Error{Class: problem.Configuration}
	switch {
	case p.RequireProof == Uploaded && len(e.uploaders()) == 0:
		reason.Message = "no pipeline of the agent can prove an upload: none has an sftp_pull source and this certificate"
		reason.Hint = "use --require-proof " + LogClean + " for such hosts"
	case e.Seen.Note != "":
		reason.Message, reason.Hint = "the helper on the host may not know --require-proof: it has another version than this program", "aoifleet install-helper"
	default:
		return e
	}
	e.Action = None
	return e.withOutcome(Refused, reason)
}

// domain is a failure domain: at most limit of its hosts are restarted at once.
type domain struct {
	name  string
	limit int // 0: no limit but Policy.Parallel
}

// domainOf returns the failure domain of a host. If the inventory names none, hosts
// whose agent has an MCC EDR source are restarted one at a time in each group: such an
// agent drops records during a restart, and the vendor asks for that.
func (p Policy) domainOf(e Entry) domain {
	switch label := p.MaxUnavailable.Label; {
	case e.Action == Rehearse: // no agent is restarted
		return domain{}
	case label != "":
		value, has := e.Host.Labels[label]
		if !has {
			return domain{"host " + e.Host.Name, p.MaxUnavailable.Count}
		}
		return domain{label + "=" + value, p.MaxUnavailable.Count}
	case e.Seen != nil && (e.Seen.Config.ListenerPort != 0 || e.Next != nil && e.Next.ListenerPort != 0):
		return domain{"group " + e.Host.Group, 1}
	}
	return domain{}
}

// Limit is what bounds the restarts of a plan besides Policy.Parallel.
type Limit struct {
	Label   string // of max_unavailable_per; "": the default for MCC EDR sources
	Count   int    // hosts of a domain that may restart at once
	Hosts   int    // in domains with more hosts than that
	Domains int    // the number of these
}

// Limit returns what bounds the restarts of the plan; without Hosts nothing waits for it.
func (p *Plan) Limit() Limit {
	l := Limit{Label: p.Policy.MaxUnavailable.Label, Count: max(p.Policy.MaxUnavailable.Count, 1)}
	domains := map[domain]int{}
	for _, i := range p.due() {
		domains[p.Policy.domainOf(p.Entries[i])]++
	}
	for d, n := range domains {
		if d.limit > 0 && n > d.limit {
			l.Hosts, l.Domains = l.Hosts+n, l.Domains+1
		}
	}
	return l
}

// budget is the failure budget. When limit hosts have failed it is spent, and the run
// starts nothing more.
type budget struct {
	limit  int
	counts func(Outcome) bool
	failed int
	canary bool // a canary is not healthy with the new certificate, or none was changed
}

// Counts reports whether a host with this outcome counts for the failure budget.
func (p Policy) Counts(o Outcome) bool {
	switch o {
	case Failed, Unknown, RolledBack, Refused:
		return true
	}
	return o == Unreachable && p.CountUnreachable
}

// add counts the outcome of a host. A canary that fails after a change spends the
// budget at once.
func (b *budget) add(o Outcome, canary bool) {
	if canary && (o == Failed || o == Unknown || o == RolledBack) {
		b.canary = true
	}
	if b.counts(o) {
		b.failed++
	}
}

func (b *budget) spent() bool { return b.canary || b.failed >= b.limit }

// Warning is a safeguard that a plan omits, or what would stop it. Name is for programs.
type Warning struct{ Name, Message string }

// The names of warnings.
const (
	WithoutDeadman = "no_deadman"
	Forced         = "force"
	NotVerified    = "skip_verify"
	NoJournal      = "no_journal"

	WindowIgnored    = "ignore_window"
	EndsBeforeWindow = "ends_before_window"
)

// Warnings returns the safeguards that the plan omits and what would stop it, to be shown before the operator
// is asked; if there is nothing to change, only those about the windows.
func (p *Plan) Warnings() []Warning {
	list := p.windowWarnings()
	if p.Changes() == 0 {
		return list
	}
	if p.Policy.NoDeadman {
		list = append(list, Warning{WithoutDeadman, "WITHOUT dead-man switch: a host that loses contact or reboots does not undo the change by itself (--no-deadman)"})
	}
	if p.Policy.Force {
		list = append(list, Warning{Forced, p.forceMessage()})
	}
	skipped := 0
	for _, i := range p.due() {
		if v := p.Entries[i].Verified; v != nil && !*v {
			skipped++
		}
	}
	if skipped > 0 {
		list = append(list, Warning{NotVerified, fmt.Sprintf("WITHOUT verification: Azure was not asked about the new certificate of %s (--skip-verify)", inventory.HostCount(skipped))})
	}
	if p.Policy.IgnoreWindow != "" {
		list = append(list, p.ignored())
	}
	return append(list, p.Local...)
}

// forceMessage says what --force allows in this plan.
func (p *Plan) forceMessage() string {
	const certificate, file = "a certificate that expires no later than the live one, or that several service principals would share", "an error or a danger in a new file"
	files := slices.ContainsFunc(p.Entries, func(e Entry) bool { return len(e.Files) > 0 })
	switch {
	case p.ignoreRefusals:
		return "--force: also where a file was replaced again since, where the saved certificate has expired, or where there was none"
	case slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Package != nil }):
		return "--force: also to a lower version, or with " + file
	case slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.FilesOnly }):
		return "--force: also with " + file
	case files:
		return "--force: also with " + certificate + ", or with " + file
	}
	return "--force: also with " + certificate
}
