package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Retention says which backups a host keeps.
type Retention struct {
	Keep   int           // number of the newest backups; negative: the inventory's
	MaxAge time.Duration // older backups are removed; negative: the inventory's
}

// Prune removes backups beyond those to keep. It returns one entry and the number of
// backups removed for each target; an entry's Outcome is set if that failed. When ctx
// ends no further host starts.
func (f *Fleet) Prune(ctx context.Context, r Retention) (entries []rollout.Entry, removed []int) {
	targets := f.retained(r)
	f.caller.Contact(len(targets))
	return f.runner.Prune(context.WithoutCancel(ctx), ctx, targets)
}

// Prunable checks the targets and returns their entries with the backups that Prune would
// remove, instead of all that they keep. It changes nothing.
func (f *Fleet) Prunable(ctx context.Context, r Retention) []rollout.Entry {
	entries := f.Status(ctx)
	for i, t := range f.retained(r) {
		if seen := entries[i].Seen; seen != nil {
			fewer := *seen
			fewer.Backups = seen.Prunable(t.Host.Backups.Keep, t.Host.Backups.MaxAge, f.Started)
			entries[i].Seen = &fewer
		}
	}
	return entries
}

// retained returns the targets with a retention in place of the inventory's.
func (f *Fleet) retained(r Retention) []rollout.Target {
	targets := slices.Clone(f.Targets)
	for i, t := range targets {
		h := *t.Host // a copy: the inventory's host is never changed
		if r.Keep >= 0 {
			h.Backups.Keep = r.Keep
		}
		if r.MaxAge >= 0 {
			h.Backups.MaxAge = r.MaxAge
		}
		targets[i].Host = &h
	}
	return targets
}
