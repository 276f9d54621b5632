package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// surveysAtOnce is how many surveys of an engine run at the same time.
const surveysAtOnce = 64

// engineRun names this run to an engine.
func (f *Fleet) engineRun() engine.Run {
	return engine.Run{ID: f.run.ID, Owner: f.run.Owner, Tool: f.caller.Version}
}

// throughEngine makes the engine's workers the only ones that reach hosts.
func (f *Fleet) throughEngine(ctx context.Context) error {
	f.runner.Dial = func(context.Context, inventory.Host) (rollout.Host, error) {
		return nil, problem.New(problem.Configuration, "set via: workstation for it", "this program reaches no host with --engine")
	}
	f.runner.DialUndo = nil
	return f.request.Engine.Open(ctx)
}

// surveyElsewhere has targets observed by the engine's workers.
func (f *Fleet) surveyElsewhere(ctx context.Context, targets []rollout.Target) []rollout.Look {
	looks, hosts := make([]rollout.Look, len(targets)), make([]*inventory.Host, len(targets))
	for i, t := range targets {
		hosts[i] = t.Host
	}
	f.event(rollout.Event{Step: "observe", Hosts: hosts})
	var g errgroup.Group
	g.SetLimit(surveysAtOnce)
	for at := range slices.Chunk(slices.Collect(seq(len(targets))), engine.MaxSurvey) {
		g.Go(func() error {
			f.surveyPart(ctx, hosts, at, looks)
			return nil
		})
	}
	_ = g.Wait()
	return looks
}

// seq yields 0 to n-1.
func seq(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := 0; i < n && yield(i); i++ {
		}
	}
}

// surveyPart sets the looks of some hosts.
func (f *Fleet) surveyPart(ctx context.Context, hosts []*inventory.Host, at []int, looks []rollout.Look) {
	data := make([]rollout.HostData, len(at))
	for n, i := range at {
		data[n] = rollout.DataOf(hosts[i])
		f.event(rollout.Event{Host: hosts[i].Name, Step: "observe"})
	}
	found, err := f.request.Engine.Survey(ctx, f.engineRun(), data)
	for n, i := range at {
		var why *problem.Error
		switch {
		case err != nil:
			looks[i].Err = err
			why = problem.As(err)
		case found[n].Problem != nil:
			why = found[n].Problem
			looks[i] = rollout.Look{Seen: found[n].Seen, Err: why}
		case found[n].Seen == nil:
			why = problem.New(problem.Unexpected, "", "the engine has sent no observation")
			looks[i].Err = why
		default:
			looks[i].Seen = found[n].Seen
		}
		f.event(rollout.Event{Host: hosts[i].Name, Problem: why})
	}
}

// attach follows the rollout of this plan that is running, if there is one. Another one is an error
// of class locked. attached is whether there was one.
func (f *Fleet) attach(ctx, cut context.Context, s Steps, o Options) (c *Change, attached bool, err error) {
	state, err := f.request.Engine.Current(ctx)
	if err != nil || state == nil {
		return nil, false, err
	}
	if state.PlanID != f.PlanID {
		return nil, false, otherRollout(f.request.Engine.URL, state)
	}
	if len(state.Missing) > 0 {
		if err := f.expired(); err != nil {
			return nil, false, err
		}
	}
	what := "the plan is being carried out as run " + state.Run.ID + ", which " + state.Run.Owner + " began at " + state.Started.UTC().Format(time.DateTime+"Z")
	if !o.Detach {
		what += ": following it"
	}
	f.caller.Say(what)
	plan, err := rollout.FromFile(f.saved)
	if err != nil {
		return nil, false, usage(err.Error(), "make a new plan: "+planAgain(f.saved, f.EngineURL()))
	}
	for i := range plan.Entries {
		plan.Entries[i].Target = f.Targets[i]
	}
	f.run.ID = state.Run.ID
	if err := f.startJournal(o); err != nil {
		return nil, false, err
	}
	f.readHook(ctx)
	f.caller.Contact(0)
	f.record.plan(plan)
	s.Agree(nil) // there is nothing to ask
	if err := f.sendMissing(ctx, cut, state.Missing, o); err != nil {
		return nil, true, err
	}
	if o.Detach {
		return f.conclude(plan, nil, false, s), true, nil
	}
	run, over := newFollower(f, plan).follow(ctx, cut, s)
	return f.conclude(plan, run, over, s), true, nil
}

// sendMissing sends the parts that the rollout of this plan waits for: who began it was interrupted.
// Nothing has been changed meanwhile. Hosts that are not as the plan has them are refused.
func (f *Fleet) sendMissing(ctx, cut context.Context, missing []int, o Options) error {
	if len(missing) == 0 || ctx.Err() != nil {
		return nil
	}
	f.caller.Say(fmt.Sprintf("parts of the plan that have not arrived there: %d; sending them", len(missing)))
	plan := f.makeSaved(ctx, o)
	if f.verify(ctx, plan, o); ctx.Err() != nil {
		return nil // it is stopped now
	}
	if plan.Unaccepted {
		return problem.New(problem.Refused, "aoifleet runs stop "+f.run.ID+" --engine "+f.EngineURL(),
			"Azure does not accept every certificate now: the rest of the plan is not sent")
	}
	if len(plan.Waves) == 0 { // perhaps the canary was lost: the parts that are there may not go on without it
		return problem.New(problem.Refused, "aoifleet runs stop "+f.run.ID+" --engine "+f.EngineURL(),
			"as the hosts are now nothing of the plan may begin: the rest of it is not sent")
	}
	_, parts, err := engineParts(plan)
	if err != nil {
		return err
	}
	parts = slices.DeleteFunc(parts, func(p engine.Part) bool { return !slices.Contains(missing, p.Number) })
	return f.sendParts(cut, parts)
}

// sendParts sends parts of the plan to the rollout of this run.
func (f *Fleet) sendParts(cut context.Context, parts []engine.Part) error {
	for _, p := range parts {
		if err := f.request.Engine.SendPart(cut, f.engineRun(), p); err != nil {
			f.caller.Say("warning: run " + f.run.ID +
				" waits for the rest of the plan: carry out the plan again, which sends it")
			return interruptedBy(err)
		}
	}
	return nil
}

// interruptedBy returns an error of the class interrupted if a signal is the cause of err.
func interruptedBy(err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	return &problem.Error{Class: problem.Interrupted, Message: "interrupted while the run began", Err: context.Canceled}
}

func otherRollout(url engine.URL, state *engine.State) error {
	at := " " + state.Run.ID + " --engine " + url.String()
	return problem.New(problem.Locked,
		"wait for its end: aoifleet runs watch"+at+"; or stop it: aoifleet runs stop"+at,
		"run %s of %s is carrying out the plan %s there", state.Run.ID, state.Run.Owner, state.PlanID)
}

// conclude returns the result of a rollout that has ended, or goes on without this process.
func (f *Fleet) conclude(plan *rollout.Plan, run *rollout.Run, over bool, s Steps) *Change {
	c := &Change{Plan: plan, Run: run, Elsewhere: !over}
	if run != nil {
		c.ExitCode = s.ExitCode(run, true)
	}
	if over {
		f.record.finish(run, c.ExitCode)
	}
	return c
}

// carryOutElsewhere has the engine carry out a plan that the caller agreed to.
func (f *Fleet) carryOutElsewhere(ctx, cut context.Context, plan *rollout.Plan, s Steps, o Options) (*Change, error) {
	members, parts, err := engineParts(plan)
	if err == nil {
		err = f.request.Engine.Open(cut)
	}
	if err != nil {
		return nil, f.nothingBegan(plan, err)
	}
	begin := engine.Begin{PlanID: f.PlanID, Policy: plan.Policy, Hosts: len(plan.Entries), Parts: len(parts), Unaccepted: plan.Unaccepted}
	err = f.request.Engine.Begin(cut, f.engineRun(), begin) // half a plan is not left there at the first signal
	switch {
	case problem.Is(err, problem.Usage), problem.Is(err, problem.Locked), problem.Is(err, problem.Forbidden):
		return nil, f.nothingBegan(plan, err)
	case err != nil:
		f.caller.Say("warning: it is not known whether run " + f.run.ID + " has begun: carry out the plan again, which follows it if so")
		return nil, interruptedBy(err)
	}
	if err := f.sendParts(cut, parts); err != nil {
		return nil, err
	}
	if o.Detach {
		return f.conclude(plan, nil, false, s), nil
	}
	w := newFollower(f, plan)
	w.members = members
	run, over := w.follow(ctx, cut, s)
	return f.conclude(plan, run, over, s), nil
}

// engineParts divides a plan: members has the hosts of each part, as indexes of the plan.
func engineParts(plan *rollout.Plan) (members [][]int, parts []engine.Part, err error) {
	members, err = plan.Divide(engine.MaxPart)
	if err != nil {
		return nil, nil, problem.New(problem.Usage,
			"set rollout.max_unavailable_per so that there are more domains", "%s", err)
	}
	parts = make([]engine.Part, len(members))
	for n, hosts := range members {
		parts[n].Number = n
		for _, i := range hosts {
			parts[n].Entries = append(parts[n].Entries, plan.Entries[i].Data(i))
		}
	}
	return members, parts, nil
}

// nothingBegan records that the engine has not begun the run, because of err, and returns that.
func (f *Fleet) nothingBegan(plan *rollout.Plan, err error) error {
	err = interruptedBy(err)
	why := host.AsProblem(err)
	f.record.finish(newFollower(f, plan).soFar(rollout.Skipped, why), why.Class.ExitCode())
	return err
}

// goesElsewhere returns an error if the saved plan can't be carried out by an engine.
func (f *Fleet) goesElsewhere() error {
	plan, err := rollout.FromFile(f.saved)
	if err != nil {
		return usage(err.Error(), "make a new plan: "+planAgain(f.saved, f.EngineURL()))
	}
	if why := plan.Movable(); why != nil {
		return why
	}
	return nil
}

// EngineURL returns the URL of the engine that reaches the hosts, "" if this process does.
func (f *Fleet) EngineURL() string {
	if f.request.Engine == nil {
		return ""
	}
	return f.request.Engine.URL.String()
}
