package rollout

import (
	"context"
	"slices"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// verifyPlan returns a plan for four hosts: c is current, and d needs no verification.
func verifyPlan(f *fakeFleet) *Plan {
	targets := f.targets("a", "b", "c", "d")
	for i := range 3 {
		targets[i].Host.VerifyEntra = true
	}
	looks := make([]Look, len(targets))
	for i := range looks {
		looks[i].Seen = healthy()
	}
	looks[2].Seen.File.Digest = targets[2].Certificate.Digest()
	return Make(targets, looks, Policy{Rollout: inventory.Rollout{Parallel: 1, MaxFailures: inventory.Count(9), Canary: 1, Batches: []inventory.Amount{inventory.Count(1)}}})
}

func TestVerify(t *testing.T) {
	no := &problem.Error{Class: problem.Certificate, Message: "refused"}
	unreachable := &problem.Error{Class: problem.Unreachable, Message: "no answer"}
	tests := []struct {
		name    string
		answers map[int]*problem.Error
		want    []Outcome
	}{
		{"accepted", map[int]*problem.Error{0: nil, 1: nil}, []Outcome{"", "", Current, ""}},
		{"one refused", map[int]*problem.Error{0: nil, 1: no}, []Outcome{Skipped, Refused, Current, Skipped}},
		{"all refused", map[int]*problem.Error{0: no, 1: no}, []Outcome{Refused, Refused, Current, Skipped}},
		{"no answer", map[int]*problem.Error{0: unreachable, 1: unreachable}, []Outcome{Unreachable, Unreachable, Current, Skipped}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeFleet("a", "b", "c", "d")
			p := verifyPlan(f)
			if got := p.ToVerify(); !slices.Equal(got, []int{0, 1}) {
				t.Fatalf("to verify: %v", got)
			}
			p.Verify(tt.answers)
			stopped := tt.want[0] != ""
			var got []Outcome
			for i, e := range p.Entries {
				got = append(got, e.Outcome)
				reason, asked := tt.answers[i]
				if (e.Verified != nil) != asked || asked && *e.Verified != (reason == nil) {
					t.Errorf("%s: verified %v", e.Host.Name, e.Verified)
				}
				if stopped && e.Wave != 0 {
					t.Errorf("%s is in wave %d", e.Host.Name, e.Wave)
				}
			}
			if !slices.Equal(got, tt.want) || p.Unaccepted != stopped || stopped != (len(p.Waves) == 0) {
				t.Errorf("%v, unaccepted %v, waves %v", got, p.Unaccepted, p.Waves)
			}
			if !stopped {
				return
			}
			r := f.runner()
			run := r.Apply(context.Background(), context.Background(), p)
			if !run.Unaccepted || run.Stopped || run.Ended || f.open != 0 {
				t.Errorf("%+v, %d connections", run, f.open)
			}
			for i, res := range run.Results {
				if res.Outcome != tt.want[i] || len(res.Steps) > 0 {
					t.Errorf("%s: %s, %v", res.Host.Name, res.Outcome, res.Steps)
				}
			}
		})
	}
}

func TestSkipVerify(t *testing.T) {
	p := verifyPlan(newFakeFleet("a", "b", "c", "d"))
	p.SkipVerify()
	if e := p.Entries; e[0].Verified == nil || *e[0].Verified || e[2].Verified != nil || e[3].Verified != nil || p.Unaccepted || p.Changes() != 3 {
		t.Errorf("%+v", p)
	}
}
