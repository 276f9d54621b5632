package rollout

import (
	"cmp"
	"slices"
	"time"
)

// Cost is what a run takes besides its waits.
type Cost struct {
	Turn     time.Duration // of a host, without the health window: backup, swap, restart, confirmation
	Measured bool          // in earlier runs; else it is assumed
	Install  time.Duration // of a host on which a package is installed, more than Turn
}

// AssumedCost is the cost where no earlier run is known.
var AssumedCost = Cost{Turn: 3 * time.Second, Install: 20 * time.Second}

// rehearsalTurn is how long a host is rehearsed; the timer takes most of it.
const rehearsalTurn = 10 * time.Second

// Estimate returns how long a run takes from its start, if no host fails: the turns of
// all hosts in the order in which they would start, with health.proof_timeout, and the soaks. The answers to questions
// and health.expect are not included.
func (p *Plan) Estimate(cost Cost) time.Duration {
	turn := func(i int) time.Duration {
		switch e := p.Entries[i]; {
		case e.Action == Rehearse:
			return rehearsalTurn
		case e.Seen != nil && e.Seen.Unit.Active == "inactive": // nothing is started
			return cost.Turn
		case e.Package.Installs():
			return cost.Turn + cost.Install + e.longestWatch()
		default:
			return cost.Turn + e.longestWatch()
		}
	}
	total := time.Duration((p.Changes()+maxConnections-1)/maxConnections) * time.Second // the certificates are copied
	total += p.span(slices.DeleteFunc(p.due(), func(i int) bool { return !p.isRecoveredFirst(i) }), turn)
	for _, w := range p.until() {
		total += p.span(w.Hosts, turn)
	}
	if total += time.Duration(p.Soaks()) * p.Policy.Soak; total < 0 { // more than int64 has
		return longestEstimate
	}
	return min(total, longestEstimate)
}

// longestWatch returns how long the watch after the restart of a healthy agent takes at most:
// an upload that ends it may come at once.
func (e Entry) longestWatch() time.Duration {
	if e.Seen == nil || len(e.uploaders()) == 0 || e.Backup != nil {
		return e.Host.Health.Window
	}
	return e.Host.Health.Window + e.Host.Health.ProofTimeout
}

// longestEstimate bounds an estimate: 100,000 hosts that each are watched and soak for a day
// take more nanoseconds than a time.Duration has.
const longestEstimate = 100 * 365 * 24 * time.Hour

// until returns the waves up to Policy.Until.
func (p *Plan) until() []Wave {
	return slices.DeleteFunc(slices.Clone(p.Waves), func(w Wave) bool { return p.Policy.Until > 0 && w.Number > p.Policy.Until })
}

// Soaks returns how many waves soak: all but the last of the plan.
func (p *Plan) Soaks() int {
	if p.Policy.Soak == 0 {
		return 0
	}
	return min(len(p.until()), max(len(p.Waves)-1, 0))
}

// isRecoveredFirst reports whether an interrupted run is recovered on host i before its turn.
func (p *Plan) isRecoveredFirst(i int) bool {
	e := p.Entries[i]
	if e.Seen == nil || e.Action == Recover {
		return false
	}
	_, unfinished := e.Seen.Unfinished()
	return unfinished
}

// span returns how long apply.inTurn takes for hosts, by the same queue.
func (p *Plan) span(hosts []int, turn func(i int) time.Duration) time.Duration {
	type going struct {
		until  time.Duration
		domain domain
	}
	var running []going // by until
	q := newQueue(hosts, func(i int) domain { return p.Policy.domainOf(p.Entries[i]) }, nil)
	for now := time.Duration(0); ; {
		for len(running) < p.Policy.Parallel {
			i, d, ok := q.next()
			if !ok {
				break
			}
			g := going{now + turn(i), d}
			at, _ := slices.BinarySearchFunc(running, g, func(a, b going) int { return cmp.Compare(a.until, b.until) })
			running = slices.Insert(running, at, g)
		}
		if len(running) == 0 {
			return now
		}
		now = running[0].until
		q.release(running[0].domain)
		running = running[1:]
	}
}
