package flow

import (
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// arrival is how long a rollout waits for its parts, which the client sends at once.
const arrival = 10 * time.Minute

// run is a rollout: it decides by the plan, and has its parts do the verbs.
type run struct {
	protocol.RolloutInput
	state    protocol.RolloutState
	stopping *flag
	arrived  int
	data     []*protocol.PartData // of the parts; nil: not there yet
	parts    []*child
	begun    bool            // all parts have started
	entries  []rollout.Entry // of the plan, as skeletons
	outcomes []rollout.Outcome
	places   map[string]int // of the hosts, by name
	of       []place        // by host
	hosts    [][]int        // by part and host there: the host in the plan
	approved int            // the wave after which the run may continue
	declined int            // the wave after which it ends

	ended    func(i int, s rollout.State) bool // see rollout.Parts
	commands int
	spent    bool            // the parts know that the failure budget is spent
	turns    int             // how many more parts may restart agents in a soak
	waiting  []protocol.From // parts that want to
	pauses   int             // and their ends
	heard    map[string]bool // IDs of Steer
	lost     []protocol.LostPart
}

// place is where a host is: in which part, and there.
type place struct{ part, host int }

// Rollout is the workflow of a rollout. It waits for its parts, starts a child for each, and carries
// out the plan by them.
func (w *Workflows) Rollout(ctx workflow.Context, in protocol.RolloutInput) (protocol.RolloutResult, error) {
	r := &run{RolloutInput: in, stopping: newFlag(), heard: map[string]bool{}}
	r.state = protocol.RolloutState{Run: in.Run, PlanID: in.PlanID, Started: workflow.Now(ctx), Hosts: in.Hosts}
	if err := workflow.SetQueryHandler(ctx, protocol.StateQuery, r.now); err != nil {
		return protocol.RolloutResult{}, err
	}
	work := onCancel(ctx, r.stop)
	result := protocol.RolloutResult{Problem: otherVersion(in.Version)}
	if result.Problem == nil {
		result.Problem = r.gather(work)
	}
	if result.Problem == nil {
		result.Problem = r.begin(work)
	}
	if result.Problem == nil {
		result = r.apply(work)
	}
	r.finish(work)
	r.state.Result, r.state.Finished = &result, workflow.Now(work)
	return result, nil
}

// now answers the query of the state.
func (r *run) now(q protocol.Question) (protocol.Reply[protocol.RolloutState], error) {
	s := r.state
	if s.Stopping = r.stopping.set; r.begun { // else no host is in hand, and some part may not exist
		s.Parts = len(r.parts)
	}
	s.Totals = map[rollout.Outcome]int{}
	for _, o := range r.outcomes {
		if o != "" {
			s.Totals[o]++
		}
	}
	for n, part := range r.data {
		if part == nil {
			s.Missing = append(s.Missing, n)
		}
	}
	return protocol.ReplyTo(q.Asked, s), nil
}

// gather waits for the parts, and checks that they are the hosts of one plan.
func (r *run) gather(ctx workflow.Context) *problem.Error {
	if r.Parts < 1 || r.Hosts < 1 || r.Parts > r.Hosts || r.Hosts > mostHosts || r.Policy.Parallel < 1 {
		return problem.New(problem.Usage, "", "a rollout of %d hosts in %d parts, %d at a time",
			r.Hosts, r.Parts, r.Policy.Parallel)
	}
	r.data = make([]*protocol.PartData, r.Parts)
	r.listen(ctx)
	_, err := workflow.AwaitWithTimeout(ctx, arrival, func() bool { return r.arrived == r.Parts || r.stopping.set })
	switch {
	case err != nil:
		return problem.New(problem.Internal, "", "%s", err)
	case r.stopping.set:
		return problem.New(problem.Interrupted, "", "it was stopped before anything was begun")
	case r.arrived < r.Parts:
		return problem.New(problem.Unreachable, "carry out the plan again",
			"only %d of %d parts of the plan have arrived within %s", r.arrived, r.Parts, arrival)
	}
	return r.join()
}

// mostHosts bounds what the input of a rollout makes this worker allocate.
const mostHosts = 1_000_000

// join puts the parts together to the skeleton of the plan.
func (r *run) join() *problem.Error {
	r.entries, r.of, r.places = make([]rollout.Entry, r.Hosts), make([]place, r.Hosts), map[string]int{}
	r.outcomes = make([]rollout.Outcome, r.Hosts)
	r.hosts = make([][]int, r.Parts)
	for n, part := range r.data {
		for k, data := range part.Entries {
			i := data.Index
			if i < 0 || i >= r.Hosts || r.entries[i].Host != nil {
				return problem.New(problem.Usage, "", "the parts are not those of one plan: host %d", i)
			}
			r.entries[i], r.of[i], r.places[data.Host.Name] = data.Entry().Skeleton(), place{n, k}, i
			r.outcomes[i], r.hosts[n] = data.Outcome, append(r.hosts[n], i)
		}
	}
	if len(r.places) != r.Hosts {
		return problem.New(problem.Usage, "", "the parts are not those of one plan: they have %d hosts of %d", len(r.places), r.Hosts)
	}
	if rollout.PlanOf(r.entries, r.Policy, r.Unaccepted).LacksCanary() {
		return problem.New(problem.Usage, "make a new plan", "no host of the canary could be changed when its part was sent")
	}
	return nil
}

func (r *run) listen(ctx workflow.Context) {
	listen(ctx, protocol.PartSignal, func(_ workflow.Context, p protocol.PartData) {
		if p.Of == r.Run.ID && p.Number >= 0 && p.Number < r.Parts && r.data[p.Number] == nil && len(r.parts) == 0 {
			r.data[p.Number] = &p
			r.arrived++
		}
	})
	listen(ctx, protocol.StopSignal, func(ctx workflow.Context, _ any) { r.stop(ctx) })
	listen(ctx, protocol.PauseSignal, func(ctx workflow.Context, _ any) { r.pause(ctx, true) })
	listen(ctx, protocol.ResumeSignal, func(ctx workflow.Context, s protocol.Steer) {
		if r.isNew(s) {
			r.pause(ctx, false)
		}
	})
	listen(ctx, protocol.ApproveSignal, func(_ workflow.Context, s protocol.Steer) {
		if r.isNew(s) && s.Wave == r.state.Asks {
			r.approved = s.Wave
		}
	})
	listen(ctx, protocol.DeclineSignal, func(_ workflow.Context, s protocol.Steer) {
		if r.isNew(s) && s.Wave == r.state.Asks {
			r.declined = s.Wave
		}
	})
	listen(ctx, protocol.EndedSignal, r.hear)
	listen(ctx, protocol.DoneSignal, r.done)
	listen(ctx, protocol.TurnSignal, r.turn)
}

// isNew reports whether an operator has told this rollout something, and it is no copy.
func (r *run) isNew(s protocol.Steer) bool {
	if s.Run != r.Run.ID || s.ID == "" || r.heard[s.ID] {
		return false
	}
	r.heard[s.ID] = true
	return true
}

// stop ends the run: nothing new starts, and what is in flight is finished or undone.
func (r *run) stop(ctx workflow.Context) {
	if !r.stopping.set && r.begun {
		r.tellAll(ctx, protocol.StopSignal)
	}
	r.stopping.set = true
}

func (r *run) pause(ctx workflow.Context, paused bool) {
	signal := protocol.ResumeSignal
	if paused {
		signal = protocol.PauseSignal
	}
	if r.pauses++; r.state.Paused != paused && r.begun {
		r.tellAll(ctx, signal)
	}
	r.state.Paused = paused
}

// begin starts the parts, one after another: all at once would be one request to the server.
func (r *run) begin(ctx workflow.Context) *problem.Error {
	for n, data := range r.data {
		child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:            protocol.PartID(r.Run.ID, n),
			ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
			WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		})
		input := protocol.PartInput{Version: r.Version, Run: r.Run, Policy: r.Policy, PartData: *data}
		p := newChild(ctx, workflow.ExecuteChildWorkflow(child, protocol.Part, input))
		r.parts = append(r.parts, p)
		if err := p.future.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			return problem.New(problem.Internal, "", "part %d could not be started: %s", n, err)
		}
	}
	r.data = nil // the parts have it
	if r.begun = true; r.state.Paused {
		r.tellAll(ctx, protocol.PauseSignal)
	}
	if r.stopping.set {
		r.tellAll(ctx, protocol.StopSignal)
	}
	return nil
}

// apply carries out the plan.
func (r *run) apply(ctx workflow.Context) protocol.RolloutResult {
	runner := &rollout.Runner{Scheduler: scheduler{}, RunID: r.Run.ID, Parts: r, Events: r.event,
		Ask: func(wave int, _ *rollout.Run) bool { return r.ask(ctx, wave) }}
	defer runner.Close()
	run := runner.Apply(carrier{ctx}, r.stopping, rollout.PlanOf(r.entries, r.Policy, r.Unaccepted))
	return protocol.RolloutResult{Stopped: run.Stopped, Interrupted: run.Interrupted, Ended: run.Ended, Lost: r.lost}
}

// event keeps the state up to date.
func (r *run) event(e rollout.Event) {
	switch {
	case e.Host == "":
		r.state.Step, r.state.Lasts = e.Step, e.Lasts
		if e.Wave > 0 {
			r.state.Wave, r.state.Waves = e.Wave, e.Waves
		}
	case e.Outcome != "":
		r.outcomes[r.places[e.Host]] = e.Outcome
	}
}

// ask waits until the operator approves that the run continues after a wave.
func (r *run) ask(ctx workflow.Context, wave int) bool {
	r.state.Asks = wave
	await(ctx, func() bool { return r.approved == wave || r.declined == wave || r.stopping.set })
	r.state.Asks = 0
	return r.approved == wave && !r.stopping.set
}

// finish ends the parts and waits for them.
func (r *run) finish(ctx workflow.Context) {
	r.tellAll(ctx, protocol.EndSignal)
	await(ctx, func() bool {
		for _, p := range r.parts {
			if !p.closed {
				return false
			}
		}
		return true
	})
}
