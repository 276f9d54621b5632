package rollout

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// windowsOf returns windows of an inventory whose hosts have the labels site=a and site=b.
func windowsOf(t *testing.T, text string) (inventory.Rollout, map[string]inventory.Host) {
	t.Helper()
	inv, err := inventory.Parse("inv.yaml", []byte("version: 1\nrollout: {"+text+"}\nhosts: {a: {labels: {site: a}}, b: {labels: {site: b}}}\n"), inventory.Env{User: "u", Home: "/home/u"})
	if err != nil {
		t.Fatal(err)
	}
	return inv.Rollout, map[string]inventory.Host{"a": inv.Hosts[0], "b": inv.Hosts[1]}
}

// A window that closes in the middle of a run ends it: what is in flight is finished, the soak is
// carried on, and the others are skipped, with the reason. A saved plan has no other canary.
func TestWindowClosesInTheRun(t *testing.T) {
	for _, c := range []struct {
		name, windows string
		fixed         bool
		sites         string // of the hosts, in order
		want          string
	}{
		{"after the canary", `windows: [{from: "23:30", to: "00:01", zone: UTC}]`, false, "aaaa", "rotated skipped skipped skipped, exit 9"},
		{"of one site", `windows: [{label: site=a, from: "23:30", to: "00:01", zone: UTC}]`, false, "aabb", "rotated skipped rotated rotated, exit 9"},
		{"before the canary: another one", `windows: [{label: site=a, from: "12:00", to: "13:00", zone: UTC}]`, false, "aabb", "skipped skipped rotated rotated, exit 9"},
		{"of a saved plan's canary", `windows: [{label: site=a, from: "12:00", to: "13:00", zone: UTC}]`, true, "aabb", "skipped skipped skipped skipped, exit 9"},
		{"nothing may begin", `freezes: [{from: 2000-01-01, to: 2000-01-01, zone: UTC}]`, false, "aabb", "skipped skipped skipped skipped, exit 9"},
		{"no window", `parallel: 2`, false, "aabb", "rotated rotated rotated rotated, exit 0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			names := manyNames(4)
			f := newFakeFleet(names...)
			p := policy()
			r, hosts := windowsOf(t, c.windows)
			p.Windows, p.Freezes, p.Canary, p.Batches, p.Soak = r.Windows, r.Freezes, 1, []inventory.Amount{inventory.Percent(100)}, 2*time.Minute
			targets := f.targets(names...)
			for i, site := range c.sites {
				targets[i].Host.Labels = hosts[string(site)].Labels
			}
			run := f.runner()
			plan := Make(targets, run.Survey(context.Background(), targets, 1), p)
			plan.fixedWaves = c.fixed
			result := run.Apply(context.Background(), context.Background(), plan)
			run.Close()
			var got []string
			for _, res := range result.Results {
				got = append(got, string(res.Outcome))
				if res.Outcome == Skipped && !strings.Contains(strings.Join(res.Notes, " "), "outside its windows") {
					t.Errorf("%s: %s: no reason: %v", c.name, res.Host.Name, res.Notes)
				}
			}
			if is := fmt.Sprintf("%s, exit %d", strings.Join(got, " "), result.ExitCode(0)); is != c.want {
				t.Errorf("%s: %s, want %s", c.name, is, c.want)
			}
			if took := time.Since(clock); strings.HasPrefix(c.name, "after") && took < 2*time.Minute {
				t.Errorf("%s: the soak took %v", c.name, took)
			}
		})
	}
}

// Who may not begin is held in the plan of a rotation that begins, and only noted in one for later.
func TestPlanHoldsHosts(t *testing.T) {
	r, hosts := windowsOf(t, `windows: [{label: site=a, from: "12:00", to: "13:00", zone: UTC}, {label: site=b, from: "23:00", to: "01:00", zone: UTC}]`)
	f := newFakeFleet("a", "b", "c")
	targets := f.targets("a", "b", "c")
	for i, name := range []string{"a", "b"} {
		targets[i].Host.Labels = hosts[name].Labels
	}
	made := func(change func(*Policy)) *Plan {
		p := policy()
		p.Windows, p.Now = r.Windows, clock
		change(&p)
		return Make(targets, []Look{{Seen: healthy()}, {Seen: healthy()}, {Seen: healthy()}}, p)
	}
	later := made(func(*Policy) {})
	if w := later.Entries[0].Window; later.Changes() != 3 || w.Open || !w.Next.Equal(clock.Add(12*time.Hour)) || !later.Entries[1].Window.Until.Equal(clock.Add(time.Hour)) || !later.Entries[2].Window.Open {
		t.Errorf("%+v", later.Entries)
	}
	now := made(func(p *Policy) { p.Hold = true })
	if e := now.Entries[0]; now.Changes() != 2 || e.Outcome != Skipped || e.Reason != "outside its windows: it may begin Sat 2000-01-01 12:00 UTC" || now.Warnings() != nil {
		t.Errorf("%+v %v", e, now.Warnings())
	}
	targets[0].Host.Labels, targets[1].Host.Labels = map[string]string{"n": "x site:a"}, map[string]string{"n": "x", "site": "a"}
	if alike := made(func(*Policy) {}); !alike.Entries[0].Window.Open || alike.Entries[1].Window.Open {
		t.Errorf("a host has the windows of another: %+v", alike.Entries)
	}
	targets[0].Host.Labels, targets[1].Host.Labels = hosts["a"].Labels, hosts["b"].Labels
	ignored := made(func(p *Policy) { p.Hold, p.IgnoreWindow = true, "CHG-1" })
	if w := ignored.Warnings(); ignored.Changes() != 3 || len(w) != 1 || w[0].Message != "WITHOUT windows and freezes: 1 host outside them (--ignore-window: CHG-1)" {
		t.Errorf("%v", w)
	}
}

// A certificate that ends before the host may begin the next time is a warning, also if the host
// is inside a window that closes before.
func TestEndsBeforeWindow(t *testing.T) {
	r, hosts := windowsOf(t, `windows: [{label: site=a, days: [sun], from: "12:00", to: "13:00", zone: UTC}]`)
	a := hosts["a"]
	for _, c := range []struct {
		ends, now time.Duration // after Saturday
		want      bool
	}{
		{35 * time.Hour, 0, true},
		{37 * time.Hour, 0, false},
		{40 * time.Hour, 36*time.Hour + time.Minute, true}, // inside
		{10 * 24 * time.Hour, 36*time.Hour + time.Minute, false},
		{35 * time.Hour, 35*time.Hour + time.Minute, true}, // it has ended
	} {
		seen := healthy()
		seen.Live.NotAfter = clock.Add(c.ends)
		if got := BeforeWindow(r, []Entry{{Target: Target{Host: &a}, Seen: seen}}, clock.Add(c.now)); (got != nil) != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if BeforeWindow(inventory.Rollout{}, []Entry{{Target: Target{Host: &a}, Seen: healthy()}}, clock) != nil {
		t.Error("a warning without windows")
	}
}

// An interrupted run is ended also outside the windows; the rotation after it is not begun there.
func TestRecoversOutsideWindows(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeFleet("a", "b")
			f.vms["a"].receipt("pending")
			f.vms["a"].recovery = host.RolledBack
			f.vms["a"].onRecover = func(vm *fakeVM) { vm.receipt("rolled-back") }
			p := policy()
			r, _ := windowsOf(t, `windows: [{from: "12:00", to: "13:00", zone: UTC}]`)
			p.Windows, p.Now, p.Hold = r.Windows, clock, true
			targets, run := f.targets("a", "b"), f.runner()
			plan := Make(targets, run.Survey(context.Background(), targets, 1), p)
			plan.fixedWaves = fixed
			result := run.Apply(context.Background(), context.Background(), plan)
			run.Close()
			for _, res := range result.Results {
				if res.Outcome != Skipped || f.vms[res.Host.Name].called("rotate") > 0 {
					t.Errorf("%s: %s", res.Host.Name, res.Outcome)
				}
			}
			if notes := strings.Join(result.Results[0].Notes, "; "); notes != "an interrupted run was recovered first: rolled-back; not started: outside its windows; it may begin Sat 2000-01-01 12:00 UTC" {
				t.Errorf("notes %q", notes)
			}
			if result.ExitCode(0) != 9 {
				t.Errorf("exit code %d", result.ExitCode(0))
			}
		})
	}
}
