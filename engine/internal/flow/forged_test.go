package flow

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
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

// A soak is asked for with what it needs: a request is at most 2 MiB, whatever hosts have said.
func TestSoakIsShort(t *testing.T) {
	r := newRun(t, flowtest.New(flowtest.Well, flowtest.Well), inWaves(), 2)
	r.env.OnActivity(protocol.Rotate, mock.Anything, mock.Anything).Return(&host.Report{Ending: host.Rotated, Evidence: []string{"much"}, Notes: []string{"more"}}, nil)
	asked := 0
	r.env.OnActivity(protocol.SoakMany, mock.Anything, mock.Anything).Return(func(_ context.Context, in protocol.SoakHosts) (protocol.Soaked, error) {
		if asked++; in.Left != time.Hour || len(in.Hosts[0].Evidence)+len(in.Hosts[0].Notes) > 0 {
			t.Errorf("%+v", in)
		}
		return protocol.Soaked{Over: true}, nil
	})
	if run := r.do(); asked != 1 || len(run.Results[0].Evidence) != 1 {
		t.Errorf("asked %d times, %+v", asked, run.Results[0])
	}
}
