package rollout

import (
	"reflect"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// ended returns a run whose hosts have these outcomes.
func ended(outcomes ...Outcome) *Run {
	r := &Run{}
	for _, o := range outcomes {
		r.Results = append(r.Results, Result{Entry: Entry{Target: Target{Host: &inventory.Host{Name: string(o)}}, Outcome: o}})
	}
	return r
}

// The worst of what happened decides the exit code, as docs/reference.md has it.
func TestExitCode(t *testing.T) {
	tests := []struct {
		name   string
		run    *Run
		change func(*Run)
		signal int
		want   int
	}{
		{"nothing to do", ended(), nil, 0, 0},
		{"good", ended(Rotated, Rehearsed, Current, NotApplicable, Restored), nil, 0, 0},
		{"refused", ended(Rotated, Refused), nil, 0, 5},
		{"unreachable", ended(Refused, Unreachable), nil, 0, 4},
		{"skipped", ended(Unreachable, Skipped), nil, 0, 9},
		{"ended", ended(Rotated), func(r *Run) { r.Ended = true }, 0, 9},
		{"stopped", ended(Skipped), func(r *Run) { r.Stopped = true }, 0, 8},
		{"rolled back", ended(RolledBack), func(r *Run) { r.Stopped = true }, 0, 6},
		{"not accepted", ended(Skipped, Unreachable), func(r *Run) { r.Unaccepted = true }, 0, 4},
		{"interrupted", ended(RolledBack, Skipped), nil, 130, 130},
		{"terminated", ended(Rotated), nil, 143, 143},
		{"failed", ended(Failed, RolledBack), nil, 130, 7},
		{"unknown", ended(Unknown), func(r *Run) { r.Unaccepted, r.Stopped = true, true }, 0, 7},
		{"failed and unknown", ended(Failed, Unknown), nil, 0, 7},
	}
	for _, tt := range tests {
		if tt.change != nil {
			tt.change(tt.run)
		}
		if got := tt.run.ExitCode(tt.signal); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.want)
		}
	}
}

// After a run the operator is told the next steps. They cover every host that is not well.
func TestNext(t *testing.T) {
	as := func(o Outcome, action Action, change func(*Result)) *Run {
		r := Result{Entry: Entry{Target: Target{Host: &inventory.Host{Name: "h"}}, Outcome: o, Action: action}}
		if change != nil {
			change(&r)
		}
		return &Run{Results: []Result{r}}
	}
	stopped := func(r *Run) *Run { r.Stopped = true; return r }
	names := func(list ...string) []string { return list }
	tests := []struct {
		name string
		run  *Run
		want []NextStep
	}{
		{"good", ended(Rotated, Current, NotApplicable), nil},
		{"refused, unreachable, rolled back", ended(Rotated, Refused, Unreachable, RolledBack), []NextStep{{Retry, names("refused", "unreachable", "rolled_back"), false}}},
		{"it carries on with all", ended(Rotated, Skipped), []NextStep{{RunAgain, names("rotated", "skipped"), true}}},
		{"it carries on without the refused ones", ended(Rotated, Refused, Skipped), []NextStep{{RunAgain, names("rotated", "skipped"), false}, {Retry, names("refused"), false}}},
		{"after a stop another canary", stopped(ended(Rotated, RolledBack, Skipped)), []NextStep{{RunAgain, names("skipped"), false}, {Retry, names("rolled_back"), false}}},
		{"the uncertain ones before all", stopped(ended(Refused, Skipped, Unknown, Failed)), []NextStep{{SeeStatus, names("unknown", "failed"), false},
			{RunAgain, names("skipped"), false}, {Retry, names("refused", "unknown", "failed"), false}}},
		{"restored by a rollback", as(Restored, Restore, nil), nil},
		{"undone with the stopped run", stopped(as(Restored, Rotate, nil)), []NextStep{{RunAgain, names("h"), false}}},
		{"refused until it is fixed", as(Refused, None, func(r *Result) { r.Problem = &problem.Error{Class: problem.Configuration} }), []NextStep{{AfterFix, names("h"), false}}},
		{"refused for now", as(Refused, None, func(r *Result) { r.Problem = &problem.Error{Class: problem.Locked} }), []NextStep{{Retry, names("h"), false}}},
		{"not in the plan", as(Skipped, None, func(r *Result) { r.unplanned = true }), []NextStep{{PlanAgain, names("h"), false}}},
		{"changed since the plan", as(Refused, None, func(r *Result) { r.unplanned = true }), []NextStep{{PlanAgain, names("h"), false}}},
	}
	for _, tt := range tests {
		got := tt.run.Next()
		if !reflect.DeepEqual(got, tt.want) && len(got)+len(tt.want) > 0 {
			t.Errorf("%s: %+v", tt.name, got)
		}
		covered := map[string]bool{}
		for _, step := range got {
			for _, h := range step.Hosts {
				covered[h] = true
			}
		}
		for _, res := range tt.run.Results {
			if !res.Outcome.IsWell() && res.Action != Restore && !covered[res.Host.Name] {
				t.Errorf("%s: no next step for %s", tt.name, res.Host.Name)
			}
		}
	}
}
