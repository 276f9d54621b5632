package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// What is known of a run of an engine without its plan, on any workstation.

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
	w, results, err := stranger(ctx, Caller{}, e, state)
	if err != nil {
		return nil, err
	}
	return w.journal(state, w.whole(state.Result, results)), nil
}

// stranger returns a follower of a run that this process has no plan of, and the results so far.
func stranger(ctx context.Context, c Caller, e *engine.Client, state *engine.State) (
	w *follower, results []rollout.ResultData, err error) {
	results, err = engineResults(ctx, e, state)
	entries := make([]rollout.Entry, len(results))
	for i, d := range results {
		entries[i] = d.Entry()
		entries[i].Outcome, entries[i].Problem = "", nil // an event says it
	}
	f := &Fleet{caller: c, request: Request{Engine: e}, run: host.Run{ID: state.Run.ID}}
	w = newFollower(f, rollout.PlanOf(entries, rollout.Policy{}, false))
	w.parts = min(state.Parts, len(entries))
	return w, results, err
}

// journal returns a run as a journal has it. What the engine does not say is when each host ended.
func (w *follower) journal(state *engine.State, r *rollout.Run) *journal.Run {
	run := &journal.Run{Started: state.Started, Ends: map[string]journal.Entry{}}
	run.Head = journal.Head{Run: state.Run.ID, Command: "rotate", Tool: state.Run.Tool,
		Owner: state.Run.Owner, Plan: state.PlanID, Engine: w.EngineURL()}
	rec := recorder{planned: map[string]change{}, ended: run.Ends}
	for _, res := range r.Results {
		name, c := res.Host.Name, changeOf(res.Entry)
		rec.planned[name] = c
		run.Hosts = append(run.Hosts, name)
		run.Entries = append(run.Entries, journal.Entry{At: state.Started, Event: journal.Plan,
			Host: name, Step: string(res.Action), Old: c.old, New: c.new, Site: c.site, Wave: c.wave})
		if res.Outcome != "" {
			end := rec.end(name, res.Outcome, res.Problem)
			end.At, end.Proof = state.Started, res.Proof
			run.Ends[name], run.Entries = end, append(run.Entries, end)
		}
	}
	if state.Result != nil {
		code := r.ExitCode(0)
		run.Finished, run.Exit = state.Finished, &code
		run.Entries = append(run.Entries, journal.Entry{At: run.Finished, Event: journal.Finish, Exit: &code})
	}
	return run
}

// Settle records the end of a run of an engine in the journal of this workstation, in dir, if that has
// it without an end.
func Settle(dir string, run *journal.Run) error {
	own, err := journal.Read(dir, run.Run)
	if err != nil || run.Unfinished() || !own.Unfinished() || own.Engine != run.Engine {
		return nil // it is not that of the run, or needs nothing
	}
	var entries []journal.Entry
	for _, name := range own.Hosts {
		end, ended := run.Ends[name]
		if !ended {
			end = journal.Entry{Event: journal.End, Host: name, Outcome: string(rollout.Skipped)}
		}
		if was := own.Ends[name]; was.Outcome != end.Outcome || was.Proof != end.Proof {
			entries = append(entries, end)
		}
	}
	j, err := journal.Reopen(dir, own.Head)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }() // Append syncs
	return j.Append(append(entries, journal.Entry{Event: journal.Finish, Exit: run.Exit})...)
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
			return nil, problem.New(problem.Unexpected, "",
				"the engine does not have the results of every host of run %s", state.Run.ID)
		}
	}
	return all, nil
}

// WatchEngine follows a run of an engine until it has ended, and returns it in the form of a journal;
// nil: ctx has ended before. The events are the caller's.
func WatchEngine(ctx context.Context, c Caller, e *engine.Client, id string) (*journal.Run, error) {
	state, err := e.State(ctx, id)
	for err == nil && state.Result == nil && state.Step == "" && sleep.For(ctx, askEvery) { // its parts begin
		state, err = e.State(ctx, id)
	}
	if err != nil || ctx.Err() != nil {
		return nil, err
	}
	w, _, err := stranger(ctx, c, e, state)
	if err != nil {
		return nil, err
	}
	run, over := w.follow(context.WithoutCancel(ctx), ctx, Steps{})
	if !over {
		return nil, nil
	}
	return w.journal(&w.shown, run), nil
}

// EntryOf returns an event as entries of a journal: one, or none.
func EntryOf(e rollout.Event) []journal.Entry {
	entry := journal.Entry{Event: journal.Step, Host: e.Host, Step: e.Step, Wave: e.Wave}
	if e.Outcome != "" {
		r := recorder{ended: map[string]journal.Entry{}}
		entry = r.end(e.Host, e.Outcome, e.Problem)
		entry.Proof = e.Proof
	}
	entry.At = time.Now().UTC()
	return []journal.Entry{entry}
}
