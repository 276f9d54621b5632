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

// Save returns the hosts of a plan in the form of a plan file.
func (p *Plan) Save() []planfile.Host {
	hosts := make([]planfile.Host, len(p.Entries))
	_, places := p.diffs()
	for i, e := range p.Entries {
		hosts[i] = saveEntry(e)
		if e.Package != nil && e.Package.Change.Manager != "" { // else the host was not asked
			c := e.Package.Change
			hosts[i].Package = &planfile.Package{Name: oneLine(c.Name), Manager: oneLine(c.Manager), Old: oneLine(c.From), New: oneLine(c.To)}
		}
		for _, w := range e.Files {
			if w.Data == nil {
				continue
			}
			f := planfile.HostFile{What: w.What, File: saveFile(w.Seen), New: w.Digest(), Remarks: w.Remarks}
			if place, known := places[w.Diff]; known {
				f.Diff = &place
			}
			hosts[i].Files = append(hosts[i].Files, f)
		}
	}
	return hosts
}

// SaveDiffs returns the differences to which the hosts of Save refer, as lines.
func (p *Plan) SaveDiffs() (list [][]string) {
	diffs, _ := p.diffs()
	for _, diff := range diffs {
		list = append(list, savedLines(diff))
	}
	return list
}

// diffs returns the differences of the files, each once, and their places in the list.
func (p *Plan) diffs() (list []string, places map[string]int) {
	places = map[string]int{}
	for _, e := range p.Entries {
		for _, w := range e.Files {
			if _, known := places[w.Diff]; w.Diff != "" && !known {
				places[w.Diff] = len(list)
				list = append(list, w.Diff)
			}
		}
	}
	return list, places
}

// savedLines returns a difference as lines that a plan file may have.
func savedLines(diff string) []string {
	lines := strings.Split(strings.TrimSuffix(diff, "\n"), "\n")
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	return lines
}

func saveFile(f host.File) planfile.File {
	return planfile.File{Path: oneLine(cmp.Or(f.Real, f.Path)), SHA256: oneLine(f.Digest), Owner: oneLine(f.Owner), Mode: oneLine(f.Mode)}
}

func saveEntry(e Entry) planfile.Host {
	h := planfile.Host{Wave: waveOf(e), Name: e.Host.Name, Address: e.Host.Address,
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

// waveOf returns the wave of e, nil if it is in none.
func waveOf(e Entry) *int {
	if e.Wave == 0 {
		return nil
	}
	wave := e.Wave
	return &wave
}

func saveSeen(unit string, seen *host.Observation) *planfile.Seen {
	s := &planfile.Seen{
		HostKey: oneLine(seen.HostKey),
		File:    saveFile(seen.File),
		Unit:    planfile.Unit{Name: oneLine(unit), Load: oneLine(seen.Unit.Load), Active: oneLine(seen.Unit.Active), File: oneLine(seen.Unit.File)},
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

// oneLine limits text from a host and puts it on one line.
func oneLine(s string) string { return display.Sanitise(s, remote.MaxForeignText) }

// ToObserve returns the indexes of those hosts of a saved plan that must be observed
// before it is applied: all but those that the plan excludes.
func ToObserve(saved []planfile.Host) []int {
	var list []int
	for i, h := range saved {
		if !isExcluded(h) {
			list = append(list, i)
		}
	}
	return list
}

// CheckWaves recomputes the waves of a saved plan from its hosts and the policy that it
// was made with. It returns an error that names the first host in another wave, which
// happens only in a plan that was edited.
func CheckWaves(saved []planfile.Host, policy Policy) error {
	var members []int
	for i, h := range saved {
		if h.Outcome == "" || h.Outcome == string(Current) && h.Wave != nil {
			members = append(members, i)
		}
	}
	want := make([]int, len(saved)) // 0: in no wave
	for _, w := range waves(members, policy.Canary, policy.Batches) {
		for _, i := range w.Hosts {
			want[i] = w.Number
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

// isExcluded reports whether nothing could be done on a host when its plan was saved.
// Such a host stays as it is.
func isExcluded(h planfile.Host) bool {
	switch Outcome(h.Outcome) {
	case "", Current, NotApplicable:
		return false
	}
	return true
}

// MakeSaved returns the plan that applies a saved one to targets, one for each of its
// hosts: what it says, and nothing else. A host that has changed since is refused,
// unless nothing is left to do there. One certificate for several service principals
// was checked when the plan was made; a client_id that has changed since is a drift of
// its own host only.
func MakeSaved(saved []planfile.Host, targets []Target, looks []Look, policy Policy) *Plan {
	p := &Plan{Policy: policy, Entries: make([]Entry, len(targets))}
	// For a host that is observed again after a recovery: the recovered run has changed
	// what the plan saw.
	// A file is approved with its bytes, so what a recovery has changed there needs a new plan.
	hosts := map[string]planfile.Host{}
	for _, h := range saved {
		hosts[h.Name] = h
	}
	p.decide = func(t Target, look Look) Entry {
		e := policy.decide(t, look)
		if changes := wantedDrift(hosts[t.Host.Name], t); e.Outcome == "" && len(changes) > 0 {
			return e.refuseDrift(changes)
		}
		return e
	}
	for i, t := range targets {
		p.Entries[i] = decideSaved(saved[i], t, looks[i], policy)
	}
	refuseDuplicates(p.Entries)
	p.hold()
	p.useSavedWaves(saved)
	return p
}

// useSavedWaves takes the waves of the saved plan, without the hosts that are no longer
// to be changed. No host moves into another wave than was approved. If the canary is not
// proven, and none of it is due, nothing is done: no other host may take its place.
func (p *Plan) useSavedWaves(saved []planfile.Host) {
	p.fixedWaves = true
	of, unproven, replan := map[int][]int{}, "", false
	for i := range p.Entries {
		e := &p.Entries[i]
		n := 1
		if saved[i].Wave != nil {
			n = *saved[i].Wave
		}
		switch {
		case e.Outcome == "":
			of[n] = append(of[n], i)
			e.Wave = n
		case saved[i].Wave == nil:
		case e.isDone() && (n > 1 || e.isProven(p.Policy)):
			e.Wave = n
		case n == 1:
			unproven = e.Host.Name + ", of the plan's canary: " + e.notProven()
			replan = replan || !e.isDone() && !e.wasHeld() // else its soak ends, or its window opens
		}
	}
	for _, n := range slices.Sorted(maps.Keys(of)) {
		p.Waves = append(p.Waves, Wave{Number: n, Canary: p.inCanary(n), Hosts: of[n]})
	}
	if p.Policy.Canary > 0 && len(of[1]) == 0 && unproven != "" {
		for _, i := range p.due() {
			p.Entries[i].unplanned = replan
		}
		p.skipAll("not started: " + unproven)
	}
}

// decideSaved decides about one host of a saved plan.
func decideSaved(saved planfile.Host, t Target, look Look, policy Policy) Entry {
	if isExcluded(saved) {
		return Entry{Target: t, Action: None, Outcome: Skipped, unplanned: true, Reason: "not in the plan: it was " + saved.Outcome + " then: " + saved.Reason}
	}
	e := policy.decide(t, look)
	switch {
	case e.Seen == nil, look.Err != nil, e.Outcome == Current:
		return e
	case e.Outcome == NotApplicable && saved.Outcome == string(NotApplicable):
		return e
	case e.Problem != nil && e.Problem.Class == problem.Locked: // another run is at work and will change the host
		return e
	}
	if changes := drift(saved, e); len(changes) > 0 {
		return e.refuseDrift(changes)
	}
	if planned := cmp.Or(Outcome(saved.Outcome), Outcome(saved.Action)); e.Outcome == "" && planned != Outcome(e.Action) {
		return e.refuseDrift([]string{"action " + string(planned) + " → " + string(e.Action)})
	}
	return e
}

// drift returns what has changed on a host since its plan was saved, such as
// "owner root:root → agent:agent".
func drift(saved planfile.Host, e Entry) []string {
	was, is := saved.Seen, saveSeen(e.unitName(), e.Seen)
	if was == nil {
		return []string{"the plan has no observation of it"}
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
		{"live certificate", comparedThumbprint(was, is), comparedThumbprint(is, was)},
		{"unit", was.Unit.Name, is.Unit.Name},
		{"unit", was.Unit.Load, is.Unit.Load},
		{"unit", was.Unit.Active, is.Unit.Active},
		{"unit", was.Unit.File, is.Unit.File},
		{"interrupted run", was.Unfinished, is.Unfinished},
	} {
		if it.was != it.is {
			changes = append(changes, it.what+" "+shortValue(it.was)+" → "+shortValue(it.is))
		}
	}
	return append(changes, wantedDrift(saved, e.Target)...)
}

// wantedDrift is drift for what a host should have besides its certificate: files and a package.
func wantedDrift(saved planfile.Host, t Target) []string {
	changes := fileDrift(saved.Files, t.Files)
	if saved.Package == nil || t.Package == nil {
		return changes
	}
	was := host.PackageChange{Name: saved.Package.Name, Manager: saved.Package.Manager, From: saved.Package.Old, To: saved.Package.New}
	return append(changes, packageDrift(was, t.Package.Change)...)
}

// fileDrift is drift for the files besides the certificate.
func fileDrift(saved []planfile.HostFile, files []Wanted) (changes []string) {
	if len(saved) != len(files) {
		return []string{"the plan has other files of it"}
	}
	for i, w := range files {
		was, is := saved[i], saveFile(w.Seen)
		for _, it := range []struct{ what, was, is string }{
			{"", was.Path, is.Path}, {" digest", was.SHA256, is.SHA256}, {" owner", was.Owner, is.Owner}, {" mode", was.Mode, is.Mode},
			{" to install", was.New, w.Digest()},
		} {
			if it.was != it.is {
				changes = append(changes, w.What+it.what+" "+shortValue(it.was)+" → "+shortValue(it.is))
			}
		}
	}
	return changes
}

var fileDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// shortValue returns a value as it is shown: of a digest the first 12 digits.
func shortValue(value string) string {
	if fileDigest.MatchString(value) {
		return value[:12] + "…"
	}
	return cmp.Or(value, "none")
}

// comparedThumbprint returns the thumbprint in s, "" if s or other has none: that
// depends on the host's openssl, and the file's digest is compared in any case.
func comparedThumbprint(s, other *planfile.Seen) string {
	if s.Live == nil || other.Live == nil {
		return ""
	}
	return s.Live.Thumbprint
}

// refuseDrift returns e refused because of changes since the plan was saved.
func (e Entry) refuseDrift(changes []string) Entry {
	e.Action, e.unplanned = None, true
	hint := "check what has changed on the host, then plan again"
	if _, unfinished := e.Seen.Unfinished(); unfinished {
		hint = "recover it: aoifleet recover; then apply the plan again or make a new one"
	}
	return e.withOutcome(Refused, &problem.Error{Class: problem.Drift,
		Message: "changed since the plan: " + strings.Join(changes, ", "),
		Hint:    hint})
}
