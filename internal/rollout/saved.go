package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Save returns the hosts of a plan of a rotation as they are saved.
func (p *Plan) Save() []planfile.Host {
	hosts := make([]planfile.Host, len(p.Entries))
	for i, e := range p.Entries {
		hosts[i] = saveEntry(e)
	}
	return hosts
}

func saveEntry(e Entry) planfile.Host {
	h := planfile.Host{Wave: savedWave(e), Name: e.Host.Name, Address: e.Host.Address,
		Action: string(e.Action), Reason: oneLine(e.Reason), Outcome: string(e.Outcome)}
	if e.Outcome != "" {
		h.Action = string(None)
	}
	if e.Problem != nil {
		h.Error = &problem.Error{Class: e.Problem.Class, Message: oneLine(e.Problem.Message),
			Hint: oneLine(e.Problem.Hint)}
	}
	if e.Certificate != nil {
		h.New = &planfile.New{Thumbprint: e.Certificate.Leaf.Thumbprint, FileSHA256: e.Certificate.Digest()}
	}
	if e.Seen != nil {
		h.Seen = saveSeen(e.unitName(), e.Seen)
	}
	return h
}

// savedWave is nil for a host on which nothing is to be done.
func savedWave(e Entry) *int {
	if e.Wave == 0 {
		return nil
	}
	wave := e.Wave
	return &wave
}

func saveSeen(unit string, seen *host.Observation) *planfile.Seen {
	s := &planfile.Seen{
		HostKey: oneLine(seen.HostKey),
		File: planfile.File{Path: oneLine(cmp.Or(seen.File.Real, seen.File.Path)), SHA256: oneLine(seen.File.Digest),
			Owner: oneLine(seen.File.Owner), Mode: oneLine(seen.File.Mode)},
		Unit: planfile.Unit{Name: oneLine(unit), Load: oneLine(seen.Unit.Load), Active: oneLine(seen.Unit.Active), File: oneLine(seen.Unit.File)},
	}
	if seen.Provider != nil {
		s.Provider, s.ClientID = oneLine(seen.Provider.Name), oneLine(seen.Provider.ClientID)
	}
	if seen.Live != nil {
		s.Live = &planfile.Live{Thumbprint: seen.Live.Thumbprint, NotAfter: seen.Live.NotAfter.UTC()}
	}
	if r, unfinished := seen.Unfinished(); unfinished {
		s.Unfinished = oneLine(r.Run)
	}
	return s
}

// oneLine bounds what came from a host and keeps it on one line.
func oneLine(s string) string { return display.Sanitise(s, remote.MaxForeignText) }

// LookAgain returns those of a saved plan's hosts that are to be looked at
// before it is carried out, by their place in it: where nothing could be done
// when it was made, nothing is.
func LookAgain(saved []planfile.Host) []int {
	var list []int
	for i, h := range saved {
		if !leftAlone(h) {
			list = append(list, i)
		}
	}
	return list
}

// CheckWaves works out the waves of a saved plan anew from its own hosts and the
// policy that it was made with, and tells of the first host that is in another.
// A plan that was not edited has none.
func CheckWaves(saved []planfile.Host, policy Policy) error {
	var due []int
	for i, h := range saved {
		if h.Outcome == "" {
			due = append(due, i)
		}
	}
	want := make([]int, len(saved)) // 0: in none
	for n, w := range waves(due, policy.Canary, policy.Batches) {
		for _, i := range w.Hosts {
			want[i] = n + 1
		}
	}
	for i, h := range saved {
		is := 0
		if h.Wave != nil {
			is = *h.Wave
		}
		if is != want[i] {
			return fmt.Errorf("the plan has %s in %s; by its own policy it is in %s", h.Name, waveName(is), waveName(want[i]))
		}
	}
	return nil
}

func waveName(n int) string {
	if n == 0 {
		return "no wave"
	}
	return fmt.Sprintf("wave %d", n)
}

func leftAlone(h planfile.Host) bool {
	switch Outcome(h.Outcome) {
	case "", Current, NotApplicable:
		return false
	}
	return true
}

// MakeSaved decides about the targets of a saved plan, one for each of its
// hosts: what it says is done, and nothing else. A host that is not as the plan
// saw it is refused, unless there is nothing left to do. Whether one certificate
// is used for several service principals was decided when the plan was made, and
// a client_id that has changed since is a drift of its own host alone.
func MakeSaved(saved []planfile.Host, targets []Target, looks []Look, policy Policy) *Plan {
	p := &Plan{Policy: policy, Entries: make([]Entry, len(targets))}
	// For a host that is looked at again after its interrupted run was settled:
	// that run has changed what the plan saw.
	p.decide = func(t Target, look Look) Entry { return decide(t, look, policy.Force) }
	for i, t := range targets {
		p.Entries[i] = decideSaved(saved[i], t, looks[i], policy.Force)
	}
	refuseTwins(p.Entries)
	p.savedWaves(saved)
	return p
}

// savedWaves are those of the saved plan, without the hosts that are not to be
// changed any more: nobody moves up into another wave than was approved.
func (p *Plan) savedWaves(saved []planfile.Host) {
	p.fixed = true
	of := map[int][]int{}
	for _, i := range p.due() {
		n := 1
		if saved[i].Wave != nil {
			n = *saved[i].Wave
		}
		of[n] = append(of[n], i)
	}
	for _, n := range slices.Sorted(maps.Keys(of)) {
		p.Waves = append(p.Waves, Wave{Canary: n == 1 && p.Policy.Canary > 0, Hosts: of[n]})
		for _, i := range of[n] {
			p.Entries[i].Wave = len(p.Waves)
		}
	}
}

func decideSaved(saved planfile.Host, t Target, look Look, force bool) Entry {
	if leftAlone(saved) {
		return Entry{Target: t, Action: None, Outcome: Skipped, Reason: "not in the plan: it was " + saved.Outcome + " then: " + saved.Reason}
	}
	e := decide(t, look, force)
	switch {
	case e.Seen == nil, look.Err != nil, e.Outcome == Current:
		return e
	case e.Outcome == NotApplicable && saved.Outcome == string(NotApplicable):
		return e
	case e.Problem != nil && e.Problem.Class == problem.Locked: // another run is at work: what is there will change
		return e
	}
	if changes := drift(saved, e); len(changes) > 0 {
		return e.refuseDrift(changes)
	}
	if planned := cmp.Or(Outcome(saved.Outcome), Outcome(saved.Action)); e.Outcome == "" && planned != Outcome(e.Action) {
		return e.refuseDrift([]string{"to do " + string(planned) + " → " + string(e.Action)})
	}
	return e
}

// drift names what is another on a host than when its plan was saved, as in
// "owner root:root → agent:agent".
func drift(saved planfile.Host, e Entry) []string {
	was, is := saved.Seen, saveSeen(e.unitName(), e.Seen)
	if was == nil {
		return []string{"it was not seen then"}
	}
	var changes []string
	for _, it := range []struct{ what, was, is string }{
		{"host key", was.HostKey, is.HostKey},
		{"secret provider", was.Provider, is.Provider},
		{"client_id", was.ClientID, is.ClientID},
		{"file", was.File.Path, is.File.Path},
		{"file digest", was.File.SHA256, is.File.SHA256},
		{"owner", was.File.Owner, is.File.Owner},
		{"mode", was.File.Mode, is.File.Mode},
		{"live certificate", liveOf(was, is), liveOf(is, was)},
		{"unit", was.Unit.Name, is.Unit.Name},
		{"unit", was.Unit.Load, is.Unit.Load},
		{"unit", was.Unit.Active, is.Unit.Active},
		{"unit", was.Unit.File, is.Unit.File},
		{"interrupted run", was.Unfinished, is.Unfinished},
	} {
		if it.was != it.is {
			changes = append(changes, it.what+" "+short(it.was)+" → "+short(it.is))
		}
	}
	return changes
}

var fileDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// short is a value as it is shown: of a digest the beginning, as much as people
// compare.
func short(value string) string {
	if fileDigest.MatchString(value) {
		return value[:12] + "…"
	}
	return cmp.Or(value, "none")
}

// liveOf is the thumbprint that s saw, where other saw one too: whether one can
// be told depends on the host's openssl, and the file's digest tells more.
func liveOf(s, other *planfile.Seen) string {
	if s.Live == nil || other.Live == nil {
		return ""
	}
	return s.Live.Thumbprint
}

func (e Entry) refuseDrift(changes []string) Entry {
	e.Action = None
	hint := "look at what has changed there, then plan anew"
	if _, unfinished := e.Seen.Unfinished(); unfinished {
		hint = "settle it with aoifleet recover, then carry out the plan again or plan anew"
	}
	return e.stop(Refused, &problem.Error{Class: problem.Drift,
		Message: "changed since the plan: " + strings.Join(changes, ", "),
		Hint:    hint})
}
