package flow

import (
	"context"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// child is a part of a rollout as the rollout sees it.
type child struct {
	future workflow.ChildWorkflowFuture
	closed bool           // it has ended, by EndSignal or otherwise
	number int            // of the command that it has done last
	heard  map[string]int // by signal: the last number; one signal may be heard before another
	turn   bool           // it restarts agents in a soak
}

func newChild(ctx workflow.Context, future workflow.ChildWorkflowFuture) *child {
	c := &child{future: future, heard: map[string]int{}}
	workflow.Go(ctx, func(ctx workflow.Context) {
		_ = future.Get(ctx, nil) // how it has ended tells nothing of its hosts
		c.closed = true
	})
	return c
}

func (r *run) tell(ctx workflow.Context, part int, signal string, data any) {
	if p := r.parts[part]; !p.closed {
		p.future.SignalChildWorkflow(ctx, signal, data) // an error says that it has closed
	}
}

// answer tells a part something that has only a number.
func (r *run) answer(ctx workflow.Context, part int, signal string, number int) {
	r.tell(ctx, part, signal,
		protocol.Told{Named: protocol.Named{Signal: signal}, Run: r.Run.ID, Part: part, Number: number})
}

func (r *run) tellAll(ctx workflow.Context, signal string) {
	for n := range r.parts {
		r.answer(ctx, n, signal, r.pauses)
	}
}

// Do is that of rollout.Parts: the parts do the verb at the same time, each with its share of the
// hosts on which a run does it at once. If there are more parts than restarts at once, some wait for
// others.
func (r *run) Do(ctx context.Context, verb rollout.Verb, hosts []int, ended func(i int, s rollout.State) bool) {
	r.ended = ended
	lists := make([][]int, len(r.parts))
	for _, i := range hosts {
		p := r.of[i]
		lists[p.part] = append(lists[p.part], p.host)
	}
	if verb == rollout.StageVerb || verb == rollout.RecoverVerb || verb == rollout.ChangeVerb {
		scheduler{}.Await(ctx, func() bool { return !r.state.Paused || r.stopping.set })
	}
	var busy, sizes []int
	for n, list := range lists {
		if len(list) > 0 {
			busy, sizes = append(busy, n), append(sizes, len(list))
		}
	}
	shares := rollout.Shares(r.Policy.AtOnce(verb), sizes)
	r.turns = len(shares) // in a soak a part asks for its turn
	free, running := len(shares), len(busy)
	for k, n := range busy {
		share := shares[min(k, len(shares)-1)] // all are one if there are fewer
		scheduler{}.Go(ctx, func(ctx context.Context) {
			if verb.InTurn() {
				scheduler{}.Await(ctx, func() bool { return free > 0 })
				free--
				defer func() { free++ }()
			}
			r.command(ctx, n, protocol.Command{Verb: verb, Hosts: lists[n], Parallel: share})
		}, func() { running-- })
	}
	scheduler{}.Await(ctx, func() bool { return running == 0 })
}

// command has a part do a command.
func (r *run) command(ctx context.Context, part int, c protocol.Command) {
	p := r.parts[part]
	r.commands++
	c.Signal, c.Run, c.Part, c.Number = protocol.CommandSignal, r.Run.ID, part, r.commands
	r.tell(of(ctx), part, protocol.CommandSignal, c)
	scheduler{}.Await(ctx, func() bool { return p.number == c.Number || p.closed })
	if p.number != c.Number {
		r.lose(of(ctx), part, c)
	}
}

// lose ends the hosts that a part had in hand when it was ended from outside, and the run.
func (r *run) lose(ctx workflow.Context, part int, c protocol.Command) {
	r.stop(ctx)
	r.endTurn(ctx, part)
	lost := protocol.LostPart{Part: part, Problem: problem.New(problem.Internal,
		protocol.LookYourself, "part %d of the rollout was ended from outside", part)}
	for _, k := range c.Hosts {
		i := r.hosts[part][k]
		restarts := c.Verb.InTurn() || c.Verb == rollout.SoakVerb
		if o := r.outcomes[i]; restarts && (o == "" || o.HasNew()) {
			lost.Hosts = append(lost.Hosts, i)
			r.ended(i, rollout.State{Action: r.entries[i].Action, Outcome: rollout.Unknown, Problem: lost.Problem, Window: r.entries[i].Window})
		}
	}
	if !slices.ContainsFunc(r.lost, func(l protocol.LostPart) bool { return l.Part == part }) {
		r.lost = append(r.lost, lost)
	}
}

// hear takes over an outcome that counts for the failure budget, and answers the part, which waits.
func (r *run) hear(ctx workflow.Context, e protocol.Ended) {
	if !r.hears(protocol.EndedSignal, e.From) || !r.knows(e.Part, e.Host) {
		return
	}
	goOn := r.merge(e.Part, e.HostState)
	switch {
	case goOn, r.stopping.set:
		r.answer(ctx, e.Part, protocol.GoOnSignal, e.Number)
	case !r.spent:
		r.spent = true
		r.tellAll(ctx, protocol.SpentSignal)
	}
}

// done takes over what a command has changed.
func (r *run) done(_ workflow.Context, d protocol.Done) {
	if !r.hears(protocol.DoneSignal, d.From) {
		return
	}
	for _, s := range d.States {
		if r.knows(d.Part, s.Host) {
			r.merge(d.Part, s)
		}
	}
	r.parts[d.Part].number = d.Command
}

// hears reports whether something is from a part of this run, and no copy of what it said before.
func (r *run) hears(signal string, from protocol.From) bool {
	if from.Run != r.Run.ID || !r.knows(from.Part, 0) || from.Number <= r.parts[from.Part].heard[signal] {
		return false
	}
	r.parts[from.Part].heard[signal] = from.Number
	return true
}

// knows reports whether a part has a host.
func (r *run) knows(part, host int) bool {
	return r.ended != nil && part >= 0 && part < len(r.hosts) && host >= 0 && host < len(r.hosts[part])
}

// merge takes over the state of a host of a part, and reports whether anything new may start.
func (r *run) merge(part int, s protocol.HostState) bool {
	return r.ended(r.hosts[part][s.Host], s.State)
}

// turn lets a part restart agents in a soak, at most as many parts at once as there are shares.
func (r *run) turn(ctx workflow.Context, t protocol.Turn) {
	switch {
	case !r.hears(protocol.TurnSignal, t.From):
	case t.Over:
		r.endTurn(ctx, t.Part)
	default:
		r.waiting = append(r.waiting, t.From)
		r.giveTurns(ctx)
	}
}

func (r *run) endTurn(ctx workflow.Context, part int) {
	if r.parts[part].turn {
		r.parts[part].turn = false
		r.turns++
		r.giveTurns(ctx)
	}
}

func (r *run) giveTurns(ctx workflow.Context) {
	for r.turns > 0 && len(r.waiting) > 0 {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		if p := r.parts[next.Part]; !p.closed {
			p.turn = true
			r.turns--
			r.answer(ctx, next.Part, protocol.TurnSignal, next.Number)
		}
	}
}
