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
	"github.com/aoifleet/aoifleet/internal/problem"
)

// What a host is asked to do: whether the file is replaced and the agent started.
func TestAskedOfAHost(t *testing.T) {
	right := func(vm *fakeVM) { vm.end(host.Rotated, newCertificate("NEW").Digest()) }
	backup := func(vm *fakeVM) { vm.seen.Backups = []host.Backup{{Run: "before", Old: "first", New: oldSum}} }
	tests := []struct {
		name        string
		back        bool // a rollback
		change      func(*fakeVM)
		swap, start bool
		digest      string
	}{
		{"rotate", false, func(*fakeVM) {}, true, true, newCertificate("NEW").Digest()},
		{"rotate a stopped agent's", false, func(vm *fakeVM) { vm.seen.Unit.Active = "inactive" }, true, false, newCertificate("NEW").Digest()},
		{"restart", false, func(vm *fakeVM) { right(vm); vm.seen.Unit.Active = "failed" }, false, true, newCertificate("NEW").Digest()},
		{"roll back", true, backup, true, true, "first"},
		{"roll back, restored already", true, func(vm *fakeVM) {
			backup(vm)
			vm.seen.File.Digest, vm.seen.Unit.Active = "first", "failed"
		}, false, true, "first"},
	}
	for _, tt := range tests {
		f := newFakeFleet("a")
		tt.change(f.vms["a"])
		targets := f.targets("a")
		targets[0].Host.Agent.WhenStopped = "replace"
		r := f.runner()
		plan := Make
		if tt.back {
			targets[0].Certificate = nil
			r.Saved = "before"
			plan = func(targets []Target, looks []Look, p Policy) *Plan { return MakeRollback("before", targets, looks, p) }
		}
		r.Apply(t.Context(), t.Context(), plan(targets, r.Survey(t.Context(), targets, 1), policy()))
		r.Close()
		c := f.vms["a"].changed
		if c.Swap != tt.swap || c.Start != tt.start || c.Digest != tt.digest || f.vms["a"].called("rotate") != 1 {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}

// stagingHost is a connection that keeps what is staged.
type stagingHost struct {
	Host
	staged *string
}

func (h stagingHost) Stage(ctx context.Context, data []byte, digest string) error {
	*h.staged = string(data)
	return h.Host.Stage(ctx, data, digest)
}

// A rotation stages the certificate, a rehearsal something that is none.
func TestStagedBytes(t *testing.T) {
	for name, want := range map[string]string{"rotate": string(newCertificate("NEW").Canonical()), "rehearse": "rehearsal of aoifleet " + runID + ", not a certificate\n"} {
		f := newFakeFleet("a")
		staged := "nothing"
		r := f.runner()
		r.Dial = func(ctx context.Context, h inventory.Host) (Host, error) {
			c, err := f.dial(ctx, h)
			return stagingHost{c, &staged}, err
		}
		plan := Make
		if name == "rehearse" {
			plan = MakeRehearsal
		}
		targets := f.targets("a")
		made := plan(targets, r.Survey(t.Context(), targets, 1), policy())
		if made.Rehearsal() != (name == "rehearse") {
			t.Errorf("%s is a rehearsal: %v", name, made.Rehearsal())
		}
		r.Apply(t.Context(), t.Context(), made)
		r.Close()
		if staged != want {
			t.Errorf("%s staged %q", name, staged)
		}
	}
}

// One host says nothing about another in a rehearsal, even if most of them fail.
func TestRehearsalGoesOn(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	full := &problem.Error{Class: problem.Disk, Message: "full"}
	f.vms["a"].stageErr, f.vms["b"].stageErr = full, full // before any of them begins
	wantOutcomes(t, rehearse(t, f, "a", "b", "c"), Refused, Refused, Rehearsed)
}

// An unhealthy canary stops the run before the other canaries, also if the canaries are all
// hosts.
func TestFleetOfCanaries(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["a"].ending = host.RolledBack
	p := policy()
	p.Canary = 2
	if run := f.rotateAll(t, t.Context(), p, "a", "b"); !run.Stopped {
		t.Error("not stopped")
	} else {
		wantOutcomes(t, run, RolledBack, Skipped)
	}
}

// No more connections are kept than are made at once.
func TestKeptConnections(t *testing.T) {
	var names []string
	for i := range maxConnections + 2 {
		names = append(names, fmt.Sprint("h", i))
	}
	f := newFakeFleet(names...)
	r := f.runner()
	r.Survey(t.Context(), f.targets(names...), 1)
	if f.open != maxConnections {
		t.Errorf("%d connections are kept", f.open)
	}
	if r.Close(); f.open != 0 {
		t.Errorf("%d connections are left", f.open)
	}
}

// A host that can't be reached does not keep the backups of others from being removed, and an
// interrupted command begins with no host.
func TestPruneVisitsEachHost(t *testing.T) {
	f := newFakeFleet("off", "fails", "a")
	f.vms["off"].dead = true
	f.vms["fails"].fates["prune"] = notApplied
	entries, removed := f.runner().Prune(t.Context(), t.Context(), f.targets("off", "fails", "a"))
	var got []Outcome
	for _, e := range entries {
		got = append(got, e.Outcome)
	}
	if !slices.Equal(got, []Outcome{Unreachable, Unreachable, ""}) || f.vms["a"].called("prune") != 1 || len(removed) != 3 {
		t.Errorf("%v, %v", got, removed)
	}
	stopping, stop := context.WithCancel(t.Context())
	stop()
	entries, _ = f.runner().InstallHelper(t.Context(), stopping, f.targets("a"))
	if entries[0].Outcome != Skipped || f.vms["a"].called("install-helper") > 0 || f.open != 0 {
		t.Errorf("interrupted: %q, %v, %d open", entries[0].Outcome, f.vms["a"].calls, f.open)
	}
}

// An undo tries to connect three times: the host has just been checked.
func TestUndoReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		denied := deniedOnceRotated(vm)
		vm.during = func(call string) {
			denied(call)
			vm.mu.Lock()
			defer vm.mu.Unlock()
			vm.dead = call == "observe" && vm.seen.Denied != "" || vm.dead
		}
		wantOutcomes(t, f.rotateAll(t, t.Context(), soaking(), "a", "b"), Failed, Skipped)
		last := len(vm.calls) - 1 - slices.Index(reversed(vm.calls), "observe")
		if got := vm.calls[last+1:]; !slices.Equal(got, []string{"dial", "dial", "dial"}) {
			t.Errorf("after the check: %v", got)
		}
	})
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// In the last check of a soak a host that does not answer is asked again.
func TestLastCheckOfASoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		go func() {
			time.Sleep(55 * time.Second)
			vm.mu.Lock()
			vm.dead, vm.fates["observe"] = true, notApplied
			vm.mu.Unlock()
			time.Sleep(5*time.Second + firstPause)
			vm.mu.Lock()
			vm.dead = false
			vm.mu.Unlock()
		}()
		wantOutcomes(t, f.rotateAll(t, t.Context(), soaking(), "a", "b"), Rotated, Rotated)
	})
}

// While another run is interrupted on a host, its undo would not know what it restores.
func TestUndoBesideAnotherRun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeVM)
		says   string
	}{
		"interrupted run": {func(vm *fakeVM) { vm.receiptOf("another", "undoing") }, "run another was interrupted here"},
		"no backup":       {func(vm *fakeVM) { vm.seen.Backups = nil }, "there is no backup of run"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			vm := f.vms["a"]
			vm.later(25*time.Second, func(seen *host.Observation) { seen.Denied = "AADSTS7" })
			go func() {
				time.Sleep(26 * time.Second)
				vm.mu.Lock()
				defer vm.mu.Unlock()
				c.change(vm)
			}()
			run := f.rotateAll(t, t.Context(), soaking(), "a", "b")
			wantOutcomes(t, run, Failed, Skipped)
			if p := run.Results[0].Problem; p == nil || !strings.Contains(p.Message, c.says) || vm.called("undo") > 0 {
				t.Errorf("%s: %+v, %v", name, p, vm.calls)
			}
		})
	}
}

// A process of an interrupted run that is still running is named, by what was seen last.
func TestLeftBehind(t *testing.T) {
	seen := healthy()
	seen.Receipts = []host.Receipt{{State: "pending", Run: "r", PID: 4711}}
	for name, c := range map[string]struct {
		seen *host.Observation
		pid  int
		want string
	}{
		"seen before":    {seen, 0, "process 4711 of run r"},
		"still":          {seen, 4712, "process 4712 of run r"},
		"never observed": {nil, 4711, "process 4711"},
		"none":           {healthy(), 0, ""},
	} {
		if got := leftBehind(c.seen, &host.Report{PID: c.pid}); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A plan without observations says where the certificates are.
func TestOfflineReasons(t *testing.T) {
	targets := newFakeFleet().targets("named", "vault", "command", "none")
	targets[1].Certificate, targets[1].Source = nil, "vault"
	targets[2].Certificate, targets[2].Command = nil, "issue"
	targets[3].Certificate = nil
	plan := Offline(targets, policy())
	for i, want := range []string{"(--offline)", "its certificate is in a Key Vault", "its certificate comes from a command", "no certificate is named"} {
		if got := plan.Entries[i].Reason; !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", targets[i].Host.Name, got)
		}
	}
}

// A host whose own steps show that it had begun is not taken for one that never started.
func TestChangeStarted(t *testing.T) {
	for _, tt := range []struct {
		steps []string
		want  bool
	}{{nil, false}, {[]string{"check", "backup", "arm"}, false}, {[]string{"arm", "swap"}, true}, {[]string{"arm", "restart", "watch"}, true}} {
		var steps []host.Step
		for _, name := range tt.steps {
			steps = append(steps, host.Step{Name: name})
		}
		if changeStarted(steps) != tt.want {
			t.Errorf("%v: %v", tt.steps, !tt.want)
		}
	}
}

// A saved plan names the certificate that was approved, and its first wave is a canary if there
// was one.
func TestSavedPlanKeepsTheCanary(t *testing.T) {
	if n := savedWhen(nil).New; n == nil || n.Thumbprint != "NEW" || n.FileSHA256 != newCertificate("NEW").Digest() {
		t.Errorf("new %+v", n)
	}
	locked := &problem.Error{Class: problem.Locked}
	for _, canary := range []int{0, 1} {
		p := policy()
		p.Canary = canary
		targets := newFakeFleet().targets("a", "b", "c")
		looks := []Look{{Seen: healthy()}, {Seen: healthy()}, {Err: locked}}
		saved := Make(targets, looks, p).Save()
		plan := &Plan{Policy: p, Entries: Make(targets, looks, p).Entries}
		plan.useSavedWaves(saved)
		if plan.Waves[0].Canary != (canary > 0) || len(plan.Waves) != 1+canary {
			t.Errorf("canary %d: %+v", canary, plan.Waves)
		}
	}
}
