package rollout

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// withDiagnostics makes the hosts gather diagnostics before an undo.
func withDiagnostics(targets []Target) []Target {
	for i := range targets {
		targets[i].Host.Health.Diagnostics = true
	}
	return targets
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestGather(t *testing.T) {
	names := []string{"a", "offline", "broken", "nothing", "taken"}
	f := newFakeFleet(names...)
	for _, vm := range f.vms {
		vm.zip = "PK " + vm.name
	}
	f.vms["offline"].dead = true
	f.vms["broken"].fates["diagnose"] = notApplied
	dir := filepath.Join(t.TempDir(), "out")
	r := f.runner()
	r.Diagnostics = diags.In(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "taken.zip"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := r.Gather(context.Background(), f.targets("a", "offline", "broken", "taken"), host.Diagnosis{Within: 1})
	if d := got[0].Diagnostics; got[0].Outcome != "" || d == nil || *d != (Diagnostics{filepath.Join(dir, "a.zip"), 4, "digest"}) {
		t.Errorf("%+v %+v", got[0].Outcome, d)
	}
	for i, want := range []Outcome{"", Unreachable, Unreachable, Refused} {
		if got[i].Outcome != want || (want == "") == (got[i].Problem != nil) {
			t.Errorf("%s: %q %+v", got[i].Host.Name, got[i].Outcome, got[i].Problem)
		}
	}
	if got[3].Problem.Class != problem.Disk {
		t.Errorf("%+v", got[3].Problem)
	}
	if left := files(t, dir); !slices.Equal(left, []string{"a.zip", "taken.zip"}) {
		t.Errorf("in the folder: %v", left)
	}
	if f.open != 0 {
		t.Errorf("%d connections are left open", f.open)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if got := r.Gather(ended, f.targets("nothing"), host.Diagnosis{Within: 1}); got[0].Outcome != Skipped {
		t.Errorf("interrupted: %q", got[0].Outcome)
	}
}

// Nothing is restarted, so rollout.parallel does not limit it.
func TestGatherIsParallel(t *testing.T) {
	var names []string
	for i := range maxConnections {
		names = append(names, fmt.Sprint("h", i))
	}
	f := newFakeFleet(names...)
	var all sync.WaitGroup
	all.Add(maxConnections)
	for _, vm := range f.vms {
		vm.zip = "PK"
		vm.during = func(call string) {
			if call == "diagnose" { // returns once all are here
				all.Done()
				all.Wait()
			}
		}
	}
	r := f.runner()
	r.Diagnostics = diags.In(t.TempDir())
	for _, res := range r.Gather(context.Background(), f.targets(names...), host.Diagnosis{Within: 1}) {
		if res.Diagnostics == nil {
			t.Fatalf("%+v", res.Problem)
		}
	}
}

// Diagnostics are downloaded after the hosts have ended.
func TestDiagnosticsOfARollback(t *testing.T) {
	names := []string{"back", "healthy", "none", "lost", "late", "broken"}
	f := newFakeFleet(names...)
	for _, name := range []string{"back", "none", "lost", "broken"} {
		f.vms[name].ending = host.RolledBack
		f.vms[name].zip = "PK"
	}
	f.vms["none"].zip = ""
	f.vms["lost"].fates["rotate"], f.vms["lost"].swaps = applied, true
	f.vms["broken"].fates["diagnose"] = notApplied
	dir := filepath.Join(t.TempDir(), "diags")
	r := f.runner()
	r.Diagnostics = diags.In(dir)
	targets := withDiagnostics(f.targets(names...))
	targets[4].Host.Health.Diagnostics = false
	f.vms["late"].ending, f.vms["late"].zip = host.RolledBack, "PK"
	run := r.Apply(context.Background(), context.Background(), Make(targets, r.Survey(context.Background(), targets, 1), policy()))
	r.Close()
	wantOutcomes(t, run, RolledBack, Rotated, RolledBack, RolledBack, RolledBack, RolledBack)
	for _, res := range run.Results {
		if wanted := slices.Contains([]string{"back", "lost"}, res.Host.Name); wanted != (res.Diagnostics != nil) {
			t.Errorf("%s: %+v", res.Host.Name, res.Diagnostics)
		}
	}
	if notes := strings.Join(run.Results[5].Notes, "\n"); !strings.Contains(notes, "could not be downloaded: ") {
		t.Errorf("notes %q", notes)
	}
	if left := files(t, dir); !slices.Equal(left, []string{"back.zip", "lost.zip"}) {
		t.Errorf("in the folder: %v", left)
	}
	if f.open != 0 {
		t.Errorf("%d connections are left open", f.open)
	}
	for _, name := range []string{"healthy", "none", "late"} {
		if f.vms[name].called("diagnose") != 0 {
			t.Errorf("%s was asked", name)
		}
	}
	// After the outcome is known.
	if calls := f.vms["lost"].calls; slices.Index(calls, "diagnose") < slices.Index(calls, "recover") {
		t.Errorf("calls %v", calls)
	}
}

func TestNoFolderNoDiagnostics(t *testing.T) {
	f := newFakeFleet("a")
	f.vms["a"].ending, f.vms["a"].zip = host.RolledBack, "PK"
	r := f.runner()
	targets := withDiagnostics(f.targets("a"))
	run := r.Apply(context.Background(), context.Background(), Make(targets, r.Survey(context.Background(), targets, 1), policy()))
	r.Close()
	if wantOutcomes(t, run, RolledBack); run.Results[0].Diagnostics != nil || f.vms["a"].called("diagnose") != 0 {
		t.Errorf("%+v", run.Results[0])
	}
}

// In a soak diagnostics are gathered before the undo and downloaded after it. A host
// where that fails is undone too.
func TestDiagnosticsOfASoak(t *testing.T) {
	for _, fails := range []bool{false, true} {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		vm.zip = "PK"
		if fails {
			vm.fates["diagnose"] = notApplied
		}
		r := f.runner()
		r.Diagnostics = diags.In(t.TempDir())
		targets := withDiagnostics(f.targets("a", "b"))
		p := policy()
		p.Canary, p.Batches, p.Soak = 1, nil, 1
		plan := Make(targets, r.Survey(context.Background(), targets, 1), p)
		vm.during = func(call string) {
			vm.mu.Lock()
			defer vm.mu.Unlock()
			switch call {
			case "rotate":
				vm.seen.Denied = "AADSTS1"
			case "undo":
				vm.seen.Denied = ""
			}
		}
		run := r.Apply(context.Background(), context.Background(), plan)
		r.Close()
		wantOutcomes(t, run, RolledBack, Skipped)
		if (run.Results[0].Diagnostics == nil) != fails {
			t.Errorf("%+v", run.Results[0].Diagnostics)
		}
		if noted := strings.Contains(strings.Join(run.Results[0].Notes, "\n"), "no diagnostics: "); noted != fails {
			t.Errorf("notes %q", run.Results[0].Notes)
		}
		undo := slices.Index(vm.calls, "undo")
		if first := slices.Index(vm.calls, "diagnose"); first < 0 || first > undo {
			t.Errorf("calls %v", vm.calls)
		}
	}
}
