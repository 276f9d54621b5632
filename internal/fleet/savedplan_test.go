package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A plan that expires while the question waits for its answer is not begun.
func TestPlanExpiresAtTheQuestion(t *testing.T) {
	record, err := newRecorder(t.TempDir(), journal.Head{Run: "20261123-084512-K3F9"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer record.close()
	for expired, want := range map[bool]rollout.Outcome{true: rollout.Skipped, false: rollout.Refused} {
		soon := time.Now().Add(time.Hour)
		var said string
		f := &Fleet{saved: &planfile.Plan{ExpiresAt: &soon}, record: record, caller: Caller{Say: func(line string) { said = line }},
			runner: &rollout.Runner{Events: func(rollout.Event) {}, Dial: func(context.Context, inventory.Host) (rollout.Host, error) { return nil, context.DeadlineExceeded }}}
		target := rollout.Target{Host: &inventory.Host{Name: "a"}}
		plan := &rollout.Plan{Entries: []rollout.Entry{{Target: target, Action: rollout.Restart}}, Waves: []rollout.Wave{{Number: 1, Hosts: []int{0}}}}
		plan.Policy.Parallel, plan.Policy.MaxFailures = 1, inventory.Percent(100)
		c, _ := f.carryOut(t.Context(), t.Context(), plan, Steps{
			Agree: func(*rollout.Plan) bool {
				if expired {
					soon = time.Now()
				}
				return true
			},
			ExitCode: func(_ *rollout.Run, agreed bool) int { return map[bool]int{false: 9, true: 0}[agreed] },
		}, Options{})
		if got := c.Run.Results[0].Outcome; got != want || (c.ExitCode == 9) != expired || (said != "") != expired {
			t.Errorf("expired %v: %s, exit code %d, %q", expired, got, c.ExitCode, said)
		}
	}
}
