package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// planOf returns a plan over hosts called NAME-N; those called edr have an MCC EDR source.
func planOf(policy rollout.Policy, names ...string) *rollout.Plan {
	p := &rollout.Plan{Policy: policy}
	for _, name := range names {
		p.Entries = append(p.Entries, entry(name, func(e *rollout.Entry) {
			if strings.Contains(name, "edr") {
				e.Seen.Config.ListenerPort = 36001
			}
		}))
	}
	return p
}

// divide puts the hosts into waves of these sizes.
func divide(p *rollout.Plan, canary bool, sizes ...int) *rollout.Plan {
	n := 0
	for _, size := range sizes {
		w := rollout.Wave{Number: len(p.Waves) + 1, Canary: canary && n == 0}
		for range size {
			w.Hosts = append(w.Hosts, n)
			p.Entries[n].Wave = len(p.Waves) + 1
			n++
		}
		p.Waves = append(p.Waves, w)
	}
	return p
}

func TestWavesText(t *testing.T) {
	var b bytes.Buffer
	plans := []*rollout.Plan{
		divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 4, Soak: 2 * time.Minute}}, "edr-01", "edr-02", "edr-03", "sftp-1", "sftp-2", "sftp-3"), true, 1, 3, 2),
		divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 4, MaxUnavailable: inventory.Unavailable{Label: "site", Count: 2}}}, "edr-1", "sftp-1"), false, 2),
		divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 4}}, "edr-1", "edr-2"), false, 2),
		divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 4}}, "sftp-1", "sftp-2"), false, 2), // nothing to say
		{Policy: rollout.Policy{Rollout: inventory.Rollout{Parallel: 4}}},
	}
	for _, p := range plans {
		View{}.writeWaves(&b, p)
		fmt.Fprintln(&b, pace(p))
	}
	golden(t, "waves.txt", b.String())
}

// Many waves are folded into few lines.
func TestManyWavesAreFolded(t *testing.T) {
	var names []string
	var sizes []int
	for i := range 10_000 {
		names, sizes = append(names, fmt.Sprintf("vm-%05d", i)), append(sizes, 1)
	}
	p := divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 1}}, names...), false, sizes...)
	var b bytes.Buffer
	View{}.writeWaves(&b, p)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != maxWaves || lines[maxWaves-1] != "waves 8 to 10000: vm-[00007-09999] (9993 hosts)" {
		t.Errorf("%d lines; the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		2 * time.Minute: "2m", time.Hour: "1h", 90 * time.Second: "1m30s", 30 * time.Second: "30s", 20 * time.Minute: "20m", 10*time.Hour + time.Second: "10h0m1s",
	} {
		if got := Short(d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSoFar(t *testing.T) {
	p := divide(planOf(rollout.Policy{Rollout: inventory.Rollout{Parallel: 1}}, "a", "b", "c"), true, 1, 2)
	run := &rollout.Run{Results: []rollout.Result{
		{Entry: entry("a", ended(rollout.Rotated, nil)), Proof: "log_clean"},
		{Entry: entry("b", nil)},
		{Entry: entry("c", nil)},
		{Entry: entry("shy", ended(rollout.Refused, &problem.Error{Class: "sudo", Message: "sudo asks for a password"}))},
	}}
	var b bytes.Buffer
	View{}.SoFar(&b, run, p, 1)
	golden(t, "sofar.txt", b.String())
	if len(run.Results) != 4 {
		t.Error("the run was changed")
	}
}

// The next command has the hosts that were undone with their run, but not the failed ones.
func TestNextAfterAnUndoneRun(t *testing.T) {
	undone := func(e *rollout.Entry) { e.Outcome = rollout.Restored }
	asked := func(e *rollout.Entry) { e.Action, e.Outcome = rollout.Restore, rollout.Restored }
	run := &rollout.Run{Stopped: true, Results: []rollout.Result{
		{Entry: entry("a-1", undone)}, {Entry: entry("a-2", ended(rollout.RolledBack, unreachable))}, {Entry: entry("a-3", ended(rollout.Skipped, nil))},
	}}
	if got := NextCommands(run, again); !strings.HasSuffix(got[0], "--limit a-1,a-3") {
		t.Error(got)
	}
	run = &rollout.Run{Results: []rollout.Result{{Entry: entry("a-1", asked)}}}
	if got := NextCommands(run, again); got != nil {
		t.Error(got)
	}
}

func TestWaveInJSON(t *testing.T) {
	p := divide(planOf(rollout.Policy{}, "a", "b", "c"), true, 1, 1)
	list := PlanHosts(p)
	if list[0].Wave == nil || *list[0].Wave != 1 || *list[1].Wave != 2 || list[2].Wave != nil {
		t.Errorf("%+v", list)
	}
}
