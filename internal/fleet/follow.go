package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// How often an engine is asked about a rollout, and how long the pauses get while it can't be asked.
const (
	askEvery  = time.Second
	askRarely = 30 * time.Second
	leaving   = 5 * time.Second // for a last word

	partsAtOnce = 10 // are asked in every other round
)

// follower follows a rollout of an engine.
type follower struct {
	*Fleet
	plan     *rollout.Plan
	steps    Steps
	ctx, cut context.Context
	members  [][]int         // the hosts of each part, as indexes of the plan; nil: not known yet
	states   []rollout.State // by host; without an outcome it has not ended
	parts    int             // those that the rollout has started

	shown    engine.State
	next     int           // the part that is asked next
	allAt    int           // the wave of the question before which all parts were asked
	lost     string        // why the engine can't be asked; "": it can
	stopped  bool          // it knows that it is to stop
	asked    int           // the wave after which the operator was asked
	said     int           // the wave after which the operator has answered
	says     string        // and what: the signal
	answered chan bool     // the operator's answer; nil: nothing is asked
	approved chan struct{} // closed if the answer comes from elsewhere
}

func newFollower(f *Fleet, plan *rollout.Plan) *follower {
	return &follower{Fleet: f, plan: plan, states: make([]rollout.State, len(plan.Entries))}
}

// follow follows the rollout of this run to its end: its events become those of the run. The first
// signal, which ends ctx, stops it. When cut ends it goes on without this process, and over is false.
func (w *follower) follow(ctx, cut context.Context, s Steps) (run *rollout.Run, over bool) {
	w.ctx, w.cut, w.steps = ctx, cut, s
	if ctx.Err() == nil {
		defer context.AfterFunc(ctx, func() {
			w.caller.Say("interrupted: finishing or undoing the hosts in progress; " +
				"interrupt again to leave, and the run goes on stopping")
		})()
	}
	result := w.watch()
	if result == nil {
		w.leave()
		return w.soFar(rollout.Unknown, w.goesOn()), false
	}
	return w.end(result)
}

// watch returns how the rollout has ended; nil: cut has ended before.
func (w *follower) watch() *engine.Result {
	wait := askEvery
	for round := 0; w.cut.Err() == nil; round++ {
		state, err := w.request.Engine.State(w.cut, w.run.ID)
		if err == nil {
			err = w.ask(state, round)
		}
		if w.say(err); err == nil {
			wait = askEvery
			if state.Result != nil {
				return state.Result
			}
		} else {
			wait = min(2*wait, askRarely)
		}
		w.pause(wait)
	}
	return nil
}

// leave makes sure that the engine knows that the run is to stop, if the operator has asked for that.
func (w *follower) leave() {
	if w.ctx.Err() == nil || w.stopped {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaving)
	defer cancel()
	if err := w.request.Engine.Signal(ctx, w.run.ID, control.Stop, 0); err != nil {
		w.caller.Say("warning: the engine was not told to stop the run: aoifleet runs stop " + w.run.ID + " --engine " + w.request.Engine.URL.String())
	}
}

// pause waits for the next round; less if there is something to tell the engine.
func (w *follower) pause(wait time.Duration) {
	stopping := w.ctx.Done()
	if w.stopped || w.lost != "" {
		stopping = nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.cut.Done():
	case <-stopping:
	case <-timer.C:
	case yes := <-w.answered:
		w.answered = nil
		w.approved = nil
		if w.said, w.says = w.asked, control.Approve; !yes {
			w.says = engine.Decline
		}
	}
}

// say says once that the engine can't be asked, and that it can again.
func (w *follower) say(err error) {
	now := ""
	if err != nil && w.cut.Err() == nil {
		now = err.Error()
	}
	switch {
	case now != "" && w.lost == "":
		w.caller.Say("warning: the engine can't be asked, and the run goes on without that: " + now)
	case now == "" && w.lost != "":
		w.caller.Say("the engine answers again")
	}
	w.lost = now
}

// ask does what a round has to: it tells the engine to stop, and asks for what has happened.
func (w *follower) ask(state *engine.State, round int) error {
	if w.ctx.Err() != nil && !w.stopped && state.Result == nil {
		if err := w.request.Engine.Signal(w.cut, w.run.ID, control.Stop, 0); err != nil {
			return err
		}
		w.stopped = true
	}
	if state.Asks != 0 && state.Asks == w.said && !w.stopped {
		if err := w.request.Engine.Signal(w.cut, w.run.ID, w.says, w.said); err != nil {
			return err
		}
	}
	w.parts = min(state.Parts, len(w.plan.Entries))
	w.show(state)
	for _, part := range w.turns(state, round) {
		if err := w.askPart(part); err != nil {
			return err
		}
	}
	w.allAt = state.Asks
	w.question(state.Asks)
	return nil
}

// turns returns the parts that are asked in a round. At the end, and before a question, it is all of
// them; else some at a time, so that the load of the server does not grow with the fleet.
func (w *follower) turns(state *engine.State, round int) []int {
	n := w.parts
	switch {
	case state.Result != nil || state.Asks != w.allAt:
	case round%2 == 1:
		n = 0
	default:
		n = min(n, partsAtOnce)
	}
	list := make([]int, n)
	for i := range list {
		list[i] = (w.next + i) % w.parts
	}
	w.next += n
	return list
}

// steered says what another process has told the run.
func (w *follower) steered(state *engine.State) {
	last := &w.shown
	switch {
	case state.Result != nil:
	case state.Stopping && !last.Stopping && w.ctx.Err() == nil:
		w.caller.Say("stopping: hosts in progress are finished or undone, and no other starts")
	case state.Paused && !last.Paused:
		w.caller.Say("paused: hosts in progress are finished, and no other starts")
	case !state.Paused && last.Paused:
		w.caller.Say("resumed")
	}
}

// show makes an event of a new step of the run.
func (w *follower) show(state *engine.State) {
	w.steered(state)
	last := &w.shown
	if state.Step != "" && (state.Step != last.Step || state.Wave != last.Wave) {
		e := rollout.Event{Step: state.Step, Hosts: w.hostsOf(state)}
		if state.Step == "wave" || state.Step == "soak" {
			e.Lasts, e.Wave, e.Waves = state.Lasts, state.Wave, state.Waves
		}
		w.event(e)
	}
	w.shown = *state
}

// hostsOf returns the hosts of a step.
func (w *follower) hostsOf(state *engine.State) (hosts []*inventory.Host) {
	for i := range w.plan.Entries {
		e := &w.plan.Entries[i]
		inWave := state.Step != "wave" && state.Step != "soak" || e.Wave == state.Wave
		if e.Outcome == "" && inWave {
			hosts = append(hosts, e.Host)
		}
	}
	return hosts
}

// askPart makes events of the hosts of a part that have ended since it was asked last.
func (w *follower) askPart(part int) error {
	if part >= len(w.members) || w.members[part] == nil {
		return w.learn(part)
	}
	states, err := w.request.Engine.States(w.cut, w.run.ID, part)
	if err != nil {
		return err
	}
	for _, s := range states {
		if s.Host >= 0 && s.Host < len(w.members[part]) {
			w.see(w.members[part][s.Host], s.State)
		}
	}
	return nil
}

// learn asks which hosts a part has, and how they have ended.
func (w *follower) learn(part int) error {
	results, err := w.request.Engine.Results(w.cut, w.run.ID, part)
	if err != nil {
		return err
	}
	w.members = append(w.members, make([][]int, max(0, part+1-len(w.members)))...)
	w.members[part] = make([]int, 0, len(results))
	for _, d := range results {
		w.members[part] = append(w.members[part], d.Index)
		if d.Outcome != "" {
			w.see(d.Index, rollout.State{Outcome: d.Outcome, Problem: d.Problem, Proof: d.Proof})
		}
	}
	return nil
}

// see makes an event of the state of a host, if it is news.
func (w *follower) see(i int, s rollout.State) {
	if i < 0 || i >= len(w.states) || s.Outcome == w.states[i].Outcome || w.plan.Entries[i].Outcome != "" || !slices.Contains(rollout.Outcomes, s.Outcome) {
		return
	}
	w.states[i] = s
	w.event(rollout.Event{Host: w.plan.Entries[i].Host.Name, Outcome: s.Outcome, Problem: s.Problem, Proof: s.Proof})
}

// question asks the operator whether to continue after a wave, once, and ends the question if it was
// answered elsewhere.
func (w *follower) question(wave int) {
	if wave != w.asked && w.approved != nil {
		close(w.approved)
		w.approved = nil
	}
	if w.steps.Continue == nil || wave == 0 || wave == w.asked || w.answered != nil || len(w.plan.From(wave+1)) == 0 {
		return
	}
	w.asked, w.answered, w.approved = wave, make(chan bool, 1), make(chan struct{})
	answered, approved, soFar := w.answered, w.approved, w.soFar("", nil)
	go func() { answered <- w.steps.Continue(w.plan, wave, soFar, approved) }()
}

// soFar returns the run as far as it is known: hosts that have not ended get an outcome.
func (w *follower) soFar(otherwise rollout.Outcome, why *problem.Error) *rollout.Run {
	run := &rollout.Run{Results: make([]rollout.Result, len(w.plan.Entries)), Unaccepted: w.plan.Unaccepted}
	for i, e := range w.plan.Entries {
		res := rollout.Result{Entry: e}
		switch s := w.states[i]; {
		case e.Outcome != "":
		case s.Outcome != "":
			res.Outcome, res.Problem, res.Proof = s.Outcome, s.Problem, s.Proof
		default:
			res.Outcome, res.Problem = otherwise, why
		}
		run.Results[i] = res
	}
	return run
}

// goesOn is why hosts are unknown here.
func (w *follower) goesOn() *problem.Error {
	return problem.New(problem.Interrupted, "aoifleet runs watch "+w.run.ID+" --engine "+w.request.Engine.URL.String(), "the run goes on without this program")
}

// end returns the run as its parts have it.
func (w *follower) end(result *engine.Result) (run *rollout.Run, over bool) {
	var data []rollout.ResultData
	for part, wait := 0, askEvery; part < w.parts; {
		page, err := w.request.Engine.Results(w.cut, w.run.ID, part)
		if w.say(err); err == nil {
			data, wait = append(data, page...), askEvery
			part++
			continue
		}
		if wait = min(2*wait, askRarely); w.cut.Err() != nil {
			return w.soFar(rollout.Unknown, problem.New(problem.Interrupted, "aoifleet runs show "+w.run.ID+" --engine "+w.request.Engine.URL.String(), "the run has ended, and its result was not read")), false
		}
		w.pause(wait)
	}
	if result.Problem != nil {
		w.caller.Say("warning: the rollout has failed: " + result.Problem.Message)
	}
	return w.whole(result, data), true
}

// whole returns the run from the results of its parts. While it goes on, result is nil, and hosts that
// have not ended have no outcome.
func (w *follower) whole(result *engine.Result, data []rollout.ResultData) *rollout.Run {
	run := w.soFar(w.rest(result))
	run.Fill(w.plan, data)
	for i := range run.Results {
		o := run.Results[i].Outcome
		if !slices.Contains(rollout.Outcomes, o) && (o != "" || result != nil) {
			run.Results[i].Outcome = rollout.Unknown
		}
	}
	if result == nil {
		return run
	}
	for _, lost := range result.Lost {
		for _, i := range lost.Hosts {
			if i >= 0 && i < len(run.Results) {
				run.Results[i].Outcome, run.Results[i].Problem, run.Results[i].Proof = rollout.Unknown, lost.Problem, ""
			}
		}
	}
	nothing := w.parts == 0 && result.Problem != nil
	run.Stopped, run.Ended = result.Stopped, result.Ended || nothing
	run.Interrupted = result.Interrupted || nothing && result.Problem.Class == problem.Interrupted
	return run
}

// rest returns the outcome of hosts that the parts have not ended: they were not started, unless the
// rollout was ended from outside.
func (w *follower) rest(result *engine.Result) (rollout.Outcome, *problem.Error) {
	switch {
	case result == nil:
		return "", nil
	case result.Problem == nil || w.parts == 0:
		return rollout.Skipped, result.Problem
	}
	return rollout.Unknown, result.Problem
}
