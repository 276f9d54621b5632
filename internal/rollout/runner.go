package rollout

import (
	"context"
	"errors"
	"net"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// keep is how many hosts are looked at or staged at once, and how many
// connections are kept open between a host's look and its turn. The others are
// dialled again, so that memory depends on Policy.Parallel and not on the fleet.
const keep = 64

// Host is one agent VM; *host.VM is the real one.
type Host interface {
	Observe(ctx context.Context, options host.ObserveOptions) (*host.Observation, error)
	Stage(ctx context.Context, data []byte, digest string) error
	Rotate(ctx context.Context, change host.Change, onStep func(step string)) *host.Report
	Recover(ctx context.Context, onStep func(step string)) *host.Report
	Discard(ctx context.Context) error
	Prune(ctx context.Context) (removed int, err error)
	InstallHelper(ctx context.Context) (host.Installed, error)
	Diagnose(ctx context.Context, d host.Diagnosis) (*host.Diagnostics, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Close() error
}

// Runner goes to the hosts. Its fields are set before the first call.
type Runner struct {
	Dial   func(ctx context.Context, h inventory.Host) (Host, error)
	Events func(Event) // called from many goroutines
	RunID  string      // by which a host's receipts name this run
	Saved  string      // a run whose backups are looked at too; "" for none
	// HealthCommand: Survey runs the user's health.command too.
	HealthCommand bool
	// DialUndo dials on behalf of the run UndoID(RunID); nil: this run never
	// undoes what a host has confirmed.
	DialUndo func(ctx context.Context, h inventory.Host) (Host, error)
	// Home is where diagnostics go; nil: none are gathered.
	Home *diags.Folder
	// Ask asks whether to go on after a wave, where Policy.PauseAfter wants it;
	// nothing else is going on meanwhile.
	Ask func(wave int, soFar *Run) bool

	mu   sync.Mutex
	open map[string]Host
}

// Survey looks at every target, many at once, and changes nothing. It returns
// one Look for each target, also when ctx ends.
func (r *Runner) Survey(ctx context.Context, targets []Target, parallel int) []Look {
	looks := make([]Look, len(targets))
	each(len(targets), max(parallel, keep), func(i int) {
		r.Events(Event{Host: targets[i].Host.Name, Step: "observe"})
		looks[i] = r.look(ctx, *targets[i].Host, host.ObserveOptions{Saved: r.Saved, Command: r.HealthCommand})
		r.Events(Event{Host: targets[i].Host.Name})
	})
	return looks
}

func (r *Runner) look(ctx context.Context, target inventory.Host, options host.ObserveOptions) Look {
	h, err := r.take(ctx, target)
	if err != nil {
		return Look{Err: err}
	}
	seen, err := h.Observe(ctx, options)
	if err != nil {
		_ = h.Close() // nothing was changed, so nothing depends on it
		return Look{seen, err}
	}
	r.put(target, h)
	return Look{Seen: seen}
}

// Through does something over connections that a host makes to others (see
// remote.Conn.DialContext). Only a host that can't be reached is its error.
func (r *Runner) Through(ctx context.Context, target inventory.Host,
	do func(dial func(ctx context.Context, network, address string) (net.Conn, error))) error {
	h, err := r.take(ctx, target)
	if err != nil {
		return err
	}
	do(h.DialContext)
	r.put(target, h)
	return nil
}

// Close ends the connections that were kept.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, h := range r.open {
		_ = h.Close()
		delete(r.open, name)
	}
}

// take returns the connection kept for a host, or dials.
func (r *Runner) take(ctx context.Context, target inventory.Host) (Host, error) {
	r.mu.Lock()
	h := r.open[target.Name]
	delete(r.open, target.Name)
	r.mu.Unlock()
	if h != nil {
		return h, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.Dial(ctx, target)
}

// put keeps a connection for the host's next turn, or closes it.
func (r *Runner) put(target inventory.Host, h Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) >= keep || r.open[target.Name] != nil { // another turn's, at the same time
		_ = h.Close()
		return
	}
	if r.open == nil {
		r.open = map[string]Host{}
	}
	r.open[target.Name] = h
}

// each runs n tasks, at most limit at once. One that fails does not stop its
// neighbours: they may be in mid-change.
func each(n, limit int, task func(i int)) {
	var g errgroup.Group
	g.SetLimit(limit)
	for i := range n {
		g.Go(func() error {
			task(i)
			return nil
		})
	}
	_ = g.Wait() // the tasks return no error
}

func cancelled(err error) bool { return errors.Is(err, context.Canceled) }

// Prune removes on every target the backups beyond what its inventory keeps.
// It returns one entry and the number of backups removed for each target; an
// entry's Outcome is set where that failed. When drain ends nothing new begins.
func (r *Runner) Prune(ctx, drain context.Context, targets []Target) (entries []Entry, removed []int) {
	removed = make([]int, len(targets))
	entries = r.visit(ctx, drain, targets, func(i int, h Host) (err error) {
		removed[i], err = h.Prune(ctx)
		return err
	})
	return entries, removed
}

// InstallHelper installs the host's script on every target and returns one entry
// and what was done for each; an entry's Outcome is set where that failed. When
// drain ends nothing new begins.
func (r *Runner) InstallHelper(ctx, drain context.Context, targets []Target) (entries []Entry, done []host.Installed) {
	done = make([]host.Installed, len(targets))
	entries = r.visit(ctx, drain, targets, func(i int, h Host) (err error) {
		done[i], err = h.InstallHelper(ctx)
		return err
	})
	return entries, done
}

// visit does one thing on every target, many at once.
func (r *Runner) visit(ctx, drain context.Context, targets []Target, do func(i int, h Host) error) []Entry {
	entries := make([]Entry, len(targets))
	each(len(targets), keep, func(i int) {
		entries[i] = Entry{Target: targets[i], Action: None}
		if drain.Err() != nil {
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
