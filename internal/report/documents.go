package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// fromJournal says what a journal does not have.
const fromJournal = "made from the journal of the run: without the warnings of the run (such as --force, --skip-verify and --no-deadman), the hosts' notes and evidence, the differences of files, the subject and the end of the certificates, and the service principals"

// journalDocument returns the document of a run as far as its journal knows it. Its texts are
// sanitised.
func journalDocument(run *journal.Run) *Document {
	s := summary(run)
	last := run.Started
	if n := len(run.Entries); n > 0 {
		last = run.Entries[n-1].At
	}
	d := &Document{SchemaVersion: SchemaVersion, ToolVersion: s.ToolVersion, RunID: s.RunID, Command: s.Command, StartedAt: run.Started, FinishedAt: last,
		DurationMS: last.Sub(run.Started).Milliseconds(), ExitCode: unfinished, Owner: s.Owner, PlanID: s.PlanID,
		Inventory: &planfile.Inventory{File: s.Inventory}, Totals: s.Totals, Warnings: []Warning{{"from_journal", fromJournal}}}
	if s.IgnoreWindow != "" {
		d.Warnings = append(d.Warnings, Warning{"ignore_window", "windows and freezes were ignored: " + s.IgnoreWindow})
	}
	if run.Damaged > 0 {
		d.Warnings = append(d.Warnings, Warning{"damaged_journal", fmt.Sprintf("unreadable lines in the journal: %d", run.Damaged)})
	}
	if run.Exit != nil {
		d.ExitCode = *run.Exit
	}
	hosts := map[string]*Host{}
	d.Hosts = make([]Host, len(run.Hosts))
	for i, name := range run.Hosts {
		d.Hosts[i] = Host{Name: shortText(name), Steps: []Step{}}
		hosts[name] = &d.Hosts[i]
	}
	for _, e := range run.Entries {
		if h := hosts[e.Host]; h != nil {
			h.record(ShownEntry(e), run.Started)
		}
	}
	for i := range d.Hosts {
		if h := &d.Hosts[i]; h.Outcome == nil {
			last := ""
			if n := len(h.Steps); n > 0 {
				last = h.Steps[n-1].Name
			}
			h.elsewhere = mayBeAtWork(run, h.Action)
			h.Reason = lastStep(last, h.elsewhere)
		}
	}
	return d
}

// record adds an entry of the journal to a host.
func (h *Host) record(e journal.Entry, started time.Time) {
	at := e.At.Sub(started).Milliseconds()
	if n := len(h.Steps); n > 0 && h.Steps[n-1].MS == 0 {
		h.Steps[n-1].MS = at - h.Steps[n-1].AtMS
	}
	if e.Site != "" {
		h.Site = e.Site
	}
	if e.Wave > 0 {
		h.Wave = &e.Wave
	}
	switch e.Event {
	case journal.Plan:
		h.Action = e.Step
		h.Old, h.New, h.Package = recorded(e.Old), recorded(e.New), h.recordedPackage(e)
	case journal.Step:
		h.Steps = append(h.Steps, Step{Name: e.Step, OK: true, AtMS: at})
	case journal.End:
		h.end(e)
	}
}

func (h *Host) end(e journal.Entry) {
	h.Outcome = &e.Outcome
	h.Old, h.New, h.Package = recorded(e.Old), recorded(e.New), h.recordedPackage(e)
	h.Proof, h.Error = nil, nil
	if e.Proof != "" {
		h.Proof = &e.Proof
	}
	if e.Class != "" {
		h.Error = e.Problem()
		if n := len(h.Steps); n > 0 {
			h.Steps[n-1].OK = false
		}
	}
	h.DurationMS = 0
	for _, s := range h.Steps {
		h.DurationMS += s.MS
	}
}

// recordedPackage returns the package of which the journal has the versions, nil if it has none.
func (h *Host) recordedPackage(e journal.Entry) *Package {
	if e.To == "" {
		return nil
	}
	end := rollout.Outcome(e.Outcome)
	return &Package{Old: e.From, New: e.To, Changed: end == rollout.Upgraded || end == rollout.Restored && !rollout.Action(h.Action).Installs()}
}

// recorded returns a certificate of which the journal has the thumbprint, nil for "".
func recorded(thumbprint string) *Certificate {
	if strings.TrimSpace(thumbprint) == "" {
		return nil
	}
	return &Certificate{Thumbprint: thumbprint}
}
