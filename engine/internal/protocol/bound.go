package protocol

import (
	"encoding/json"
	"slices"
	"sort"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A host can say much, and what it says may not be compressible. A message that is too large does not
// arrive, with all other hosts in it: so a host that says too much is refused alone, or cut short.
// Workers do so before they answer, and workflows with what they are answered.

// size returns the length of the JSON of what has one: no function, no cycle.
func size(v any) int {
	data, _ := json.Marshal(v)
	return len(data)
}

func tooMuch() *problem.Error {
	return problem.New(problem.Command, "look at /var/lib/aoifleet and the agent's configuration there",
		"the host has sent too much: more than an engine passes on")
}

// Bounded returns the look of one host, of at most MaxLook. A host that says more is not used: what
// would be left out might be the receipt that matters.
func (l LookData) Bounded() LookData {
	l.Problem = Short(l.Problem)
	if l.Seen == nil {
		return l
	}
	f := l.Seen.File
	if max(len(f.Path), len(f.Real), len(f.Folder)) > MaxPath || size(l) > MaxLook {
		return LookData{Problem: tooMuch()}
	}
	return l
}

// Short returns a problem with texts of at most MaxText together, or about that.
func Short(p *problem.Error) *problem.Error {
	if p == nil || len(p.Class)+len(p.Message)+len(p.Hint) <= MaxText {
		return p
	}
	const most = MaxText * 6 / 10
	return &problem.Error{Class: problem.Class(display.Sanitise(string(p.Class), 50)),
		Message: display.Sanitise(p.Message, most), Hint: display.Sanitise(p.Hint, MaxText-most)}
}

// LeftOut is the note of a result that is not whole.
const LeftOut = "the host has said more than is shown"

// ShortReport returns a report of at most MaxReport: the beginning of what it has, and how it ended.
func ShortReport(r *host.Report) *host.Report {
	if size(r) <= MaxReport {
		return r
	}
	cut := *r
	cut.Ending, cut.Proof = host.Ending(display.Sanitise(string(r.Ending), 50)), display.Sanitise(r.Proof, 50)
	cut.Problem = Short(r.Problem)
	for most := 64; ; most /= 2 {
		cut.Notes, cut.Evidence = append(lines(r.Notes, most), LeftOut), lines(r.Evidence, most)
		cut.Steps = r.Steps[:min(most, len(r.Steps))]
		if most == 0 || size(cut) <= MaxReport {
			return &cut
		}
	}
}

// lines returns the beginnings of the first lines of a list.
func lines(list []string, most int) []string {
	first := slices.Clone(list[:min(most, len(list))])
	for i := range first {
		first[i] = display.Sanitise(first[i], MaxText)
	}
	return first
}

// Page returns results from one on, as many as fit into a message, at least one if there is one. One
// that is too large alone has no looks, notes and evidence there.
func Page(from, n int, result func(i int) rollout.ResultData) []rollout.ResultData {
	page, total := []rollout.ResultData{}, 0
	for i := from; i < n && total <= MaxPage; i++ {
		d := result(i)
		s := size(d)
		if s > MaxPage {
			d.Seen, d.Evidence, d.Steps, d.Notes, d.Problem, s = nil, nil, nil, []string{LeftOut}, Short(d.Problem), 0
		}
		if total += s; total <= MaxPage || len(page) == 0 {
			page = append(page, d)
		}
	}
	return page
}

// Fit returns the part so that it fits into a message: without what was seen on those of its hosts
// that have said the most, which are refused; first of those that have ended already, which keep
// their outcome. encoded returns the length of its payload. Without any of it a part may still be too
// large.
func (p PartData) Fit(encoded func(PartData) int) PartData {
	order := make([]int, len(p.Entries))
	sizes := make([]int, len(p.Entries))
	for i, e := range p.Entries {
		if order[i], sizes[i] = i, size(e.Seen); e.Outcome != "" {
			sizes[i] += MaxPartBytes
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return sizes[b] - sizes[a] })
	without := func(n int) PartData {
		fitting := p
		fitting.Entries = slices.Clone(p.Entries)
		for _, i := range order[:n] {
			e := &fitting.Entries[i]
			if e.Seen = nil; e.Outcome == "" { // what has ended is not refused
				why := tooMuch()
				e.Outcome, e.Problem, e.Reason = rollout.Refused, why, why.Message
			}
		}
		return fitting
	}
	return without(sort.Search(len(order), func(n int) bool { return encoded(without(n)) <= MaxPartBytes }))
}
