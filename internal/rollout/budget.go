package rollout

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
