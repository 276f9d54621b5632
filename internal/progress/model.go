// Package progress shows what happens on the hosts while it happens: a view that is redrawn on a
// terminal, or lines with a time elsewhere. What it shows is a function of the events and
// the time alone (Model).
package progress

import (
	"cmp"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Model is the state of the view.
type Model struct {
	Title       string // the command
	Interrupted bool   // the operator has asked to end

	began time.Time // the first part
	part  part
	all   []*member // all hosts to change
	hosts map[string]*member
	took  took
}

// part is a part of the run, as rollout.Event names them.
type part struct {
	rollout.Event
	began time.Time
	hosts []*member
}

// member is a host of the current part, or of those to change.
type member struct {
	name, group string
	outcome     rollout.Outcome
	troubled    bool // a check of it failed
	ended       bool // in this part

	step        string // "": none runs
	began       time.Time
	since       time.Time // of the step
	lasts       time.Duration
	done, total int64 // bytes of a download
}

// took is how long hosts took, and how many were in progress at most.
type took struct {
	sum      time.Duration
	hosts    int
	atOnce   int
	inFlight int
}

// changing are the parts that change hosts; they are one as far as the whole run goes.
var changing = []string{"wave", "soak"}

// Update applies an event that happened at a time.
func (m *Model) Update(e rollout.Event, at time.Time) {
	switch {
	case e.Host != "":
		m.update(e, at)
	case e.Step == "verify" && m.part.Step == "verify" && m.part.Total == e.Total:
		m.part.Done = max(m.part.Done, e.Done)
	default:
		m.start(e, at)
	}
}

// start starts a part: no host is in progress between two.
func (m *Model) start(e rollout.Event, at time.Time) {
	if m.hosts == nil {
		m.hosts, m.began = map[string]*member{}, at
	}
	if !slices.Contains(changing, e.Step) || !slices.Contains(changing, m.part.Step) {
		m.took = took{}
	}
	m.took.inFlight = 0
	for _, h := range m.hosts {
		h.step, h.ended, h.troubled = "", false, false
	}
	m.part = part{Event: e, began: at}
	for _, h := range e.Hosts {
		known := m.member(h.Name)
		known.group = h.Group
		m.part.hosts = append(m.part.hosts, known)
	}
	if e.Step == "stage" || e.Step == "connect" {
		m.all = m.part.hosts
	}
}

func (m *Model) member(name string) *member {
	if m.hosts == nil {
		m.hosts = map[string]*member{}
	}
	h := m.hosts[name]
	if h == nil {
		h = &member{name: name}
		m.hosts[name] = h
	}
	return h
}

func (m *Model) update(e rollout.Event, at time.Time) {
	h := m.member(e.Host)
	if e.Problem != nil {
		h.troubled = true
	}
	if e.Outcome != "" {
		h.outcome = e.Outcome
	}
	if e.Step == "" {
		m.end(h, e, at)
		return
	}
	if h.step == "" {
		m.took.inFlight++
		if m.part.Step != "soak" { // a soak checks more at once than a wave changes
			m.took.atOnce = max(m.took.atOnce, m.took.inFlight)
		}
		h.began = at
	}
	if h.step != e.Step {
		h.step, h.since, h.lasts = e.Step, at, e.Lasts
	}
	h.done, h.total = e.Done, e.Total
}

// end ends what runs on a host. A wave and an undo end it with its outcome, other parts
// with their step.
func (m *Model) end(h *member, e rollout.Event, at time.Time) {
	busy := h.step != ""
	if busy {
		m.took.inFlight--
	}
	h.step, h.total = "", 0
	if e.Outcome == "" && (slices.Contains(changing, m.part.Step) || m.part.Step == "undo") || h.ended {
		return
	}
	h.ended = true
	if busy {
		m.took.sum += at.Sub(h.began)
		m.took.hosts++
	}
}

// scope returns the hosts that the view counts: all to change from the first wave on, before
// that those of the part.
func (m *Model) scope() []*member {
	if slices.Contains(changing, m.part.Step) {
		return m.all
	}
	return m.part.hosts
}

// over reports whether a host has ended in the scope of the view.
func (m *Model) over(h *member) bool {
	return h.ended || h.outcome != "" && slices.Contains(changing, m.part.Step)
}

// count returns how many of the hosts have ended.
func (m *Model) count(hosts []*member) (ended int) {
	for _, h := range hosts {
		if m.over(h) {
			ended++
		}
	}
	return ended
}

// running returns the hosts in progress, the longest first.
func (m *Model) running() []*member {
	var list []*member
	for _, h := range m.hosts {
		if h.step != "" {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *member) int {
		if c := a.began.Compare(b.began); c != 0 {
			return c
		}
		return cmp.Compare(a.name, b.name)
	})
	return list
}

// left estimates how long the scope of the view still takes: from how long hosts took that
// have ended, how many are in progress at once, and the soaks to come. ok is false while
// none has ended.
func (m *Model) left(now time.Time) (d time.Duration, ok bool) {
	if m.took.hosts == 0 {
		return 0, false
	}
	mean := m.took.sum / time.Duration(m.took.hosts)
	var work time.Duration
	count := 0
	for _, h := range m.scope() {
		if m.over(h) {
			continue
		}
		count++
		if h.step == "" {
			work += mean
		} else {
			work += max(0, mean-now.Sub(h.began))
		}
	}
	d = work / time.Duration(max(1, min(count, m.took.atOnce)))
	switch m.part.Step {
	case "wave":
		d += m.part.Lasts * time.Duration(m.part.Waves-m.part.Wave)
	case "soak":
		d += max(0, m.part.Lasts-now.Sub(m.part.began)) + m.part.Lasts*time.Duration(max(0, m.part.Waves-m.part.Wave-1))
	}
	return d, true
}
