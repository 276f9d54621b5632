package rollout

import (
	"testing"
	"testing/synctest"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// rehearse rehearses on the fleet's hosts with the strictest rollout.
func rehearse(t *testing.T, f *fakeFleet, names ...string) *Run {
	t.Helper()
	targets := f.targets(names...)
	for i := range targets {
		targets[i].Certificate = nil
	}
	r := f.runner()
	defer r.Close()
	policy := Policy{Rollout: inventory.Rollout{Parallel: 1, MaxFailures: inventory.Count(1), Canary: 1, Soak: 1 << 40}, NoDeadman: true}
	return r.Apply(t.Context(), t.Context(), MakeRehearsal(targets, r.Survey(t.Context(), targets, 1), policy))
}

// TestRehearsal needs no certificate; one host does not stop the others, and the dead-man
// switch is always armed.
func TestRehearsal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b", "c", "d", "e")
		f.vms["b"].ending = host.Refused
		f.vms["c"].seen.Unit.Active = "inactive"
		f.vms["d"].receiptOf("20261122-084512-AAAA", "pending")
		f.vms["e"].dialErr = &problem.Error{Class: problem.Unreachable, Message: "off"}
		run := rehearse(t, f, "a", "b", "c", "d", "e")
		for i, want := range []Outcome{Rehearsed, Refused, Refused, Refused, Unreachable} {
			if res := run.Results[i]; res.Outcome != want {
				t.Errorf("%s: %s (%v), want %s", res.Host.Name, res.Outcome, res.Problem, want)
			}
		}
		if run.Stopped || f.vms["c"].called("rotate")+f.vms["d"].called("rotate")+f.vms["d"].called("recover") > 0 {
			t.Errorf("%+v: a host that a rotation refuses was touched", run)
		}
		if c := f.vms["a"].changed; !c.Rehearse || !c.Deadman || c.Saved != "" || c.Digest == "" || f.vms["a"].staged {
			t.Errorf("%+v, staged %v", c, f.vms["a"].staged)
		}
	})
}

// TestLostRehearsal: the live certificate is never involved, so a host with which contact
// was lost is refused once it has cleaned up, never rotated or rolled back.
func TestLostRehearsal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, how := range []fate{notApplied, applied} {
			f := newFakeFleet("a")
			f.vms["a"].fates["rotate"] = how
			res := rehearse(t, f, "a").Results[0]
			if res.Outcome != Refused || res.Problem == nil || f.vms["a"].called("recover") == 0 {
				t.Errorf("%v: %s, %v", how, res.Outcome, res.Problem)
			}
		}
	})
}
