package flow

import (
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Who has access to the namespace and no key can send signals without data, and copies of those of
// other runs and parts: neither begins anything on a host.
func TestForgedToAPart(t *testing.T) {
	const other = "20260101-000000-AAAA"
	for name, forged := range map[string]struct {
		signal string
		data   any
	}{
		"nothing":                {protocol.GoOnSignal, nil},
		"of another run":         {protocol.GoOnSignal, protocol.Told{Run: other, Number: 1}},
		"of another part":        {protocol.GoOnSignal, protocol.Told{Run: flowtest.RunID, Part: 1, Number: 1}},
		"another answer":         {protocol.GoOnSignal, protocol.Told{Run: flowtest.RunID, Number: 7}},
		"command of another run": {protocol.CommandSignal, protocol.Command{Run: other, Number: 9, Verb: rollout.ChangeVerb, Hosts: []int{0, 1, 2, 3}, Parallel: 4}},
		"command of a part":      {protocol.CommandSignal, protocol.Command{Run: flowtest.RunID, Part: 1, Number: 9, Verb: rollout.ChangeVerb, Hosts: []int{0, 1, 2, 3}, Parallel: 4}},
		"an old command":         {protocol.CommandSignal, protocol.Command{Run: flowtest.RunID, Number: 1, Verb: rollout.ChangeVerb, Hosts: []int{0, 1, 2, 3}, Parallel: 4}},
		"stop without data":      {protocol.StopSignal, nil},
		"end without data":       {protocol.EndSignal, nil},
		"spent of another part":  {protocol.SpentSignal, protocol.Told{Run: flowtest.RunID, Part: 1}},
	} {
		f := flowtest.New(flowtest.Undoes, flowtest.Undoes, flowtest.Well, flowtest.Well)
		p := policy()
		p.Parallel, p.MaxFailures = 1, inventory.Count(2)
		r := newRun(t, f, p, 4)
		f.During = func(activity, _ string) {
			if activity == protocol.Rotate {
				_ = r.env.SignalWorkflowByID(protocol.PartID(flowtest.RunID, 0), forged.signal, named(forged.signal, forged.data))
			}
		}
		if run := r.do(); len(f.Rotated()) != 2 || !run.Stopped || run.Totals()[rollout.RolledBack] != 2 {
			t.Errorf("%s: changed %v, %v", name, f.Rotated(), run.Totals())
		}
	}
}

// The same to a rollout, and copies of what its own operator and parts have said.
func TestForgedToARollout(t *testing.T) {
	p := inWaves()
	p.PauseAfter = rollout.AfterCanary
	f := flowtest.New(times(flowtest.Well, 3)...)
	r := newRun(t, f, p, 3)
	r.after(0, r.signal(protocol.PartSignal, protocol.PartData{Of: "20260101-000000-AAAA"}))
	r.after(90*time.Minute, r.signal(protocol.PauseSignal, nil))
	r.after(91*time.Minute, r.signal(protocol.ResumeSignal, steer("1", 0)))
	r.after(92*time.Minute, r.signal(protocol.PauseSignal, nil))
	for n, forged := range []any{nil, steer("1", 0), protocol.Steer{Run: "20260101-000000-AAAA", ID: "2"}, protocol.Steer{Run: flowtest.RunID}} {
		r.after(time.Duration(100+n)*time.Minute, r.signal(protocol.ResumeSignal, forged))
	}
	for n, forged := range []any{nil, protocol.Steer{Run: "20260101-000000-AAAA", ID: "3", Wave: 1}, protocol.Steer{Run: flowtest.RunID, Wave: 1}} {
		r.after(time.Duration(110+n)*time.Minute, r.signal(protocol.ApproveSignal, forged))
	}
	failed := protocol.HostState{Host: 1, State: rollout.State{Outcome: rollout.Failed}}
	for n, from := range []protocol.From{{Run: "20260101-000000-AAAA", Number: 100}, {Run: flowtest.RunID, Number: 0}, {Run: flowtest.RunID, Part: 1, Number: 100}, {Run: flowtest.RunID, Part: -1, Number: 100}} {
		r.after(time.Duration(120+n)*time.Minute, r.signal(protocol.EndedSignal, protocol.Ended{From: from, HostState: failed}))
		r.after(time.Duration(120+n)*time.Minute, r.signal(protocol.DoneSignal, protocol.Done{From: from, States: []protocol.HostState{failed}}))
	}
	r.after(3*time.Hour, func() {
		if s := r.state(); !s.Paused || s.Asks != 1 || len(f.Rotated()) != 1 || s.Totals[rollout.Failed] != 0 {
			t.Errorf("%+v, changed %v", s, f.Rotated())
		}
		r.signal(protocol.ResumeSignal, steer("4", 0))()
		r.signal(protocol.ApproveSignal, steer("5", 1))()
	})
	if run := r.do(); run.Totals()[rollout.Rotated] != 3 {
		t.Errorf("%v %+v", run.Totals(), r.result)
	}
}

// The data of one signal is not that of another one: who has no key, and is heard first, does not make
// a yes of the operator's no.
func TestSentAsAnotherSignal(t *testing.T) {
	p := inWaves()
	p.PauseAfter = rollout.AfterWave
	r := newRun(t, flowtest.New(times(flowtest.Well, 3)...), p, 1)
	r.after(2*time.Hour, func() {
		no := named(protocol.DeclineSignal, steer("1", 1))
		r.env.SignalWorkflow(protocol.ApproveSignal, no)
		r.env.SignalWorkflow(protocol.DeclineSignal, no)
	})
	run := r.do()
	if run.Totals()[rollout.Rotated] != 1 || !run.Ended {
		t.Errorf("%v %+v", run.Totals(), r.result)
	}
}

// All other signals with data of the operator, the rollout or a part have their names in it too.
func TestNamed(t *testing.T) {
	for name, data := range map[string]any{
		protocol.GoOnSignal:    protocol.Told{},
		protocol.ApproveSignal: protocol.Steer{},
		protocol.CommandSignal: protocol.Command{},
		protocol.EndedSignal:   protocol.Ended{},
		protocol.DoneSignal:    protocol.Done{},
		protocol.TurnSignal:    protocol.Turn{},
	} {
		is, bound := data.(interface{ Is(string) bool })
		if !bound || is.Is(name) {
			t.Errorf("%s: %v", name, bound)
		}
	}
}
