package rollout

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestLockedHosts(t *testing.T) {
	tests := []struct {
		name    string
		receipt host.Receipt
		held    bool
	}{
		{"at work", host.Receipt{State: "pending", AtWork: true, Armed: true, Left: time.Minute}, true},
		{"at work without a switch", host.Receipt{State: "pending", AtWork: true}, true},
		{"at work without a switch, its time known", host.Receipt{State: "pending", AtWork: true, Timed: true, Left: time.Minute}, true},
		{"without a switch, its time over", host.Receipt{State: "pending", AtWork: true, Timed: true, PID: 4711}, false},
		{"overdue", host.Receipt{State: "pending", AtWork: true, Armed: true}, false},
		{"dead, not yet overdue", host.Receipt{State: "pending", Armed: true, Left: time.Minute}, false},
		{"being undone", host.Receipt{State: "undoing", AtWork: true, Armed: true, Left: time.Minute}, false},
		{"ended", host.Receipt{State: "confirmed", AtWork: true}, false},
	}
	decisions := map[string]func(Target, Look) Entry{
		"rotate":   func(t Target, l Look) Entry { return decide(t, l, true) },
		"rollback": func(t Target, l Look) Entry { return decideRollback("r", t, l, true) },
		"recover":  decideRecovery,
	}
	for _, tt := range tests {
		for verb, decision := range decisions {
			t.Run(tt.name+", "+verb, func(t *testing.T) {
				seen := healthy()
				tt.receipt.Run, tt.receipt.Owner = "r-1", "operator@laptop"
				seen.Receipts = []host.Receipt{tt.receipt}
				e := decision(Target{Host: &inventory.Host{Name: "h"}, Certificate: newCertificate("NEW")}, Look{Seen: seen})
				locked := e.Outcome == Refused && e.Problem.Class == problem.Locked
				if locked != tt.held {
					t.Fatalf("%q %+v", e.Outcome, e.Problem)
				}
				if locked && !strings.Contains(e.Problem.Message, "run r-1 of operator@laptop") {
					t.Errorf("message %q", e.Problem.Message)
				}
				if locked && tt.receipt.Left > 0 && !strings.Contains(e.Problem.Hint, "1m0s") {
					t.Errorf("hint %q", e.Problem.Hint)
				}
				if named := strings.Contains(e.Reason, "process 4711 of run r-1 is still running on the host"); verb == "recover" && named != (tt.receipt.PID != 0) {
					t.Errorf("reason %q", e.Reason)
				}
			})
		}
	}
}

func TestDecideRollback(t *testing.T) {
	backup := func(s *host.Observation) {
		s.Backups = []host.Backup{{Run: "other", Old: "x", New: "y"}, {Run: "r", Old: "before", New: oldSum}}
		s.Saved = &certificate.Info{Thumbprint: "BEFORE", NotAfter: clock.AddDate(0, 1, 0)}
	}
	tests := []struct {
		name    string
		change  func(*host.Observation)
		force   bool
		action  Action
		outcome Outcome
		class   problem.Class
	}{
		{name: "unchanged", action: Restore},
		{name: "no backup", change: func(s *host.Observation) { s.Backups = s.Backups[:1] }, outcome: Refused, class: "configuration"},
		{name: "no backup, forced", change: func(s *host.Observation) { s.Backups = nil }, force: true, outcome: Refused, class: "configuration"},
		{name: "rotated since", change: func(s *host.Observation) { s.File.Digest = "newer" }, outcome: Refused, class: "drift"},
		{name: "rotated since, forced", change: func(s *host.Observation) { s.File.Digest = "newer" }, force: true, action: Restore},
		{name: "expired", change: func(s *host.Observation) { s.Saved.NotAfter = clock.Add(-time.Second) }, outcome: Refused, class: "certificate"},
		{name: "expired, forced", change: func(s *host.Observation) { s.Saved.NotAfter = clock.Add(-time.Second) }, force: true, action: Restore},
		{name: "can't be read there", change: func(s *host.Observation) { s.Saved = nil }, action: Restore},
		{name: "several files", change: func(s *host.Observation) { s.Backups[1].Others = 2 }, outcome: Refused, class: "configuration"},
		{name: "several files, forced", change: func(s *host.Observation) { s.Backups[1].Others = 2 }, force: true, outcome: Refused, class: "configuration"},
		{name: "there was none", change: func(s *host.Observation) { s.Backups[1].Old = "none" }, outcome: Refused, class: "certificate"},
		{name: "restored already", change: func(s *host.Observation) { s.File.Digest = "before" }, outcome: Current},
		{name: "restored, agent failed", change: func(s *host.Observation) { s.File.Digest = "before"; s.Unit.Active = "failed" }, action: Restart},
		{name: "stopped", change: func(s *host.Observation) { s.Unit.Active = "inactive" }, outcome: Refused, class: "agent_not_running"},
		{name: "undone by the host itself", change: func(s *host.Observation) {
			s.Backups, s.Receipts = nil, []host.Receipt{{State: "rolled-back", Run: "r"}}
		}, outcome: Current},
		{name: "interrupted", change: func(s *host.Observation) { s.Receipts = []host.Receipt{{State: "undoing", Run: "r"}} }, action: Restore},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := healthy()
			backup(seen)
			if tt.change != nil {
				tt.change(seen)
			}
			e := decideRollback("r", Target{Host: &inventory.Host{Name: "h"}}, Look{Seen: seen}, tt.force)
			if e.Outcome != tt.outcome || tt.action != "" && e.Action != tt.action {
				t.Errorf("%q %q %q", e.Action, e.Outcome, e.Reason)
			}
			if (e.Problem == nil) != (tt.class == "") || e.Problem != nil && e.Problem.Class != tt.class {
				t.Errorf("problem %+v", e.Problem)
			}
		})
	}
}

// rollBack does what the rollback command does, of the run "before".
func (f *fakeFleet) rollBack(p Policy, names ...string) *Run {
	return f.rollBackRun("before", p, names...)
}

func (f *fakeFleet) rollBackRun(past string, p Policy, names ...string) *Run {
	r := f.runner()
	r.Saved = past
	defer r.Close()
	targets := f.targets(names...)
	for i := range targets {
		targets[i].Certificate = nil
	}
	return r.Apply(context.Background(), context.Background(), MakeRollback(past, targets, r.Survey(context.Background(), targets, 1), p))
}

func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c", "d", "e")
		for _, vm := range f.vms {
			vm.seen.Backups = []host.Backup{{Run: "before", Old: "first", New: oldSum}}
		}
		f.vms["b"].ending = host.RolledBack
		f.vms["c"].ending = host.Failed
		f.vms["d"].fates["rotate"] = applied // contact lost after it was confirmed
		f.vms["e"].seen.Receipts = []host.Receipt{{State: "pending", Run: "x"}}
		f.vms["e"].recovery = host.RolledBack
		f.vms["e"].onRecover = func(vm *fakeVM) { vm.receipt("rolled-back") }
		run := f.rollBack(policy(), "a", "b", "c", "d", "e")
		wantOutcomes(t, run, Restored, RolledBack, Failed, Restored, Restored)
		for _, vm := range f.vms {
			if vm.called("stage") > 0 {
				t.Error("something was staged")
			}
		}
		if got := f.vms["a"].seen.File.Digest; got != "first" {
			t.Errorf("a has %q", got)
		}
	})
}

func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a", "b", "c", "d", "e", "f", "g"}
		f := newFakeFleet(names...)
		for name, ending := range map[string]host.Ending{"b": host.RolledBack, "c": host.Failed, "d": host.Rotated, "e": host.Clean, "f": host.RolledBack, "g": host.Refused} {
			f.vms[name].recovery = ending
			f.vms[name].receipt("pending")
		}
		f.vms["e"].seen.Receipts, f.vms["e"].seen.Leftover = nil, []string{"staged-x"}
		f.vms["f"].fates["recover"] = applied // contact lost, found again
		r := f.runner()
		defer r.Close()
		targets := f.targets(names...)
		run := r.Apply(context.Background(), context.Background(), MakeRecovery(targets, r.Survey(context.Background(), targets, 1), policy()))
		wantOutcomes(t, run, Current, Restored, Failed, Rotated, Current, Restored, Refused)
		if f.vms["a"].called("recover") != 0 || f.vms["f"].called("recover") != 2 {
			t.Error("recovered where there was nothing, or not again where contact was lost")
		}
	})
}

// A host that can't be rolled back does not stop the others.
func TestRollbackIgnoresRefusals(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["b"].seen.Backups = []host.Backup{{Run: "before", Old: "first", New: oldSum}}
	p := policy()
	p.MaxFailures = inventory.Count(1)
	wantOutcomes(t, f.rollBack(p, "a", "b"), Refused, Restored)
}

// An unfinished run is recovered also if the agent's configuration is unknown now: the
// receipt has all that is needed.
func TestRecoveryWithoutAConfiguration(t *testing.T) {
	broken := &problem.Error{Class: problem.Configuration, Message: "no YAML"}
	for name, change := range map[string]func(*Look){
		"broken":           func(l *Look) { l.Err = broken },
		"managed identity": func(l *Look) { l.Seen.Provider = nil },
	} {
		look := Look{Seen: healthy()}
		change(&look)
		if e := decideRecovery(Target{Host: &inventory.Host{}}, look); e.Action == Recover {
			t.Errorf("%s: nothing is unfinished: %+v", name, e)
		}
		look.Seen.Receipts = []host.Receipt{{State: "undoing", Run: "r"}}
		if e := decideRecovery(Target{Host: &inventory.Host{}}, look); e.Action != Recover || e.Outcome != "" {
			t.Errorf("%s: %q %q", name, e.Action, e.Outcome)
		}
	}
}

// An unknown host has recovered by itself after the time of its switch, counted from the
// last contact, and the time of an undo.
func TestSettlesAt(t *testing.T) {
	for name, deadman := range map[string]bool{"with a switch": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a")
				f.vms["a"].fates["rotate"] = notApplied
				f.vms["a"].during = func(call string) {
					if call == "rotate" {
						f.vms["a"].dead = true
					}
				}
				p := policy()
				p.NoDeadman = !deadman
				lost := time.Now()
				run := f.rotateAll(t, context.Background(), p, "a")
				wantOutcomes(t, run, Unknown)
				h := inventory.Health{Timeout: time.Second, Window: time.Second}
				want := lost.Add(h.Hold() + 16*time.Second + 3*time.Second + healthy().Unit.UndoTime(h))
				if got := run.Results[0].SettlesAt; deadman && !got.Equal(want) || !deadman && !got.IsZero() {
					t.Errorf("settles at %v, want %v", got, want)
				}
			})
		})
	}
}
