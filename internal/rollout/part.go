package rollout

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// A run of many hosts can be divided into parts, of which each has the whole state of its hosts.
// Apply then runs on the Skeleton of the plan, and Runner.Parts has each verb done in the parts.

// MaxPart is how many hosts of a failure domain one part may have. A domain is never divided: its
// limit would not hold.
const MaxPart = 1000

// Divide divides hosts of a plan into parts of at most most hosts, in their order but with each
// failure domain together. Only a part of one domain may have more, up to MaxPart; a larger domain
// is an error that names it.
func (p *Plan) Divide(most int) (parts [][]int, err error) {
	domains := map[domain][]int{}
	var order []domain
	for i, e := range p.Entries {
		d := p.Policy.domainOf(e)
		if d.limit == 0 {
			d = domain{name: fmt.Sprint(i)} // alone
		}
		if domains[d] == nil {
			order = append(order, d)
		}
		domains[d] = append(domains[d], i)
	}
	var last []int
	for _, d := range order {
		hosts := domains[d]
		if len(hosts) > MaxPart {
			return nil, fmt.Errorf("the failure domain %s has %d hosts; at most %d can be changed in one run", strings.TrimPrefix(d.name, "group "), len(hosts), MaxPart)
		}
		if len(last) > 0 && len(last)+len(hosts) > most {
			parts, last = append(parts, last), nil
		}
		last = append(last, hosts...)
	}
	for _, part := range append(parts, last) {
		slices.Sort(part)
	}
	return append(parts, last), nil
}

// Part is the part of a run that has some of its hosts, as a plan of their own. It has no failure
// budget: the whole run has that, see Spend.
type Part struct{ a *apply }

// Part returns a part of a run. The hosts are those of plan, with their actions and waves in the
// whole run. Its outcomes are events. For stopping see Apply.
func (r *Runner) Part(stopping context.Context, plan *Plan) *Part {
	a := r.newApply(stopping, plan)
	a.budget.limit = math.MaxInt
	return &Part{a}
}

// Do does a verb on hosts of the part, which are indexes of its entries; on at most share of them at
// once. For ctx see Apply.
func (p *Part) Do(ctx context.Context, verb Verb, hosts []int, share int) {
	p.a.share, p.a.plan.Policy.Parallel = share, share
	p.a.doHere(ctx, verb, hosts)
}

// Spend ends the part because the failure budget of the whole run is spent: nothing new starts.
func (p *Part) Spend() {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.a.budget.canary = true
}

// State returns what the whole run must know of host i.
func (p *Part) State(i int) State { return p.a.state(i) }

// Results returns the results so far, in the order of the entries. One without an outcome was not
// started.
func (p *Part) Results() []Result { return p.a.run.Results }

// Soak watches hosts in a soak until its end, and then over is true, until one of them is not well,
// or until stopping is done. The indexes of the findings are those of hosts.
func (r *Runner) Soak(ctx, stopping context.Context, policy Policy, hosts []Result, end time.Time) (found []SoakFinding, over bool) {
	plan := &Plan{Policy: policy, Entries: make([]Entry, len(hosts))}
	for i := range hosts {
		plan.Entries[i] = hosts[i].Entry
	}
	p := r.Part(stopping, plan)
	copy(p.a.run.Results, hosts)
	return p.a.watch(ctx, p.a.all(), end)
}

// Skeleton returns what Apply needs of an entry if the run has parts.
func (e Entry) Skeleton() Entry {
	h := &inventory.Host{Name: e.Host.Name, Address: e.Host.Address, Group: e.Host.Group, Labels: e.Host.Labels}
	small := Entry{Target: Target{Host: h}, Action: e.Action, Reason: e.Reason, Outcome: e.Outcome, Wave: e.Wave, Window: e.Window, unplanned: e.unplanned}
	small.Problem = e.Problem
	if e.Seen != nil {
		small.Seen = &host.Observation{Unit: host.Unit{Active: e.Seen.Unit.Active}, Receipts: e.Seen.Receipts, Config: host.AgentConfig{ListenerPort: e.Seen.Config.ListenerPort}}
	}
	return small
}

// Shares divides what a run may do at once among parts that do it at the same time, by how many hosts
// each has for it, and at least one for each: together they are no more than parallel. If there are
// more parts than that, each share is one, and parts that restart agents wait for one.
func Shares(parallel int, hosts []int) []int {
	shares, all, before := make([]int, min(parallel, len(hosts))), 0, 0
	for _, n := range hosts {
		all += n
	}
	more := parallel - len(shares) // besides the one of each
	for i := range shares {
		upTo := before + hosts[i]
		shares[i] = 1 + more*upTo/all - more*before/all
		before = upTo
	}
	return shares
}

// InTurn reports whether the verb restarts agents, so that a part needs a share of Policy.Parallel
// for it.
func (v Verb) InTurn() bool {
	return v == RecoverVerb || v == ChangeVerb || v == UndoVerb
}

// Fill gives a run that was carried out in parts the results that the parts have: with the targets of
// plan, and with the outcomes and the observations of the run where they have none.
func (r *Run) Fill(plan *Plan, parts []ResultData) {
	for _, d := range parts {
		if d.Index < 0 || d.Index >= len(r.Results) || d.Host.Name != plan.Entries[d.Index].Host.Name {
			continue // not of this plan
		}
		res, short := d.Result(), r.Results[d.Index]
		res.Target = plan.Entries[d.Index].Target
		if res.Outcome == "" {
			res.Outcome, res.Problem = short.Outcome, short.Problem
		}
		if res.Seen == nil { // it was too much for a message
			res.Seen = short.Seen
		}
		r.Results[d.Index] = res
	}
}
