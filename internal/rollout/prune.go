package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// Prune removes on every target the backups beyond what its inventory keeps.
// It returns one entry and the number of backups removed for each target; an
// entry's Outcome is set where that failed. When soft ends nothing new begins.
func (r *Runner) Prune(ctx, soft context.Context, targets []Target) (entries []Entry, removed []int) {
	entries, removed = make([]Entry, len(targets)), make([]int, len(targets))
	each(len(targets), keep, func(i int) {
		entries[i] = Entry{Target: targets[i], Action: None}
		if soft.Err() != nil {
			entries[i].Outcome = Skipped
			return
		}
		n, err := r.prune(ctx, targets[i])
		if err != nil {
			entries[i] = entries[i].stop(failedLook(host.AsProblem(err)))
		}
		removed[i] = n
		r.Events(Event{Host: targets[i].Host.Name})
	})
	return entries, removed
}

func (r *Runner) prune(ctx context.Context, t Target) (int, error) {
	h, err := r.take(ctx, t.Host)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	return h.Prune(ctx)
}
