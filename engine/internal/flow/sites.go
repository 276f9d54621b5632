package flow

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// soon is how long a site is waited for that took nothing the last time: the rest of a part's hosts
// would else wait for protocol.Start by the dozen.
const soon = 5 * time.Second

// sites has activities done by the workers of sites.
type sites struct {
	converter func(site, execution, activity string) converter.DataConverter
	silent    map[string]bool // sites that took nothing the last time
	asked     int             // activities so far
}

func (w *Workflows) sites() *sites { return &sites{converter: w.Converter, silent: map[string]bool{}} }

// tries is how often an activity is tried while its worker fails, and whether it is given up soon
// at a silent site. What a host answers is never a reason to try again here.
type tries struct {
	most int32
	soon bool
}

var (
	once     = tries{1, false}
	onceSoon = tries{1, true}
	thrice   = tries{3, true}
)

// call has an activity done by a worker of a site: each try within limit, and all within total; 0:
// that is not bounded.
func (s *sites) call(ctx workflow.Context, site, activity string, try tries, limit, total time.Duration, in, out any) error {
	start := protocol.Start
	if try.soon && s.silent[site] {
		start = soon
	}
	err := workflow.ExecuteActivity(s.at(ctx, site, workflow.ActivityOptions{
		ScheduleToStartTimeout: start,
		StartToCloseTimeout:    limit,
		ScheduleToCloseTimeout: total,
		HeartbeatTimeout:       protocol.Heartbeat,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: try.most},
	}), activity, in).Get(ctx, out)
	s.silent[site] = isTimeout(err, enums.TIMEOUT_TYPE_SCHEDULE_TO_START)
	return failure(site, err)
}

// at returns the context of one activity of a site.
func (s *sites) at(ctx workflow.Context, site string, options workflow.ActivityOptions) workflow.Context {
	s.asked++
	options.TaskQueue, options.ActivityID = protocol.SiteQueue(site), strconv.Itoa(s.asked)
	if s.converter != nil {
		info := workflow.GetInfo(ctx)
		// What was asked before a reset can still be read; it is asked nothing more, because the
		// workers know another execution.
		execution := cmp.Or(info.OriginalRunID, info.WorkflowExecution.RunID)
		ctx = workflow.WithDataConverter(ctx, s.converter(site, execution, options.ActivityID))
	}
	return workflow.WithActivityOptions(ctx, options)
}

// unbegun is the error of an activity that no worker has begun.
type unbegun struct{ problem.Base }

func (e *unbegun) Unwrap() error { return &e.Base }

func notBegun(err error) bool { return errors.As(err, new(*unbegun)) }

// noWorker is also the error of a host that has waited less, at a site that has been silent longer.
func noWorker(site string) *unbegun {
	return &unbegun{problem.Error{Class: problem.Unreachable, Message: "no worker at site " + site + " took the work within " + protocol.Start.String(),
		Hint: "is it running there? aoifleet-engine worker --site " + site +
			"; if it is, the server is overloaded or slow to reach"}}
}

// failure returns the error of an activity of a site as rollout knows it. What hosts answer is no
// error of an activity, so this is about a worker.
func failure(site string, err error) error {
	var said *temporal.ApplicationError
	switch {
	case err == nil:
		return nil
	case isTimeout(err, enums.TIMEOUT_TYPE_SCHEDULE_TO_START):
		return noWorker(site)
	case isCanceled(err):
		return context.Canceled
	case errors.As(err, &said):
		return problem.New(problem.Internal, "see the log of the worker there", "the worker at site %s failed: %s", site, display.Sanitise(said.Message(), 400))
	}
	return problem.New(problem.Unreachable, "see the log of the worker there", "contact with the worker at site %s was lost", site)
}

// isTimeout and isCanceled look at what the server says. What an error of an activity has as its
// cause, anyone who can answer for a worker can say.
func isTimeout(err error, kind enums.TimeoutType) bool {
	timeout, is := own(err).(*temporal.TimeoutError)
	return is && timeout.TimeoutType() == kind
}

func isCanceled(err error) bool {
	_, is := own(err).(*temporal.CanceledError)
	return is
}

// own returns the error of an activity without what the SDK has wrapped around it.
func own(err error) error {
	if outer, is := err.(*temporal.ActivityError); is {
		return outer.Unwrap()
	}
	return err
}
