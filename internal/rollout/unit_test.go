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

// A plan names an alias, and a restart that may take too long.
func TestRemarks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(e *Entry)
		want   string // in the remarks; "": there are none
	}{
		"nothing":             {func(*Entry) {}, ""},
		"not observed":        {func(e *Entry) { e.Seen = nil }, ""},
		"helper":              {func(e *Entry) { e.Seen.Note = "the helper is old" }, "the helper is old"},
		"alias":               {func(e *Entry) { e.Seen.Unit.ID = "own.service" }, "a.service is an alias of own.service"},
		"slow":                {func(e *Entry) { e.Seen.Unit.StopTime = 2 * time.Second }, "set health.timeout to 2s or more"},
		"unknown":             {func(e *Entry) { e.Seen.Unit = host.Unit{} }, ""},
		"slow, nothing to do": {func(e *Entry) { e.Seen.Unit.StopTime, e.Outcome = 2*time.Second, Current }, ""},
		"slow, a status":      {func(e *Entry) { e.Seen.Unit.StopTime, e.Action = 2*time.Second, None }, ""},
	} {
		f := newFakeFleet("a")
		e := Entry{Target: f.targets("a")[0], Seen: healthy(), Action: Rotate}
		c.change(&e)
		if got := strings.Join(e.Remarks(), "; "); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// After the first observation every connection uses the unit's own name.
func TestDialsByUnitName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a")
		vm := f.vms["a"]
		vm.seen.Unit.ID = "own.service"
		vm.fates["rotate"] = notApplied // contact is lost, and the program reconnects
		vm.during = func(call string) { atWork(vm, call, 0, host.Rotated) }
		r := f.runner()
		dial := r.Dial
		var units []string
		r.Dial = func(ctx context.Context, h inventory.Host) (Host, error) {
			units = append(units, h.Agent.Unit)
			return dial(ctx, h)
		}
		defer r.Close()
		targets := f.targets("a")
		plan := Make(targets, r.Survey(t.Context(), targets, 1), policy())
		r.Close() // as if there were too many connections to keep
		r.Apply(t.Context(), t.Context(), plan)
		if want := []string{"a.service", "own.service", "own.service"}; !slices.Equal(units, want) {
			t.Errorf("dialled for %q, want %q", units, want)
		}
		if targets[0].Host.Agent.Unit != "a.service" {
			t.Error("the inventory was changed")
		}
	})
}

// An exit of the main process that leaves the unit active fails a soak.
func TestSoakSeesAnExit(t *testing.T) {
	seen := healthy()
	seen.Unit.Sub = "exited"
	if p := soakProblem(&Result{Entry: Entry{Target: Target{Certificate: newCertificate("NEW")}, Seen: healthy()}}, seen); p == nil || p.Class != problem.Unhealthy {
		t.Errorf("%+v", p)
	}
}

// A recovery ends both of two transactions that were interrupted under two names of the
// unit.
func TestRecoversBoth(t *testing.T) {
	for name, c := range map[string]struct {
		receipts []host.Receipt
		want     int
	}{
		"one":  {[]host.Receipt{{State: "pending", Run: "r"}, {State: "failed", Run: "s"}}, 1},
		"both": {[]host.Receipt{{State: "pending", Run: "r"}, {State: "undoing", Run: "s"}}, 2},
	} {
		f := newFakeFleet("a")
		vm := f.vms["a"]
		vm.seen.Receipts, vm.recovery = c.receipts, host.RolledBack
		r := f.runner()
		targets := f.targets("a")
		run := r.Apply(t.Context(), t.Context(), MakeRecovery(targets, r.Survey(t.Context(), targets, 1), policy()))
		r.Close()
		if got := vm.called("recover"); got != c.want || run.Results[0].Outcome != Restored {
			t.Errorf("%s: recovered %d times, want %d: %v", name, got, c.want, run.Results[0].Outcome)
		}
	}
}
