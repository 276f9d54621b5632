package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

func TestRotateAll(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	run := f.rotateAll(t, context.Background(), policy(), "a", "b", "c")
	wantOutcomes(t, run, Rotated, Rotated, Rotated)
	if run.Stopped || run.Interrupted || !slices.Equal(f.started, []string{"a", "b", "c"}) {
		t.Errorf("%+v, started %v", run, f.started)
	}
	for _, vm := range f.vms {
		if vm.staged || vm.called("dial") != 1 || vm.called("discard") != 0 {
			t.Errorf("%s: staged %v, calls %v", vm.name, vm.staged, vm.calls)
		}
	}
	if run.Results[0].Proof != "log_clean" {
		t.Errorf("%+v", run.Results[0])
	}
	again := f.rotateAll(t, context.Background(), policy(), "a", "b", "c")
	wantOutcomes(t, again, Current, Current, Current)
}

// Each call fails in turn, before its effect and after it. The outcome must match the
// host, and nothing staged may be left.
func TestEveryCallFails(t *testing.T) {
	tests := []struct {
		call    string
		how     fate
		outcome Outcome
	}{
		{"dial", notApplied, Unreachable},
		{"observe", notApplied, Unreachable},
		{"observe", applied, Unreachable},
		{"stage", notApplied, Rotated}, // over a second connection
		{"stage", applied, Rotated},
		{"rotate", notApplied, Refused},
		{"rotate", unsent, Rotated}, // over a second connection
		{"rotate", applied, Rotated},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d", tt.call, tt.how), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a", "b")
				vm := f.vms["a"]
				vm.fates[tt.call] = tt.how
				run := f.rotateAll(t, context.Background(), policy(), "a", "b")
				wantOutcomes(t, run, tt.outcome, Rotated)
				if (vm.seen.File.Digest == oldSum) != (tt.outcome != Rotated) {
					t.Errorf("outcome %s, but the host has %s", run.Results[0].Outcome, vm.seen.File.Digest)
				}
				if vm.staged {
					t.Error("the certificate is left")
				}
			})
		})
	}
}

func TestEndings(t *testing.T) {
	tests := []struct {
		ending  host.Ending
		outcome Outcome
	}{{host.Rotated, Rotated}, {host.RolledBack, RolledBack}, {host.Failed, Failed}, {host.Refused, Refused}}
	for _, tt := range tests {
		f := newFakeFleet("a")
		f.vms["a"].ending = tt.ending
		run := f.rotateAll(t, context.Background(), policy(), "a")
		wantOutcomes(t, run, tt.outcome)
		if (run.Results[0].Problem == nil) != (tt.outcome == Rotated) {
			t.Errorf("%s: problem %v", tt.ending, run.Results[0].Problem)
		}
		if f.vms["a"].staged {
			t.Errorf("%s: the certificate is left behind", tt.ending)
		}
	}
}

// At most Policy.Parallel agents are restarted at once, in the inventory's order;
// copying has no such limit.
func TestParallel(t *testing.T) {
	for _, parallel := range []int{1, 3, 100} {
		synctest.Test(t, func(t *testing.T) {
			names := manyNames(20)
			f := newFakeFleet(names...)
			for _, vm := range f.vms {
				vm.during = func(call string) {
					if call == "rotate" {
						time.Sleep(time.Second)
					}
				}
			}
			p := policy()
			p.Parallel = parallel
			f.rotateAll(t, context.Background(), p, names...)
			if want := min(parallel, 20); f.mostRestart != want {
				t.Errorf("parallel %d: %d at once", parallel, f.mostRestart)
			}
			if parallel == 1 && !slices.Equal(f.started, names) {
				t.Errorf("order: %v", f.started)
			}
		})
	}
}

// A recovery after an interrupted run restarts agents too.
func TestRecoveriesAreParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := manyNames(8)
		f := newFakeFleet(names...)
		for _, vm := range f.vms {
			vm.receipt("pending")
			vm.recovery = host.RolledBack
			vm.onRecover = func(vm *fakeVM) { vm.receipt("rolled-back") }
			vm.during = func(call string) {
				if call == "recover" {
					time.Sleep(time.Second)
				}
			}
		}
		p := policy()
		p.Parallel = 2
		run := f.rotateAll(t, context.Background(), p, names...)
		if f.mostRestart != 2 || run.Totals()[Rotated] != 8 {
			t.Errorf("%d at once; %v", f.mostRestart, run.Totals())
		}
		if note := strings.Join(run.Results[0].Notes, ""); !strings.Contains(note, "recovered first: rolled-back") {
			t.Errorf("note %q", note)
		}
	})
}

func TestRecoverFirst(t *testing.T) {
	tests := []struct {
		name     string
		recovery host.Ending
		fate     fate
		after    func(*fakeVM)
		outcome  Outcome
	}{
		{"undone, then rotated", host.RolledBack, succeeds, func(vm *fakeVM) { vm.receipt("rolled-back") }, Rotated},
		{"failed before, then rotated", host.Failed, succeeds, func(vm *fakeVM) { vm.receipt("failed") }, Rotated},
		{"another run is at work", host.Refused, succeeds, nil, Refused},
		{"contact lost, found again", host.RolledBack, notApplied, func(vm *fakeVM) { vm.receipt("rolled-back") }, Rotated},
		{"already current after that", host.Clean, succeeds, func(vm *fakeVM) { vm.end(host.Rotated, newCertificate("NEW").Digest()) }, Current},
		{"stopped after that", host.RolledBack, succeeds, func(vm *fakeVM) { vm.seen.Unit.Active = "inactive"; vm.receipt("rolled-back") }, Refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a")
				vm := f.vms["a"]
				vm.receipt("pending")
				vm.recovery, vm.onRecover, vm.fates["recover"] = tt.recovery, tt.after, tt.fate
				wantOutcomes(t, f.rotateAll(t, context.Background(), policy(), "a"), tt.outcome)
				if vm.staged {
					t.Error("the certificate is left behind")
				}
			})
		})
	}
}

// Memory depends on the open connections, not on the size of the fleet.
func TestConnectionsAreBounded(t *testing.T) {
	names := manyNames(3 * maxConnections)
	f := newFakeFleet(names...)
	run := f.rotateAll(t, context.Background(), policy(), names...)
	// Those that are kept, and as many that are being observed.
	if run.Totals()[Rotated] != 3*maxConnections || f.mostOpen > 2*maxConnections {
		t.Errorf("%v, %d open at once", run.Totals(), f.mostOpen)
	}
}

func TestBudgetStopsTheRun(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d")
	f.vms["b"].ending = host.RolledBack
	p := policy()
	p.MaxFailures = inventory.Count(1)
	run := f.rotateAll(t, context.Background(), p, "a", "b", "c", "d")
	wantOutcomes(t, run, Rotated, RolledBack, Skipped, Skipped)
	if !run.Stopped || run.Interrupted {
		t.Errorf("%+v", run)
	}
	for _, name := range []string{"c", "d"} {
		if vm := f.vms[name]; vm.staged || vm.called("rotate") != 0 || vm.called("discard") != 1 {
			t.Errorf("%s: %v", name, vm.calls)
		}
	}
}

// Failures that the plan has found count: nothing is even staged.
func TestBudgetSpentByThePlan(t *testing.T) {
	for _, count := range []bool{true, false} {
		f := newFakeFleet("a", "b")
		f.vms["a"].dead = true
		p := policy()
		p.MaxFailures, p.CountUnreachable = inventory.Count(1), count
		run := f.rotateAll(t, context.Background(), p, "a", "b")
		if run.Stopped != count || (f.vms["b"].called("stage") == 0) != count {
			t.Errorf("count_unreachable %v: %+v, calls %v", count, run.Totals(), f.vms["b"].calls)
		}
	}
}

// A run whose last host spends the budget was not stopped by it.
func TestBudgetSpentByTheLast(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["b"].ending = host.RolledBack
	p := policy()
	p.MaxFailures = inventory.Count(1)
	if run := f.rotateAll(t, context.Background(), p, "a", "b"); run.Stopped {
		t.Error("stopped, with nothing left to do")
	}
}

// A host is unreachable when its turn comes: nothing was changed, and a note says that
// what was staged may be left there.
func TestUnreachableAtItsTurn(t *testing.T) {
	for _, dies := range []string{"stage", "rotate"} {
		t.Run(dies, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			vm := f.vms["b"]
			vm.fates["rotate"] = unsent
			vm.during = func(call string) { vm.mu.Lock(); vm.dead = vm.dead || call == dies; vm.mu.Unlock() }
			if dies == "stage" {
				vm.fates["stage"] = applied
			}
			run := f.rotateAll(t, context.Background(), policy(), "a", "b")
			wantOutcomes(t, run, Rotated, Unreachable)
			if !strings.Contains(strings.Join(run.Results[1].Notes, ""), "what was staged may be left") {
				t.Errorf("notes %q", run.Results[1].Notes)
			}
		})
	}
}

func TestDiscardFails(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["a"].ending = host.RolledBack
	f.vms["b"].fates["discard"] = notApplied
	p := policy()
	p.MaxFailures = inventory.Count(1)
	run := f.rotateAll(t, context.Background(), p, "a", "b")
	wantOutcomes(t, run, RolledBack, Skipped)
	if !strings.Contains(strings.Join(run.Results[1].Notes, ""), "what was staged may be left") {
		t.Errorf("notes %q", run.Results[1].Notes)
	}
}

// After the first signal what is in flight ends, and nothing new starts.
func TestFirstSignal(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	f.vms["a"].during = func(call string) {
		if call == "rotate" {
			stop()
		}
	}
	run := f.rotateAll(t, stopping, policy(), "a", "b", "c")
	wantOutcomes(t, run, Rotated, Skipped, Skipped)
	if !run.Interrupted || run.Stopped || f.vms["b"].staged || f.vms["c"].staged {
		t.Errorf("%+v", run)
	}
}

// An interruption before anything has started leaves every host unchanged.
func TestInterruptedBeforeTheFirst(t *testing.T) {
	f := newFakeFleet("a", "b")
	stopping, stop := context.WithCancel(context.Background())
	stop()
	run := f.rotateAll(t, stopping, policy(), "a", "b")
	wantOutcomes(t, run, Skipped, Skipped)
	if !run.Interrupted || f.vms["a"].called("stage")+f.vms["a"].called("rotate") != 0 {
		t.Errorf("%+v, %v", run, f.vms["a"].calls)
	}
}

// An interrupted observation is not a failure of the host.
func TestSurveyInterrupted(t *testing.T) {
	f := newFakeFleet("a", "b")
	r := f.runner()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	targets := f.targets("a", "b")
	looks := r.Survey(ctx, targets, 1)
	run := r.Apply(context.Background(), ctx, Make(targets, looks, policy()))
	wantOutcomes(t, run, Skipped, Skipped)
	if !run.Interrupted || f.vms["a"].called("dial") != 0 {
		t.Errorf("%+v", run)
	}
}

// The second signal cuts the connections. What the host did meanwhile is unknown, and
// the run does not wait for it.
func TestSecondSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		ctx, cut := context.WithCancel(context.Background())
		f.vms["a"].during = func(call string) {
			if call == "rotate" {
				f.vms["a"].dead = true
				cut()
			}
		}
		start := time.Now()
		run := f.rotateUntil(t, ctx, ctx, policy(), "a", "b")
		wantOutcomes(t, run, Unknown, Skipped)
		if took := time.Since(start); took != 0 || !run.Interrupted {
			t.Errorf("left after %v, %+v", took, run)
		}
	})
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("vm-%03d", i)
	}
	return names
}
