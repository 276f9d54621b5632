package rollout

// budget is the failure budget: spent once so many hosts have failed, it
// starts nothing more.
type budget struct {
	limit            int
	countUnreachable bool
	failed           int
}

// add counts an outcome.
func (b *budget) add(o Outcome) {
	switch o {
	case Failed, Unknown, RolledBack, Refused:
		b.failed++
	case Unreachable:
		if b.countUnreachable {
			b.failed++
		}
	}
}

func (b *budget) spent() bool { return b.failed >= b.limit }
