package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secret"
)

// fleet is what a command that goes to hosts works with.
type fleet struct {
	app      *app
	inv      *inventory.Inventory // without its hosts
	others   int                  // hosts of the inventory that are not meant
	targets  []rollout.Target
	ways     map[string]*remote.Target // how each is reached, by name
	run      host.Run
	started  time.Time
	dialer   *remote.Dialer
	secrets  *secret.Resolver
	runner   *rollout.Runner
	sudo     *sudoPasswords
	progress *report.Progress
	record   *recorder // nil where nothing is changed
	planID   string    // of the saved plan that is made or carried out
	warnings []report.Warning
	question string // before a change, such as "rotate on"
}

// prepare reads everything that is local; nothing is contacted.
func (a *app) prepare(withCertificates bool) (*fleet, error) {
	if _, err := a.json(); err != nil {
		return nil, err
	}
	inv, hosts, err := a.load()
	if err != nil {
		return nil, err
	}
	return a.fleetOf(inv, hosts, withCertificates)
}

// fleetOf is prepare once it is known which hosts are meant.
func (a *app) fleetOf(inv *inventory.Inventory, hosts []inventory.Host, withCertificates bool) (*fleet, error) {
	boundMemory(len(hosts))
	settings := *inv
	settings.Hosts = nil // the targets have them
	f := &fleet{app: a, inv: &settings, others: len(inv.Hosts) - len(hosts), started: time.Now()}
	f.run = host.Run{ID: runID(f.started), Owner: a.owner}
	f.targets = make([]rollout.Target, len(hosts))
	for i := range hosts {
		f.targets[i].Host = &hosts[i]
	}
	if withCertificates { // then Azure may be asked about them
		if err := a.reader(inv.Azure, f.started).Check(); err != nil {
			return nil, err
		}
		if err := f.readCertificates(); err != nil {
			return nil, err
		}
	}
	if err := f.findWays(hosts); err != nil {
		return nil, err
	}
	f.progress = &report.Progress{W: a.stderr, Terminal: a.draws, Width: a.width}
	f.secrets = secret.NewResolver(a.ctx, f.asker(), a.getenv)
	f.secrets.Tell(remote.Hide)
	if !a.offline {
		if err := f.checkSecrets(hosts); err != nil {
			return nil, err
		}
	}
	f.dialer = remote.NewDialer(remote.Options{AgentSocket: a.getenv("SSH_AUTH_SOCK"),
		ConnectRate: inv.Rollout.ConnectRate, ConnectParallel: inv.Rollout.ConnectParallel})
	f.sudo = &sudoPasswords{secrets: f.secrets, known: map[sudoSource]*host.Password{}}
	f.run.Stages = f.app.verb == "rotate"
	undo := host.Run{ID: rollout.UndoID(f.run.ID), Owner: a.owner}
	f.runner = &rollout.Runner{Dial: f.dialFor(f.run), DialUndo: f.dialFor(undo), Events: f.progress.Event, RunID: f.run.ID,
		Home: diags.In("diags-" + f.run.ID)}
	return f, nil
}

// boundMemory has the garbage collected sooner than the runtime would of its own
// accord, which is at twice of what is in use: what a fleet needs grows with its
// hosts, what goes through the connections need not. GOMEMLIMIT wins.
func boundMemory(hosts int) {
	const tenThousand = 80 << 20
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(int64(max(tenThousand, tenThousand/10_000*hosts)))
	}
}

// runID is sortable by time and fit for a file name: 20261123-084512-K3F9.
func runID(at time.Time) string {
	return at.UTC().Format("20060102-150405") + "-" + rand.Text()[:4]
}

// begin opens the journal of a run that changes hosts; nothing is contacted.
func (f *fleet) begin(flags changeFlags, question string) error {
	f.question = question
	if flags.dryRun {
		return nil
	}
	names := make([]string, len(f.targets))
	for i, t := range f.targets {
		names[i] = t.Host.Name
	}
	var err error
	if f.record, err = f.app.startJournal(f.run.ID, f.planID, names, f.progress.Say); err != nil {
		return err
	}
	f.runner.Events = func(e rollout.Event) {
		f.record.event(e)
		f.progress.Event(e)
	}
	return nil
}

func (f *fleet) close() {
	if f.record != nil {
		f.record.close()
	}
	f.runner.Close()
	_ = f.dialer.Close() // it never fails
}

// dialFor dials on behalf of a run.
func (f *fleet) dialFor(run host.Run) func(context.Context, inventory.Host) (rollout.Host, error) {
	return func(ctx context.Context, h inventory.Host) (rollout.Host, error) {
		conn, err := f.dialer.Dial(ctx, f.target(h))
		if err != nil {
			return nil, err
		}
		return host.New(conn, h, run, f.sudo.of(h)), nil
	}
}

// policy is how the inventory and the flags want it done.
func (f *fleet) policy(flags changeFlags) rollout.Policy {
	r := f.inv.Rollout
	return rollout.Policy{Parallel: r.Parallel, MaxFailures: r.MaxFailures.Of, CountUnreachable: r.CountUnreachable,
		Force: flags.force, NoDeadman: flags.noDeadman,
		Canary: r.Canary, Batches: r.Batches, Soak: r.Soak, MaxUnavailable: r.MaxUnavailable}
}

// survey looks at every host.
func (f *fleet) survey() []rollout.Look { return f.look(f.targets) }

// surveyOf looks at some hosts, by their place among the targets; of the others
// there is an empty Look.
func (f *fleet) surveyOf(places []int) []rollout.Look {
	some := make([]rollout.Target, len(places))
	for i, place := range places {
		some[i] = f.targets[place]
	}
	looks := make([]rollout.Look, len(f.targets))
	for i, look := range f.look(some) {
		looks[places[i]] = look
	}
	return looks
}

func (f *fleet) look(targets []rollout.Target) []rollout.Look {
	f.app.signals.heed()
	if !f.app.draws {
		fmt.Fprintf(f.app.stderr, "looking at %s\n", inventory.HostCount(len(targets)))
	}
	looks := f.runner.Survey(f.app.ctx, targets, f.inv.Rollout.Parallel)
	f.progress.Done()
	return looks
}

// document begins the JSON of this run.
func (f *fleet) document(hosts []report.Host, code int) *report.Document {
	d := &report.Document{
		SchemaVersion: report.SchemaVersion, ToolVersion: version, RunID: f.run.ID, Command: f.app.verb,
		StartedAt: f.started.UTC(), FinishedAt: time.Now().UTC(), ExitCode: code, Hosts: hosts, Totals: map[string]int{},
		PlanID: f.planID, Warnings: f.warnings,
	}
	for _, h := range hosts {
		if h.Outcome != nil {
			d.Totals[*h.Outcome]++
		}
	}
	return d
}
