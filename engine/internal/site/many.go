package site

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// longestSoak bounds how long a request can have hosts watched.
const longestSoak = 31 * 24 * time.Hour

// ObserveMany observes hosts, and changes nothing. There is one look for each.
func (a *Activities) ObserveMany(ctx context.Context, q protocol.ManyHosts) (looks []protocol.LookData, err error) {
	defer beat(ctx)()
	if len(q.Hosts) > protocol.MaxSurvey {
		return nil, never(tooMany(len(q.Hosts), protocol.MaxSurvey))
	}
	defer a.log(protocol.ObserveMany, q.Run, hosts(len(q.Hosts)), func() string { return count(len(looks), func(i int) bool { return looks[i].Problem == nil }) })()
	looks = make([]protocol.LookData, len(q.Hosts))
	of, run, done, err := a.begin(q.Version, q.Run)
	if err != nil {
		for i := range looks {
			looks[i].Problem = host.AsProblem(err)
		}
		return looks, nil
	}
	defer done()
	var targets []rollout.Target
	var places []int
	for i, d := range q.Hosts {
		h, err := of.Host(d, true)
		if err != nil {
			looks[i].Problem = host.AsProblem(err)
			continue
		}
		targets, places = append(targets, rollout.Target{Host: h}), append(places, i)
	}
	r := runner(of, run)
	defer r.Close()
	for n, look := range r.Survey(ctx, targets, 0) {
		looks[places[n]] = bounded(protocol.LookData{Seen: look.Seen, Problem: a.problem(ctx, look.Err)}, q.Run.ID)
	}
	return looks, ctx.Err()
}

// SoakMany watches hosts until the end of a soak, or until one is not well. If ctx ends, or the
// worker is to stop, it returns what it has found.
func (a *Activities) SoakMany(ctx context.Context, q protocol.SoakHosts) (soaked protocol.Soaked, err error) {
	defer beat(ctx)()
	if len(q.Hosts) > protocol.MaxMany {
		return soaked, never(tooMany(len(q.Hosts), protocol.MaxMany))
	}
	if left := q.Left; max(left, q.Policy.Soak) > longestSoak {
		return soaked, never(problem.New(problem.Configuration, "", "a soak of %s is too long", max(left, q.Policy.Soak)))
	}
	defer a.log(protocol.SoakMany, q.Run, hosts(len(q.Hosts)), func() string { return count(len(q.Hosts), func(i int) bool { return i >= len(soaked.Found) }) })()
	of, run, done, err := a.begin(q.Version, q.Run)
	if err != nil { // the inventory may be right again before the end
		return soaked, temporal.NewApplicationError(err.Error(), string(host.AsProblem(err).Class))
	}
	defer done()
	var list []rollout.Result
	var places []int
	for i, d := range q.Hosts {
		h, p := a.soaking(of, d)
		if p != nil {
			soaked.Found = append(soaked.Found, rollout.SoakFinding{Host: i, Unreachable: p})
			continue
		}
		res := d.Result()
		res.Host = h
		list, places = append(list, res), append(places, i)
	}
	if len(soaked.Found) > 0 || len(list) == 0 {
		return soaked, nil
	}
	r := runner(of, run)
	defer r.Close()
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-activity.GetWorkerStopChannel(ctx):
			stop()
		case <-stopping.Done():
		}
	}()
	// Only how often hosts are checked is the request's.
	policy := rollout.Policy{Rollout: inventory.Rollout{Soak: max(q.Policy.Soak, time.Second), Parallel: 1}}
	soaked.Found, soaked.Over = r.Soak(context.WithoutCancel(ctx), stopping, policy, list, time.Now().Add(left(activity.GetInfo(ctx), q.Left)))
	for n := range soaked.Found {
		f := &soaked.Found[n]
		f.Host = places[f.Host]
		f.Unhealthy, f.Unreachable = protocol.Short(f.Unhealthy), protocol.Short(f.Unreachable)
		f.Replaced = protocol.Short(f.Replaced)
	}
	if stopping.Err() != nil && !soaked.Over && len(soaked.Found) == 0 {
		return soaked, fmt.Errorf("the worker at %s stops watching: %w", a.Site, stopping.Err())
	}
	return soaked, nil
}

// left returns how much of a soak is left. Only the times of the server say how long ago it was asked
// for: with a wrong clock of the site it would end at once, or never.
func left(info activity.Info, asked time.Duration) time.Duration {
	return asked - min(max(0, info.StartedTime.Sub(info.ScheduledTime)), asked)
}

// soaking returns the worker's own host of a result, or why it can't be watched.
func (a *Activities) soaking(of Hosts, d rollout.ResultData) (*inventory.Host, *problem.Error) {
	h, err := of.Host(d.Host, true)
	switch {
	case err != nil:
		return nil, host.AsProblem(err)
	case d.Seen == nil || d.Certificate == nil:
		return nil, problem.New(problem.Configuration, "", "the request does not say what the host should have")
	}
	return h, nil
}

// runner returns a runner that dials for a run.
func runner(of Hosts, run host.Run) *rollout.Runner {
	return &rollout.Runner{RunID: run.ID, Events: func(rollout.Event) {}, Dial: func(ctx context.Context, h inventory.Host) (rollout.Host, error) {
		return of.Dial(ctx, h, run)
	}}
}

// never returns an error with which an activity is not tried again.
func never(p *problem.Error) error {
	return temporal.NewNonRetryableApplicationError(p.Message, string(p.Class), nil)
}

func tooMany(n, most int) *problem.Error {
	return problem.New(problem.Configuration, "", "%d hosts in one request are too many: at most %d", n, most)
}

func hosts(n int) string { return inventory.HostCount(n) }

// count returns how many of n hosts are well.
func count(n int, well func(i int) bool) string {
	good := 0
	for i := range n {
		if well(i) {
			good++
		}
	}
	return fmt.Sprintf("%d of %d well", good, n)
}
