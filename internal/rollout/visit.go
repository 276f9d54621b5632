package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// Prune removes on every target the backups beyond what its inventory keeps.
// It returns one entry and the number of backups removed for each target; an
// entry's Outcome is set where that failed. When soft ends nothing new begins.
func (r *Runner) Prune(ctx, soft context.Context, targets []Target) (entries []Entry, removed []int) {
	removed = make([]int, len(targets))
	entries = r.visit(ctx, soft, targets, func(i int, h Host) (err error) {
		removed[i], err = h.Prune(ctx)
		return err
	})
	return entries, removed
}

// InstallHelper installs the host's script on every target and returns one entry
// and what was done for each; an entry's Outcome is set where that failed. When
// soft ends nothing new begins.
func (r *Runner) InstallHelper(ctx, soft context.Context, targets []Target) (entries []Entry, done []host.Installed) {
	done = make([]host.Installed, len(targets))
	entries = r.visit(ctx, soft, targets, func(i int, h Host) (err error) {
		done[i], err = h.InstallHelper(ctx)
		return err
	})
	return entries, done
}

// visit does one thing on every target, many at once.
func (r *Runner) visit(ctx, soft context.Context, targets []Target, do func(i int, h Host) error) []Entry {
	entries := make([]Entry, len(targets))
	each(len(targets), keep, func(i int) {
		entries[i] = Entry{Target: targets[i], Action: None}
		if soft.Err() != nil {
			entries[i].Outcome = Skipped
			return
		}
		if err := r.visitOne(ctx, targets[i], func(h Host) error { return do(i, h) }); err != nil {
			entries[i] = entries[i].stop(failedLook(host.AsProblem(err)))
		}
		r.Events(Event{Host: targets[i].Host.Name})
	})
	return entries
}

func (r *Runner) visitOne(ctx context.Context, t Target, do func(Host) error) error {
	h, err := r.take(ctx, *t.Host)
	if err != nil {
		return err
	}
	defer h.Close()
	return do(h)
}
