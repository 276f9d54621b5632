package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// Configurations observes every target, many at once, with the bytes of its agent's
// configuration, and changes nothing. It returns one Look for each target.
func (r *Runner) Configurations(ctx context.Context, targets []Target) []Look {
	looks := make([]Look, len(targets))
	r.part("observe", hostsOf(targets))
	r.forEach(ctx, len(targets), maxConnections, func(ctx context.Context, i int) {
		r.Events(Event{Host: targets[i].Host.Name, Step: "observe"})
		looks[i] = r.observe(ctx, *targets[i].Host, host.ObserveOptions{Configuration: true})
		r.Events(Event{Host: targets[i].Host.Name, Problem: looks[i].problem()})
	})
	return looks
}
