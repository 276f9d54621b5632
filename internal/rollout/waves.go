package rollout

import (
	"container/heap"
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

// queue is who is next: first come, first served, but for hosts whose domain
// has no room, which wait without holding up the others. Each step costs the
// logarithm of the number of domains.
type queue struct {
	lines map[domain]*line
	open  lines // those that have somebody waiting and room, by whose turn is first
}

// line is the hosts of one domain that wait.
type line struct {
	domain domain
	hosts  []int
	turns  []int // of each: its place in the whole queue
	busy   int
	open   bool
}

// newQueue lets hosts wait in this order. held says how many places of a domain
// are taken for good.
func newQueue(hosts []int, domainOf func(i int) domain, held map[domain]int) *queue {
	q := &queue{lines: map[domain]*line{}}
	for turn, i := range hosts {
		d := domainOf(i)
		l := q.lines[d]
		if l == nil {
			l = &line{domain: d, busy: held[d]}
			q.lines[d] = l
		}
		l.hosts, l.turns = append(l.hosts, i), append(l.turns, turn)
	}
	for _, l := range q.lines {
		q.offer(l)
	}
	return q
}

// offer puts a line among the open ones if it has somebody waiting and room.
func (q *queue) offer(l *line) {
	if room := l.domain.limit == 0 || l.busy < l.domain.limit; !l.open && room && len(l.hosts) > 0 {
		l.open = true
		heap.Push(&q.open, l)
	}
}

// next takes the first host that may begin; false: none may now.
func (q *queue) next() (i int, d domain, ok bool) {
	if len(q.open) == 0 {
		return 0, domain{}, false
	}
	l := heap.Pop(&q.open).(*line)
	l.open = false
	i = l.hosts[0]
	l.hosts, l.turns = l.hosts[1:], l.turns[1:]
	l.busy++
	q.offer(l)
	return i, l.domain, true
}

// leave gives back the place that a host of the domain took.
func (q *queue) leave(d domain) {
	l := q.lines[d]
	l.busy--
	q.offer(l)
}

// left are the hosts that still wait, for nobody who would leave.
func (q *queue) left() []int {
	var hosts []int
	for _, l := range q.lines {
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
