package rollout

import (
	"fmt"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Policy is what the inventory and the command line say about how a run is carried out.
type Policy struct {
	inventory.Rollout

	Force      bool  // also where the certificate looks like the wrong one
	NoDeadman  bool  // do not arm the hosts' dead-man switch
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

// domain is what fails together: no more than limit of its hosts may be in
// mid-restart at once.
type domain struct {
	name  string
	limit int // 0: no limit of its own
}

// domainOf tells to which failure domain a host belongs. Where the inventory
// does not say, an agent with an MCC EDR source drops records while it
// restarts, and the vendor wants one at a time; one that pulls does not.
func (p Policy) domainOf(e Entry) domain {
	switch label := p.MaxUnavailable.Label; {
	case label != "":
		value, has := e.Host.Labels[label]
		if !has {
			return domain{"host " + e.Host.Name, p.MaxUnavailable.Count}
		}
		return domain{label + "=" + value, p.MaxUnavailable.Count}
	case e.Seen != nil && e.Seen.Config.ListenerPort != 0:
		return domain{"group " + e.Host.Group, 1}
	}
	return domain{}
}

// Pace says how a wave's hosts are held apart and why; "" where only
// Policy.Parallel does.
func (p *Plan) Pace(w Wave) string {
	if len(w.Hosts) < 2 {
		return ""
	}
	if u := p.Policy.MaxUnavailable; u != (inventory.Unavailable{}) {
		return fmt.Sprintf("at most %d of each %s at once (max_unavailable_per)", u.Count, u.Label)
	}
	bounded := 0
	for _, i := range w.Hosts {
		if p.Policy.domainOf(p.Entries[i]).limit > 0 {
			bounded++
		}
	}
	switch {
	case bounded == 0:
		return ""
	case bounded < len(w.Hosts):
		return "those with an MCC EDR source one at a time in each group: they drop records while they restart"
	}
	return "one at a time in each group: MCC EDR sources drop records while they restart"
}

// budget is the failure budget: spent once so many hosts have failed, it
// starts nothing more.
type budget struct {
	limit            int
	countUnreachable bool
	failed           int
	canary           bool // a host of the canary was changed and did not get well
}

// add counts the outcome of a host, of the canary or not. A canary that fails
// has said what it is there to say, whatever else the budget allows.
func (b *budget) add(o Outcome, canary bool) {
	if canary && (o == Failed || o == Unknown || o == RolledBack) {
		b.canary = true
	}
	switch o {
	case Failed, Unknown, RolledBack, Refused:
		b.failed++
	case Unreachable:
		if b.countUnreachable {
			b.failed++
		}
	}
}

func (b *budget) spent() bool { return b.canary || b.failed >= b.limit }

// Warning is a safeguard that a plan goes without. Name is for programs.
type Warning struct{ Name, Message string }

// The names of warnings.
const (
	WithoutDeadman = "no_deadman"
	Forced         = "force"
	NotVerified    = "skip_verify"
)

// Warnings are the safeguards that the plan goes without, to be shown before the
// question; none where there is nothing to change.
func (p *Plan) Warnings() []Warning {
	if p.Changes() == 0 {
		return nil
	}
	var list []Warning
	if p.Policy.NoDeadman {
		list = append(list, Warning{WithoutDeadman, "WITHOUT dead-man switch: a host on which the run breaks off, or that reboots, does not undo it by itself (--no-deadman)"})
	}
	if p.Policy.Force {
		list = append(list, Warning{Forced, forced(p.lenient)})
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
	return list
}

func forced(back bool) string {
	if back {
		return "--force: also where the certificate was replaced again since, where the saved one has expired, or where there was none"
	}
	return "--force: also with a certificate that expires no later than the live one, or that several service principals would share"
}
