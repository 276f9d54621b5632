package rollout

import (
	"container/heap"
	"fmt"

	"github.com/aoifleet/aoifleet/internal/inventory"
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
