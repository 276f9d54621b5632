package flow

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// flowRun is a rollout in the SDK's test environment.
type flowRun struct {
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment
	fleet  *flowtest.Fleet
	plan   *rollout.Plan
	parts  [][]int
	input  protocol.RolloutInput
	result protocol.RolloutResult
}

// newRun returns a rollout of the fleet in parts of at most most hosts.
func newRun(t *testing.T, f *flowtest.Fleet, policy rollout.Policy, most int) *flowRun {
	t.Helper()
	return newRunWith(t, f, policy, most, (&Workflows{}).Part)
}

// newRunWith is newRun with the workflow of the parts.
func newRunWith(t *testing.T, f *flowtest.Fleet, policy rollout.Policy, most int, part any) *flowRun {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	r := &flowRun{t: t, env: suite.NewTestWorkflowEnvironment(), fleet: f, plan: f.Plan(policy)}
	r.env.SetStartTime(flowtest.Clock)
	r.env.SetTestTimeout(time.Minute)
	r.env.RegisterWorkflowWithOptions((&Workflows{}).Rollout, workflow.RegisterOptions{Name: protocol.Rollout})
	r.env.RegisterWorkflowWithOptions(part, workflow.RegisterOptions{Name: protocol.Part})
	f.Register(r.env)
	var err error
	if r.parts, err = r.plan.Divide(most); err != nil {
		t.Fatal(err)
	}
	r.input = protocol.RolloutInput{Version: protocol.Version, Run: protocol.Run{ID: flowtest.RunID, Owner: "o"}, Policy: policy, Hosts: len(f.VMs), Parts: len(r.parts)}
	return r
}

// send sends the parts once the rollout has started.
func (r *flowRun) send() {
	for n := range r.parts {
		r.env.RegisterDelayedCallback(r.part(n), time.Second)
	}
}

// part returns what sends a part.
func (r *flowRun) part(n int) func() {
	return func() {
		data := protocol.PartData{Of: flowtest.RunID, Number: n}
		for _, i := range r.parts[n] {
			data.Entries = append(data.Entries, r.plan.Entries[i].Data(i))
		}
		r.env.SignalWorkflow(protocol.PartSignal, data)
	}
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// do carries the rollout out, and returns its run as the client puts it together.
func (r *flowRun) do() *rollout.Run {
	r.t.Helper()
	r.send()
	r.env.ExecuteWorkflow(protocol.Rollout, r.input)
	if err := r.env.GetWorkflowError(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.env.GetWorkflowResult(&r.result); err != nil {
		r.t.Fatal(err)
	}
	run := &rollout.Run{Results: make([]rollout.Result, len(r.plan.Entries)), Stopped: r.result.Stopped, Interrupted: r.result.Interrupted, Ended: r.result.Ended}
	for i, e := range r.plan.Entries {
		run.Results[i].Entry = e
	}
	if r.result.Problem != nil {
		return run
	}
	for n, hosts := range r.parts {
		for from := 0; from < len(hosts); {
			q := protocol.Question{From: from}
			value, err := r.env.QueryWorkflowByID(protocol.PartID(flowtest.RunID, n), protocol.ResultsQuery, q)
			if err != nil {
				r.t.Fatal(err)
			}
			var page protocol.Reply[[]rollout.ResultData]
			if err := value.Get(&page); err != nil {
				r.t.Fatal(err)
			}
			if len(page.Answer) == 0 {
				break // a part of a test that has none
			}
			from += len(page.Answer)
			run.Fill(r.plan, page.Answer)
		}
	}
	for i := range run.Results {
		if run.Results[i].Outcome == "" {
			run.Results[i].Outcome = rollout.Skipped
		}
	}
	return run
}

// state returns the answer to the query of the state.
func (r *flowRun) state() protocol.RolloutState {
	r.t.Helper()
	var s protocol.Reply[protocol.RolloutState]
	value, err := r.env.QueryWorkflow(protocol.StateQuery, protocol.Question{})
	if err == nil {
		err = value.Get(&s)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Answer
}

// local carries the same out in this process.
func local(t *testing.T, f *flowtest.Fleet, policy rollout.Policy) (run *rollout.Run) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rollout.Runner{Dial: f.Dial(flowtest.RunID), DialUndo: f.Dial(rollout.UndoID(flowtest.RunID)), RunID: flowtest.RunID, Events: func(rollout.Event) {}}
		defer r.Close()
		run = r.Apply(context.Background(), context.Background(), f.Plan(policy))
	})
	return run
}

func outcomes(r *rollout.Run) (list []rollout.Outcome) {
	for _, res := range r.Results {
		list = append(list, res.Outcome)
	}
	return list
}

// policy allows any number of failures.
func policy() rollout.Policy {
	return rollout.Policy{Rollout: inventory.Rollout{Parallel: 4, Batches: []inventory.Amount{inventory.Count(1000)}, MaxFailures: inventory.Count(1000), CountUnreachable: true}}
}

// compare does both and compares hosts, outcomes and how the run ended.
func compare(t *testing.T, policy rollout.Policy, most int, fates ...flowtest.Fate) (*flowRun, *rollout.Run) {
	t.Helper()
	here := flowtest.New(fates...)
	want := local(t, here, policy)
	far := newRun(t, flowtest.New(fates...), policy, most)
	got := far.do()
	if !slices.Equal(outcomes(got), outcomes(want)) || got.Stopped != want.Stopped || got.Interrupted != want.Interrupted || got.Ended != want.Ended {
		t.Errorf("%v\n got %v %v %v %v\nwant %v %v %v %v", fates, outcomes(got), got.Stopped, got.Interrupted, got.Ended, outcomes(want), want.Stopped, want.Interrupted, want.Ended)
	}
	for i, v := range far.fleet.VMs {
		if got, want := v.State(), here.VMs[i].State(); got != want {
			t.Errorf("%s (%s): %s, want %s", v.Name(), v.Fate, got, want)
		}
	}
	totals := map[rollout.Outcome]int{}
	for o, n := range got.Totals() {
		totals[o] = n
	}
	for o, n := range far.state().Totals {
		if totals[o] != n {
			t.Errorf("the state has %d %s, want %d", n, o, totals[o])
		}
	}
	return far, got
}

// Each fault alone ends as in a run of one process.
func TestFaults(t *testing.T) {
	for _, fate := range append(flowtest.Fates, flowtest.Well) {
		t.Run(string(fate), func(t *testing.T) {
			p := policy()
			p.Batches = []inventory.Amount{inventory.Count(3)}
			p.Soak = time.Hour
			compare(t, p, 2, flowtest.Well, fate, flowtest.Well, flowtest.Well, flowtest.Well)
		})
	}
}
