package flow

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// part is a part of a rollout: it does the verbs of its parent on its hosts, and keeps their results.
type part struct {
	protocol.PartInput
	*rollout.Part
	*sites
	parent   workflow.Execution
	stopping *flag
	told     []rollout.State // as the parent knows it
	places   map[string]int  // of the hosts, by name

	commands []protocol.Command
	verb     rollout.Verb // that is being done; "": none
	messages []message    // to the parent, in this order
	sent     int          // numbers of what the parent was told
	last     int          // the number of the last command
	pauses   int          // the number of the last pause, or end of one
	asked    int          // the number of the Turn that is not answered
	open     map[int]bool // numbers of Ended that the parent has not answered
	paused   bool
	spent    bool // the failure budget
	over     bool // there are no more commands
	orphaned bool // and the parent is gone
	turn     bool // it may restart agents in a soak
}

type message struct {
	signal string
	data   any
}

// Part is the workflow of a part, a child of Rollout. It ends with the run; then its results are
// still to be queried.
func (w *Workflows) Part(ctx workflow.Context, in protocol.PartInput) error {
	if p := otherVersion(in.Version); p != nil {
		return p
	}
	p := &part{PartInput: in, sites: w.sites(), stopping: newFlag(), places: map[string]int{}, open: map[int]bool{}, told: make([]rollout.State, len(in.Entries))}
	if parent := workflow.GetInfo(ctx).ParentWorkflowExecution; parent != nil {
		p.parent = *parent
	}
	work := onCancel(ctx, func(workflow.Context) { p.orphan() })
	r := p.runner()
	defer r.Close()
	p.listen(work)
	if err := p.answerQueries(work); err != nil {
		return err
	}
	workflow.Go(work, p.tell)
	for p.next(work) {
	}
	return nil
}

// runner sets up the part with the Runner of its hosts.
func (p *part) runner() *rollout.Runner {
	entries := make([]rollout.Entry, len(p.Entries))
	for i, e := range p.Entries {
		entries[i] = e.Entry()
		p.places[entries[i].Host.Name] = i
	}
	plan := rollout.PlanOf(entries, p.Policy, false)
	undo := p.Run
	undo.ID = rollout.UndoID(p.Run.ID)
	r := &rollout.Runner{Scheduler: scheduler{}, RunID: p.Run.ID, Dial: p.dial(p.Run, plan), DialUndo: p.dial(undo, plan),
		Events: p.event, Gate: p.gate, Watch: p.watchSoak, LongestPause: longestPause}
	p.Part = r.Part(p.stopping, plan)
	for i := range p.told {
		p.told[i] = p.State(i)
	}
	return r
}

// longestPause is longer than that of a run of one process: each attempt to reach a host again is
// some events of the history.
const longestPause = time.Minute

func (p *part) listen(ctx workflow.Context) {
	listen(ctx, protocol.CommandSignal, func(_ workflow.Context, c protocol.Command) {
		if c.Run == p.Run.ID && c.Part == p.Number && c.Number > p.last {
			p.last, p.commands = c.Number, append(p.commands, c)
		}
	})
	p.hear(ctx, protocol.GoOnSignal, func(n int) { delete(p.open, n) })
	p.hear(ctx, protocol.TurnSignal, func(n int) { p.turn = p.turn || n > 0 && n == p.asked })
	p.hear(ctx, protocol.PauseSignal, func(n int) { p.pause(true, n) })
	p.hear(ctx, protocol.ResumeSignal, func(n int) { p.pause(false, n) })
	p.hear(ctx, protocol.StopSignal, func(int) { p.stopping.set = true })
	p.hear(ctx, protocol.EndSignal, func(int) { p.over = true })
	p.hear(ctx, protocol.SpentSignal, func(int) {
		p.spent = true
		p.Spend()
	})
}

// hear calls do with the number of what this part is told.
func (p *part) hear(ctx workflow.Context, name string, do func(number int)) {
	listen(ctx, name, func(_ workflow.Context, t protocol.Told) {
		if t.Run == p.Run.ID && t.Part == p.Number {
			do(t.Number)
		}
	})
}

// pause begins or ends a pause. Signals may overtake each other.
func (p *part) pause(paused bool, number int) {
	if number > p.pauses {
		p.pauses, p.paused = number, paused
	}
}

// from returns the beginning of the next message to the parent.
func (p *part) from(signal string) protocol.From {
	p.sent++
	return protocol.From{Named: protocol.Named{Signal: signal}, Run: p.Run.ID, Part: p.Number, Number: p.sent}
}

// orphan ends the part, which has lost its parent: what is in flight is finished or undone.
func (p *part) orphan() { p.stopping.set, p.over, p.orphaned = true, true, true }

func (p *part) answerQueries(ctx workflow.Context) error {
	type states = protocol.Reply[[]protocol.HostState]
	err := workflow.SetQueryHandler(ctx, protocol.StatesQuery, func(q protocol.Question) (states, error) {
		return protocol.ReplyTo(q.Asked, p.states(func(s rollout.State, _ int) bool { return s.Outcome != "" })), nil
	})
	if err != nil {
		return err
	}
	type page = protocol.Reply[[]rollout.ResultData]
	return workflow.SetQueryHandler(ctx, protocol.ResultsQuery, func(q protocol.Question) (reply page, err error) {
		results := p.Results()
		if q.From < 0 || q.From > len(results) {
			return reply, problem.New(problem.Usage, "", "this part has %d hosts", len(results))
		}
		data := func(i int) rollout.ResultData { return results[i].Data(p.Entries[i].Index) }
		return protocol.ReplyTo(q.Asked, protocol.Page(q.From, len(results), data)), nil
	})
}

func (p *part) states(wanted func(s rollout.State, i int) bool) []protocol.HostState {
	list := []protocol.HostState{}
	for i := range p.Entries {
		if s := p.State(i); wanted(s, i) {
			list = append(list, p.said(i))
		}
	}
	return list
}

// said is the state of a host as others are told it, in messages with those of all hosts.
func (p *part) said(i int) protocol.HostState {
	s := p.State(i)
	s.Problem = protocol.Short(s.Problem)
	s.Proof = s.Proof[:min(len(s.Proof), maxProof)]
	return protocol.HostState{Host: i, State: s}
}

// maxProof is longer than the name of any proof.
const maxProof = 50

// next does the next command, and reports whether there may be another one.
func (p *part) next(ctx workflow.Context) bool {
	await(ctx, func() bool { return len(p.commands) > 0 || p.over })
	if p.orphaned {
		p.Do(carrier{ctx}, rollout.DiscardVerb, p.all(), p.Policy.Parallel) // no certificate is left on a host
		return false
	}
	if len(p.commands) == 0 {
		return false
	}
	c := p.commands[0]
	p.commands = p.commands[1:]
	p.verb = c.Verb
	p.Do(carrier{ctx}, c.Verb, c.Hosts, c.Parallel)
	p.verb = ""
	p.endTurn()
	changed := p.states(func(s rollout.State, i int) bool { return s != p.told[i] })
	for _, s := range changed {
		p.told[s.Host] = p.State(s.Host)
	}
	done := protocol.Done{From: p.from(protocol.DoneSignal), Command: c.Number, States: changed}
	p.messages = append(p.messages, message{protocol.DoneSignal, done})
	await(ctx, func() bool { return len(p.messages) == 0 || p.orphaned })
	return true
}

func (p *part) all() []int {
	list := make([]int, len(p.Entries))
	for i := range list {
		list[i] = i
	}
	return list
}

// tell sends the messages to the parent.
func (p *part) tell(ctx workflow.Context) {
	for {
		await(ctx, func() bool { return len(p.messages) > 0 })
		m := p.messages[0]
		if err := workflow.SignalExternalWorkflow(ctx, p.parent.ID, p.parent.RunID, m.signal, m.data).Get(ctx, nil); err != nil {
			p.orphan()
		}
		p.messages = p.messages[1:]
	}
}

// event tells the parent at once of an outcome that counts for the failure budget. Until it has
// answered nothing new starts here.
func (p *part) event(e rollout.Event) {
	turns := p.verb.InTurn() || p.verb == rollout.SoakVerb
	if !turns || !p.Policy.Counts(e.Outcome) {
		return
	}
	i := p.places[e.Host]
	p.told[i] = p.State(i)
	from := p.from(protocol.EndedSignal)
	p.open[from.Number] = true
	p.messages = append(p.messages, message{protocol.EndedSignal, protocol.Ended{From: from, HostState: p.said(i)}})
}

// gate waits before the turn of a host while nothing new may start.
func (p *part) gate(ctx context.Context, verb rollout.Verb) {
	ends := func() bool { return p.stopping.set || p.spent }
	if verb != rollout.SoakVerb {
		scheduler{}.Await(ctx, func() bool { return ends() || len(p.open) == 0 && !p.paused })
		return
	}
	// A sick host is undone in any case, but no more of them at once than agents may be restarted.
	if !p.turn {
		from := p.from(protocol.TurnSignal)
		p.asked = from.Number
		p.messages = append(p.messages, message{protocol.TurnSignal, protocol.Turn{From: from}})
		scheduler{}.Await(ctx, func() bool { return p.turn || p.orphaned })
	}
}

// endTurn gives back the right to restart agents in a soak.
func (p *part) endTurn() {
	if p.turn {
		p.turn = false
		over := protocol.Turn{From: p.from(protocol.TurnSignal), Over: true}
		p.messages = append(p.messages, message{protocol.TurnSignal, over})
	}
}

// watchSoak has the hosts watched by the workers of their sites.
func (p *part) watchSoak(ctx, _ context.Context, hosts []rollout.Result, end time.Time) ([]rollout.SoakFinding, bool) {
	p.endTurn()
	in := protocol.SoakHosts{Version: protocol.Version, Run: p.Run, Policy: p.Policy, End: end}
	return p.watch(ctx, in, hosts, func() bool { return p.stopping.set || p.spent })
}
