package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Every rule of the plan, each with the smallest change that triggers it.
func TestDecide(t *testing.T) {
	right := newCertificate("NEW").Digest()
	same := func(s *host.Observation) { s.File.Digest = right }
	stopped := func(s *host.Observation) { s.Unit.Active, s.Unit.Sub = "inactive", "dead" }
	tests := []struct {
		name    string
		change  func(*host.Observation)
		stopped string // agent.when_stopped
		force   bool
		action  Action
		outcome Outcome
		class   problem.Class
		reason  string
	}{
		{name: "new", action: Rotate, reason: "new certificate"},
		{name: "managed identity", change: func(s *host.Observation) { s.Provider = nil }, action: None, outcome: NotApplicable, reason: "managed identity"},
		{name: "first certificate", change: func(s *host.Observation) { s.File.Kind, s.File.Digest, s.Live = "missing", "none", nil }, action: Rotate, reason: "no certificate yet"},
		{name: "no openssl", change: func(s *host.Observation) { s.Live, s.LiveNote = nil, "n" }, action: Rotate, reason: "new certificate"},
		{name: "other bytes, same certificate", change: func(s *host.Observation) { s.Live.Thumbprint = "NEW" }, action: Rotate, reason: "same certificate, other file"},

		{name: "no folder", change: func(s *host.Observation) { s.File.Kind = "nodir" }, action: None, outcome: Refused, class: "configuration", reason: "does not exist"},
		{name: "a device", change: func(s *host.Observation) { s.File.Kind = "other" }, action: None, outcome: Refused, class: "configuration", reason: "not a regular file"},
		{name: "unsafe folder", change: func(s *host.Observation) { s.File.Unsafe = "/opt" }, action: None, outcome: Refused, class: "configuration", reason: "write the folder /opt"},
		{name: "read-only", change: func(s *host.Observation) { s.File.ReadOnly = true }, action: None, outcome: Refused, class: "disk", reason: "read-only"},
		{name: "full disk", change: func(s *host.Observation) { s.Space = 1<<20 - 1 }, action: None, outcome: Refused, class: "disk", reason: "1023 kB are free"},
		{name: "room enough", change: func(s *host.Observation) { s.Space = 1 << 20 }, action: Rotate, reason: "new"},

		{name: "no unit", change: func(s *host.Observation) { s.Unit.Load = "not-found" }, action: None, outcome: Refused, class: "agent_not_running", reason: "not known to systemd"},
		{name: "no systemd", change: func(s *host.Observation) { s.Unit.Load = "" }, action: None, outcome: Refused, class: "agent_not_running", reason: "not known to systemd"},
		{name: "masked", change: func(s *host.Observation) { s.Unit.Load = "masked" }, action: None, outcome: Refused, class: "agent_not_running", reason: "is masked"},
		{name: "masked, replace", change: func(s *host.Observation) { s.Unit.Load = "masked" }, stopped: "replace", action: None, outcome: Refused, class: "agent_not_running", reason: "is masked"},
		{name: "stopped", change: stopped, action: None, outcome: Refused, class: "agent_not_running", reason: "is stopped"},
		{name: "stopped, replace", change: stopped, stopped: "replace", action: Rotate, reason: "new"},
		{name: "disabled", change: func(s *host.Observation) { s.Unit.File = "disabled" }, action: None, outcome: Refused, class: "agent_not_running", reason: "is disabled"},
		{name: "disabled, replace", change: func(s *host.Observation) { s.Unit.File = "disabled" }, stopped: "replace", action: Rotate, reason: "new"},
		{name: "failed: the new certificate may cure it", change: func(s *host.Observation) { s.Unit.Active = "failed" }, action: Rotate, reason: "new"},

		{name: "unfinished", change: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "pending", Run: "r"}} }, action: Rotate, reason: "recovered first"},
		{name: "unfinished undo, file right", change: func(s *host.Observation) { same(s); s.Receipts = []host.Receipt{{State: "undoing", Run: "r"}} }, action: Rotate, reason: "recovered first"},
		{name: "finished", change: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "failed", Run: "r"}} }, action: Rotate, reason: "new"},

		{name: "current", change: same, action: None, outcome: Current, reason: "already live"},
		{name: "current, port closed", change: func(s *host.Observation) { same(s); s.PortClosed, s.Command = true, "exited 1" }, action: None, outcome: Current, reason: "already live"},
		{name: "current, stopped", change: func(s *host.Observation) { same(s); stopped(s) }, stopped: "replace", action: None, outcome: Current, reason: "the agent is stopped"},
		{name: "restart: failed", change: func(s *host.Observation) { same(s); s.Unit.Active = "failed" }, action: Restart, reason: "has failed"},
		{name: "restart: main process gone", change: func(s *host.Observation) { same(s); s.Unit.Sub = "exited" }, action: Restart, reason: "main process has exited"},
		{name: "oneshot", change: func(s *host.Observation) { s.Unit.Type, s.Unit.Sub = "oneshot", "exited" }, action: None, outcome: Refused, class: "configuration", reason: "is Type=oneshot"},
		{name: "oneshot that is run by a timer", change: func(s *host.Observation) { stopped(s); s.Unit.Type = "oneshot" }, stopped: "replace", action: Rotate, reason: "new"},
		{name: "oneshot, may be stopped", change: func(s *host.Observation) { s.Unit.Type = "oneshot" }, stopped: "replace", action: None, outcome: Refused, class: "configuration", reason: "is Type=oneshot"},
		{name: "restart: crash loop", change: func(s *host.Observation) { same(s); s.Unit.Active, s.Unit.Sub = "activating", "auto-restart" }, action: Restart, reason: "has failed"},
		{name: "restart: crash loop, between two exits", change: func(s *host.Observation) {
			same(s)
			s.Unit.Restarts, s.Unit.Started = 1, s.Clock.Add(-9*time.Second)
		}, action: Restart, reason: "started it again"},
		{name: "exited once, long ago", change: func(s *host.Observation) {
			same(s)
			s.Unit.Restarts, s.Unit.Started = 1, s.Clock.Add(-10*time.Second)
		}, action: None, outcome: Current, reason: "already live"},
		{name: "deactivating", change: func(s *host.Observation) {
			same(s)
			s.Unit.Active, s.Unit.Sub, s.Unit.Started = "deactivating", "stop-sigterm", time.Time{}
		}, action: None, outcome: Refused, class: "agent_not_running", reason: "is deactivating"},
		{name: "restart: process older", change: func(s *host.Observation) { same(s); s.File.Changed = s.Unit.Started.Add(51 * time.Millisecond) }, action: Restart, reason: "started before it changed"},
		{name: "within the clock's tick", change: func(s *host.Observation) { same(s); s.File.Changed = s.Unit.Started.Add(50 * time.Millisecond) }, action: None, outcome: Current, reason: "already live"},
		{name: "live and refused", change: func(s *host.Observation) { same(s); s.Denied = "AADSTS7" }, action: None, outcome: Refused, class: "unhealthy", reason: "AADSTS7"},
		{name: "refused with the old one: the new one may cure it", change: func(s *host.Observation) { s.Denied = "AADSTS7" }, action: Rotate, reason: "new"},
		{name: "current beats a certificate that expires no later", change: func(s *host.Observation) {
			same(s)
			s.Live = &certificate.Info{Thumbprint: "NEW", NotAfter: clock.AddDate(9, 0, 0)}
		}, action: None, outcome: Current, reason: "already live"},

		{name: "no clock", change: func(s *host.Observation) { s.Clock = time.Time{} }, action: None, outcome: Refused, class: "certificate", reason: "clock is unknown"},
		{name: "not valid yet", change: func(s *host.Observation) { s.Clock = clock.Add(-2 * time.Hour) }, action: None, outcome: Refused, class: "certificate", reason: "not valid yet"},
		{name: "expired there", change: func(s *host.Observation) { s.Clock = clock.AddDate(1, 0, 1) }, action: None, outcome: Refused, class: "certificate", reason: "has expired"},
		{name: "expires no later", change: func(s *host.Observation) { s.Live.NotAfter = clock.AddDate(1, 0, 0) }, action: None, outcome: Refused, class: "certificate", reason: "expires at the same time as the live one (2001-01-01 00:00:00Z)"},
		{name: "expires an hour earlier", change: func(s *host.Observation) { s.Live.NotAfter = clock.AddDate(1, 0, 0).Add(time.Hour) }, action: None, outcome: Refused, class: "certificate", reason: "expires on 2001-01-01 00:00:00Z, no later than the live one (2001-01-01 01:00:00Z)"},
		{name: "expires earlier", change: func(s *host.Observation) { s.Live.NotAfter = clock.AddDate(1, 0, 3) }, action: None, outcome: Refused, class: "certificate", reason: "expires on 2001-01-01, no later than the live one (2001-01-04)"},
		{name: "expires a second later", change: func(s *host.Observation) { s.Live.NotAfter = clock.AddDate(1, 0, 0).Add(-time.Second) }, action: Rotate, reason: "new"},
		{name: "forced", change: func(s *host.Observation) { s.Live.NotAfter = clock.AddDate(9, 0, 0) }, force: true, action: Rotate, reason: "new"},
		{name: "force does not start a stopped agent", change: stopped, force: true, action: None, outcome: Refused, class: "agent_not_running", reason: "is stopped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := healthy()
			if tt.change != nil {
				tt.change(seen)
			}
			target := Target{Host: &inventory.Host{Name: "h", Agent: inventory.Agent{Unit: "u", WhenStopped: tt.stopped}, Health: inventory.Health{Window: 10 * time.Second}}, Certificate: newCertificate("NEW")}
			e := decide(target, Look{Seen: seen}, tt.force)
			if e.Action != tt.action || e.Outcome != tt.outcome || !strings.Contains(e.Reason, tt.reason) {
				t.Errorf("%q %q %q", e.Action, e.Outcome, e.Reason)
			}
			if (e.Problem == nil) != (tt.class == "") || e.Problem != nil && e.Problem.Class != tt.class {
				t.Errorf("problem %+v, want class %q", e.Problem, tt.class)
			}
		})
	}
}

func TestDecideUnobserved(t *testing.T) {
	tests := []struct {
		err     error
		outcome Outcome
	}{
		{&problem.Error{Class: problem.Unreachable}, Unreachable},
		{&problem.Error{Class: problem.Authentication}, Unreachable},
		{&problem.Error{Class: problem.HostKeyUnknown}, Unreachable},
		{&problem.Error{Class: problem.HostKeyChanged}, Unreachable},
		{&problem.Error{Class: problem.Sudo}, Refused},
		{&problem.Error{Class: problem.Configuration}, Refused},
		{errors.New("anything"), Refused},
		{context.DeadlineExceeded, Refused},
		{fmt.Errorf("dial: %w", context.Canceled), Skipped},
	}
	for _, tt := range tests {
		e := decide(Target{Host: &inventory.Host{}}, Look{Err: tt.err}, true)
		if e.Outcome != tt.outcome || e.Action != None || (e.Problem == nil) != (tt.outcome == Skipped) {
			t.Errorf("%v: %+v", tt.err, e)
		}
		if s := Status([]Target{{Host: &inventory.Host{}}}, []Look{{Err: tt.err}})[0]; s.Outcome != tt.outcome {
			t.Errorf("status of %v: %s", tt.err, s.Outcome)
		}
	}
}

// One certificate for two service principals is wrong for one of them.
func TestRefuseSharedCertificate(t *testing.T) {
	look := func(client string) Look {
		seen := healthy()
		seen.Provider.ClientID = client
		return Look{Seen: seen}
	}
	targets := []Target{{Host: &inventory.Host{}, Certificate: newCertificate("A")}, {Host: &inventory.Host{}, Certificate: newCertificate("A")}, {Host: &inventory.Host{}, Certificate: newCertificate("B")}}
	tests := []struct {
		name    string
		clients []string
		force   bool
		refused []bool
	}{
		{"one client", []string{"1", "1", "2"}, false, []bool{false, false, false}},
		{"in another case", []string{"ab", "AB", "2"}, false, []bool{false, false, false}},
		{"two clients", []string{"1", "2", "3"}, false, []bool{true, true, false}},
		{"unknown client", []string{"1", "", "3"}, false, []bool{false, false, false}},
		{"forced", []string{"1", "2", "3"}, true, []bool{false, false, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var looks []Look
			for _, c := range tt.clients {
				looks = append(looks, look(c))
			}
			p := policy()
			p.Force = tt.force
			for i, e := range Make(targets, looks, p).Entries {
				if (e.Outcome == Refused) != tt.refused[i] || (e.Action == None) != tt.refused[i] {
					t.Errorf("%d: %+v", i, e)
				}
			}
		})
	}
}

// A host that ends for another reason keeps its own outcome.
func TestRefuseSharedCertificateKeepsOutcomes(t *testing.T) {
	cert := newCertificate("A")
	first, second := healthy(), healthy()
	second.Provider.ClientID = "client-2"
	second.File.Digest = cert.Digest()
	plan := Make([]Target{{Host: &inventory.Host{}, Certificate: cert}, {Host: &inventory.Host{}, Certificate: cert}}, []Look{{Seen: first}, {Seen: second}}, policy())
	if plan.Entries[0].Outcome != Refused || plan.Entries[1].Outcome != Current || plan.Changes() != 0 {
		t.Errorf("%+v", plan.Entries)
	}
}

func TestFirstThree(t *testing.T) {
	set := map[string]bool{}
	for i, want := range []string{"a", "a, b", "a, b, c", "a, b, c and 1 more", "a, b, c and 2 more"} {
		set[string(rune('a'+i))] = true
		if got := firstThree(set); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	managed := healthy()
	managed.Provider = nil
	entries := Status(make([]Target, 2), []Look{{Seen: healthy()}, {Seen: managed}})
	if entries[0].Outcome != "" || entries[0].Seen == nil || entries[1].Outcome != NotApplicable {
		t.Errorf("%+v", entries)
	}
}

func TestOffline(t *testing.T) {
	h := &inventory.Host{}
	p := Offline([]Target{{Host: h}, {Host: h}, {Host: h}}, policy())
	if len(p.Entries) != 3 || p.Entries[0].Action != NotSeen || p.Changes() != 3 {
		t.Errorf("%+v", p.Entries)
	}
}

func TestBudget(t *testing.T) {
	tests := []struct {
		name  string
		limit int
		count bool
		ended []Outcome
		spent bool
	}{
		{"nothing yet", 1, true, nil, false},
		{"good ones", 1, true, []Outcome{Rotated, Current, NotApplicable, Restored, Skipped, ""}, false},
		{"failed", 1, true, []Outcome{Failed}, true},
		{"unknown", 1, true, []Outcome{Unknown}, true},
		{"rolled back", 1, true, []Outcome{RolledBack}, true},
		{"refused", 1, true, []Outcome{Refused}, true},
		{"unreachable counts", 1, true, []Outcome{Unreachable}, true},
		{"unreachable does not", 1, false, []Outcome{Unreachable, Unreachable}, false},
		{"one short", 3, true, []Outcome{Failed, Rotated, Refused}, false},
		{"just there", 3, true, []Outcome{Failed, Rotated, Refused, Unreachable}, true},
		{"beyond", 1, true, []Outcome{Failed, Failed}, true},
	}
	for _, tt := range tests {
		b := budget{limit: tt.limit, counts: Policy{Rollout: inventory.Rollout{CountUnreachable: tt.count}}.Counts}
		for _, o := range tt.ended {
			b.add(o, false)
		}
		if b.spent() != tt.spent {
			t.Errorf("%s: spent %v", tt.name, b.spent())
		}
	}
	for o, spent := range map[Outcome]bool{Rotated: false, Refused: false, Unreachable: false, RolledBack: true, Failed: true, Unknown: true} {
		b := budget{limit: 9, counts: Policy{}.Counts}
		if b.add(o, true); b.spent() != spent {
			t.Errorf("a canary that is %s: spent %v", o, b.spent())
		}
	}
}

// A host without a certificate is refused, unless its agent needs none.
func TestNoCertificateNamed(t *testing.T) {
	seen := healthy()
	target := Target{Host: &inventory.Host{Name: "h"}}
	if e := decide(target, Look{Seen: seen}, false); e.Outcome != Refused || e.Problem.Class != problem.Configuration {
		t.Errorf("%q %+v", e.Outcome, e.Problem)
	}
	seen.Provider = nil
	if e := decide(target, Look{Seen: seen}, false); e.Outcome != NotApplicable {
		t.Errorf("%q %+v", e.Outcome, e.Problem)
	}
	if e := Offline([]Target{target}, policy()).Entries[0]; e.Action != NotSeen || !strings.Contains(e.Reason, "no certificate is named") {
		t.Errorf("offline: %+v", e)
	}
}
