package rollout

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// The longest that host.VM waits for a hanging host, with the settings of the fake fleet
// (docs/reliability.md).
const (
	maxObserve = 45 * time.Second
	maxStage   = 2*60*time.Second + 13*time.Second
	maxDiscard = 60*time.Second + 13*time.Second
	maxRotate  = 2*(2*time.Second+time.Second) + 3*time.Minute
)

// hanging is a host on which one verb hangs some times and works after that.
type hanging struct {
	*fakeHost
	h *hangingVerb
}

type hangingVerb struct {
	verb  string
	times int
}

func (h *hangingVerb) wait(ctx context.Context, verb string, limit time.Duration) error {
	if verb != h.verb || h.times == 0 {
		return nil
	}
	h.times--
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	<-ctx.Done()
	return &problem.Error{Class: problem.Timeout, Message: "command timed out"}
}

func (h *hanging) Observe(ctx context.Context, options host.ObserveOptions) (*host.Observation, error) {
	if err := h.h.wait(ctx, "observe", maxObserve); err != nil {
		return nil, err
	}
	return h.fakeHost.Observe(ctx, options)
}

func (h *hanging) Stage(ctx context.Context, data []byte, digest string) error {
	if err := h.h.wait(ctx, "stage", maxStage); err != nil {
		return err
	}
	return h.fakeHost.Stage(ctx, data, digest)
}

func (h *hanging) Discard(ctx context.Context) error {
	if err := h.h.wait(ctx, "discard", maxDiscard); err != nil {
		return err
	}
	return h.fakeHost.Discard(ctx)
}

func (h *hanging) Rotate(ctx context.Context, c host.Change, onStep func(string)) *host.Report {
	if err := h.h.wait(ctx, "rotate", maxRotate); err != nil {
		return &host.Report{Ending: host.Lost, Problem: host.AsProblem(err), Steps: []host.Step{{Name: "swap", OK: true}, {Name: "watch"}}}
	}
	return h.fakeHost.Rotate(ctx, c, onStep)
}

func (h *hanging) Recover(ctx context.Context, onStep func(string)) *host.Report {
	if err := h.h.wait(ctx, "recover", maxRotate); err != nil {
		return &host.Report{Ending: host.Lost, Problem: host.AsProblem(err), PID: 4711}
	}
	return h.fakeHost.Recover(ctx, onStep)
}

// If a verb hangs on a host, once or forever, with a dead-man switch or without, the run
// ends within the times of docs/reliability.md, its outcome claims no more than is known,
// and the other host is rotated.
func TestHangs(t *testing.T) {
	const forever = 1 << 20
	lostFor := host.Unit{}.EndTime(inventory.Health{Timeout: time.Second, Window: time.Second})
	broken := func(vm *fakeVM) { // a run that was interrupted before
		vm.receiptOf("earlier", "pending")
	}
	lose := func(vm *fakeVM) { vm.fates["rotate"] = notApplied }
	tests := []struct {
		name    string
		hangs   hangingVerb
		before  func(vm *fakeVM)
		outcome Outcome
		within  time.Duration
	}{
		{"observe", hangingVerb{verb: "observe", times: forever}, nil, Refused, maxObserve},
		{"stage", hangingVerb{verb: "stage", times: forever}, nil, Refused, maxStage + maxDiscard},
		{"stage, and its removal", hangingVerb{verb: "discard", times: forever}, func(vm *fakeVM) { vm.stageErr = errUnsent }, Unreachable, 2 * (maxStage + maxDiscard)},
		{"rotate, and the host has undone", hangingVerb{verb: "rotate", times: 1}, func(vm *fakeVM) { vm.receipt("rolled-back") }, RolledBack, maxRotate + lostFor},
		{"rotate, and the host is at work forever", hangingVerb{verb: "rotate", times: 1}, func(vm *fakeVM) { vm.recovery = host.Refused }, Unknown, maxRotate + lostFor},
		{"the recovery after a lost rotation", hangingVerb{verb: "recover", times: forever}, lose, Unknown, maxRotate + lostFor},
		{"the observation after a lost rotation", hangingVerb{verb: "discard", times: forever}, lose, Unknown, maxRotate + lostFor + maxDiscard},
		{"the recovery of an earlier run", hangingVerb{verb: "recover", times: forever}, broken, Unknown, lostFor},
	}
	for _, tt := range tests {
		for _, noDeadman := range []bool{false, true} {
			name := tt.name
			if noDeadman {
				name += ", no switch"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeFleet("a", "b")
					if tt.before != nil {
						tt.before(f.vms["a"])
					}
					p, h := policy(), tt.hangs
					p.NoDeadman = noDeadman
					run, took := f.rotateOn(t, p, &h)
					wantOutcomes(t, run, tt.outcome, Rotated)
					most := tt.within + 30*time.Second
					if noDeadman {
						most += run.Results[0].Host.Health.Hold()
					}
					if took > most {
						t.Errorf("took %v, at most %v", took, most)
					}
					res := run.Results[0]
					if res.Problem == nil || (res.Outcome == Unknown) == res.SettlesAt.IsZero() && !noDeadman || noDeadman && !res.SettlesAt.IsZero() {
						t.Errorf("problem %+v, settles at %v", res.Problem, res.SettlesAt)
					}
				})
			})
		}
	}
}

// Without a dead-man switch a hanging run locks its host until its time is over. The
// program tries until then, as nothing else undoes it, and names the process that is
// still running.
func TestHangsWithoutSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		vm.recovery = host.Refused
		time.AfterFunc(maxRotate+f.targets("a")[0].Host.Health.Hold()+time.Minute, func() {
			vm.mu.Lock()
			defer vm.mu.Unlock()
			vm.recovery, vm.pid = host.RolledBack, 4711
			vm.onRecover = func(vm *fakeVM) { vm.receipt("rolled-back") }
		})
		p := policy()
		p.NoDeadman = true
		run, _ := f.rotateOn(t, p, &hangingVerb{verb: "rotate", times: 1})
		wantOutcomes(t, run, RolledBack, Rotated)
		if notes := run.Results[0].Notes; !slices.Contains(notes, "process 4711 of run "+runID+" is still running on the host") {
			t.Errorf("notes %q", notes)
		}
	})
}

// rotateOn is rotateAll with h hanging on host a. It returns how long it took.
func (f *fakeFleet) rotateOn(t *testing.T, p Policy, h *hangingVerb) (*Run, time.Duration) {
	t.Helper()
	r := f.runner()
	dial := r.Dial
	r.Dial = func(ctx context.Context, target inventory.Host) (Host, error) {
		conn, err := dial(ctx, target)
		if err != nil || target.Name != "a" {
			return conn, err
		}
		return &hanging{fakeHost: conn.(*fakeHost), h: h}, nil
	}
	start := time.Now()
	targets := f.targets("a", "b")
	run := r.Apply(t.Context(), t.Context(), Make(targets, r.Survey(t.Context(), targets, 1), p))
	r.Close()
	return run, time.Since(start)
}
