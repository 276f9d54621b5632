package flow

import (
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Survey is the workflow that observes hosts, and changes nothing. It returns a look for each host.
func (w *Workflows) Survey(ctx workflow.Context, in protocol.SurveyInput) (
	reply protocol.Reply[[]protocol.LookData], err error) {
	if p := otherVersion(in.Version); p != nil {
		return reply, p
	}
	if len(in.Hosts) > protocol.MaxSurvey {
		return reply, problem.New(problem.Usage, "", "a survey of %d hosts: at most %d", len(in.Hosts), protocol.MaxSurvey)
	}
	sites, looks := w.sites(), make([]protocol.LookData, len(in.Hosts))
	groups := bySite(len(in.Hosts), func(i int) *inventory.Host { return in.Hosts[i].Host() })
	running := len(groups)
	for _, g := range groups {
		workflow.Go(ctx, func(ctx workflow.Context) {
			sites.survey(ctx, g, in, looks)
			running--
		})
	}
	await(ctx, func() bool { return running == 0 })
	return protocol.ReplyTo(in.Asked, looks), ctx.Err()
}

// survey observes the hosts of a group.
func (s *sites) survey(ctx workflow.Context, g group, in protocol.SurveyInput, looks []protocol.LookData) {
	many := protocol.ManyHosts{Version: in.Version, Run: in.Run}
	for _, i := range g.hosts {
		many.Hosts = append(many.Hosts, in.Hosts[i])
	}
	var found []protocol.LookData
	err := s.call(ctx, g.site, protocol.ObserveMany, thrice, 2*brief, 0, many, &found)
	if err == nil && len(found) != len(g.hosts) {
		err = problem.New(problem.Unexpected, "", "the worker at site %s has answered for %d of %d hosts", g.site, len(found), len(g.hosts))
	}
	for k, i := range g.hosts {
		if err != nil {
			looks[i].Problem = host.AsProblem(err)
		} else {
			looks[i] = found[k].Bounded()
		}
		if looks[i].Problem == nil && looks[i].Seen == nil {
			looks[i].Problem = problem.New(problem.Unexpected, "", "the worker at site %s has not said what it has seen", g.site)
		}
	}
}
