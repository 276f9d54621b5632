package rollout

import (
	"context"
	"slices"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// policy allows one host at a time and any number of failures.
func policy() Policy {
	return Policy{Rollout: inventory.Rollout{Parallel: 1, MaxFailures: inventory.Count(1 << 30), CountUnreachable: true}}
}

// rotateAll surveys, plans and applies as the rotate command does, and checks that no
// connection is left open.
func (f *fakeFleet) rotateAll(t *testing.T, stopping context.Context, p Policy, names ...string) *Run {
	t.Helper()
	return f.rotateUntil(t, context.Background(), stopping, p, names...)
}

func (f *fakeFleet) rotateUntil(t *testing.T, hard, stopping context.Context, p Policy, names ...string) *Run {
	t.Helper()
	r := f.runner()
	targets := f.targets(names...)
	run := r.Apply(hard, stopping, Make(targets, r.Survey(context.Background(), targets, p.Parallel), p))
	r.Close()
	if f.open != 0 {
		t.Errorf("%d connections are left open", f.open)
	}
	for i, res := range run.Results {
		if res.Host.Name != names[i] || res.Outcome == "" {
			t.Errorf("result %d: %+v", i, res)
		}
	}
	return run
}

func outcomes(r *Run) []Outcome {
	var list []Outcome
	for _, res := range r.Results {
		list = append(list, res.Outcome)
	}
	return list
}

func wantOutcomes(t *testing.T, r *Run, want ...Outcome) {
	t.Helper()
	if got := outcomes(r); !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}
