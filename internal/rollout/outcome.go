// Package rollout changes the certificates of a fleet: observations become a plan
// (pure), the plan is applied wave by wave within a failure budget (pure), and every
// selected host ends with one outcome.
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

// The outcomes of a host. An empty Outcome is that of a host that has not ended.
const (
	Rotated       Outcome = "rotated"
	Changed       Outcome = "changed"
	Upgraded      Outcome = "upgraded"
	Rehearsed     Outcome = "rehearsed"
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

// Outcomes lists all outcomes from good to bad, the order in which they are shown.
var Outcomes = []Outcome{Rotated, Changed, Upgraded, Rehearsed, Current, NotApplicable, Restored, Skipped, Unreachable, Refused, RolledBack, Unknown, Failed}

// IsWell reports whether a host with this outcome of a rotation needs nothing more.
func (o Outcome) IsWell() bool { return o.HasNew() || o == Current || o == NotApplicable }

// HasNew reports whether the run has changed the host, and what is new there is live.
func (o Outcome) HasNew() bool { return o == Rotated || o == Changed || o == Upgraded }

// Action is what a plan does on a host.
type Action string

// The actions of a plan.
const (
	Rotate  Action = "rotate"  // replace the certificate, and perhaps other files, and restart the agent
	Change  Action = "change"  // the same of other files than the certificate
	Upgrade Action = "upgrade" // install another version of the agent's package, perhaps with other files
	Restart Action = "restart" // the file is right, and the agent needs a restart
	Restore Action = "restore" // restore a backup
	Recover Action = "recover" // recover an interrupted run
	// Rehearse runs a rotation's steps on a copy of the file, without the restart.
	Rehearse Action = "rehearse"
	None     Action = "none"
)

// Installs reports whether the action puts new files or another package on the host.
func (a Action) Installs() bool { return a == Rotate || a == Change || a == Upgrade }

// Target is a selected host and the certificate that it should have.
type Target struct {
	Host        *inventory.Host // shared, never changed
	Source      string          // of the certificate: a file, keyvault://… or command: …; "" if none is named
	Command     string          // that prints the certificate, as in the inventory; "": another source
	Certificate *certificate.Certificate
	Files       []Wanted       // other files that it should have
	Paths       []string       // of Files that are observed by their paths, see host.ObserveOptions.Files
	Bytes       bool           // Files depend on what is in the files at Paths, see host.ObserveOptions.Bytes
	FilesOnly   bool           // whatever its certificate is, it stays
	Package     *WantedPackage // nil: its package stays
	// Next is what the new configuration says, and Provider whose certificate it names; nil:
	// the configuration stays, or names none.
	Next     *host.AgentConfig
	Provider *host.Provider
	// Moved is whether the new configuration names another path of the certificate than the present one.
	Moved bool
}

// Look is what one check of a target found: Seen may be nil when Err is not. An Entry keeps
// of Err only its Problem, so that a result is not taken for the end of some context later.
type Look struct {
	Seen *host.Observation
	Err  error
}

// Entry is one host in a plan. Outcome is set if nothing is to be done or can be
// done; Reason says why something is done or is not.
type Entry struct {
	Target
	Seen    *host.Observation
	Action  Action
	Reason  string
	Outcome Outcome
	Problem *problem.Error
	Backup  *host.Backup // for Restore
	Wave    int          // counted from 1; 0: in none
	// Window is when the host may begin. It is zero where that is not asked: nothing is to be
	// begun there, or windows are ignored.
	Window inventory.Opening
	// Verified is whether Azure accepts the certificate, asked before any host was
	// changed; false also if --skip-verify left that out. It is nil if the inventory
	// does not want that, or nothing is to be done.
	Verified *bool
	// unplanned is whether only a new plan can change the host, because the saved one excludes it.
	unplanned bool
}

// hostByUnitName returns the host with the unit's own name instead of an alias, once
// that is known: the state folder on the host has that name.
func (e Entry) hostByUnitName() inventory.Host {
	h := *e.Host
	h.Agent.Unit = e.unitName()
	return h
}

func (e Entry) unitName() string { return cmp.Or(e.unit().ID, e.Host.Agent.Unit) }

// Remarks returns what the operator should know about a host besides its outcome.
func (e Entry) Remarks() []string {
	if e.Seen == nil {
		return nil
	}
	var remarks []string
	if e.Seen.Note != "" {
		remarks = append(remarks, e.Seen.Note)
	}
	if e.Package != nil {
		remarks = append(remarks, e.Package.Seen.Notes...)
	}
	for _, w := range changing(e.Files) {
		remarks = append(remarks, w.Remarks...)
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
	Proof    string // uploaded, expected_line, log_clean, process_only; "" if nothing was started
	Known    bool   // the watch did not count denied lines, because the log had such lines before
	Notes    []string
	Evidence []string
	Steps    []host.Step
	// SettlesAt is when an unknown host will have recovered by itself, at the latest.
	// It is zero without a dead-man switch.
	SettlesAt time.Time
	// Confirmed is whether an unknown host had confirmed its change: only its state
	// since then is unknown.
	Confirmed   bool
	Diagnostics *Diagnostics // nil if none were downloaded
}

// note adds text to the notes, unless it is empty or among them already.
func (r *Result) note(text string) {
	if text != "" && !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// NotSeen is the action in a plan that was made offline.
const NotSeen Action = "unknown"

// Next is what the operator can do after a run.
type Next int

// The next steps.
const (
	SeeStatus Next = iota // check some hosts
	RunAgain              // the same command, for hosts that the run has not started
	Retry                 // the same command, for hosts that are not well
	AfterFix              // like Retry, but it is refused again until the cause is fixed, as the hint says
	PlanAgain             // a new plan, for hosts that the saved plan can't change
)

// NextStep is one next step. Its hosts are those of the run, without Whole.
type NextStep struct {
	Next  Next
	Hosts []string
	Whole bool // for all hosts of the run
}

// Next returns the next steps after a run; together they cover every host that is not well.
// RunAgain carries on: it includes the hosts that are done, which are the canary. If the run
// was stopped it does not: what was left then begins with another canary.
func (r *Run) Next() []NextStep {
	var done, left, toCheck, unwell, toFix, unplanned []string
	for _, res := range r.Results {
		switch name := res.Host.Name; {
		case res.unplanned:
			unplanned = append(unplanned, name)
		case res.Outcome == Skipped, res.Outcome == Restored && res.Action.Installs(): // undone because the run was stopped
			left = append(left, name)
			done = append(done, name)
		case res.Outcome == Unknown, res.Outcome == Failed:
			toCheck = append(toCheck, name)
			unwell = append(unwell, name)
		case needsFix(res):
			toFix = append(toFix, name)
		case res.Outcome == RolledBack, res.Outcome == Refused, res.Outcome == Unreachable:
			unwell = append(unwell, name)
		default:
			done = append(done, name)
		}
	}
	again := NextStep{RunAgain, left, false}
	if len(left) > 0 && !r.Stopped {
		again.Hosts, again.Whole = done, len(done) == len(r.Results)
	}
	steps := []NextStep{{SeeStatus, toCheck, false}, again, {Retry, unwell, false}, {AfterFix, toFix, false}, {PlanAgain, unplanned, false}}
	return slices.DeleteFunc(steps, func(s NextStep) bool { return len(s.Hosts) == 0 })
}

// needsFix reports whether something must be fixed first, as the hint says: the same
// command would be refused again.
func needsFix(res Result) bool {
	return res.Outcome == Refused && res.Problem != nil &&
		slices.Contains([]problem.Class{problem.Certificate, problem.Configuration, problem.Unhealthy}, res.Problem.Class)
}
