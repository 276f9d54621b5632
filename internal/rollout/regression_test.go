package rollout

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// changeDuring runs change on one VM during a call of another.
func (f *fakeFleet) changeDuring(vm, call, on string, change func(*fakeVM)) {
	f.vms[vm].during = func(c string) {
		if c == call {
			v := f.vms[on]
			v.mu.Lock()
			change(v)
			v.mu.Unlock()
		}
	}
}

// An agent that restarts by itself before the soak, while other hosts of its wave are
// changed, does not pass the soak.
func TestCrashBeforeTheSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c")
		p := policy()
		p.Canary, p.Soak, p.MaxFailures = 2, 30*time.Second, inventory.Count(1)
		f.changeDuring("b", "rotate", "a", func(v *fakeVM) { v.seen.Unit.Restarts = 40 })
		run := f.rotateAll(t, context.Background(), p, "a", "b", "c")
		if got := outcomes(run); got[0] == Rotated || got[2] != Skipped {
			t.Errorf("%v", got)
		}
	})
}

// A denied line does not fail a soak if the log had such lines before the rotation,
// unless it names the new certificate.
func TestSoakExcusesKnownLines(t *testing.T) {
	for _, tt := range []struct {
		before, line string
		well         bool
	}{
		{"", "AADSTS90002 tenant", false},
		{"AADSTS90002 tenant", "AADSTS90002 tenant", true},
		{"AADSTS90002 tenant", "AADSTS700027 thumbprint new", false},
	} {
		res := &Result{Entry: Entry{Target: Target{Host: &inventory.Host{}, Certificate: newCertificate("NEW")}, Seen: &host.Observation{Denied: tt.before}}}
		seen := healthy()
		seen.Denied = tt.line
		if got := soakProblem(res, seen) == nil; got != tt.well {
			t.Errorf("before %q, then %q: well %v", tt.before, tt.line, got)
		}
	}
	res := &Result{Entry: Entry{Target: Target{Host: &inventory.Host{}, Certificate: newCertificate("NEW")}, Seen: healthy()}, Known: true}
	seen := healthy()
	seen.Denied = "AADSTS1"
	if reason := soakProblem(res, seen); reason != nil {
		t.Errorf("the watch excused it: %+v", reason)
	}
}

// What the watch excused stays excused in the soak.
func TestSoakKnowsWhatTheWatchExcused(t *testing.T) {
	for _, tt := range []struct {
		known bool
		want  []Outcome
	}{{true, []Outcome{Rotated, Rotated}}, {false, []Outcome{RolledBack, Skipped}}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			f.vms["a"].known = tt.known
			f.changeDuring("a", "rotate", "a", func(v *fakeVM) { v.seen.Denied = "AADSTS1" })
			wantOutcomes(t, f.rotateAll(t, context.Background(), soaking(), "a", "b"), tt.want...)
		})
	}
}

// One dropped connection does not prevent an undo.
func TestUndoDialsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c")
		p := policy()
		p.MaxFailures, p.UndoAll = inventory.Count(1), true
		f.vms["b"].ending = host.RolledBack
		f.changeDuring("b", "rotate", "a", func(v *fakeVM) { v.fates["dial"] = notApplied })
		run := f.rotateAll(t, context.Background(), p, "a", "b", "c")
		if got := outcomes(run); !slices.Equal(got, []Outcome{Restored, RolledBack, Skipped}) {
			t.Errorf("%v", got)
		}
	})
}

// A recovery that fails is not a refusal: it has changed the host.
func TestRecoveryThatFails(t *testing.T) {
	f := newFakeFleet("a", "b")
	vm := f.vms["a"]
	vm.receipt("pending")
	vm.recovery = host.Failed
	vm.onRecover = func(v *fakeVM) { v.receipt("failed"); v.seen.Unit.Active = "inactive" }
	wantOutcomes(t, f.rotateAll(t, context.Background(), policy(), "a", "b"), Failed, Rotated)
}
