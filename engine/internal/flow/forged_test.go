package flow

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Whoever can answer for a worker can give an error any cause. That no worker has begun, only the
// server says: else the host would count as unreachable, and be changed meanwhile.
func TestForgedCause(t *testing.T) {
	cause := temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	r := newRun(t, flowtest.New(flowtest.LostForever), policy(), 1)
	r.env.OnActivity(protocol.Rotate, mock.Anything, mock.Anything).Return(nil, temporal.NewApplicationErrorWithCause("lost", "", cause)).Once()
	r.env.OnActivity(protocol.Recover, mock.Anything, mock.Anything).Return(nil, temporal.NewApplicationErrorWithCause("lost", "", cause))
	if res := r.do().Results[0]; res.Outcome != "unknown" || !problem.Is(res.Problem, problem.Internal) {
		t.Errorf("%s, %v", res.Outcome, res.Problem)
	}
}

// A worker that answers nothing, or the same twice, stops no workflow.
func TestEmptyAnswers(t *testing.T) {
	r := newRun(t, flowtest.New(flowtest.Well, flowtest.LostThen), inWaves(), 2)
	r.env.OnActivity(protocol.Observe, mock.Anything, mock.Anything).Return(protocol.LookData{}, nil)
	run := r.do()
	if got := outcomes(run); got[0] != rollout.Rotated || got[1] != rollout.Unknown {
		t.Errorf("%v %v", got, run.Results[1].Problem)
	}
	sick := rollout.SoakFinding{Unhealthy: problem.New(problem.Unhealthy, "", "sick")}
	f := flowtest.New(flowtest.Well, flowtest.Well)
	r = newRun(t, f, inWaves(), 2)
	r.env.OnActivity(protocol.SoakMany, mock.Anything, mock.Anything).Return(protocol.Soaked{Found: []rollout.SoakFinding{sick, sick, {Host: 9}, {Host: -1}}}, nil)
	if got := outcomes(r.do()); got[0] != rollout.RolledBack || f.Activities[protocol.Rotate] != 2 {
		t.Errorf("%v, %v", got, f.Activities)
	}
}

// A soak and a change are asked for with what they need: whatever hosts have said, many requests fit
// into what a server takes at once.
func TestRequestsAreShort(t *testing.T) {
	r := newRun(t, flowtest.New(flowtest.Well, flowtest.Well), inWaves(), 2)
	for i := range r.plan.Entries {
		r.plan.Entries[i].Seen.Denied, r.plan.Entries[i].Seen.Note = strings.Repeat("d", 10_000), strings.Repeat("n", 10_000)
	}
	short := func(request any) {
		if text, err := json.Marshal(request); err != nil || len(text) > 3000 {
			t.Errorf("%T of %d bytes: %.300s", request, len(text), text)
		}
	}
	rotate := func(_ context.Context, in protocol.OneHost) (*host.Report, error) {
		short(in)
		return &host.Report{Ending: host.Rotated, Evidence: []string{strings.Repeat("e", 5000)}}, nil
	}
	r.env.OnActivity(protocol.Rotate, mock.Anything, mock.Anything).Return(rotate)
	asked := 0
	soak := func(_ context.Context, in protocol.SoakHosts) (protocol.Soaked, error) {
		short(in)
		h := in.Hosts[0]
		if asked++; in.Left != time.Hour || !h.Known || h.Seen.File.Path != "/c.p12" || h.Seen.Unit.Active != "active" {
			t.Errorf("%+v", in)
		}
		return protocol.Soaked{Over: true}, nil
	}
	r.env.OnActivity(protocol.SoakMany, mock.Anything, mock.Anything).Return(soak)
	if run := r.do(); asked != 1 || len(run.Results[0].Evidence) != 1 {
		t.Errorf("asked %d times, %+v", asked, run.Results[0])
	}
}

// Whatever hosts and workers say, a part can tell its rollout of all of them, and be asked.
func TestAnswersAreBounded(t *testing.T) {
	n, long := rollout.MaxPart, strings.Repeat("\"x", 50_000)
	p := policy()
	p.MaxFailures, p.Parallel = inventory.Count(n+1), n
	r := newRun(t, flowtest.New(times(flowtest.Well, 20)...), p, n)
	why := &problem.Error{Class: problem.Class(long), Message: long, Hint: long}
	rotate := func(_ context.Context, in protocol.OneHost) (*host.Report, error) {
		switch in.Host.Name {
		case "vm-000":
			return &host.Report{Ending: host.Refused, Problem: why, Notes: []string{long}}, nil
		case "vm-001", "vm-002", "vm-003":
			return &host.Report{Ending: host.Refused, Problem: &problem.Error{Message: long[:20_000]}}, nil
		}
		return &host.Report{Ending: host.Rotated, Proof: long[:10_000]}, nil
	}
	r.env.OnActivity(protocol.Rotate, mock.Anything, mock.Anything).Return(rotate)
	r.env.OnActivity(protocol.Stage, mock.Anything, mock.Anything).Return(protocol.Answer{}, nil)
	run := r.do()
	value, err := r.env.QueryWorkflowByID(protocol.PartID(flowtest.RunID, 0), protocol.StatesQuery, protocol.Question{})
	var answer protocol.Reply[[]protocol.HostState]
	if err == nil {
		err = value.Get(&answer)
	}
	states := answer.Answer
	text, _ := json.Marshal(states)
	if notes := run.Results[0].Notes; !slices.Contains(notes, protocol.LeftOut) {
		t.Errorf("%d notes", len(notes))
	}
	if err != nil || len(states) != 20 || len(text)*n/len(states) > 2<<20 || run.Totals()[rollout.Refused] != 4 {
		t.Errorf("%v: %d states of %d bytes, %v", err, len(states), len(text), run.Totals())
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env, reply := suite.NewTestWorkflowEnvironment(), protocol.Reply[[]protocol.LookData]{}
	in := protocol.SurveyInput{Version: protocol.Version}
	env.SetTestTimeout(time.Minute)
	env.RegisterActivityWithOptions(func(_ context.Context, many protocol.ManyHosts) ([]protocol.LookData, error) {
		return slices.Repeat([]protocol.LookData{{Seen: &host.Observation{Note: long[:40_000]}}}, len(many.Hosts)), nil
	}, activity.RegisterOptions{Name: protocol.ObserveMany})
	in.Hosts = slices.Repeat([]rollout.HostData{{Name: "h", Group: "north"}}, protocol.MaxSurvey)
	env.ExecuteWorkflow((&Workflows{}).Survey, in)
	err = env.GetWorkflowResult(&reply)
	looks := reply.Answer
	if err != nil || len(looks) != protocol.MaxSurvey || looks[0].Problem == nil || looks[0].Seen != nil {
		t.Errorf("%v: %d looks", err, len(looks))
	}
}
