package flow

import (
	"context"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// lastCheck is how long after the end of a soak its last check may take, with three attempts for
// a host that does not answer. A worker that was away has so long to come back.
const lastCheck = 10 * time.Minute

// watch is the rollout.Runner.Watch of a part: the workers of the sites watch their hosts, and as
// soon as one of them has found something, or cancel reports true, the others end and say what they
// have found so far.
//
// A worker that is lost is replaced by the server, without a trace in the history: a soak may last
// days.
func (s *sites) watch(ctx context.Context, in protocol.SoakHosts, hosts []rollout.Result, cancel func() bool) (found []rollout.SoakFinding, over bool) {
	wf, stop := workflow.WithCancel(of(ctx))
	defer stop()
	in.Left = max(0, in.End.Sub(workflow.Now(wf)))
	limit := in.Left + lastCheck
	groups := bySite(len(hosts), func(i int) *inventory.Host { return hosts[i].Host })
	running, some := len(groups), false
	answers := make([]protocol.Soaked, len(groups))
	for n, g := range groups {
		in.Hosts = nil
		for k, i := range g.hosts {
			in.Hosts = append(in.Hosts, watched(hosts[i], k))
		}
		ended := workflow.ExecuteActivity(s.at(wf, g.site, workflow.ActivityOptions{
			ScheduleToCloseTimeout: limit,
			HeartbeatTimeout:       protocol.Heartbeat,
			WaitForCancellation:    true,
			RetryPolicy:            &temporal.RetryPolicy{MaximumInterval: time.Minute},
		}), protocol.SoakMany, in)
		workflow.Go(wf, func(wf workflow.Context) {
			if err := ended.Get(wf, &answers[n]); err != nil && wf.Err() == nil {
				answers[n] = unwatched(g, err)
			}
			running--
			some = some || len(answers[n].Found) > 0
		})
	}
	await(wf, func() bool { return running == 0 || some || cancel() })
	stop()
	await(wf, func() bool { return running == 0 })
	over = true
	for n, g := range groups {
		over = over && answers[n].Over
		known := map[int]bool{} // a host that is named twice would be undone twice
		for _, f := range answers[n].Found {
			if f.Host >= 0 && f.Host < len(g.hosts) && !known[f.Host] {
				known[f.Host] = true
				f.Host = g.hosts[f.Host]
				found = append(found, f)
			}
		}
	}
	return found, over
}

// watched returns what a soak needs of a result.
func watched(r rollout.Result, index int) rollout.ResultData {
	whole := r.Data(index)
	d := rollout.ResultData{Known: r.Known || r.Seen.Denied != ""}
	d.Index, d.Host, d.Certificate, d.Action, d.Outcome = index, whole.Host, whole.Certificate, r.Action, r.Outcome
	d.Seen = &host.Observation{Unit: host.Unit{Active: r.Seen.Unit.Active}, File: host.File{Path: r.Seen.File.Path}}
	return d
}

// unwatched returns the answer for hosts that no worker has watched until the end: none of them
// could be checked there.
func unwatched(g group, err error) protocol.Soaked {
	why := host.AsProblem(failure(g.site, err))
	lost := protocol.Soaked{Over: true}
	for k := range g.hosts {
		lost.Found = append(lost.Found, rollout.SoakFinding{Host: k, Unreachable: why})
	}
	return lost
}
