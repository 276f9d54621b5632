// Package fleet has the procedures on a fleet of agent VMs: load the inventory,
// select hosts, find the route to each, read credentials, survey, plan, carry a
// plan out and record it. It uses no terminal: a Caller has what it needs from outside,
// and results are values.
package fleet

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secret"
)

// Fleet is the selected hosts of an inventory with all that a procedure needs to connect
// to them. Close it after use.
type Fleet struct {
	Inventory *inventory.Inventory // without its hosts
	Others    int                  // hosts of the inventory that are not selected
	Groups    map[string]int       // hosts of each group of the inventory
	Targets   []rollout.Target
	Started   time.Time
	PlanID    string // ID of the saved plan that was made or is carried out; "": none
	// PlanDigest is the digest of the saved plan that was made; "": none.
	PlanDigest string

	caller   Caller
	request  Request
	prepare  func() error // makes connections possible; done once
	run      host.Run
	routes   map[string]*remote.Target // by host name
	dialer   *remote.Dialer
	secrets  *secret.Resolver
	runner   *rollout.Runner
	sudo     *sudoPasswords
	record   *recorder // nil for a procedure that changes nothing
	steering steering
	saved    *planfile.Plan  // the saved plan to carry out; nil: none
	next     *configurations // nil: the agents' configurations stay
	hook     secret.Value    // where the result of the run goes; "": nowhere
}

// Open reads everything that is local: inventory, certificates, routes, passwords
// from files and variables. It contacts no host, unless a source vault is reached through one
// only. An error is a usage error unless its class
// says otherwise.
func Open(ctx context.Context, c Caller, r Request) (*Fleet, error) {
	inv, hosts, err := Load(c, r)
	if err != nil {
		return nil, err
	}
	return open(ctx, c, r, inv, hosts)
}

// Load reads the inventory and returns it with its selected hosts.
func Load(c Caller, r Request) (*inventory.Inventory, []inventory.Host, error) {
	if r.Inventory == "" {
		return nil, nil, usage("no inventory given", "name one with -i FILE or AOIFLEET_INVENTORY")
	}
	inv, err := inventory.Load(r.Inventory, inventory.Env{User: c.User, Home: c.Home})
	if err != nil {
		return nil, nil, err
	}
	hosts, absent, err := inv.Pick(r.Limit)
	if err == nil && len(absent) > 0 {
		c.Say("note: no host and no group is called " + listed(inventory.Fold(absent)))
	}
	return inv, hosts, err
}

// open is like Open for hosts that are already selected.
func open(ctx context.Context, c Caller, r Request, inv *inventory.Inventory, hosts []inventory.Host) (*Fleet, error) {
	f, err := newFleet(ctx, c, r, inv, hosts)
	if err != nil {
		return nil, err
	}
	if r.Certificates != None {
		err = f.readCertificates(ctx)
	}
	if err == nil {
		err = f.readConfigurations()
	}
	if err == nil {
		err = f.prepare()
	}
	if err == nil {
		err = f.readSecrets(ctx)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// newFleet returns a fleet that can't connect yet.
func newFleet(ctx context.Context, c Caller, r Request, inv *inventory.Inventory, hosts []inventory.Host) (*Fleet, error) {
	if err := inventory.CheckUser(r.User); r.User != "" && err != nil {
		return nil, usage("the user "+err.Error(), "name the login user: --user USER")
	}
	boundMemory(len(hosts))
	settings := *inv
	settings.Hosts = nil // the targets have them
	if r.Parallel > 0 {
		settings.Rollout.Parallel = r.Parallel
	}
	f := &Fleet{Inventory: &settings, Others: len(inv.Hosts) - len(hosts), Groups: map[string]int{}, Started: time.Now(), caller: c, request: r}
	f.run = host.Run{ID: runID(f.Started), Owner: c.Owner}
	for _, h := range inv.Hosts {
		f.Groups[h.Group]++
	}
	f.Targets = make([]rollout.Target, len(hosts))
	for i := range hosts {
		if r.User != "" {
			hosts[i].User, hosts[i].Given.User = r.User, true
		}
		f.Targets[i].Host = &hosts[i]
		if version := r.Configuration.Version; version != "" {
			f.Targets[i].Package = &rollout.WantedPackage{To: version}
		}
	}
	f.prepare = sync.OnceValue(func() error { return f.prepareTo(ctx, hosts) })
	return f, nil
}

// prepareTo finds the routes and the passwords that connections need.
func (f *Fleet) prepareTo(ctx context.Context, hosts []inventory.Host) error {
	here := !f.request.Offline && f.request.Engine == nil // hosts are reached from here
	if here {                                             // ssh -G runs the commands of Match exec, and may ask DNS
		if err := f.findRoutes(ctx, hosts); err != nil {
			return err
		}
	}
	f.secrets = secret.NewResolver(ctx, f.caller.ReadSecret, f.caller.Getenv)
	f.secrets.OnRead(display.Hide)
	if !f.request.NoLogin && here {
		if err := f.checkSecrets(ctx, hosts); err != nil {
			return err
		}
	}
	f.connect()
	if f.request.Engine != nil {
		return f.throughEngine(ctx)
	}
	if !f.request.NoLogin && here {
		return f.checkLogins(ctx)
	}
	return nil
}

// listed returns the first names of a list.
func listed(names []string) string {
	const most = 10
	if n := len(names) - most; n > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// agentSocketOn returns where ssh finds its agent: on Windows without the variable it is the
// system's service.
func agentSocketOn(goos string, getenv func(string) string) string {
	socket := getenv("SSH_AUTH_SOCK")
	if socket == "" && goos == "windows" {
		return `\\.\pipe\openssh-ssh-agent`
	}
	return socket
}

// connect creates the dialer and the runner; it opens no connection.
func (f *Fleet) connect() {
	settings := f.Inventory.Rollout
	f.dialer = remote.NewDialer(remote.Options{AgentSocket: agentSocketOn(runtime.GOOS, f.caller.Getenv),
		ConnectRate: settings.ConnectRate, ConnectParallel: settings.ConnectParallel, AddHostKeys: f.addHostKeys(),
		Note: func(line string) { f.caller.Say("note: " + line) }})
	f.sudo = &sudoPasswords{secrets: f.secrets, known: map[sudoSource]*host.Password{}}
	f.runner = &rollout.Runner{
		Dial: func(ctx context.Context, h inventory.Host) (rollout.Host, error) { return f.dial(ctx, h, f.run) },
		DialUndo: func(ctx context.Context, h inventory.Host) (rollout.Host, error) {
			return f.dial(ctx, h, host.Run{ID: rollout.UndoID(f.run.ID), Owner: f.run.Owner})
		},
		Events: f.event, RunID: f.run.ID, Diagnostics: diags.In("diags-" + f.run.ID),
	}
	if f.next != nil {
		f.runner.Want = f.want
	}
}

// addHostKeys returns the command that adds the unknown host keys of the targets.
func (f *Fleet) addHostKeys() string {
	command := []string{"aoifleet", "hostkeys", "scan", "-i", f.Inventory.Path, "--add"}
	if f.request.Limit != "" {
		command = append(command, "--limit", f.request.Limit)
	}
	return display.Command(command)
}

// dial connects to a host on behalf of a run.
func (f *Fleet) dial(ctx context.Context, h inventory.Host, run host.Run) (rollout.Host, error) {
	conn, err := f.dialer.Dial(ctx, f.target(h))
	if err != nil {
		return nil, err
	}
	return host.New(conn, h, run, f.sudo.of(h)), nil
}

// event records an event of a run that changes hosts, and passes it to the caller.
func (f *Fleet) event(e rollout.Event) {
	if f.record != nil {
		f.record.event(e)
	}
	f.caller.Event(e)
}

// part announces a part of a command, on all targets.
func (f *Fleet) part(name string) {
	e := rollout.Event{Step: name, Hosts: make([]*inventory.Host, len(f.Targets))}
	for i, t := range f.Targets {
		e.Hosts[i] = t.Host
	}
	f.event(e)
}

// RunID returns the ID of this run, which its backups and receipts on hosts carry too.
func (f *Fleet) RunID() string { return f.run.ID }

// Close closes the connections and the journal. A run that did not finish is unfinished in
// its journal.
func (f *Fleet) Close() {
	if f.steering.server != nil {
		f.steering.server.Close()
	}
	if f.record != nil {
		f.record.close()
	}
	if f.request.Engine != nil {
		f.request.Engine.Close()
	}
	if f.runner == nil {
		return // it was never prepared
	}
	f.runner.Close()
	_ = f.dialer.Close() // it never fails
}

// names returns the names of the targets.
func (f *Fleet) names() []string {
	names := make([]string, len(f.Targets))
	for i, t := range f.Targets {
		names[i] = t.Host.Name
	}
	return names
}

// boundMemory sets a memory limit, so that garbage is collected sooner than by default,
// which is at twice the memory in use: the need of a fleet grows with its hosts, the garbage
// of its connections must not. GOMEMLIMIT wins.
func boundMemory(hosts int) {
	const tenThousand = 80 << 20
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(int64(max(tenThousand, tenThousand/10_000*hosts)))
	}
}

// runID returns an ID that sorts by time and is valid as a file name:
// 20261123-084512-K3F9.
func runID(at time.Time) string {
	return at.UTC().Format("20060102-150405") + "-" + rand.Text()[:4]
}
