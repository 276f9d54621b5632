package fleet

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Survey checks every target, many at once, and changes nothing. It returns one
// Look for each target, also when ctx ends.
func (f *Fleet) Survey(ctx context.Context) []rollout.Look { return f.survey(ctx, f.Targets) }

// surveyFor surveys for a plan with the options o.
func (f *Fleet) surveyFor(ctx context.Context, o Options) []rollout.Look {
	if f.next != nil {
		f.next.force = o.Force
	}
	looks := f.Survey(ctx)
	f.compare(looks)
	return looks
}

// Status surveys the targets and returns an entry for each, whose Outcome is set if the
// host could not be checked.
func (f *Fleet) Status(ctx context.Context) []rollout.Entry {
	return rollout.Status(f.Targets, f.Survey(ctx))
}

// Health is like Status, but also runs health.command on each host whose agent runs.
func (f *Fleet) Health(ctx context.Context) []rollout.Entry {
	f.runner.ForStatus = true
	return f.Status(ctx)
}

// surveySome checks the targets at some indexes; the others have an empty Look.
func (f *Fleet) surveySome(ctx context.Context, places []int) []rollout.Look {
	some := make([]rollout.Target, len(places))
	for i, place := range places {
		some[i] = f.Targets[place]
	}
	looks := make([]rollout.Look, len(f.Targets))
	for i, look := range f.survey(ctx, some) {
		looks[places[i]], f.Targets[places[i]] = look, some[i]
	}
	return looks
}

func (f *Fleet) survey(ctx context.Context, targets []rollout.Target) []rollout.Look {
	f.caller.Contact(len(targets))
	if f.request.Engine != nil {
		return f.surveyElsewhere(ctx, targets)
	}
	return f.runner.Survey(ctx, targets, f.Inventory.Rollout.Parallel)
}

// Versions asks every target which version of the agent it has, and which ones its repositories
// have, after it has refreshed their lists. It returns one entry, with an Outcome if that failed, and one
// package for each target.
func (f *Fleet) Versions(ctx context.Context) (entries []rollout.Entry, found []host.Package) {
	f.caller.Contact(len(f.Targets))
	return f.runner.Packages(ctx, f.Targets)
}
