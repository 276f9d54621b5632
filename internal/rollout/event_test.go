package rollout

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// ends returns the outcomes that the events of a host say.
func (f *fakeFleet) ends(name string) (list []Outcome) {
	for _, e := range f.events {
		if e.Host == name && e.Outcome != "" {
			list = append(list, e.Outcome)
		}
	}
	return list
}

// steps returns the steps that the events of a host say.
func (f *fakeFleet) steps(name string) (list []string) {
	for _, e := range f.events {
		if e.Host == name && e.Step != "" {
			list = append(list, e.Step)
		}
	}
	return list
}

// Each part of a run is announced with its hosts, waves and soaks with their number and
// that of all waves, and a watch with its length.
func TestPartsOfARun(t *testing.T) {
	single, unsoaked := policy(), oneByOne()
	for name, c := range map[string]struct {
		policy Policy
		want   []string
	}{
		"one wave":    {single, []string{"observe 0/0 [a b c]", "stage 0/0 [a b c]", "wave 1/1 [a b c]"}},
		"two waves":   {unsoaked, []string{"observe 0/0 [a b c]", "stage 0/0 [a b c]", "wave 1/2 [a]", "wave 2/2 [b c]"}},
		"with a soak": {soaking(), []string{"observe 0/0 [a b c]", "stage 0/0 [a b c]", "wave 1/2 [a] 1m0s", "soak 1/2 [a] 1m0s", "wave 2/2 [b c] 1m0s"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b", "c")
			f.rotateAll(t, t.Context(), c.policy, "a", "b", "c")
			if got := f.parts(); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}

// parts returns the events without a host.
func (f *fakeFleet) parts() (list []string) {
	for _, e := range f.events {
		if e.Host != "" {
			continue
		}
		var names []string
		for _, h := range e.Hosts {
			names = append(names, h.Name)
		}
		text := fmt.Sprintf("%s %d/%d %v", e.Step, e.Wave, e.Waves, names)
		if e.Lasts > 0 {
			text += fmt.Sprint(" ", e.Lasts)
		}
		list = append(list, text)
	}
	return list
}

// A watch says how long it lasts at least.
func TestWatchHasItsLength(t *testing.T) {
	h := &inventory.Host{Name: "a", Health: inventory.Health{Window: 15 * time.Second}}
	for name, want := range map[string]time.Duration{"watch": 15 * time.Second, "restart": 0} {
		if got := step(h, name); got.Lasts != want || got.Host != "a" || got.Step != name {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A host whose check failed says why.
func TestEventOfAFailedCheck(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["b"].dialErr = &problem.Error{Class: problem.Unreachable, Message: "no route"}
	r := f.runner()
	r.Survey(t.Context(), f.targets("a", "b"), 1)
	for _, e := range f.events {
		if failed := e.Host == "b" && e.Step == ""; (e.Problem != nil) != failed {
			t.Errorf("%+v", e)
		}
	}
}

// A run is interrupted only if that kept a host from its turn.
func TestInterruptedInTheLastHost(t *testing.T) {
	for during, want := range map[string]bool{"a": true, "b": false} {
		f := newFakeFleet("a", "b")
		stopping, stop := context.WithCancel(t.Context())
		f.vms[during].during = func(call string) {
			if call == "rotate" {
				stop()
			}
		}
		if run := f.rotateAll(t, stopping, policy(), "a", "b"); run.Interrupted != want {
			t.Errorf("in %s: interrupted %v", during, run.Interrupted)
		}
		stop()
	}
}

// An undo is a part of the run: its steps are events, and the host ends once.
func TestEventsOfAnUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		f.vms["a"].during = deniedOnceRotated(f.vms["a"])
		wantOutcomes(t, f.rotateAll(t, t.Context(), soaking(), "a", "b"), RolledBack, Skipped)
		if got := f.ends("a"); !slices.Equal(got, []Outcome{Rotated, RolledBack}) {
			t.Errorf("a ended as %v", got)
		}
		if got := f.steps("a"); !slices.Contains(got, "undo") || slices.Index(got[slices.Index(got, "undo"):], "swap") < 0 {
			t.Errorf("steps of a: %v", got)
		}
	})
}

// deniedOnceRotated returns what makes Azure refuse the new certificate until it is undone.
func deniedOnceRotated(vm *fakeVM) func(call string) {
	return func(call string) {
		vm.mu.Lock()
		defer vm.mu.Unlock()
		switch call {
		case "rotate":
			vm.seen.Denied = "AADSTS7"
		case "undo":
			vm.seen.Denied = ""
		}
	}
}

// A host whose interrupted run is recovered first, and that needs no rotation then, ends as
// current for those who watch too.
func TestRecoveredIntoCurrent(t *testing.T) {
	f := newFakeFleet("a")
	vm := f.vms["a"]
	vm.receiptOf("before", "pending")
	vm.recovery = host.Rotated
	vm.onRecover = func(vm *fakeVM) { vm.endOf("before", host.Rotated, newCertificate("NEW").Digest()) }
	wantOutcomes(t, f.rotateAll(t, t.Context(), policy(), "a"), Current)
	if got := f.ends("a"); !slices.Equal(got, []Outcome{Current}) || vm.called("rotate") > 0 {
		t.Errorf("ended as %v, calls %v", got, vm.calls)
	}
}

// Those who watch see whether a host runs the diagnostics tool or its zip is only downloaded.
func TestStepsOfDiagnostics(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["a"].zip, f.vms["b"].zip = "PK", "PK"
	f.vms["b"].ending = host.RolledBack
	r := f.runner()
	r.Diagnostics = diags.In(filepath.Join(t.TempDir(), "out"))
	r.Gather(t.Context(), f.targets("a"), host.Diagnosis{Within: 1})
	targets := withDiagnostics(f.targets("b"))
	r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), policy()))
	r.Close()
	if got := f.steps("a"); len(got) == 0 || got[0] != "diagnose" {
		t.Errorf("gathered: %v", got)
	}
	if got := f.steps("b"); !slices.Contains(got, "download") || slices.Contains(got, "diagnose") {
		t.Errorf("downloaded: %v", got)
	}
}

// The zip of a host is downloaded if it says that it gathered one, or may have when contact was
// lost.
func TestMayHaveGathered(t *testing.T) {
	steps := []host.Step{{Name: "swap", OK: true}}
	gathering := append(slices.Clone(steps), host.Step{Name: "diagnostics"})
	for name, c := range map[string]struct {
		report host.Report
		want   bool
	}{
		"gathered":               {host.Report{Ending: host.RolledBack, Gathered: true}, true},
		"did not":                {host.Report{Ending: host.RolledBack, Steps: gathering}, false},
		"lost while it gathered": {host.Report{Ending: host.Lost, Steps: gathering}, true},
		"lost before":            {host.Report{Ending: host.Lost, Steps: steps}, false},
	} {
		if got := mayHaveGathered(&c.report); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// hangingDiagnostics is a connection to a host whose diagnostics tool never ends.
type hangingDiagnostics struct {
	Host
	took *time.Duration
}

func (h hangingDiagnostics) Diagnose(ctx context.Context, d host.Diagnosis) (*host.Diagnostics, error) {
	if d.To != nil {
		return nil, nil
	}
	began := time.Now()
	<-ctx.Done()
	*h.took = time.Since(began)
	return nil, ctx.Err()
}

// A host whose diagnostics tool hangs has its whole time and that of the copy, and is then
// undone.
func TestHangingDiagnostics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		f.vms["a"].during = deniedOnceRotated(f.vms["a"])
		r := f.runner()
		r.Diagnostics = diags.In(t.TempDir())
		var took time.Duration
		r.Dial = func(ctx context.Context, h inventory.Host) (Host, error) {
			c, err := f.dial(ctx, h)
			return hangingDiagnostics{c, &took}, err
		}
		targets := withDiagnostics(f.targets("a", "b"))
		run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), soaking()))
		r.Close()
		wantOutcomes(t, run, RolledBack, Skipped)
		if took <= host.BeforeUndo || took > 3*time.Minute {
			t.Errorf("it had %v", took)
		}
	})
}

// Diagnostics of a host whose undo has failed are needed most.
func TestDiagnosticsOfAFailedUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		vm.zip, vm.undoing, vm.during = "PK", host.Failed, deniedOnceRotated(vm)
		r := f.runner()
		r.Diagnostics = diags.In(t.TempDir())
		targets := withDiagnostics(f.targets("a", "b"))
		run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), soaking()))
		r.Close()
		if wantOutcomes(t, run, Failed, Skipped); run.Results[0].Diagnostics == nil {
			t.Errorf("notes %q", run.Results[0].Notes)
		}
	})
}
