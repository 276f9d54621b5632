package fleet

import (
	"reflect"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A rotate and a runs watch that follow the same run record its end in the same journal. Whichever is
// first, the journal says the same: how each host has ended, once or twice, and the exit code of rotate.
func TestTwoRecordTheEnd(t *testing.T) {
	url := engine.URL{Address: "temporal.example:7233", Namespace: "fleet"}
	lost := problem.New(problem.Unhealthy, "look", "it is unhealthy")
	plan := rollout.PlanOf([]rollout.Entry{planEntry("edr-01", true, "", nil), planEntry("edr-02", true, "", nil),
		planEntry("edr-03", true, "", nil)}, rollout.Policy{}, false)
	ended := &rollout.Run{Interrupted: true}
	for i, o := range []rollout.Outcome{rollout.Rotated, rollout.RolledBack, rollout.Skipped} {
		res := rollout.Result{Entry: plan.Entries[i]}
		if res.Outcome = o; o == rollout.RolledBack {
			res.Problem = lost
		}
		ended.Results = append(ended.Results, res)
	}
	ended.Results[0].Proof = "uploaded"
	var ends []map[string]journal.Entry
	for watchIsFirst, finishes := range map[bool]int{true: 2, false: 1} {
		state := t.TempDir()
		f := fleetWith(state, func(line string) { t.Error(line) }, "edr-01", "edr-02", "edr-03")
		f.request.Engine = &engine.Client{URL: url}
		if err := f.startJournal(Options{}); err != nil {
			t.Fatal(err)
		}
		rotate := func() { f.record.finish(ended, problem.ExitTerminated) }
		watch := func() {
			s := &engine.State{Run: engine.Run{ID: testRun}, Started: time.Now(), Finished: time.Now(),
				Result: &engine.Result{Interrupted: true}}
			if err := Settle(runsDir(state), newFollower(f, plan).journal(s, ended)); err != nil {
				t.Error(err)
			}
		}
		f.record.plan(plan)
		f.record.event(rollout.Event{Host: "edr-02", Outcome: rollout.RolledBack, Problem: lost})
		if watchIsFirst {
			watch()
		}
		if rotate(); !watchIsFirst {
			watch()
		}
		f.record.close()
		run, n := readBack(t, state), 0
		for _, e := range run.Entries {
			if e.Event == journal.Finish {
				n++
			}
		}
		if n != finishes || run.Exit == nil || *run.Exit != problem.ExitTerminated || run.Damaged > 0 {
			t.Errorf("watch first: %v: %d ends, %v %d", watchIsFirst, n, run.Exit, run.Damaged)
		}
		for host, e := range run.Ends {
			e.At = time.Time{}
			run.Ends[host] = e
		}
		ends = append(ends, run.Ends)
	}
	one, two := ends[0]["edr-01"], ends[0]["edr-02"]
	if !reflect.DeepEqual(ends[0], ends[1]) || len(ends[0]) != 3 || one.Proof != "uploaded" ||
		two.Class != string(problem.Unhealthy) {
		t.Errorf("%+v\n%+v", ends[0], ends[1])
	}
}
