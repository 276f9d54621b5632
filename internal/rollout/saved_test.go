package rollout

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// planTarget returns a target whose plan is saved and applied.
func planTarget() Target {
	return Target{Host: &inventory.Host{Name: "h", Address: "10.0.0.1", Agent: inventory.Agent{Unit: "u.service", WhenStopped: "refuse"}}, Certificate: newCertificate("NEW")}
}

func planSeen() *host.Observation {
	seen := healthy()
	seen.HostKey = "SHA256:abc"
	seen.File.Owner, seen.File.Mode, seen.File.Digest = "root:root", "600", strings.Repeat("0", 64)
	return seen
}

// savedWhen returns the saved plan of a host after change.
func savedWhen(change func(*host.Observation)) planfile.Host {
	seen := planSeen()
	if change != nil {
		change(seen)
	}
	return Make([]Target{planTarget()}, []Look{{Seen: seen}}, policy()).Save()[0]
}

// Each change of a host between its plan and its turn.
func TestDrift(t *testing.T) {
	right := newCertificate("NEW").Digest()
	same := func(s *host.Observation) { s.File.Digest = right }
	tests := []struct {
		name      string
		then, now func(*host.Observation)
		action    Action
		outcome   Outcome
		class     problem.Class
		says      string
	}{
		{name: "unchanged", action: Rotate},
		{name: "what always changes", now: func(s *host.Observation) {
			s.Clock, s.Space, s.Unit.InvocationID = clock.Add(time.Hour), 2<<30, "another"
			s.Unit.Started, s.Unit.Restarts, s.File.Changed = clock, 3, clock.Add(-time.Hour)
		}, action: Rotate},

		{name: "host key", now: func(s *host.Observation) { s.HostKey = "SHA256:def" }, outcome: Refused, class: "drift", says: "host key SHA256:abc → SHA256:def"},
		{name: "digest", now: func(s *host.Observation) { s.File.Digest = strings.Repeat("1", 64) }, outcome: Refused, class: "drift", says: "file digest 000000000000… → 111111111111…"},
		{name: "digest in its last character", now: func(s *host.Observation) { s.File.Digest = strings.Repeat("0", 63) + "1" }, outcome: Refused, class: "drift", says: "file digest 000000000000… → 000000000000…"},
		{name: "file gone", now: func(s *host.Observation) { s.File.Kind, s.File.Digest, s.Live = "missing", "none", nil }, outcome: Refused, class: "drift", says: "file digest 000000000000… → none"},
		{name: "owner", now: func(s *host.Observation) { s.File.Owner = "agent:agent" }, outcome: Refused, class: "drift", says: "owner root:root → agent:agent"},
		{name: "mode", now: func(s *host.Observation) { s.File.Mode = "644" }, outcome: Refused, class: "drift", says: "mode 600 → 644"},
		{name: "path", now: func(s *host.Observation) { s.File.Real = "/d.p12" }, outcome: Refused, class: "drift", says: "file /c.p12 → /d.p12"},
		{name: "live certificate", now: func(s *host.Observation) { s.Live = &certificate.Info{Thumbprint: "X"} }, outcome: Refused, class: "drift", says: "live certificate OLD → X"},
		{name: "openssl is gone", now: func(s *host.Observation) { s.Live = nil }, action: Rotate},
		{name: "provider", now: func(s *host.Observation) { s.Provider.Name = "q" }, outcome: Refused, class: "drift", says: "secret provider p → q"},
		{name: "client", now: func(s *host.Observation) { s.Provider.ClientID = "client-2" }, outcome: Refused, class: "drift", says: "client_id client-1 → client-2"},
		{name: "now a managed identity", now: func(s *host.Observation) { s.Provider = nil }, outcome: Refused, class: "drift", says: "secret provider p → none"},
		{name: "stopped", now: func(s *host.Observation) { s.Unit.Active = "inactive" }, outcome: Refused, class: "drift", says: "unit active → inactive"},
		{name: "failed", now: func(s *host.Observation) { s.Unit.Active = "failed" }, outcome: Refused, class: "drift", says: "unit active → failed"},
		{name: "disabled", now: func(s *host.Observation) { s.Unit.File = "disabled" }, outcome: Refused, class: "drift", says: "unit enabled → disabled"},
		{name: "masked", now: func(s *host.Observation) { s.Unit.Load = "masked" }, outcome: Refused, class: "drift", says: "unit loaded → masked"},
		{name: "several", now: func(s *host.Observation) { s.File.Owner, s.File.Mode = "a:a", "644" }, outcome: Refused, class: "drift", says: "owner root:root → a:a, mode 600 → 644"},

		{name: "interrupted since", now: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "undoing", Run: "r"}} }, outcome: Refused, class: "drift", says: "interrupted run none → r"},
		{name: "interrupted then, and planned as such", then: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "pending", Run: "r"}} },
			now: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "pending", Run: "r"}} }, action: Rotate},
		{name: "another run is at work", now: func(s *host.Observation) {
			s.Receipts = []host.Receipt{{State: "pending", Run: "r", AtWork: true}}
		}, outcome: Refused, class: "locked", says: "is in progress"},

		{name: "applied already", now: same, outcome: Current, says: "already live"},
		{name: "applied, and the agent has failed since", now: func(s *host.Observation) { same(s); s.Unit.Active = "failed" }, outcome: Refused, class: "drift", says: "unit active → failed"},
		{name: "current then and now", then: same, now: same, outcome: Current, says: "already live"},
		{name: "current then, replaced since", then: same, outcome: Refused, class: "drift", says: "file digest "},
		{name: "current then, its process older now", then: same, now: func(s *host.Observation) { same(s); s.File.Changed = clock }, outcome: Refused, class: "drift", says: "action current → restart"},
		{name: "restart", then: func(s *host.Observation) { same(s); s.File.Changed = clock }, now: func(s *host.Observation) { same(s); s.File.Changed = clock }, action: Restart},
		{name: "managed identity", then: func(s *host.Observation) { s.Provider = nil }, now: func(s *host.Observation) { s.Provider = nil }, outcome: NotApplicable},
		{name: "no longer a managed identity", then: func(s *host.Observation) { s.Provider = nil }, outcome: Refused, class: "drift", says: "secret provider none → p"},

		{name: "no drift, and yet refused", now: func(s *host.Observation) { s.Space = 0 }, outcome: Refused, class: "disk", says: "kB are free"},
		{name: "stopped then", then: func(s *host.Observation) { s.Unit.Active = "inactive" }, outcome: Skipped, says: "not in the plan: it was refused then: u.service is stopped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := planSeen()
			if tt.now != nil {
				tt.now(now)
			}
			saved := []planfile.Host{savedWhen(tt.then)}
			e := MakeSaved(saved, []Target{planTarget()}, []Look{{Seen: now}}, policy()).Entries[0]
			if tt.action == "" {
				tt.action = None
			}
			if e.Action != tt.action || e.Outcome != tt.outcome || !strings.Contains(e.Reason, tt.says) {
				t.Errorf("%q %q %q", e.Action, e.Outcome, e.Reason)
			}
			if (e.Problem == nil) != (tt.class == "") || e.Problem != nil && (e.Problem.Class != tt.class || e.Problem.Class == problem.Drift && e.Problem.Hint == "") {
				t.Errorf("problem %+v, want class %q", e.Problem, tt.class)
			}
		})
	}
}

// A host that can't be observed now keeps that outcome; it is not a drift.
func TestSavedUnobserved(t *testing.T) {
	saved := []planfile.Host{savedWhen(nil)}
	for class, want := range map[problem.Class]Outcome{"unreachable": Unreachable, "host_key_changed": Unreachable, "sudo": Refused} {
		e := MakeSaved(saved, []Target{planTarget()}, []Look{{Err: &problem.Error{Class: class}}}, policy()).Entries[0]
		if e.Outcome != want || e.Problem.Class != class {
			t.Errorf("%s: %+v", class, e)
		}
	}
	e := MakeSaved(saved, []Target{planTarget()}, []Look{{Err: context.Canceled}}, policy()).Entries[0]
	if e.Outcome != Skipped {
		t.Errorf("%+v", e)
	}
}

// Another client_id on one host is a drift of that host only.
func TestDriftOfOneHost(t *testing.T) {
	drifted := planSeen()
	drifted.Provider = &host.Provider{Name: "p", ClientID: "client-2", Path: "/c.p12"}
	targets := []Target{planTarget(), planTarget()}
	plan := MakeSaved([]planfile.Host{savedWhen(nil), savedWhen(nil)}, targets, []Look{{Seen: drifted}, {Seen: planSeen()}}, policy())
	if plan.Entries[0].Outcome != Refused || plan.Entries[1].Action != Rotate || plan.Changes() != 1 {
		t.Errorf("%+v", plan.Entries)
	}
}

// Excluded hosts are not observed again.
func TestToObserve(t *testing.T) {
	saved := []planfile.Host{{Outcome: ""}, {Outcome: "refused"}, {Outcome: "current"}, {Outcome: "unreachable"}, {Outcome: "not_applicable"}}
	if got := ToObserve(saved); len(got) != 3 || got[0] != 0 || got[1] != 2 || got[2] != 4 {
		t.Error(got)
	}
}

// Everything that a host sends is sanitised before it is saved.
func TestSaveSanitises(t *testing.T) {
	saved := savedWhen(func(s *host.Observation) {
		s.File.Owner, s.Provider.ClientID, s.Unit.Active = "a\x1b[2J\nb", "c\u202e", strings.Repeat("x", 100_000)
	})
	if saved.Seen.File.Owner != "a b" || saved.Seen.ClientID != "c" || len(saved.Seen.Unit.Active) > 4096 {
		t.Errorf("%+v", saved.Seen)
	}
}

// A host that the plan excludes does not turn a complete run into a stopped one.
func TestExcludedHostsDoNotStop(t *testing.T) {
	f := newFakeFleet("a", "b")
	targets := f.targets("a", "b")
	saved := []planfile.Host{{Outcome: "refused", Action: "none"}, Make(targets[1:], []Look{{Seen: f.vms["b"].seen}}, policy()).Save()[0]}
	f.vms["b"].ending = host.RolledBack
	r, p := f.runner(), policy()
	p.MaxFailures = inventory.Count(1)
	run := r.Apply(context.Background(), context.Background(), MakeSaved(saved, targets, []Look{{}, {Seen: f.vms["b"].seen}}, p))
	r.Close()
	wantOutcomes(t, run, Skipped, RolledBack)
	if run.Stopped || run.Interrupted || f.vms["a"].called("dial") != 0 {
		t.Errorf("%+v", run)
	}
}

// Hosts stay in the wave that was approved, also if others of it are no longer to be
// changed.
func TestSavedWaves(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d")
	p := policy()
	p.Canary = 1
	p.Batches = []inventory.Amount{inventory.Count(2)}
	targets := f.targets("a", "b", "c", "d")
	r := f.runner()
	defer r.Close()
	looks := r.Survey(context.Background(), targets, 1)
	saved := Make(targets, looks, p).Save()
	for i, want := range []int{1, 2, 2, 3} {
		if saved[i].Wave == nil || *saved[i].Wave != want {
			t.Fatalf("host %d: wave %v, want %d", i, saved[i].Wave, want)
		}
	}
	drifted := healthy()
	drifted.File.Owner = "other:other"
	looks[1], looks[2] = Look{Seen: drifted}, Look{Seen: drifted}
	again := MakeSaved(saved, targets, looks, p)
	want := []Wave{{1, true, []int{0}}, {3, false, []int{3}}}
	if !reflect.DeepEqual(again.Waves, want) || again.Entries[3].Wave != 3 {
		t.Errorf("%+v", again.Waves)
	}
}

// The saved waves must be those of the plan's policy: hosts that join the canary, leave
// it, or change their order are found.
func TestCheckWaves(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d", "e", "f")
	f.vms["c"].seen.Unit.Active = "inactive" // refused
	p := policy()
	p.Canary, p.Batches = 1, []inventory.Amount{inventory.Count(1), inventory.Percent(50)}
	targets := f.targets("a", "b", "c", "d", "e", "f")
	r := f.runner()
	defer r.Close()
	made := func() []planfile.Host { return Make(targets, r.Survey(context.Background(), targets, 1), p).Save() }
	if err := CheckWaves(made(), p); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := CheckWaves(nil, p); err != nil {
		t.Errorf("no hosts: %v", err)
	}
	wave := func(n int) *int { return &n }
	tests := []struct {
		name string
		edit func([]planfile.Host)
		says string
	}{
		{"all are the canary", func(h []planfile.Host) {
			for i := range h {
				if h[i].Wave != nil {
					h[i].Wave = wave(1)
				}
			}
		}, "the plan has b in wave 1; by its own policy it is in wave 2"},
		{"one joins it", func(h []planfile.Host) { h[5].Wave = wave(1) }, "the plan has f in wave 1; by its own policy it is in wave 3"},
		{"the canary is another", func(h []planfile.Host) { h[0].Wave, h[5].Wave = h[5].Wave, h[0].Wave }, "the plan has a in wave 3"},
		{"no canary", func(h []planfile.Host) { h[0].Wave = wave(2) }, "the plan has a in wave 2; by its own policy it is in wave 1"},
		{"none", func(h []planfile.Host) { h[1].Wave = nil }, "the plan has b in no wave; by its own policy it is in wave 2"},
		{"one more", func(h []planfile.Host) { h[5].Wave = wave(4) }, "the plan has f in wave 4"},
		{"before the first", func(h []planfile.Host) { h[0].Wave = wave(-1) }, "the plan has a in wave -1"},
		{"a refused one", func(h []planfile.Host) { h[2].Wave = wave(1) }, "the plan has c in wave 1; by its own policy it is in no wave"},
		{"the canary refused", func(h []planfile.Host) { h[0].Outcome, h[0].Wave = "refused", nil }, "the plan has b in wave 2; by its own policy it is in wave 1"},
	}
	for _, tt := range tests {
		hosts := made()
		tt.edit(hosts)
		if err := CheckWaves(hosts, p); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// The same plan with another policy.
	one := p
	one.Canary, one.Batches = 0, nil
	if err := CheckWaves(made(), one); err == nil {
		t.Error("the policy does not count")
	}
}
