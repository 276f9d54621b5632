package flowtest

import (
	"context"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Register registers the activities of the sites of the fleet.
func (f *Fleet) Register(on worker.ActivityRegistry) {
	for name, do := range map[string]any{
		protocol.Observe: f.observe, protocol.Stage: f.stage, protocol.Discard: f.discard,
		protocol.Rotate: f.rotate, protocol.Recover: f.recover,
		protocol.SoakMany: f.soakMany, protocol.ObserveMany: f.observeMany,
	} {
		on.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: name})
	}
}

// enter begins an activity on a host. There is an error if no worker takes it.
func (f *Fleet) enter(activity string, name string) error {
	f.mu.Lock()
	f.Activities[activity]++
	during := f.During
	f.mu.Unlock()
	if during != nil {
		during(activity, name)
	}
	if f.named[name].Fate == Silent {
		return temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	}
	return nil
}

func (f *Fleet) observe(ctx context.Context, in protocol.OneHost) (look protocol.LookData, err error) {
	if err := f.enter(protocol.Observe, in.Host.Name); err != nil {
		return look, err
	}
	h, err := f.Dial(in.Run.ID)(ctx, *in.Host.Host())
	if err == nil {
		look.Seen, err = h.Observe(ctx, in.Options)
	}
	if err != nil {
		look.Problem = host.AsProblem(err)
	}
	return look, nil
}

func (f *Fleet) stage(ctx context.Context, in protocol.OneHost) (protocol.Answer, error) {
	return f.answer(ctx, protocol.Stage, in, func(h rollout.Host) error { return h.Stage(ctx, nil, in.Digest) })
}

func (f *Fleet) discard(ctx context.Context, in protocol.OneHost) (protocol.Answer, error) {
	return f.answer(ctx, protocol.Discard, in, func(h rollout.Host) error { return h.Discard(ctx) })
}

func (f *Fleet) answer(ctx context.Context, activity string, in protocol.OneHost, do func(rollout.Host) error) (a protocol.Answer, err error) {
	if err := f.enter(activity, in.Host.Name); err != nil {
		return a, err
	}
	h, err := f.Dial(in.Run.ID)(ctx, *in.Host.Host())
	if err != nil {
		return protocol.Answer{Problem: host.AsProblem(err), Unsent: true}, nil
	}
	if err = do(h); err != nil {
		a.Problem = host.AsProblem(err)
	}
	return a, nil
}

func (f *Fleet) rotate(ctx context.Context, in protocol.OneHost) (*host.Report, error) {
	return f.report(ctx, protocol.Rotate, in, func(h rollout.Host) *host.Report { return h.Rotate(ctx, *in.Change, func(string) {}) })
}

func (f *Fleet) recover(ctx context.Context, in protocol.OneHost) (*host.Report, error) {
	return f.report(ctx, protocol.Recover, in, func(h rollout.Host) *host.Report { return h.Recover(ctx, func(string) {}) })
}

// report is a conversation with a host. A lost worker is one that does not answer.
func (f *Fleet) report(ctx context.Context, activity string, in protocol.OneHost, do func(rollout.Host) *host.Report) (*host.Report, error) {
	if err := f.enter(activity, in.Host.Name); err != nil {
		return nil, err
	}
	h, err := f.Dial(in.Run.ID)(ctx, *in.Host.Host())
	if err != nil {
		return &host.Report{Ending: host.Unsent, Problem: host.AsProblem(err)}, nil
	}
	if r := do(h); r.Ending != host.Lost {
		return r, nil
	}
	return nil, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_HEARTBEAT, nil)
}

func (f *Fleet) observeMany(ctx context.Context, in protocol.ManyHosts) (looks []protocol.LookData, err error) {
	for _, h := range in.Hosts {
		look, err := f.observe(ctx, protocol.OneHost{Run: in.Run, Host: h})
		if err != nil {
			return nil, err
		}
		looks = append(looks, look)
	}
	return looks, nil
}

func (f *Fleet) soakMany(ctx context.Context, in protocol.SoakHosts) (protocol.Soaked, error) {
	if err := f.enter(protocol.SoakMany, in.Hosts[0].Host.Name); err != nil {
		return protocol.Soaked{}, err
	}
	time := &instant{passed: activity.GetInfo(ctx).StartedTime.Sub(Clock)}
	r := &rollout.Runner{Dial: f.Dial(in.Run.ID), RunID: in.Run.ID, Events: func(rollout.Event) {}, Scheduler: time}
	defer r.Close()
	hosts := make([]rollout.Result, len(in.Hosts))
	for i := range hosts {
		hosts[i] = in.Hosts[i].Result()
	}
	found, over := r.Soak(ctx, context.Background(), in.Policy, hosts, in.End)
	return protocol.Soaked{Found: found, Over: over}, nil
}
