package report

import (
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/planfile"
)

// savedDocument returns the document of a saved plan. Its hosts have what the file has.
func savedDocument(p *planfile.Plan, h Head) *Document {
	d := NewDocument(Head{SchemaVersion, p.ToolVersion, h.Command, h.ExitCode}, p.PlanID, p.CreatedAt, nil)
	d.FinishedAt, d.DurationMS = p.CreatedAt, 0
	d.PlanID, d.PlanDigest, d.Owner, d.Inventory, d.Policy = p.ID(), p.Digest, p.Owner, &p.Inventory, &p.Policy
	d.Totals[toChange] = 0
	known := map[string]*Certificate{}
	for _, c := range p.Certificates {
		known[c.FileSHA256] = &Certificate{Thumbprint: c.Thumbprint, Subject: c.Subject, NotAfter: c.NotAfter}
	}
	for i := range p.Hosts {
		saved := &p.Hosts[i]
		host := Host{Name: saved.Name, Address: saved.Address, Wave: saved.Wave, Steps: []Step{}, Action: saved.Action, Reason: saved.Reason, Error: saved.Error}
		if saved.Outcome == "" {
			d.Totals[toChange]++
		} else {
			host.Outcome = &saved.Outcome
			d.Totals[saved.Outcome]++
		}
		if saved.New != nil {
			host.New = known[saved.New.FileSHA256]
		}
		if saved.Seen != nil {
			host.ClientID = saved.Seen.ClientID
			if live := saved.Seen.Live; live != nil {
				host.Old = &Certificate{Thumbprint: live.Thumbprint, NotAfter: live.NotAfter}
			}
		}
		d.Hosts = append(d.Hosts, host)
	}
	if !p.Policy.Deadman {
		d.Warnings = append(d.Warnings, Warning{"no_deadman", "WITHOUT dead-man switch"})
	}
	if p.Policy.Force {
		d.Warnings = append(d.Warnings, Warning{"force", "--force: also with a certificate that is probably the wrong one"})
	}
	return d
}

// fromJournal says what a journal does not have.
const fromJournal = "made from the journal of the run: without the hosts' notes and evidence, the subject and the end of the certificates, and the service principals"

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
			h.record(shownEntry(e), run.Started)
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
		h.Old, h.New = recorded(e.Old), recorded(e.New)
	case journal.Step:
		h.Steps = append(h.Steps, Step{Name: e.Step, OK: true, AtMS: at})
	case journal.End:
		h.end(e)
	}
}

func (h *Host) end(e journal.Entry) {
	h.Outcome = &e.Outcome
	h.Old, h.New = recorded(e.Old), recorded(e.New)
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

// recorded returns a certificate of which the journal has the thumbprint, nil for "".
func recorded(thumbprint string) *Certificate {
	if strings.TrimSpace(thumbprint) == "" {
		return nil
	}
	return &Certificate{Thumbprint: thumbprint}
}
