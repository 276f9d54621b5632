package rollout

import (
	"container/heap"
	"slices"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Wave is a set of hosts that end before the next wave starts.
type Wave struct {
	Number int // counted from 1 in the whole rotation, of which earlier runs may have done some waves
	Canary bool
	Hosts  []int // indexes of Plan.Entries, in the inventory's order
}

// waves divides the hosts that are due: first the canary, then batches. The last batch
// size is repeated. Percentages are of all that are due.
func waves(due []int, canary int, batches []inventory.Amount) []Wave {
	var list []Wave
	rest := due
	take := func(n int, isCanary bool) {
		n = min(n, len(rest))
		list = append(list, Wave{Number: len(list) + 1, Canary: isCanary, Hosts: slices.Clip(rest[:n])})
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

// MostWaves returns the largest number of waves of a rotation of up to hosts hosts.
func MostWaves(policy inventory.Rollout, hosts int) int {
	most, last := min(policy.Canary, 1), policy.Batches[len(policy.Batches)-1]
	most += len(policy.Batches) - 1
	// A percentage of fewer hosts is rounded up more often, so it is asked about 100.
	of := hosts
	if last.IsPercent() {
		of = 100
	}
	size := last.Of(of)
	return max(1, min(most+(of+size-1)/size, hosts))
}

// inCanary reports whether the wave with the number n is a canary; 0 is no wave.
func (p *Plan) inCanary(n int) bool { return n == 1 && p.Policy.Canary > 0 }

// From returns the waves with the number n and higher ones.
func (p *Plan) From(n int) []Wave {
	return slices.DeleteFunc(slices.Clone(p.Waves), func(w Wave) bool { return w.Number < n })
}

// due returns the indexes of the entries on which something is to be done.
func (p *Plan) due() []int {
	var list []int
	for i, e := range p.Entries {
		if e.Outcome == "" {
			list = append(list, i)
		}
	}
	return list
}

// withWaves divides the plan's hosts into waves by its policy.
func (p *Plan) withWaves() *Plan {
	p.divide(func(i int) bool { return p.Entries[i].Outcome == "" })
	return p
}

// divide divides the hosts that are due into waves. It counts what earlier runs of the same
// rotation have changed, so that this run carries on where they ended: a wave of which
// nothing is due is left out, and the others keep their numbers.
func (p *Plan) divide(isDue func(i int) bool) {
	p.Waves = nil
	for i := range p.Entries {
		p.Entries[i].Wave = 0
	}
	for _, w := range waves(p.members(isDue), p.Policy.Canary, p.Policy.Batches) {
		for _, i := range w.Hosts {
			p.Entries[i].Wave = w.Number
		}
		if w.Hosts = slices.DeleteFunc(slices.Clone(w.Hosts), func(i int) bool { return !isDue(i) }); len(w.Hosts) > 0 {
			p.Waves = append(p.Waves, w)
		}
	}
}

// withOneWave puts all hosts into one wave, for a rollback or a recovery: what they
// restore has been in use before, and should not wait.
func (p *Plan) withOneWave() *Plan {
	p.Policy.Canary, p.Policy.Batches, p.Policy.Soak = 0, nil, 0
	p.Policy.Until, p.Policy.PauseAfter, p.Policy.UndoAll = 0, "", false
	return p.withWaves()
}

// queue is the order of hosts: first come, first served, except that hosts whose domain
// is full wait without delaying the others. Each step takes the logarithm of the number
// of domains.
type queue struct {
	lines map[domain]*line
	all   []*line // of lines, in the order of their first hosts
	ready lines   // those with a waiting host and room, by the turn of that host
}

// line is the waiting hosts of one domain.
type line struct {
	domain domain
	hosts  []int
	turns  []int // the place of each host in the whole queue
	busy   int
	ready  bool
}

// newQueue returns a queue of hosts in this order. held says how many places of a
// domain are never given back.
func newQueue(hosts []int, domainOf func(i int) domain, held map[domain]int) *queue {
	q := &queue{lines: map[domain]*line{}}
	for turn, i := range hosts {
		d := domainOf(i)
		l := q.lines[d]
		if l == nil {
			l = &line{domain: d, busy: held[d]}
			q.lines[d], q.all = l, append(q.all, l)
		}
		l.hosts, l.turns = append(l.hosts, i), append(l.turns, turn)
	}
	for _, l := range q.all {
		q.offer(l)
	}
	return q
}

// offer adds a line to the ready ones if it has a waiting host and room.
func (q *queue) offer(l *line) {
	if room := l.domain.limit == 0 || l.busy < l.domain.limit; !l.ready && room && len(l.hosts) > 0 {
		l.ready = true
		heap.Push(&q.ready, l)
	}
}

// next takes the first host that may start; ok is false if none may now.
func (q *queue) next() (i int, d domain, ok bool) {
	if len(q.ready) == 0 {
		return 0, domain{}, false
	}
	l := heap.Pop(&q.ready).(*line)
	l.ready = false
	i = l.hosts[0]
	l.hosts, l.turns = l.hosts[1:], l.turns[1:]
	l.busy++
	q.offer(l)
	return i, l.domain, true
}

// waits reports whether a host may start now.
func (q *queue) waits() bool { return len(q.ready) > 0 }

// release gives back the place of a host of the domain.
func (q *queue) release(d domain) {
	l := q.lines[d]
	l.busy--
	q.offer(l)
}

// waiting returns the hosts that still wait.
func (q *queue) waiting() []int {
	var hosts []int
	for _, l := range q.all {
		hosts = append(hosts, l.hosts...)
	}
	return hosts
}

// lines is a heap by the turn of each line's first host.
type lines []*line

func (s lines) Len() int           { return len(s) }
func (s lines) Less(i, j int) bool { return s[i].turns[0] < s[j].turns[0] }
func (s lines) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push is heap.Interface.
func (s *lines) Push(x any) { *s = append(*s, x.(*line)) }

// Pop is heap.Interface.
func (s *lines) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	*s = (*s)[:last]
	return l
}
