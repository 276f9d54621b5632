package flow

import (
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// after has do called a time after the start of the rollout.
func (r *flowRun) after(d time.Duration, do func()) { r.env.RegisterDelayedCallback(do, d) }

// inWaves soaks an hour after each host but the last.
func inWaves() rollout.Policy {
	p := policy()
	p.Canary, p.Batches, p.Soak = 1, counts(1), time.Hour
	return p
}

// steer is what an operator tells the rollout.
func steer(id string, wave int) protocol.Steer {
	return protocol.Steer{Run: flowtest.RunID, ID: id, Wave: wave}
}

func (r *flowRun) signal(name string, data any) func() {
	return func() { r.env.SignalWorkflow(name, named(name, data)) }
}

// named returns the data of a signal with its name.
func named(name string, data any) any {
	n := protocol.Named{Signal: name}
	switch d := data.(type) {
	case protocol.Steer:
		d.Named = n
		return d
	case protocol.Told:
		d.Named = n
		return d
	case protocol.Command:
		d.Named = n
		return d
	case protocol.Ended:
		d.Named = n
		return d
	case protocol.Done:
		d.Named = n
		return d
	}
	return data
}

// What is stopped or cancelled finishes what it does, and skips the rest.
func TestStop(t *testing.T) {
	for name, stop := range map[string]func(r *flowRun) func(){
		"stop":   func(r *flowRun) func() { return r.signal(protocol.StopSignal, nil) },
		"cancel": func(r *flowRun) func() { return r.env.CancelWorkflow },
	} {
		p := inWaves()
		p.PauseAfter = rollout.AfterCanary
		r := newRun(t, flowtest.New(times(flowtest.Well, 5)...), p, 2)
		r.after(time.Hour, func() {
			if s := r.state(); s.Asks != 1 || s.Step != "soak" || s.Totals[rollout.Rotated] != 1 || s.Parts != 3 || s.Waves != 5 {
				t.Errorf("%+v", s)
			}
			stop(r)()
		})
		run := r.do()
		if got := run.Totals(); !run.Interrupted || got[rollout.Rotated] != 1 || got[rollout.Skipped] != 4 {
			t.Errorf("%s: %v %+v", name, got, r.result)
		}
		for _, v := range r.fleet.VMs {
			if v.Staged {
				t.Errorf("%s: something is left on %s", name, v.Name())
			}
		}
	}
}

func TestStopBeforeTheParts(t *testing.T) {
	r := newRun(t, flowtest.New(flowtest.Well), policy(), 1)
	r.after(0, r.signal(protocol.StopSignal, nil))
	if run := r.do(); r.result.Problem == nil || len(r.fleet.Activities) > 0 {
		t.Errorf("%+v %v", r.result, run.Totals())
	}
}

// What is in flight when the stop comes ends as it ends, and nothing else begins.
func TestStopInFlight(t *testing.T) {
	p := policy()
	p.Parallel = 2
	f := flowtest.New(flowtest.Well, flowtest.LostUndone, flowtest.Well, flowtest.Well, flowtest.Well)
	r := newRun(t, f, p, 3)
	f.During = func(activity, name string) {
		if activity == protocol.Rotate && name == "vm-001" {
			r.env.SignalWorkflow(protocol.StopSignal, nil)
		}
	}
	run := r.do()
	if got := outcomes(run); got[1] != rollout.RolledBack || !run.Interrupted || run.Totals()[rollout.Skipped] == 0 {
		t.Errorf("%v %+v", got, r.result)
	}
}

func TestApprove(t *testing.T) {
	p := inWaves()
	p.PauseAfter = rollout.AfterWave
	r := newRun(t, flowtest.New(times(flowtest.Well, 3)...), p, 1)
	r.after(2*time.Hour, r.signal(protocol.ApproveSignal, steer("0", 2))) // not what it asks
	r.after(3*time.Hour, func() {
		if n := len(r.fleet.Rotated()); n != 1 {
			t.Errorf("%d were changed", n)
		}
		r.signal(protocol.ApproveSignal, steer("1", 1))()
	})
	r.after(4*time.Hour, r.signal(protocol.ApproveSignal, steer("2", 1))) // again
	r.after(5*time.Hour, func() {
		if n := len(r.fleet.Rotated()); n != 2 {
			t.Errorf("%d were changed", n)
		}
		r.signal(protocol.ApproveSignal, steer("3", 2))()
	})
	if run := r.do(); run.Totals()[rollout.Rotated] != 3 || run.Ended {
		t.Errorf("%v %+v", run.Totals(), r.result)
	}
}

// The answer no ends the run, for all who follow it, and is no interruption. An old one counts for
// nothing.
func TestDecline(t *testing.T) {
	p := inWaves()
	p.PauseAfter = rollout.AfterWave
	r := newRun(t, flowtest.New(times(flowtest.Well, 3)...), p, 1)
	r.after(2*time.Hour, r.signal(protocol.ApproveSignal, steer("1", 1)))
	r.after(3*time.Hour+30*time.Minute, r.signal(protocol.DeclineSignal, steer("2", 1)))
	asks := 0
	r.after(4*time.Hour, func() {
		asks = r.state().Asks
		r.signal(protocol.DeclineSignal, steer("3", 2))()
	})
	run := r.do()
	if asks != 2 {
		t.Error("the answer to another question has ended the run")
	}
	if run.Totals()[rollout.Rotated] != 2 || !run.Ended || run.Interrupted || run.ExitCode(0) != problem.ExitEnded {
		t.Errorf("%v %+v", run.Totals(), r.result)
	}
}

// A rollout says which parts it waits for, and takes each once.
func TestMissingParts(t *testing.T) {
	r := newRun(t, flowtest.New(times(flowtest.Well, 3)...), inWaves(), 1)
	r.after(0, r.part(1))
	r.after(time.Minute, func() {
		if s := r.state(); !slices.Equal(s.Missing, []int{0, 2}) || s.Parts != 0 {
			t.Errorf("%+v", s)
		}
		other := r.parts[1]
		r.parts[1] = r.parts[0] // a part again, with other hosts
		r.part(1)()
		r.parts[1] = other
		r.part(0)()
		r.part(2)()
	})
	r.env.ExecuteWorkflow(protocol.Rollout, r.input)
	s := r.state()
	whole := s.Missing == nil && s.Parts == 3 && s.Totals[rollout.Rotated] == 3
	if !whole || s.Result.Problem != nil || !s.Finished.After(s.Started) {
		t.Errorf("%+v %+v", s, s.Result)
	}
}

// A pause holds the next turn of every part, and does not hold what ends or undoes something.
func TestPause(t *testing.T) {
	p := policy()
	p.Parallel = 2
	f := flowtest.New(flowtest.Well, flowtest.LostUndone, flowtest.Well, flowtest.Well, flowtest.Well, flowtest.Well)
	r := newRun(t, f, p, 3)
	f.During = func(activity, name string) {
		if activity == protocol.Rotate && name == "vm-001" {
			r.env.SignalWorkflow(protocol.PauseSignal, nil)
		}
	}
	var then []string
	r.after(time.Hour, func() {
		then = f.Rotated()
		if s := r.state(); !s.Paused || s.Totals[rollout.Skipped] != 0 {
			t.Errorf("%+v", s)
		}
	})
	r.after(2*time.Hour, func() {
		if now := f.Rotated(); !slices.Equal(now, then) || len(now) == 6 {
			t.Errorf("in the pause %v, then %v", then, now)
		}
		r.signal(protocol.ResumeSignal, steer("1", 0))()
	})
	if run := r.do(); run.Totals()[rollout.Rotated] != 5 {
		t.Error(run.Totals())
	}
}

// A part is ended from outside: what it had in hand is unknown, and nothing else begins.
func TestLostPart(t *testing.T) {
	part := func(ctx workflow.Context, in protocol.PartInput) error {
		if in.Number != 1 {
			return (&Workflows{}).Part(ctx, in)
		}
		for { // it stages, and ends in its first change
			var c protocol.Command
			workflow.GetSignalChannel(ctx, protocol.CommandSignal).Receive(ctx, &c)
			if c.Verb == rollout.ChangeVerb {
				type page = protocol.Reply[[]rollout.ResultData]
				none := func(protocol.Question) (p page, err error) { return p, nil }
				return workflow.SetQueryHandler(ctx, protocol.ResultsQuery, none)
			}
			parent := workflow.GetInfo(ctx).ParentWorkflowExecution
			_ = workflow.SignalExternalWorkflow(ctx, parent.ID, "", protocol.DoneSignal,
				named(protocol.DoneSignal, protocol.Done{From: protocol.From{Run: in.Run.ID, Part: 1, Number: c.Number}, Command: c.Number})).Get(ctx, nil)
		}
	}
	r := newRunWith(t, flowtest.New(times(flowtest.Well, 6)...), inWaves(), 2, part)
	r.do()
	if got := r.fleet.Rotated(); !slices.Equal(got, []string{"vm-000", "vm-001"}) || !r.result.Interrupted {
		t.Errorf("%v %+v", got, r.result)
	}
	if len(r.result.Lost) != 1 || !slices.Equal(r.result.Lost[0].Hosts, []int{2}) || r.state().Totals[rollout.Unknown] != 1 {
		t.Errorf("%+v %+v", r.result, r.state())
	}
}

// A part whose rollout is terminated finishes what it does, and leaves no certificate behind.
func TestOrphan(t *testing.T) {
	f := flowtest.New(times(flowtest.Well, 3)...)
	r := newRun(t, f, policy(), 3)
	r.env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in protocol.PartInput) error {
		child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: "part", WaitForCancellation: true}), protocol.Part, in)
		for n, verb := range []rollout.Verb{rollout.StageVerb, rollout.ChangeVerb} {
			_ = child.SignalChildWorkflow(ctx, protocol.CommandSignal,
				named(protocol.CommandSignal, protocol.Command{Run: in.Run.ID, Number: n + 1, Verb: verb, Hosts: []int{0, 1, 2}, Parallel: 1})).Get(ctx, nil)
		}
		return child.Get(ctx, nil)
	}, workflow.RegisterOptions{Name: "Parent"})
	f.During = func(activity, _ string) {
		if activity == protocol.Rotate {
			r.env.CancelWorkflow() // what the server does with the children of a terminated workflow
		}
	}
	in := protocol.PartInput{Version: protocol.Version, Run: r.input.Run, Policy: r.input.Policy}
	for i, e := range r.plan.Entries {
		in.Entries = append(in.Entries, e.Data(i))
	}
	r.env.ExecuteWorkflow("Parent", in)
	if err := r.env.GetWorkflowError(); err != nil || len(f.Rotated()) != 1 || f.Activities[protocol.Discard] != 2 {
		t.Errorf("%v: changed %v, %v", err, f.Rotated(), f.Activities)
	}
}

// Parts of two surveys: in each another host of the canary could be changed, and together none. Nothing
// begins.
func TestPartsWithoutCanary(t *testing.T) {
	p := inWaves()
	p.Canary = 2
	r := newRun(t, flowtest.New(times(flowtest.Well, 4)...), p, 1)
	for i := range p.Canary {
		e := &r.plan.Entries[i]
		e.Outcome, e.Wave = rollout.Unreachable, 0
	}
	r.do()
	if r.result.Problem == nil || len(r.fleet.Activities) > 0 || r.state().Parts != 0 {
		t.Errorf("%+v: %v", r.result, r.fleet.Activities)
	}
}

// Parts count once all of them exist: one that could not be started has no results to ask for.
func TestPartsThatBegin(t *testing.T) {
	r := &run{stopping: newFlag(), parts: []*child{{}}}
	for _, r.begun = range []bool{false, true} {
		if s, _ := r.now(protocol.Question{}); s.Answer.Parts > 0 != r.begun {
			t.Errorf("%v: %d", r.begun, s.Answer.Parts)
		}
	}
}
