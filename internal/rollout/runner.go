package rollout

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxConnections is how many hosts are observed or staged at once, and how many
// connections are kept open until a host's turn. The others are dialled again, so that
// memory depends on Policy.Parallel and not on the size of the fleet.
const maxConnections = 64

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
	MakeFolder(ctx context.Context, path string) (host.File, error)
	Package(ctx context.Context, refresh bool) (*host.Package, error)
	Fetch(ctx context.Context, c host.PackageChange) (host.PackageChange, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Close() error
}

// Runner connects to the hosts. Its fields are set before the first call.
type Runner struct {
	Dial   func(ctx context.Context, h inventory.Host) (Host, error)
	Events func(Event) // called from many goroutines
	RunID  string      // names this run in the hosts' receipts
	Saved  string      // a run whose backup is observed too; "" for none
	// Want sets the files that a target should have, by what was observed of it. nil: only its
	// certificate changes, and the configuration is not read as a file.
	Want func(t *Target, seen *host.Observation)
	// ForStatus is whether Survey also does what only status needs: it runs the user's
	// health.command, and asks for the agent's version and its last upload.
	ForStatus bool
	// DialUndo dials for the run UndoID(RunID). If it is nil this run never undoes what
	// a host has confirmed.
	DialUndo func(ctx context.Context, h inventory.Host) (Host, error)
	// Diagnostics is where diagnostics are written. If it is nil none are gathered.
	Diagnostics *diags.Folder
	// Ask asks whether to continue after a wave, as Policy.PauseAfter says. No host is
	// being changed meanwhile.
	Ask func(wave int, soFar *Run) bool

	// Scheduler is how things are done at the same time, and how time passes; nil: goroutines, and
	// the clock.
	Scheduler Scheduler
	// LongestPause is the longest time between two attempts to reach a host again; 0: longestPause.
	LongestPause time.Duration
	// Parts does what Apply does on sets of hosts; nil: this process does.
	Parts Parts
	// Gate is called before the turn of a host begins, and waits while nothing new may start. In
	// a soak the turn undoes a host that is unhealthy, which should not wait for an operator.
	// It does not return why: see Apply's stopping. nil: turns begin at once.
	Gate func(ctx context.Context, verb Verb)
	// Watch is how hosts are watched in a soak, see apply.watch; nil: by this process.
	Watch func(ctx, stopping context.Context, hosts []Result, end time.Time) (found []SoakFinding, over bool)

	mu   sync.Mutex
	open map[string]Host
}

// Survey observes every target, many at once, and changes nothing but the files that the
// targets should have (Want). It returns one Look for each target, also when ctx is done.
func (r *Runner) Survey(ctx context.Context, targets []Target, parallel int) []Look {
	looks := make([]Look, len(targets))
	r.part("observe", hostsOf(targets))
	r.forEach(ctx, len(targets), max(parallel, maxConnections), func(ctx context.Context, i int) {
		r.Events(Event{Host: targets[i].Host.Name, Step: "observe"})
		looks[i] = r.over(ctx, *targets[i].Host, func(h Host) (*host.Observation, error) {
			return r.observeWanted(ctx, h, &targets[i], host.ObserveOptions{Command: r.ForStatus, Latest: r.ForStatus})
		})
		r.Events(Event{Host: targets[i].Host.Name, Problem: looks[i].problem()})
	})
	return looks
}

// problem returns why the check failed, nil if it did not or was cancelled.
func (l Look) problem() *problem.Error {
	if l.Err == nil || cancelled(l.Err) {
		return nil
	}
	return host.AsProblem(l.Err)
}

// observe observes a host.
func (r *Runner) observe(ctx context.Context, target inventory.Host, options host.ObserveOptions) Look {
	return r.over(ctx, target, func(h Host) (*host.Observation, error) { return h.Observe(ctx, options) })
}

// over observes a host by observe.
func (r *Runner) over(ctx context.Context, target inventory.Host, observe func(Host) (*host.Observation, error)) Look {
	h, err := r.connect(ctx, target)
	if err != nil {
		return Look{Err: err}
	}
	seen, err := observe(h)
	if err != nil {
		_ = h.Close() // nothing was changed, so nothing depends on it
		return Look{seen, err}
	}
	r.release(target, h)
	return Look{Seen: seen}
}

// observeWanted observes a target over h and sets the files that it should have. A new
// configuration may name another certificate: then the file there is observed instead.
func (r *Runner) observeWanted(ctx context.Context, h Host, t *Target, options host.ObserveOptions) (*host.Observation, error) {
	// A run may have changed the configuration, which may not even be valid now.
	options.Saved, options.Configuration = r.Saved, r.Want != nil || r.Saved != "" && t.Host.Helper == ""
	seen, err := h.Observe(ctx, options)
	if err == nil {
		err = r.observePackage(ctx, h, t, seen, true)
	}
	if err != nil || r.Want == nil {
		return seen, err
	}
	r.Want(t, seen)
	t.Moved = false // the configuration may be another one since the plan
	if options.Files, options.Bytes = t.Paths, t.Bytes; len(t.Paths) > 0 {
		if seen, err = h.Observe(ctx, options); err != nil {
			return seen, err
		}
		r.Want(t, seen)
	}
	if t.FilesOnly || t.Next == nil {
		return seen, nil
	}
	if t.Moved = t.Provider != nil && t.Provider.Path != seen.File.Path; t.Moved {
		options.Certificate, options.Trust = t.Provider.Path, t.trusted()
		if seen, err = h.Observe(ctx, options); err != nil {
			return seen, err
		}
		// The configuration may have changed between the two.
		if r.Want(t, seen); t.Provider == nil || t.Provider.Path != options.Certificate {
			return seen, &problem.Error{Class: problem.Drift, Message: "the agent's configuration was changed while it was read", Hint: "run this again"}
		}
	}
	seen.Provider, seen.Unnamed = t.Provider, nil // as the new configuration says
	return seen, nil
}

// Through calls do with a function that dials from a host (see remote.Conn.DialContext).
// It returns an error only if the host can't be reached.
func (r *Runner) Through(ctx context.Context, target inventory.Host,
	do func(dial func(ctx context.Context, network, address string) (net.Conn, error))) error {
	h, err := r.connect(ctx, target)
	if err != nil {
		return err
	}
	do(h.DialContext)
	r.release(target, h)
	return nil
}

// Close closes the connections that are kept open.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.open)) {
		_ = r.open[name].Close()
	}
	clear(r.open)
}

// connect returns the connection kept for a host, or dials.
func (r *Runner) connect(ctx context.Context, target inventory.Host) (Host, error) {
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

// release keeps a connection for the next connect, or closes it.
func (r *Runner) release(target inventory.Host, h Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) >= maxConnections || r.open[target.Name] != nil { // another one of this host
		_ = h.Close()
		return
	}
	if r.open == nil {
		r.open = map[string]Host{}
	}
	r.open[target.Name] = h
}

// cancelled reports whether err comes from a cancelled context.
func cancelled(err error) bool { return errors.Is(err, context.Canceled) }

// Prune removes on every target the backups beyond what its inventory keeps. It returns
// one entry and the number of removed backups for each target; the entry has an Outcome
// if that failed. When stopping is done nothing new starts.
func (r *Runner) Prune(ctx, stopping context.Context, targets []Target) (entries []Entry, removed []int) {
	removed = make([]int, len(targets))
	entries = r.visit(ctx, stopping, targets, func(ctx context.Context, i int, h Host) (err error) {
		removed[i], err = h.Prune(ctx)
		return err
	})
	return entries, removed
}

// InstallHelper installs the helper on every target. It returns one entry and what was
// done for each target; the entry has an Outcome if that failed. When stopping is done
// nothing new starts.
func (r *Runner) InstallHelper(ctx, stopping context.Context, targets []Target) (entries []Entry, done []host.Installed) {
	done = make([]host.Installed, len(targets))
	entries = r.visit(ctx, stopping, targets, func(ctx context.Context, i int, h Host) (err error) {
		done[i], err = h.InstallHelper(ctx)
		return err
	})
	return entries, done
}

// visit calls do with a connection to every target, many at once.
func (r *Runner) visit(ctx, stopping context.Context, targets []Target, do func(ctx context.Context, i int, h Host) error) []Entry {
	entries := make([]Entry, len(targets))
	r.part("visit", hostsOf(targets))
	r.forEach(ctx, len(targets), maxConnections, func(ctx context.Context, i int) {
		entries[i] = Entry{Target: targets[i], Action: None}
		if stopping.Err() != nil {
			entries[i].Outcome = Skipped
			return
		}
		r.Events(Event{Host: targets[i].Host.Name, Step: "visit"})
		if err := r.visitOne(ctx, targets[i], func(h Host) error { return do(ctx, i, h) }); err != nil {
			entries[i] = entries[i].withOutcome(outcomeOf(host.AsProblem(err)))
		}
		r.Events(Event{Host: targets[i].Host.Name, Problem: entries[i].Problem})
	})
	return entries
}

func (r *Runner) visitOne(ctx context.Context, t Target, do func(Host) error) error {
	h, err := r.connect(ctx, *t.Host)
	if err != nil {
		return err
	}
	defer h.Close()
	return do(h)
}
