// Package rollout takes a fleet through a rotation: what was seen becomes a
// plan (pure), the plan is applied host by host within a failure budget (pure),
// and every selected host ends with one truthful outcome.
package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Outcome is how a host ended; docs/reference.md defines each.
type Outcome string

// The outcomes of a host. The empty Outcome is a host not decided yet.
const (
	Rotated       Outcome = "rotated"
	Current       Outcome = "current"
	NotApplicable Outcome = "not_applicable"
	Restored      Outcome = "restored"
	RolledBack    Outcome = "rolled_back"
	Refused       Outcome = "refused"
	Unreachable   Outcome = "unreachable"
	Skipped       Outcome = "skipped"
	Unknown       Outcome = "unknown"
	Failed        Outcome = "failed"
)

// Outcomes lists them from good to bad, the order in which they are counted.
var Outcomes = []Outcome{Rotated, Current, NotApplicable, Restored, Skipped, Unreachable, Refused, RolledBack, Unknown, Failed}

// Action is what a plan wants of a host.
type Action string

// The actions of a plan.
const (
	Rotate  Action = "rotate"  // swap the file and restart the agent
	Restart Action = "restart" // the file is right, the process older than it
	Restore Action = "restore" // a backup goes back
	Recover Action = "recover" // an interrupted run is settled
	None    Action = "none"
)

// Target is a selected host and the certificate that it shall have.
type Target struct {
	Host        *inventory.Host // shared by all that is said of it, never changed
	Source      string          // of the certificate: a file or keyvault://…; "": none is named
	Certificate *certificate.Certificate
}

// Look is what one check of a target found: Seen may be nil when Err is not. An Entry keeps
// of Err only its Problem, so that a result is not taken for the end of some context later.
type Look struct {
	Seen *host.Observation
	Err  error
}

// Entry is one host in a plan. Outcome is set where there is nothing to do or
// nothing can be done; Reason says why in either case.
type Entry struct {
	Target
	Seen    *host.Observation
	Action  Action
	Reason  string
	Outcome Outcome
	Problem *problem.Error
	Backup  *host.Backup // of Restore
	Wave    int          // counted from 1; 0: in none
	// Verified is whether Azure was asked about the certificate, before any host was
	// touched, and accepts it; nil: the inventory does not want that, or nothing is
	// to be done.
	Verified *bool
}

// at is the host with the unit called by its own name, once that is known: its
// folder on the host has that name, whoever asks.
func (e Entry) at() inventory.Host {
	h := *e.Host
	h.Agent.Unit = e.unitName()
	return h
}

func (e Entry) unitName() string { return cmp.Or(e.unit().ID, e.Host.Agent.Unit) }

// Remarks are what a person should know of a host beside its outcome.
func (e Entry) Remarks() []string {
	if e.Seen == nil {
		return nil
	}
	var remarks []string
	if e.Seen.Note != "" {
		remarks = append(remarks, e.Seen.Note)
	}
	if name := e.unitName(); name != e.Host.Agent.Unit {
		remarks = append(remarks, e.Host.Agent.Unit+" is an alias of "+name+" on the host")
	}
	if slow := e.Seen.Unit.SlowProblem(e.unitName(), e.Host.Health.Timeout); slow != nil && e.Outcome == "" && e.Action != "" && e.Action != None {
		remarks = append(remarks, slow.Message+": "+slow.Hint)
	}
	return remarks
}

// Result is one host at the end of a run.
type Result struct {
	Entry
	Proof    string // expected_line, log_clean, process_only; "" where nothing was started
	Known    bool   // the watch did not count denied lines, because the log had such lines before
	Notes    []string
	Evidence []string
	Steps    []host.Step
	// SettlesAt is when an unknown host will have settled by itself; zero: it
	// has no dead-man switch.
	SettlesAt time.Time
	// Confirmed: an unknown host whose transaction has ended well; what became
	// of it since can't be told.
	Confirmed   bool
	Diagnostics *Diagnostics // nil: none came home
}

// note adds to the notes what is not "" and not there yet.
func (r *Result) note(text string) {
	if text != "" && !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// Event is a change of a host's state, for whoever draws progress. Outcome is
// set when the host has ended; it may be set again, to a worse one. Without a
// Host it is one of a wave: "wave" when it begins, "soak" when its soak does.
type Event struct {
	Host    string
	Wave    int
	Step    string // observe, stage, then host.sh's own; "": nothing is going on
	Outcome Outcome
	Problem *problem.Error
	Proof   string
	// Done and Total are the bytes of a "download"; without a Step it has ended.
	Done, Total int64
	// Soak is how long a "soak" lasts.
	Soak time.Duration
}

// NotSeen is the action of a plan that was made without looking.
const NotSeen Action = "unknown"

// Next is what an operator does after a run.
type Next int

// What comes next.
const (
	NoNext    Next = iota
	RunAgain       // the same command, for some hosts
	SeeStatus      // look at what has become of some hosts
)

// Next decides what goes on after a run that left hosts undone, and for which hosts: without
// the bad ones where it was stopped, with them where they are all that is left.
func (r *Run) Next() (next Next, hosts []string) {
	var bad, skipped, unsettled []string
	for _, res := range r.Results {
		switch res.Outcome {
		case Skipped:
			skipped = append(skipped, res.Host.Name)
		case Restored:
			if res.Action == Rotate { // undone with the rest of its run
				skipped = append(skipped, res.Host.Name)
			}
		case Unknown, Failed:
			unsettled = append(unsettled, res.Host.Name)
		case RolledBack, Refused, Unreachable:
			if !needsMore(res) {
				bad = append(bad, res.Host.Name)
			}
		}
	}
	switch {
	case len(unsettled) > 0:
		return SeeStatus, unsettled
	case len(skipped) > 0:
		return RunAgain, skipped
	case len(bad) > 0:
		return RunAgain, bad
	}
	return NoNext, nil
}

// needsMore tells whether something about the host has to be fixed first, as its hint says;
// the same command would be refused again.
func needsMore(res Result) bool {
	return res.Outcome == Refused && res.Problem != nil &&
		slices.Contains([]problem.Class{problem.Certificate, problem.Configuration, problem.Unhealthy}, res.Problem.Class)
}
