package rollout

import (
	"fmt"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

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
