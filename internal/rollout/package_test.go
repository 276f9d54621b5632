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
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// packaged returns what a VM has of its agent's package before an upgrade to 2.0.0.
func packaged() host.Package {
	return host.Package{Name: "az-aoi-ingestion", Manager: "apt", Installed: "1.0.0-1", OwnsUnit: true, Available: []string{"2.0.0-1", "1.0.0-1", "0.9.0-1"}}
}

// upgrading returns a target whose configuration stays.
func upgrading(seen host.Package, to string) Target {
	t := newFakeFleet("a").targets("a")[0]
	w := wantedFile()
	w.Seen.Digest = w.Digest()
	t.Files, t.FilesOnly, t.Certificate = []Wanted{w}, true, nil
	t.Package = WantedPackage{To: to}.observed(seen)
	return t
}

func TestDecideUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		to      string
		change  func(*host.Package, *Entry)
		force   bool
		action  Action
		outcome Outcome
		reason  string
		hint    string
	}{
		"new":               {action: Upgrade, reason: "new version"},
		"whole version":     {to: "2.0.0-1", action: Upgrade, reason: "new version"},
		"newest release":    {change: func(p *host.Package, _ *Entry) { p.Available = append([]string{"2.0.0-2"}, p.Available...) }, action: Upgrade, reason: "new version"},
		"with the file":     {change: func(_ *host.Package, e *Entry) { e.Files[0].Data = []byte("new") }, action: Upgrade, reason: "new version, new configuration"},
		"there already":     {to: "1.0.0", action: None, outcome: Current, reason: "already live"},
		"not restarted":     {to: "1.0.0", change: func(p *host.Package, _ *Entry) { p.Older = true }, action: Restart, reason: "version 1.0.0-1 is installed, but the agent started before it changed"},
		"only the file":     {to: "1.0.0", change: func(_ *host.Package, e *Entry) { e.Files[0].Data = []byte("new") }, action: Change, reason: "new configuration"},
		"failed there":      {to: "1.0.0", change: func(_ *host.Package, e *Entry) { e.Seen.Unit.Active = "failed" }, action: Restart, reason: "version 1.0.0-1 is installed, but the agent has failed"},
		"failed":            {change: func(_ *host.Package, e *Entry) { e.Seen.Unit.Active = "failed" }, action: Upgrade, reason: "new version"},
		"interrupted":       {to: "1.0.0", change: func(_ *host.Package, e *Entry) { e.Seen.Receipts = []host.Receipt{{State: "pending", Run: "r"}} }, action: Upgrade, reason: "recovered first"},
		"no package":        {change: func(p *host.Package, _ *Entry) { p.Installed = "" }, action: None, outcome: Refused, reason: "not installed as the package az-aoi-ingestion", hint: "agent.package"},
		"unit of another":   {change: func(p *host.Package, _ *Entry) { p.OwnsUnit = false }, action: None, outcome: Refused, reason: "a.service is not a file of the package", hint: "agent.unit"},
		"held":              {change: func(p *host.Package, _ *Entry) { p.Held = true }, action: None, outcome: Refused, reason: "holds az-aoi-ingestion at version 1.0.0-1", hint: "apt-mark unhold az-aoi-ingestion"},
		"held by dnf":       {change: func(p *host.Package, _ *Entry) { p.Held, p.Manager = true, "dnf" }, action: None, outcome: Refused, reason: "holds", hint: "dnf versionlock delete az-aoi-ingestion"},
		"held, and current": {to: "1.0.0", change: func(p *host.Package, _ *Entry) { p.Held = true }, action: None, outcome: Current, reason: "already live"},
		"broken":            {change: func(p *host.Package, _ *Entry) { p.Broken = "dpkg was interrupted" }, action: None, outcome: Refused, reason: "dpkg was interrupted", hint: "dpkg --configure -a"},
		"broken, same":      {to: "1.0.0", change: func(p *host.Package, _ *Entry) { p.Broken = "dpkg was interrupted" }, action: None, outcome: Refused, reason: "dpkg was interrupted"},
		"not available":     {to: "3.0.0", action: None, outcome: Refused, reason: "do not have version 3.0.0 of az-aoi-ingestion; the newest is 2.0.0-1", hint: "upgrade --check"},
		"nothing available": {change: func(p *host.Package, _ *Entry) { p.Available = nil }, action: None, outcome: Refused, reason: "the newest is none"},
		"lower":             {to: "0.9.0", action: None, outcome: Refused, reason: "version 0.9.0-1 is lower than the installed 1.0.0-1", hint: "--force"},
		"lower, forced":     {to: "0.9.0", force: true, action: Upgrade, reason: "new version"},
		"stopped":           {change: func(_ *host.Package, e *Entry) { e.Seen.Unit.Active = "inactive" }, action: None, outcome: Refused, reason: "a.service is stopped"},
		"stopped, replace": {change: func(_ *host.Package, e *Entry) { e.Host.Agent.WhenStopped, e.Seen.Unit.Active = "replace", "inactive" },
			action: None, outcome: Refused, reason: "a.service is stopped", hint: "start it"},
		"file": {change: func(_ *host.Package, e *Entry) { e.Files[0].Problem = &problem.Error{Message: "line 1: bad"} }, action: None, outcome: Refused, reason: "line 1: bad"},
	} {
		to, p := c.to, packaged()
		if to == "" {
			to = "2.0.0"
		}
		e := Entry{Target: upgrading(p, to), Seen: healthy()}
		if c.change != nil {
			c.change(&p, &e)
			e.Package = WantedPackage{To: to}.observed(p)
		}
		got := decide(e.Target, Look{Seen: e.Seen}, c.force)
		if got.Action != c.action || got.Outcome != c.outcome || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s %q %q, want %s %q %q", name, got.Action, got.Outcome, got.Reason, c.action, c.outcome, c.reason)
		}
		if c.hint != "" && (got.Problem == nil || !strings.Contains(got.Problem.Hint, c.hint)) {
			t.Errorf("%s: %+v, want the hint %q", name, got.Problem, c.hint)
		}
	}
}

// upgradeRunner returns a runner whose targets are to have version 2.0.0, and these.
func (f *fakeFleet) upgradeRunner(names ...string) (*Runner, []Target) {
	for _, name := range names {
		vm, file := f.vms[name], wantedFile()
		file.Seen.Digest = file.Digest()
		if vm.seen.Configuration = (&host.Content{File: file.Seen, Data: file.Data}); vm.pkg.Name == "" {
			vm.pkg = packaged()
		}
	}
	r := f.runner()
	r.Want = func(t *Target, _ *host.Observation) {
		w := wantedFile()
		w.Seen.Digest = w.Digest()
		t.Files, t.FilesOnly = []Wanted{w}, true
	}
	targets := f.targets(names...)
	for i := range targets {
		targets[i].Package, targets[i].Certificate = &WantedPackage{To: "2.0.0"}, nil
	}
	return r, targets
}

// upgradeAll plans and applies as the upgrade command does.
func (f *fakeFleet) upgradeAll(t *testing.T, p Policy, names ...string) *Run {
	t.Helper()
	r, targets := f.upgradeRunner(names...)
	defer r.Close()
	return r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
}

func TestUpgrade(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	f.vms["b"].ending = host.RolledBack
	f.vms["c"].fetchErr = &problem.Error{Class: problem.Configuration, Message: "the file is not signed"}
	run := f.upgradeAll(t, policy(), "a", "b", "c")
	wantOutcomes(t, run, Upgraded, RolledBack, Refused)
	a, b, c := f.vms["a"], f.vms["b"], f.vms["c"]
	if a.pkg.Installed != "2.0.0-1" || b.pkg.Installed != "1.0.0-1" || c.pkg.Installed != "1.0.0-1" {
		t.Errorf("%s, %s, %s", a.pkg.Installed, b.pkg.Installed, c.pkg.Installed)
	}
	if got := a.changed; got.What != "configuration" || got.Swap || got.Package.New.Size != 1 || got.File.Path != "/config.yaml" || !got.Deadman {
		t.Errorf("%+v", got)
	}
	if a.called("stage") != 0 || a.called("fetch") != 1 || a.called("refresh") != 1 || c.called("rotate") != 0 || c.called("discard") != 1 || a.staged || b.staged || c.staged {
		t.Errorf("%q, %q, %q", a.calls, b.calls, c.calls)
	}
	if run.Results[2].Problem.Message != "the file is not signed" {
		t.Errorf("%+v", run.Results[2].Problem)
	}
}

// TestUpgradeStops leaves no file behind on hosts whose turn does not come.
func TestUpgradeStops(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	p := canaryFirst()
	p.Canary, p.MaxFailures, p.UndoAll = 1, inventory.Count(1), true
	f.vms["b"].ending = host.RolledBack
	run := f.upgradeAll(t, p, "a", "b", "c")
	wantOutcomes(t, run, Restored, RolledBack, Skipped)
	a, c := f.vms["a"], f.vms["c"]
	if a.pkg.Installed != "1.0.0-1" || a.changed.Package == nil || a.changed.Package.Saved != runID || c.staged || c.called("discard") != 1 {
		t.Errorf("%+v, %+v, %q", a.pkg, a.changed.Package, c.calls)
	}
}

func TestUpgradeLost(t *testing.T) {
	for name, c := range map[string]struct {
		fate    fate
		settle  func(*fakeVM)
		outcome Outcome
	}{
		"confirmed":     {applied, nil, Upgraded},
		"nothing":       {notApplied, nil, Refused},
		"rolled back":   {notApplied, func(vm *fakeVM) { vm.receipt("rolled-back") }, RolledBack},
		"half":          {notApplied, func(vm *fakeVM) { vm.pkg.Broken = "half installed" }, Unknown},
		"another there": {notApplied, func(vm *fakeVM) { vm.pkg.Installed = "2.0.0-1" }, Unknown},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a")
			vm := f.vms["a"]
			vm.fates["rotate"] = c.fate
			vm.onRecover = func(vm *fakeVM) {
				if c.settle != nil {
					c.settle(vm)
				}
			}
			if run := f.upgradeAll(t, policy(), "a"); run.Results[0].Outcome != c.outcome {
				t.Errorf("%s: %s, want %s", name, run.Results[0].Outcome, c.outcome)
			}
		})
	}
}

// TestSoakFindsAnotherVersion at its end: the agent may be healthy with it.
func TestSoakFindsAnotherVersion(t *testing.T) {
	for installed, want := range map[string]Outcome{"2.0.0-1": Upgraded, "2.1.0-1": Failed, "": Failed} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			vm := f.vms["a"]
			time.AfterFunc(30*time.Second, func() {
				vm.mu.Lock()
				defer vm.mu.Unlock()
				vm.pkg.Installed = installed
			})
			run := f.upgradeAll(t, soaking(), "a", "b")
			if res := run.Results[0]; res.Outcome != want || want == Failed && res.Problem.Class != problem.Drift || vm.called("undo") != 0 || vm.called("package") != 1 {
				t.Errorf("%q: %s %+v, %q", installed, res.Outcome, res.Problem, vm.calls)
			}
		})
	}
}

// TestUpgradeAfterRecovery: the files are fetched for what is installed then.
func TestUpgradeAfterRecovery(t *testing.T) {
	f := newFakeFleet("a", "b")
	for _, name := range []string{"a", "b"} {
		vm := f.vms[name]
		vm.seen.Receipts, vm.recovery = []host.Receipt{{State: "pending", Run: "other"}}, host.RolledBack
		vm.onRecover = func(vm *fakeVM) {
			vm.seen.Receipts = nil
			if vm.pkg.Installed = "0.9.0-1"; vm.name == "b" {
				vm.pkg.Installed = "2.0.0-1"
			}
		}
	}
	run := f.upgradeAll(t, policy(), "a", "b")
	wantOutcomes(t, run, Upgraded, Current)
	if got := f.vms["a"].changed.Package; got.From != "0.9.0-1" || f.vms["b"].called("fetch") != 0 {
		t.Errorf("%+v, %q", got, f.vms["b"].calls)
	}
}

func TestRollbackOfAnUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*fakeVM)
		outcome Outcome
		message string
	}{
		"restored":        {nil, Restored, ""},
		"there already":   {func(vm *fakeVM) { vm.pkg.Installed = "1.0.0-1" }, Current, ""},
		"another version": {func(vm *fakeVM) { vm.pkg.Installed = "2.1.0-1" }, Refused, "version 2.1.0-1 is installed, not 2.0.0-1 of run " + runID},
		"held":            {func(vm *fakeVM) { vm.pkg.Held = true }, Refused, "holds"},
		"unit of another": {func(vm *fakeVM) { vm.pkg.OwnsUnit = false }, Restored, ""},
		"stopped":         {func(vm *fakeVM) { vm.seen.Unit.Active = "inactive" }, Refused, "stopped"},
	} {
		f := newFakeFleet("a")
		wantOutcomes(t, f.upgradeAll(t, policy(), "a"), Upgraded)
		vm := f.vms["a"]
		if c.change != nil {
			c.change(vm)
		}
		run := f.rollBackRun(runID, policy(), "a")
		if res := run.Results[0]; res.Outcome != c.outcome || c.message != "" && !strings.Contains(res.Problem.Message, c.message) {
			t.Errorf("%s: %s %+v, want %s %q", name, res.Outcome, res.Problem, c.outcome, c.message)
		}
		if got := vm.changed.Package; c.outcome == Restored && (vm.pkg.Installed != "1.0.0-1" || got.Saved != runID || !strings.HasPrefix(run.Results[0].Reason, "the version 1.0.0-1 and configuration")) {
			t.Errorf("%s: %+v, %s, %q", name, got, vm.pkg.Installed, run.Results[0].Reason)
		}
		if vm.called("refresh") != 1 || vm.called("fetch") != 1 { // those of the upgrade
			t.Errorf("%s: %q", name, vm.calls)
		}
	}
}

// TestUpgradeCarriesOn from a canary that has the version and passed its soak.
func TestUpgradeCarriesOn(t *testing.T) {
	f := newFakeFleet("a", "b", "c")
	p := canaryFirst()
	p.Until, p.Canary = 1, 1
	wantOutcomes(t, f.upgradeAll(t, p, "a", "b", "c"), Upgraded, Skipped, Skipped)
	p.Until = 0
	again := func() *Plan {
		r, targets := f.upgradeRunner("a", "b", "c")
		defer r.Close()
		return Make(targets, r.Survey(t.Context(), targets, 1), p)
	}
	seen := f.vms["a"].seen
	seen.Clock, seen.Unit.Started = clock.Add(time.Hour), clock
	seen.Backups[0].New = wantedFile().Digest()
	if got := again(); got.Entries[0].Outcome != Current || got.Entries[0].Wave != 1 || got.Changes() != 2 || got.Waves[0].Number != 2 {
		t.Errorf("%+v, %+v", got.Entries[0], got.Waves)
	}
	f.vms["a"].pkg.Installed = "1.0.0-1" // an administrator has gone back
	if got := again(); got.Entries[0].Outcome != "" || got.Waves[0].Number != 1 || got.Entries[0].isLive() || got.Entries[0].isUnwell() {
		t.Errorf("%+v, %+v", got.Entries[0], got.Waves)
	}
}

func TestSavedUpgrade(t *testing.T) {
	unseen := upgrading(packaged(), "2.0.0")
	unseen.Package = &WantedPackage{To: "2.0.0"}
	if got := Make([]Target{unseen}, []Look{{Err: errLost}}, policy()).Save()[0]; got.Package != nil {
		t.Errorf("of a host that was not asked: %+v", got.Package)
	}
	p := Make([]Target{upgrading(packaged(), "2.0.0")}, []Look{{Seen: healthy()}}, policy())
	hosts := p.Save()
	if got, want := hosts[0].Package, (&planfile.Package{Name: "az-aoi-ingestion", Manager: "apt", Old: "1.0.0-1", New: "2.0.0-1"}); got == nil || *got != *want || len(hosts[0].Files) != 1 {
		t.Fatalf("%+v", hosts[0])
	}
	for name, c := range map[string]struct {
		change  func(*host.Package)
		outcome Outcome
		message string
	}{
		"same":          {func(*host.Package) {}, "", ""},
		"there":         {func(p *host.Package) { p.Installed = "2.0.0-1" }, Current, ""},
		"another":       {func(p *host.Package) { p.Installed = "1.1.0-1" }, Refused, "installed version 1.0.0-1 → 1.1.0-1"},
		"other to":      {func(p *host.Package) { p.Available = []string{"2.0.0-2", "2.0.0-1"} }, Refused, "version to install 2.0.0-1 → 2.0.0-2"},
		"disappeared":   {func(p *host.Package) { p.Available = nil }, Refused, "version to install 2.0.0-1 → none"},
		"other manager": {func(p *host.Package) { p.Manager = "dnf" }, Refused, "package manager apt → dnf"},
	} {
		now := packaged()
		c.change(&now)
		got := MakeSaved(hosts, []Target{upgrading(now, "2.0.0")}, []Look{{Seen: healthy()}}, policy()).Entries[0]
		if got.Outcome != c.outcome || !strings.Contains(got.Reason, c.message) {
			t.Errorf("%s: %q %q, want %q %q", name, got.Outcome, got.Reason, c.outcome, c.message)
		}
	}
}

func TestPackages(t *testing.T) {
	f := newFakeFleet("a", "b")
	f.vms["a"].pkg, f.vms["b"].dialErr = packaged(), errLost
	r := f.runner()
	entries, found := r.Packages(t.Context(), f.targets("a", "b"))
	if entries[0].Outcome != "" || entries[1].Outcome != Unreachable || found[0].Installed != "1.0.0-1" || !slices.Equal(f.vms["a"].calls, []string{"dial", "refresh"}) {
		t.Errorf("%+v, %+v, %q", entries, found, f.vms["a"].calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if entries, _ = r.Packages(ctx, f.targets("a")); entries[0].Outcome != Skipped {
		t.Errorf("%+v", entries)
	}
}
