package rollout

import (
	"slices"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Wave is a set of hosts that are done before the next set is begun.
type Wave struct {
	Canary bool
	Hosts  []int // of Plan.Entries, in the inventory's order
}

// waves divides the hosts that are due: first the canary, then batches, the
// last amount again until none is left. Percentages are of all that are due.
func waves(due []int, canary int, batches []inventory.Amount) []Wave {
	var list []Wave
	rest := due
	take := func(n int, isCanary bool) {
		n = min(n, len(rest))
		list = append(list, Wave{Canary: isCanary, Hosts: slices.Clip(rest[:n])})
		rest = rest[n:]
	}
	if canary > 0 && len(rest) > 0 {
		take(canary, true)
	}
	for i := 0; len(rest) > 0; i++ {
		size := len(rest)
		if len(batches) > 0 {
			size = batches[min(i, len(batches)-1)].Of(len(due))
		}
		take(size, false)
	}
	return list
}

// inCanary tells whether wave n, counted from 1, is a canary; 0 is none.
func (p *Plan) inCanary(n int) bool { return n > 0 && n <= len(p.Waves) && p.Waves[n-1].Canary }

// due are the hosts on which there is something to do.
func (p *Plan) due() []int {
	var list []int
	for i, e := range p.Entries {
		if e.Outcome == "" {
			list = append(list, i)
		}
	}
	return list
}

// inWaves divides the plan's hosts as its policy wants it.
func (p *Plan) inWaves() *Plan {
	p.Waves = waves(p.due(), p.Policy.Canary, p.Policy.Batches)
	for n, w := range p.Waves {
		for _, i := range w.Hosts {
			p.Entries[i].Wave = n + 1
		}
	}
	return p
}

// inOneWave is for the way back: what is restored is known, and every minute
// that it waits is one in which it is not.
func (p *Plan) inOneWave() *Plan {
	p.Policy.Canary, p.Policy.Batches, p.Policy.Soak = 0, nil, 0
	p.Policy.Until, p.Policy.PauseAfter, p.Policy.UndoAll = 0, "", false
	return p.inWaves()
}
