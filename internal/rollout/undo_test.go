package rollout

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func soaking() Policy {
	p := oneByOne()
	p.Soak = time.Minute
	return p
}

// Rotated hosts are checked for the whole soak, and no longer.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c")
		start := time.Now()
		run := f.rotateAll(t, context.Background(), soaking(), "a", "b", "c")
		wantOutcomes(t, run, Rotated, Rotated, Rotated)
		// One soak, between the two waves; a is checked every 10 s.
		if took, looks := time.Since(start), f.vms["a"].called("observe"); took != time.Minute || looks != 1+7 {
			t.Errorf("%v, %d looks", took, looks)
		}
		if f.vms["b"].called("observe") != 1 {
			t.Errorf("%v", f.vms["b"].calls)
		}
	})
}

// later changes the observations of the VM after a time.
func (vm *fakeVM) later(after time.Duration, change func(*host.Observation)) {
	go func() {
		time.Sleep(after)
		vm.mu.Lock()
		defer vm.mu.Unlock()
		copied := *vm.seen
		change(&copied)
		vm.seen = &copied
	}()
}

// What turns a host unhealthy in a soak, and what does not.
func TestSoakFinds(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*fakeVM)
		undoing host.Ending
		outcome Outcome
		says    string
	}{
		{"denied", func(vm *fakeVM) { vm.seen.Denied = "AADSTS7" }, "", RolledBack, "while soaking: the log says: AADSTS7"},
		{"crashed", func(vm *fakeVM) { vm.seen.Unit.Active = "failed" }, "", RolledBack, "the agent is failed"},
		{"restarts", func(vm *fakeVM) { vm.seen.Unit.Restarts = 3 }, "", RolledBack, "restarts by itself"},
		{"port closed", func(vm *fakeVM) { vm.seen.PortClosed, vm.seen.Config.ListenerPort = true, 36001 }, "", RolledBack, "while soaking: nothing listens on port 36001"},
		{"command", func(vm *fakeVM) { vm.seen.Command = "health.command exited 7: stuck" }, "", RolledBack, "while soaking: health.command exited 7: stuck"},
		{"port closed for a moment", func(vm *fakeVM) {
			vm.seen.PortClosed, vm.seen.Config.ListenerPort = true, 36001
			vm.later(7*time.Second, func(seen *host.Observation) { seen.PortClosed = false })
		}, "", Rotated, ""},
		{"command fails once", func(vm *fakeVM) {
			vm.seen.Command = "health.command exited 7: stuck"
			vm.later(7*time.Second, func(seen *host.Observation) { seen.Command = "" })
		}, "", Rotated, ""},
		{"undo is undone", func(vm *fakeVM) { vm.seen.Denied = "AADSTS7" }, host.RolledBack, Failed, "AADSTS7; the old certificate could not be restored"},
		{"undo fails", func(vm *fakeVM) { vm.seen.Denied = "AADSTS7" }, host.Failed, Failed, "could not be restored"},
		{"undo is refused", func(vm *fakeVM) { vm.seen.Denied = "AADSTS7" }, host.Refused, Failed, "could not be restored"},
		{"no backup", func(vm *fakeVM) { vm.seen.Denied, vm.seen.Backups = "AADSTS7", nil }, "", Failed, "no backup"},
		{"unreachable", func(vm *fakeVM) { vm.dead, vm.fates["observe"] = true, notApplied }, "", Unknown, "lost"},
		{"unreachable for a moment", func(vm *fakeVM) { vm.fates["observe"] = notApplied }, "", Rotated, ""},
		{"reloading", func(vm *fakeVM) { vm.seen.Unit.Active = "reloading" }, "", Rotated, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a", "b")
				vm := f.vms["a"]
				vm.undoing = tt.undoing
				go func() {
					time.Sleep(25 * time.Second)
					vm.mu.Lock()
					defer vm.mu.Unlock()
					copied := *vm.seen
					vm.seen = &copied
					tt.change(vm)
				}()
				run := f.rotateAll(t, context.Background(), soaking(), "a", "b")
				after := Skipped
				if tt.outcome == Rotated {
					after = Rotated
				}
				wantOutcomes(t, run, tt.outcome, after)
				res := run.Results[0]
				if tt.says != "" && (res.Problem == nil || !strings.Contains(res.Problem.Message, tt.says)) {
					t.Errorf("%+v", res.Problem)
				}
				if (vm.seen.File.Digest == oldSum) != (tt.outcome == RolledBack) {
					t.Errorf("%s, but the host has %s", tt.outcome, vm.seen.File.Digest)
				}
				if vm.staged || f.vms["b"].staged || run.Stopped != (after == Skipped) {
					t.Errorf("left behind, or %+v", run)
				}
			})
		})
	}
}

// A certificate that something else has replaced is reported and left in place: it is
// not this run's change.
func TestSoakFindsAnotherFile(t *testing.T) {
	other := strings.Repeat("a", 64)
	tests := []struct {
		name   string
		change func(*host.Observation)
		says   string
	}{
		{"replaced", func(s *host.Observation) { s.File.Digest = other }, "the certificate was replaced: live is OLD, sha256 aaaaaaaaaaaa…"},
		{"replaced, unreadable", func(s *host.Observation) { s.File.Digest, s.Live = other, nil }, "the certificate was replaced: live is sha256 aaaaaaaaaaaa…"},
		{"replaced and unhealthy", func(s *host.Observation) { s.File.Digest, s.Denied = other, "AADSTS7" }, "the certificate was replaced"},
		{"gone", func(s *host.Observation) { s.File.Digest, s.File.Kind, s.Live = "none", "missing", nil }, "the certificate file is gone: /c.p12"},
		{"no file", func(s *host.Observation) { s.File.Digest, s.File.Kind, s.Live = "none", "other", nil }, "the certificate file is gone: /c.p12"},
		{"another path", func(s *host.Observation) { s.File.Digest, s.File.Path = other, "/d.p12" }, "the agent's configuration names another file, /d.p12"},
		{"managed identity", func(s *host.Observation) { s.Provider, s.File, s.Live = nil, host.File{}, nil }, "no longer names a certificate"},
		{"by another run", func(s *host.Observation) {
			s.File.Digest, s.Receipts = other, []host.Receipt{{State: "rolled-back", Run: "x", Owner: "y"}, {State: "confirmed", Run: "r2", Owner: "op@pc"}}
		}, "sha256 aaaaaaaaaaaa…; by run r2 of op@pc"},
		{"another run is at work", func(s *host.Observation) {
			s.File.Digest, s.Receipts = other, []host.Receipt{{State: "pending", Run: "r2", Owner: "op@pc"}}
		}, "; run r2 of op@pc is in progress there"},
	}
	for _, tt := range tests {
		// Found in the middle of the soak, and only by its last check.
		for _, after := range []time.Duration{25 * time.Second, 55 * time.Second} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeFleet("a", "b")
					vm := f.vms["a"]
					go func() {
						time.Sleep(after)
						vm.mu.Lock()
						defer vm.mu.Unlock()
						copied := *vm.seen
						vm.seen = &copied
						tt.change(vm.seen)
					}()
					p := soaking()
					p.UndoAll = true // undoes only what the run has rotated
					run := f.rotateAll(t, context.Background(), p, "a", "b")
					wantOutcomes(t, run, Failed, Skipped)
					res := run.Results[0]
					if res.Problem == nil || res.Problem.Class != problem.Drift || !strings.Contains(res.Problem.Message, tt.says) || res.Problem.Hint == "" {
						t.Errorf("%+v", res.Problem)
					}
					if vm.called("undo") != 0 || vm.called("recover") != 0 || !run.Stopped {
						t.Errorf("%v, %+v", vm.calls, run)
					}
				})
			})
		}
	}
}

// A signal ends the soak at once, and healthy hosts stay rotated.
func TestSoakInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		stopping, stop := context.WithTimeout(context.Background(), 15*time.Second)
		defer stop()
		start := time.Now()
		run := f.rotateAll(t, stopping, soaking(), "a", "b")
		wantOutcomes(t, run, Rotated, Skipped)
		if time.Since(start) != 15*time.Second || !run.Interrupted {
			t.Errorf("%v, %+v", time.Since(start), run)
		}
	})
}

// A wave that has spent the budget does not soak.
func TestNoSoakWhenStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c")
		f.vms["b"].ending = host.RolledBack
		p := soaking()
		p.Canary = 2
		start := time.Now()
		wantOutcomes(t, f.rotateAll(t, context.Background(), p, "a", "b", "c"), Rotated, RolledBack, Skipped)
		if took := time.Since(start); took != 0 || f.vms["a"].called("observe") != 1 {
			t.Errorf("%v, %v", took, f.vms["a"].calls)
		}
	})
}

// A host that fails in its soak blocks its domain like one that fails in its turn.
func TestFailedSoakBlocksItsDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c")
		f.vms["a"].undoing = host.Failed
		f.vms["a"].during = func(call string) {
			if call == "rotate" {
				f.vms["a"].seen.Denied = "AADSTS7"
			}
		}
		for _, name := range []string{"a", "b"} {
			f.vms[name].seen.Config.ListenerPort = 36001
		}
		p := soaking()
		p.Canary, p.Batches = 0, []inventory.Amount{inventory.Count(1)}
		p.MaxFailures = inventory.Count(2)
		run := f.rotateAll(t, context.Background(), p, "a", "b", "c")
		wantOutcomes(t, run, Failed, Skipped, Rotated)
	})
}

// An agent that stays stopped can't turn unhealthy; a host whose file was right has
// nothing to restore.
func TestSoakOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("stopped", "restarted", "rest")
		f.vms["stopped"].seen.Unit.Active = "inactive"
		f.vms["restarted"].end(host.Rotated, newCertificate("NEW").Digest())
		f.vms["restarted"].seen.Unit.Active = "failed"
		p := soaking()
		p.Canary = 2
		targets := f.targets("stopped", "restarted", "rest")
		targets[0].Host.Agent.WhenStopped = "replace"
		r := f.runner()
		defer r.Close()
		run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
		wantOutcomes(t, run, Rotated, Failed, Skipped)
		if f.vms["restarted"].called("undo")+f.vms["stopped"].called("undo") != 0 {
			t.Error("undone")
		}
	})
}

func TestSoakInterval(t *testing.T) {
	for soak, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 10 * time.Second: 10 * time.Second, time.Minute: 10 * time.Second,
		10 * time.Minute: 20 * time.Second, 24 * time.Hour: time.Minute,
	} {
		if got := soakInterval(soak); got != want {
			t.Errorf("%v: %v, want %v", soak, got, want)
		}
	}
}

// Hosts are undone from the newest to the oldest; one that fails does not stop the
// others.
func TestUndoAll(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d", "e")
	f.vms["d"].ending = host.RolledBack
	f.vms["b"].undoing = host.Failed
	p := oneByOne()
	p.UndoAll = true
	run := f.rotateAll(t, context.Background(), p, "a", "b", "c", "d", "e")
	wantOutcomes(t, run, Restored, Failed, Restored, RolledBack, Skipped)
	if want := []string{"a", "b", "c", "d", "c", "b", "a"}; !slices.Equal(f.started, want) {
		t.Errorf("order %v, want %v", f.started, want)
	}
	if !run.Stopped || f.vms["a"].seen.File.Digest != oldSum || run.Results[0].Proof != "log_clean" {
		t.Errorf("%+v", run)
	}
	if res := run.Results[0]; res.Problem != nil || !slices.Contains(res.Notes, "undone because the run was stopped") {
		t.Errorf("%+v", res)
	}
}

// Nothing is undone unless failures spend the budget. A failure of the last host counts
// too.
func TestUndoAllOnlyWhenStopped(t *testing.T) {
	tests := []struct {
		bad    string
		budget int
		want   []Outcome
	}{
		{"", 1, []Outcome{Rotated, Rotated, Rotated}},
		{"b", 2, []Outcome{Rotated, RolledBack, Rotated}},
		{"c", 1, []Outcome{Restored, Restored, RolledBack}},
		{"a", 1, []Outcome{RolledBack, Skipped, Skipped}},
	}
	for _, tt := range tests {
		f := newFakeFleet("a", "b", "c")
		if tt.bad != "" {
			f.vms[tt.bad].ending = host.RolledBack
		}
		p := oneByOne()
		p.UndoAll, p.MaxFailures = true, inventory.Count(tt.budget)
		wantOutcomes(t, f.rotateAll(t, context.Background(), p, "a", "b", "c"), tt.want...)
	}
}

// If contact is lost during an undo, the receipt of the undo says how it ended, not that
// of the rotation.
func TestUndoLost(t *testing.T) {
	tests := []struct {
		how  fate
		want Outcome
	}{{applied, Restored}, {notApplied, Failed}, {unsent, Restored}}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			f.vms["a"].fates["undo"] = tt.how
			f.vms["b"].ending = host.RolledBack
			p := oneByOne()
			p.UndoAll = true
			run := f.rotateAll(t, context.Background(), p, "a", "b")
			wantOutcomes(t, run, tt.want, RolledBack)
			if (f.vms["a"].seen.File.Digest == oldSum) != (tt.want == Restored) {
				t.Errorf("%+v", f.vms["a"].seen)
			}
		})
	}
}

// A signal ends the undos after the host in flight.
func TestUndoAllInterrupted(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d")
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	f.vms["d"].ending = host.RolledBack
	f.vms["c"].during = func(call string) {
		if call == "undo" {
			stop()
		}
	}
	p := oneByOne()
	p.UndoAll = true
	run := f.rotateAll(t, stopping, p, "a", "b", "c", "d")
	wantOutcomes(t, run, Rotated, Rotated, Restored, RolledBack)
	if !strings.Contains(strings.Join(run.Results[0].Notes, ""), "not undone") {
		t.Errorf("%q", run.Results[0].Notes)
	}
}
