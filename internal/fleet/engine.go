package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// surveysAtOnce is how many parts of a fleet an engine surveys at the same time.
const surveysAtOnce = 16

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
	for at := range slices.Chunk(slices.Collect(seq(len(targets))), engine.MaxPart) {
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
	what := "the plan is being carried out as run " + state.Run.ID + ", which " + state.Run.Owner + " began at " + state.Started.UTC().Format(time.DateTime+"Z")
	if !o.Detach {
		what += ": following it"
	}
	f.caller.Say(what)
	plan, err := rollout.FromFile(f.saved)
	if err != nil {
		return nil, false, usage(err.Error(), "make a new plan: "+planAgain(f.saved))
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
	if o.Detach {
		return f.conclude(plan, nil, false, s), true, nil
	}
	run, over := f.follow(ctx, cut, plan, s, make([][]int, 0))
	return f.conclude(plan, run, over, s), true, nil
}

func otherRollout(url engine.URL, state *engine.State) error {
	return problem.New(problem.Locked, "wait for its end, or stop it: aoifleet runs watch "+state.Run.ID+" --engine "+url.String(),
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
	members, err := plan.Divide(engine.MaxPart)
	if err != nil {
		return nil, problem.New(problem.Usage, "set rollout.max_unavailable_per so that there are more domains", "%s", err)
	}
	parts := make([]engine.Part, len(members))
	for n, hosts := range members {
		parts[n].Number = n
		for _, i := range hosts {
			parts[n].Entries = append(parts[n].Entries, plan.Entries[i].Data(i))
		}
	}
	begin := engine.Begin{PlanID: f.PlanID, Policy: plan.Policy, Hosts: len(plan.Entries), Parts: len(parts), Unaccepted: plan.Unaccepted}
	err = f.request.Engine.Begin(cut, f.engineRun(), begin, parts) // half a plan is not left there at the first signal
	if errors.Is(err, context.Canceled) || problem.Is(err, problem.Unreachable) {
		f.caller.Say("warning: it is not known whether run " + f.run.ID + " has begun: carry out the plan again, which follows it if so")
	}
	if errors.Is(err, context.Canceled) {
		return nil, &problem.Error{Class: problem.Interrupted, Message: "interrupted while the run began", Err: context.Canceled}
	}
	if err != nil {
		return nil, err
	}
	if o.Detach {
		return f.conclude(plan, nil, false, s), nil
	}
	run, over := f.follow(ctx, cut, plan, s, members)
	return f.conclude(plan, run, over, s), nil
}

// goesElsewhere returns an error if the saved plan can't be carried out by an engine.
func (f *Fleet) goesElsewhere() error {
	plan, err := rollout.FromFile(f.saved)
	if err != nil {
		return usage(err.Error(), "make a new plan: "+planAgain(f.saved))
	}
	if why := plan.Movable(); why != nil {
		return why
	}
	return nil
}

// SteerEngine sends a verb of package control to a run of an engine.
func SteerEngine(ctx context.Context, e *engine.Client, run, verb string) error {
	state, err := e.State(ctx, run)
	if err != nil {
		return err
	}
	refused := func(why string) error {
		return problem.New(problem.Usage, "see: aoifleet runs watch "+run+" --engine "+e.URL.String(), "run %s %s", run, why)
	}
	switch {
	case state.Result != nil:
		return refused("has ended")
	case verb == control.Pause && state.Paused:
		return refused("is paused already")
	case verb == control.Resume && !state.Paused:
		return refused("is not paused")
	case verb == control.Approve && state.Asks == 0:
		return refused("does not wait for an answer")
	}
	return e.Signal(ctx, run, verb, state.Asks)
}

// EngineRun returns a run of an engine in the form of a journal: with what its parts have.
func EngineRun(ctx context.Context, e *engine.Client, state *engine.State) (*journal.Run, error) {
	results, err := engineResults(ctx, e, state)
	if err != nil {
		return nil, err
	}
	run := &journal.Run{Started: state.Started, Ends: map[string]journal.Entry{}, Head: journal.Head{Run: state.Run.ID, Command: "rotate", Tool: state.Run.Tool,
		Owner: state.Run.Owner, Plan: state.PlanID, Engine: e.URL.String()}}
	r := recorder{planned: map[string]change{}, ended: map[string]journal.Entry{}}
	for _, d := range results {
		res := d.Result()
		name := res.Host.Name
		c := changeOf(res.Entry)
		r.planned[name] = c
		run.Hosts = append(run.Hosts, name)
		run.Entries = append(run.Entries, journal.Entry{At: state.Started, Event: journal.Plan, Host: name, Step: string(res.Action), Old: c.old, New: c.new, Site: c.site, Wave: c.wave})
		if res.Outcome == "" && state.Result != nil {
			res.Outcome = rollout.Skipped
		}
		if res.Outcome != "" {
			end := r.end(name, res.Outcome, res.Problem)
			end.At, end.Proof = state.Started, res.Proof
			run.Ends[name], run.Entries = end, append(run.Entries, end)
		}
	}
	return run, nil
}

// engineResults returns the results of all parts, in the order of the plan.
func engineResults(ctx context.Context, e *engine.Client, state *engine.State) ([]rollout.ResultData, error) {
	var all []rollout.ResultData
	for part := range state.Parts {
		results, err := e.Results(ctx, state.Run.ID, part)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	slices.SortFunc(all, func(a, b rollout.ResultData) int { return a.Index - b.Index })
	for i, d := range all {
		if d.Index != i || len(all) != state.Hosts {
			return nil, problem.New(problem.Unexpected, "", "the engine has not the results of every host of run %s", state.Run.ID)
		}
	}
	return all, nil
}

// WatchEngine follows a run of an engine until it or ctx ends; then over is false. The events are the
// caller's.
func WatchEngine(ctx context.Context, c Caller, e *engine.Client, id string) (run *rollout.Run, over bool, err error) {
	state, err := e.State(ctx, id)
	for err == nil && state.Result == nil && state.Step == "" && sleep.For(ctx, askEvery) { // its parts begin
		state, err = e.State(ctx, id)
	}
	switch {
	case err != nil || ctx.Err() != nil:
		return nil, false, err
	case state.Parts == 0 && state.Result != nil && state.Result.Problem != nil:
		return nil, false, state.Result.Problem
	}
	results, err := engineResults(ctx, e, state)
	if err != nil {
		return nil, false, err
	}
	entries := make([]rollout.Entry, len(results))
	for i, d := range results {
		if entries[i] = d.Entry(); d.Outcome != "" {
			entries[i].Outcome, entries[i].Problem = "", nil // an event says it, unless the plan has it
		}
	}
	f := &Fleet{caller: c, request: Request{Engine: e}, run: host.Run{ID: id}}
	run, over = f.follow(context.WithoutCancel(ctx), ctx, rollout.PlanOf(entries, rollout.Policy{}, false), Steps{}, nil)
	return run, over, nil
}

// EngineURL returns the URL of the engine that reaches the hosts, "" if this process does.
func (f *Fleet) EngineURL() string {
	if f.request.Engine == nil {
		return ""
	}
	return f.request.Engine.URL.String()
}

// EntryOf returns an event as entries of a journal: one, or none.
func EntryOf(e rollout.Event) []journal.Entry {
	entry := journal.Entry{Event: journal.Step, Host: e.Host, Step: e.Step, Wave: e.Wave}
	if e.Outcome != "" {
		r := recorder{ended: map[string]journal.Entry{}}
		entry = r.end(e.Host, e.Outcome, e.Problem)
		entry.Proof = e.Proof
	}
	return []journal.Entry{Now(entry)}
}

// Now returns an entry with the time.
func Now(e journal.Entry) journal.Entry {
	e.At = time.Now().UTC()
	return e
}
