package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
)

// FromFile returns a saved plan to show it, with what its file has of it. Nothing can be carried
// out with it: MakeSaved does that.
func FromFile(saved *planfile.Plan) (*Plan, error) {
	policy, err := policyOf(saved.Policy)
	if err != nil {
		return nil, err
	}
	p := &Plan{Policy: policy, Entries: make([]Entry, len(saved.Hosts)), fixedWaves: true}
	leaves := map[string]*certificate.Certificate{}
	for _, c := range saved.Certificates {
		leaves[c.FileSHA256] = &certificate.Certificate{Leaf: certificate.Info{Thumbprint: c.Thumbprint, Subject: c.Subject, NotAfter: c.NotAfter}}
	}
	waves := map[int]int{} // their places, by number
	for i, h := range saved.Hosts {
		p.Entries[i] = entryOf(h, saved.Diffs)
		p.Entries[i].FilesOnly = saved.Command != ""
		e := &p.Entries[i]
		if h.New != nil {
			e.Certificate = leaves[h.New.FileSHA256]
		}
		if skipped := false; saved.Policy.Verify == "skipped" && e.Outcome == "" {
			e.Verified = &skipped
		}
		if e.Wave == 0 || e.Outcome != "" {
			continue
		}
		place, known := waves[e.Wave]
		if !known {
			place = len(p.Waves)
			waves[e.Wave] = place
			p.Waves = append(p.Waves, Wave{Number: e.Wave, Canary: p.inCanary(e.Wave)})
		}
		p.Waves[place].Hosts = append(p.Waves[place].Hosts, i)
	}
	return p, nil
}

func entryOf(h planfile.Host, diffs [][]string) Entry {
	e := Entry{Target: Target{Host: &inventory.Host{Name: h.Name, Address: h.Address}}, Action: Action(h.Action), Reason: h.Reason,
		Outcome: Outcome(h.Outcome), Problem: h.Error}
	if h.Wave != nil {
		e.Wave = *h.Wave
	}
	for _, f := range h.Files {
		w := Wanted{What: f.What, Seen: host.File{Path: f.Path, Digest: f.SHA256, Owner: f.Owner, Mode: f.Mode}, New: f.New, Remarks: f.Remarks}
		if f.Diff != nil {
			w.Diff = strings.Join(diffs[*f.Diff], "\n") + "\n"
		}
		e.Files = append(e.Files, w)
	}
	if p := h.Package; p != nil {
		e.Package = &WantedPackage{p.New, host.Package{Name: p.Name, Manager: p.Manager, Installed: p.Old},
			host.PackageChange{Name: p.Name, Manager: p.Manager, From: p.Old, To: p.New}}
	}
	if h.Seen == nil {
		return e
	}
	e.Host.Agent.Unit = h.Seen.Unit.Name
	e.Seen = &host.Observation{LiveNote: "unknown", Unit: host.Unit{ID: h.Seen.Unit.Name, Active: h.Seen.Unit.Active}}
	if live := h.Seen.Live; live != nil {
		e.Seen.Live = &certificate.Info{Thumbprint: live.Thumbprint, NotAfter: live.NotAfter}
	}
	return e
}

// policyOf returns the policy of a saved plan, without its windows: their texts are shown.
func policyOf(s planfile.Policy) (p Policy, err error) {
	p = Policy{Force: s.Force, NoDeadman: !s.Deadman, IgnoreWindow: s.IgnoreWindow, RequireProof: s.RequireProof}
	p.Parallel, p.Canary, p.CountUnreachable = s.Parallel, s.Canary, s.CountUnreachable
	var known bool
	if p.MaxFailures, known = inventory.ParseAmount(s.MaxFailures); !known {
		return p, fmt.Errorf("its max_failures is not an amount")
	}
	for text := range strings.SplitSeq(s.Batch, ", ") {
		batch, known := inventory.ParseAmount(text)
		if !known {
			return p, fmt.Errorf("its batch is not a list of amounts")
		}
		p.Batches = append(p.Batches, batch)
	}
	if p.Soak, err = time.ParseDuration(s.Soak); err != nil {
		return p, fmt.Errorf("its soak is not a duration")
	}
	if label, count, limited := strings.Cut(s.MaxUnavailable, ": "); limited {
		_, err = fmt.Sscan(count, &p.MaxUnavailable.Count)
		if p.MaxUnavailable.Label = label; err != nil {
			return p, fmt.Errorf("its max_unavailable_per is not a label and a count")
		}
	}
	return p, nil
}
