package rollout

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// oneByOne has a canary of one, then waves of two, and stops at the first failure.
func oneByOne() Policy {
	p := policy()
	p.Canary, p.Batches, p.MaxFailures = 1, []inventory.Amount{inventory.Count(2)}, inventory.Count(1)
	return p
}

// All hosts are staged before the first restart. If that spends the budget no agent is
// restarted.
func TestStagesBeforeTheFirstRestart(t *testing.T) {
	for _, limit := range []int{2, 3} {
		names := manyNames(6)
		f := newFakeFleet(names...)
		var mu sync.Mutex
		var order []string
		for _, vm := range f.vms {
			vm.during = func(call string) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, call)
			}
		}
		for _, i := range []int{1, 4} {
			f.vms[names[i]].stageErr = &problem.Error{Class: problem.Disk, Message: "full"}
		}
		p := oneByOne()
		p.MaxFailures = inventory.Count(limit)
		run := f.rotateAll(t, context.Background(), p, names...)
		want := map[Outcome]int{Refused: 2, Rotated: 4}
		if limit == 2 {
			want = map[Outcome]int{Refused: 2, Skipped: 4}
		}
		for o, n := range want {
			if run.Totals()[o] != n {
				t.Errorf("budget %d: %v", limit, run.Totals())
			}
		}
		if run.Stopped != (limit == 2) {
			t.Errorf("budget %d: %+v", limit, run)
		}
		first, lastStage := slices.Index(order, "rotate"), len(order)-1
		for ; lastStage >= 0 && order[lastStage] != "stage"; lastStage-- {
		}
		if first >= 0 && first < lastStage {
			t.Errorf("restarted before all was staged: %v", order)
		}
		for _, vm := range f.vms {
			if vm.staged {
				t.Errorf("%s: the certificate is left", vm.name)
			}
		}
	}
}

// A wave starts when the one before has ended; a failure in one stops the next.
func TestWaveByWave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := manyNames(6)
		f := newFakeFleet(names...)
		started := map[string]time.Duration{}
		start := time.Now()
		for i, name := range names {
			vm := f.vms[name]
			vm.during = func(call string) {
				if call == "rotate" {
					f.mu.Lock()
					started[name] = time.Since(start)
					f.mu.Unlock()
					time.Sleep(time.Duration(i+1) * time.Second)
				}
			}
		}
		f.vms[names[4]].ending = host.RolledBack
		p := oneByOne()
		p.Parallel = 10
		run := f.rotateAll(t, context.Background(), p, names...)
		wantOutcomes(t, run, Rotated, Rotated, Rotated, Rotated, RolledBack, Skipped)
		want := []time.Duration{0, 1 * time.Second, 1 * time.Second, 4 * time.Second, 4 * time.Second}
		for i, at := range want {
			if started[names[i]] != at {
				t.Errorf("%s started at %v, want %v", names[i], started[names[i]], at)
			}
		}
		if !run.Stopped || run.Ended {
			t.Errorf("%+v", run)
		}
	})
}

// The next host of a domain starts only if the last one is safe. After one that failed
// no other host of its domain starts; those of other domains do.
func TestFailedHostBlocksItsDomain(t *testing.T) {
	names := []string{"a1", "a2", "b1", "b2", "a3"}
	f := newFakeFleet(names...)
	f.vms["a1"].ending = host.Failed
	f.vms["b1"].ending = host.RolledBack // safe
	p := policy()
	p.Batches = []inventory.Amount{inventory.Count(3)}
	p.MaxUnavailable = inventory.Unavailable{Label: "site", Count: 1}
	targets := f.targets(names...)
	for i := range targets {
		targets[i].Host.Labels = map[string]string{"site": names[i][:1]}
	}
	r := f.runner()
	defer r.Close()
	run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
	wantOutcomes(t, run, Failed, Skipped, RolledBack, Rotated, Skipped)
	for _, i := range []int{1, 4} {
		if !strings.Contains(strings.Join(run.Results[i].Notes, ""), "same failure domain") || f.vms[names[i]].staged {
			t.Errorf("%s: %q", names[i], run.Results[i].Notes)
		}
	}
	if run.Stopped || run.Interrupted || run.Ended {
		t.Errorf("%+v", run)
	}
}

// The next host replaces a canary that can't be staged.
func TestCanaryIsReplaced(t *testing.T) {
	names := manyNames(5)
	f := newFakeFleet(names...)
	f.vms[names[0]].stageErr = &problem.Error{Class: problem.Disk, Message: "full"}
	p := oneByOne()
	p.MaxFailures, p.Until = inventory.Count(9), 1
	run := f.rotateAll(t, context.Background(), p, names...)
	wantOutcomes(t, run, Refused, Rotated, Skipped, Skipped, Skipped)
	for i, want := range []int{0, 1, 2, 2, 3} {
		if got := run.Results[i].Wave; got != want {
			t.Errorf("%s: wave %d, want %d", names[i], got, want)
		}
	}
}

// The next host also replaces a canary that is refused at its turn, within the budget. A
// canary that fails after a change stops the run.
func TestCanaryResults(t *testing.T) {
	for _, tt := range []struct {
		first, second host.Ending
		want          []Outcome
		waves         []int
	}{
		{host.Refused, "", []Outcome{Refused, Rotated, Rotated, Rotated, Rotated}, []int{0, 1, 2, 2, 3}},
		{host.Refused, host.Refused, []Outcome{Refused, Refused, Rotated, Rotated, Rotated}, []int{0, 0, 1, 2, 2}},
		{host.RolledBack, "", []Outcome{RolledBack, Skipped, Skipped, Skipped, Skipped}, []int{1, 2, 2, 3, 3}},
		{host.Refused, host.RolledBack, []Outcome{Refused, RolledBack, Skipped, Skipped, Skipped}, []int{0, 1, 2, 2, 3}},
	} {
		names := manyNames(5)
		f := newFakeFleet(names...)
		f.vms[names[0]].ending, f.vms[names[1]].ending = tt.first, tt.second
		p := oneByOne()
		p.MaxFailures = inventory.Count(9)
		run := f.rotateAll(t, context.Background(), p, names...)
		wantOutcomes(t, run, tt.want...)
		for i, want := range tt.waves {
			if got := run.Results[i].Wave; got != want {
				t.Errorf("%s, %s: %s in wave %d, want %d", tt.first, tt.second, names[i], got, want)
			}
		}
		if run.Stopped != slices.Contains(tt.want, Skipped) {
			t.Errorf("stopped %v", run.Stopped)
		}
	}
	// All of a small fleet refuse.
	f := newFakeFleet("a", "b")
	f.vms["a"].ending, f.vms["b"].ending = host.Refused, host.Refused
	p := oneByOne()
	p.MaxFailures = inventory.Count(9)
	wantOutcomes(t, f.rotateAll(t, context.Background(), p, "a", "b"), Refused, Refused)
}

// A canary that waits for a failure domain is not replaced: without one the run stops.
func TestCanaryWaitsForItsDomain(t *testing.T) {
	for second, want := range map[host.Ending][]Outcome{
		host.Refused: {Skipped, Refused, Unknown, Skipped},
		"":           {Skipped, Rotated, Unknown, Rotated},
	} {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"a1", "b1", "a2", "c1"}
			f := newFakeFleet(names...)
			f.vms["b1"].ending = second
			f.vms["a2"].receipt("pending") // of an interrupted run
			f.vms["a2"].during = func(call string) {
				f.vms["a2"].dead = call == "recover"
				f.vms["a2"].fates["recover"] = notApplied
			}
			p := policy()
			p.Canary, p.MaxUnavailable = 2, inventory.Unavailable{Label: "site", Count: 1}
			targets := f.targets(names...)
			for i := range targets {
				targets[i].Host.Labels = map[string]string{"site": names[i][:1]}
			}
			r := f.runner()
			defer r.Close()
			run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
			wantOutcomes(t, run, want...)
			if run.Stopped != (second == host.Refused) {
				t.Errorf("%q: %+v", second, run)
			}
		})
	}
}

func TestUntil(t *testing.T) {
	tests := []struct {
		until   int
		rotated int
		ended   bool
	}{{1, 1, true}, {2, 3, true}, {3, 5, true}, {4, 6, false}, {9, 6, false}, {0, 6, false}}
	for _, tt := range tests {
		names := manyNames(6)
		f := newFakeFleet(names...)
		p := oneByOne()
		p.Until = tt.until
		run := f.rotateAll(t, context.Background(), p, names...)
		if run.Totals()[Rotated] != tt.rotated || run.Totals()[Skipped] != 6-tt.rotated || run.Ended != tt.ended || run.Stopped {
			t.Errorf("until %d: %v, %+v", tt.until, run.Totals(), run)
		}
		again := f.rotateAll(t, context.Background(), policy(), names...)
		if again.Totals()[Rotated] != 6-tt.rotated || again.Totals()[Current] != tt.rotated {
			t.Errorf("until %d, again: %v", tt.until, again.Totals())
		}
	}
}

func TestPause(t *testing.T) {
	tests := []struct {
		pause Pause
		no    int // the wave after which the answer is no
		asked []int
		ended bool
	}{
		{NoPause, 0, nil, false},
		{AfterCanary, 0, []int{1}, false},
		{AfterCanary, 1, []int{1}, true},
		{AfterWave, 0, []int{1, 2, 3}, false}, // not after the last
		{AfterWave, 2, []int{1, 2}, true},
	}
	for _, tt := range tests {
		names := manyNames(6)
		f := newFakeFleet(names...)
		r := f.runner()
		var asked []int
		r.Ask = func(wave int, soFar *Run) bool {
			asked = append(asked, wave)
			if soFar.Totals()[Rotated] != []int{1, 3, 5}[wave-1] {
				t.Errorf("after wave %d: %v", wave, soFar.Totals())
			}
			return wave != tt.no
		}
		p := oneByOne()
		p.PauseAfter = tt.pause
		targets := f.targets(names...)
		run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
		r.Close()
		if !slices.Equal(asked, tt.asked) || run.Ended != tt.ended || (run.Totals()[Skipped] == 0) == tt.ended {
			t.Errorf("%+v: asked %v, %+v", tt, asked, run.Totals())
		}
	}
}

// A run that has stopped asks nothing.
func TestNoPauseWhenStopped(t *testing.T) {
	names := manyNames(3)
	f := newFakeFleet(names...)
	f.vms[names[0]].ending = host.RolledBack
	r := f.runner()
	defer r.Close()
	r.Ask = func(int, *Run) bool { t.Error("asked"); return true }
	p := oneByOne()
	p.PauseAfter = AfterWave
	targets := f.targets(names...)
	run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
	if !run.Stopped || run.Ended {
		t.Errorf("%+v", run)
	}
}
