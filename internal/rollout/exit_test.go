package rollout

import (
	"slices"
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

// After a run the operator is told the step that comes first, and for which hosts.
func TestNext(t *testing.T) {
	as := func(o Outcome, action Action, class problem.Class) Result {
		r := Result{Entry: Entry{Target: Target{Host: &inventory.Host{Name: "h"}}, Outcome: o, Action: action}}
		if class != "" {
			r.Problem = &problem.Error{Class: class}
		}
		return r
	}
	tests := []struct {
		name  string
		run   *Run
		next  Next
		hosts []string
	}{
		{"good", ended(Rotated, Current), NoNext, nil},
		{"refused, unreachable, rolled back", ended(Rotated, Refused, Unreachable, RolledBack), RunAgain, []string{"refused", "unreachable", "rolled_back"}},
		{"the skipped ones first", ended(Refused, Skipped), RunAgain, []string{"skipped"}},
		{"the uncertain ones before all", ended(Refused, Skipped, Unknown, Failed), SeeStatus, []string{"unknown", "failed"}},
		{"restored by a rollback", &Run{Results: []Result{as(Restored, Restore, "")}}, NoNext, nil},
		{"undone with the stopped run", &Run{Results: []Result{as(Restored, Rotate, "")}}, RunAgain, []string{"h"}},
		{"refused until it is fixed", &Run{Results: []Result{as(Refused, None, problem.Configuration)}}, NoNext, nil},
		{"refused for now", &Run{Results: []Result{as(Refused, None, problem.Locked)}}, RunAgain, []string{"h"}},
		{"unhealthy, undone", &Run{Results: []Result{as(RolledBack, Rotate, problem.Unhealthy)}}, RunAgain, []string{"h"}},
	}
	for _, tt := range tests {
		if next, hosts := tt.run.Next(); next != tt.next || !slices.Equal(hosts, tt.hosts) {
			t.Errorf("%s: %v %v", tt.name, next, hosts)
		}
	}
}
