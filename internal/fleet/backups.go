package fleet

import (
	"context"
	"slices"
	"time"

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
	targets := slices.Clone(f.Targets)
	for i, t := range targets {
		h := *t.Host // a copy: the inventory's own is not changed
		if r.Keep >= 0 {
			h.Backups.Keep = r.Keep
		}
		if r.MaxAge >= 0 {
			h.Backups.MaxAge = r.MaxAge
		}
		targets[i].Host = &h
	}
	f.caller.Contact(len(targets))
	return f.runner.Prune(context.WithoutCancel(ctx), ctx, targets)
}
