package flow

import (
	"testing"

	"github.com/stretchr/testify/mock"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/problem"
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
