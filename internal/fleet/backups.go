package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Retention says which backups a host keeps.
type Retention struct {
	Keep   int           // the newest so many; negative: as the inventory has it
	MaxAge time.Duration // none that is older; negative: as the inventory has it
}

// Prune removes backups beyond those to keep. It returns one entry and the number of
// backups removed for each target; an entry's Outcome is set where that failed. When
// ctx ends nothing new begins.
func (f *Fleet) Prune(ctx context.Context, r Retention) (entries []rollout.Entry, removed []int) {
	targets := f.changed(func(h *inventory.Host) {
		if r.Keep >= 0 {
			h.Backups.Keep = r.Keep
		}
		if r.MaxAge >= 0 {
			h.Backups.MaxAge = r.MaxAge
		}
	})
	f.caller.Contact(len(targets))
	return f.runner.Prune(context.WithoutCancel(ctx), ctx, targets)
}

// changed returns the targets with copies of their hosts, changed by change: what
// the inventory has said is not overwritten.
func (f *Fleet) changed(change func(h *inventory.Host)) []rollout.Target {
	targets := slices.Clone(f.Targets)
	for i, t := range targets {
		h := *t.Host
		change(&h)
		targets[i].Host = &h
	}
	return targets
}
