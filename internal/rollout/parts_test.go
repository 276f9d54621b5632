package rollout

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// inParts carries out a plan in parts of at most most hosts, each of which has only what JSON has of its
// entries, as on a workflow engine.
type inParts struct {
	plan  *Plan
	of    []int // by host: its part
	local []int // by host: its index there
	parts []*onePart

	mu    sync.Mutex
	ended func(i int, s State) bool
}

// onePart is a part with the indexes of its hosts in the whole plan.
type onePart struct {
	*Part
	hosts []int
	was   []State
}

// applyInParts is r.Apply in parts.
func applyInParts(t *testing.T, r *Runner, ctx, stopping context.Context, plan *Plan, most int) *Run {
	t.Helper()
	divided, err := plan.Divide(most)
	if err != nil {
		t.Fatal(err)
	}
	p := &inParts{plan: plan, of: make([]int, len(plan.Entries)), local: make([]int, len(plan.Entries))}
	policy := throughJSON(t, plan.Policy)
	skeleton := make([]Entry, len(plan.Entries))
	for n, hosts := range divided {
		one := &onePart{hosts: hosts}
		entries := make([]Entry, len(hosts))
		for k, i := range hosts {
			p.of[i], p.local[i] = n, k
			entries[k] = throughJSON(t, plan.Entries[i].Data(i)).Entry()
			skeleton[i] = entries[k].Skeleton()
		}
		names := map[string]int{}
		for k, e := range entries {
			names[e.Host.Name] = k
		}
		own := &Runner{Dial: r.Dial, DialUndo: r.DialUndo, RunID: r.RunID}
		own.Events = func(e Event) {
			if r.Events(e); e.Outcome != "" {
				p.tell(one, names[e.Host])
			}
		}
		own.Watch = func(ctx, stopping context.Context, hosts []Result, end time.Time) ([]SoakFinding, bool) {
			far := make([]Result, len(hosts))
			for i := range hosts {
				far[i] = throughJSON(t, hosts[i].Data(i)).Result()
			}
			watcher := &Runner{Dial: r.Dial, RunID: r.RunID, Events: r.Events}
			defer watcher.Close()
			found, over := watcher.Soak(ctx, stopping, policy, far, end)
			return throughJSON(t, found), over
		}
		one.Part = own.Part(stopping, PlanOf(entries, policy, false))
		one.was = make([]State, len(hosts))
		p.parts = append(p.parts, one)
		defer own.Close()
	}
	places := map[string]int{}
	for i, e := range plan.Entries {
		places[e.Host.Name] = i
	}
	parent := &Runner{RunID: r.RunID, Ask: r.Ask, Parts: p, Events: func(e Event) {
		i := places[e.Host]
		if e.Outcome == "" || p.parts[p.of[i]].State(p.local[i]).Outcome == "" { // else the part has told
			r.Events(e)
		}
	}}
	run := parent.Apply(ctx, stopping, PlanOf(skeleton, policy, plan.Unaccepted))
	for _, one := range p.parts {
		results := one.Results()
		data := make([]ResultData, len(results))
		for k := range results {
			data[k] = results[k].Data(one.hosts[k])
		}
		run.Fill(plan, throughJSON(t, data))
	}
	return run
}

// tell tells the run of a host that has ended, before its part goes on.
func (p *inParts) tell(one *onePart, k int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := one.State(k); p.ended != nil && s.Outcome != "" && s != one.was[k] {
		if one.was[k] = s; !p.ended(one.hosts[k], s) {
			for _, other := range p.parts {
				other.Spend()
			}
		}
	}
}

func (p *inParts) Do(ctx context.Context, verb Verb, hosts []int, ended func(i int, s State) bool) {
	p.ended = ended
	lists := make([][]int, len(p.parts))
	for _, i := range hosts {
		lists[p.of[i]] = append(lists[p.of[i]], p.local[i])
	}
	shares := make(chan int, len(p.parts))
	for _, n := range Shares(p.plan.Policy.Parallel, slices.Repeat([]int{1}, len(p.parts))) {
		shares <- n
	}
	var all sync.WaitGroup
	for n, list := range lists {
		if len(list) == 0 {
			continue
		}
		all.Go(func() {
			share := p.plan.Policy.Parallel
			if verb.InTurn() || verb == SoakVerb {
				share = <-shares
				defer func() { shares <- share }()
			}
			p.parts[n].Do(ctx, verb, list, share)
		})
	}
	all.Wait()
	for _, one := range p.parts { // what has changed without an outcome
		for k, i := range one.hosts {
			if s := one.State(k); s != one.was[k] {
				one.was[k] = s
				ended(i, s)
			}
		}
	}
}

// throughJSON returns a value as it is on the other side.
func throughJSON[T any](t *testing.T, v T) (there T) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &there)
	}
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// What a part does not say of a host is as this process knows it, with the reason.
func TestFillKeeps(t *testing.T) {
	entry := Entry{Target: Target{Host: &inventory.Host{Name: "a"}}, Seen: &host.Observation{Note: "seen"}}
	why := problem.New(problem.Internal, "", "the rollout was ended from outside")
	run := &Run{Results: []Result{{Entry: entry}}}
	run.Results[0].Outcome, run.Results[0].Problem = Unknown, why
	said := Result{Entry: Entry{Target: entry.Target}}.Data(0)
	run.Fill(&Plan{Entries: []Entry{entry}}, []ResultData{said})
	if r := run.Results[0]; r.Outcome != Unknown || r.Problem != why || r.Seen != entry.Seen {
		t.Errorf("%s %v %v", r.Outcome, r.Problem, r.Seen)
	}
}
