// Package flowtest has pretend hosts at pretend sites, for the tests of workflows: in the SDK's test
// environment, and on a server.
package flowtest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// RunID is the run of the tests.
const RunID = "20261123-084512-K3F9"

// Clock is the time of the hosts, of testing/synctest at its start, and of workflows in the tests.
var Clock = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Fate is what a pretend host does.
type Fate string

// The fates of hosts.
const (
	Well        Fate = ""
	Refuses     Fate = "refuses"     // its transaction, before any change
	Undoes      Fate = "undoes"      // its transaction
	Fails       Fate = "fails"       // and needs the operator
	LostThen    Fate = "lostThen"    // the result of its transaction is lost, and it was confirmed
	LostUndone  Fate = "lostUndone"  // the result is lost, and it was undone
	LostForever Fate = "lostForever" // the result is lost, and nothing is ever heard again
	Away        Fate = "away"        // it can't be reached
	Full        Fate = "full"        // nothing can be staged
	Sick        Fate = "sick"        // it turns unhealthy in the first soak, and is undone
	Incurable   Fate = "incurable"   // it turns unhealthy in the first soak, and the undo fails
	Silent      Fate = "silent"      // no worker takes any work for its site
)

// Fates are those of which the outcome does not depend on when something happens.
var Fates = []Fate{Refuses, Undoes, Fails, LostThen, LostUndone, LostForever, Away, Full, Sick, Incurable, Silent}

// VM is a pretend host, behind any number of connections to it.
type VM struct {
	fleet *Fleet
	Fate  Fate
	host  *inventory.Host

	mu     sync.Mutex
	seen   *host.Observation
	Staged bool
	gone   bool
	calls  []string
}

// Fleet is pretend hosts, and what they have done at the same time.
type Fleet struct {
	VMs   []*VM
	named map[string]*VM

	mu         sync.Mutex
	restarting map[string]int // by failure domain; "": all
	Most       map[string]int
	started    []string                           // transactions, in their order
	During     func(activity string, name string) // runs in an activity, before its effect
	Activities map[string]int                     // how often each was called
}

// New returns hosts with these fates, each in the group of a site and in a failure domain of the label row.
func New(fates ...Fate) *Fleet {
	f := &Fleet{named: map[string]*VM{}, restarting: map[string]int{}, Most: map[string]int{}, Activities: map[string]int{}}
	for i, fate := range fates {
		h := &inventory.Host{Name: fmt.Sprintf("vm-%03d", i), Address: fmt.Sprintf("192.0.2.%d:22", i%250), Group: fmt.Sprintf("site%d", i%3),
			Labels: map[string]string{"row": fmt.Sprint(i / 4)},
			Agent:  inventory.Agent{Unit: "a.service"}, Health: inventory.Health{Timeout: time.Second, Window: time.Second}}
		if fate == Silent {
			h.Group = "nowhere"
		}
		v := &VM{fleet: f, Fate: fate, host: h, seen: &host.Observation{
			Clock: Clock,
			Unit: host.Unit{ID: "a.service", Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled", Started: Clock.Add(-time.Hour),
				StopTime: time.Second, StartTime: time.Second},
			Provider: &host.Provider{Name: "p", ClientID: "client-1", Path: "/c.p12"},
			File:     host.File{Path: "/c.p12", Real: "/c.p12", Kind: "file", Digest: "old", Changed: Clock.Add(-48 * time.Hour)},
			Live:     &certificate.Info{Thumbprint: "OLD", NotAfter: Clock.AddDate(0, 0, 20)},
			Space:    1 << 30,
		}}
		f.VMs, f.named[h.Name] = append(f.VMs, v), v
	}
	return f
}

// Plan returns the plan for the hosts as a saved one.
func (f *Fleet) Plan(policy rollout.Policy) *rollout.Plan {
	leaf := certificate.Info{Thumbprint: "NEW", NotBefore: Clock.Add(-time.Hour), NotAfter: Clock.AddDate(1, 0, 0)}
	var targets []rollout.Target
	var looks []rollout.Look
	for _, v := range f.VMs {
		targets = append(targets, rollout.Target{Host: v.host, Certificate: certificate.Known(leaf, "new")})
		seen := *v.seen
		looks = append(looks, rollout.Look{Seen: &seen})
	}
	return rollout.PlanOf(rollout.Make(targets, looks, policy).Entries, policy, false)
}

// connection is a connection to a host as a run. What no test needs is not there.
type connection struct {
	rollout.Host
	*VM
	run string
}

// Dial returns a function that connects to the hosts as a run.
func (f *Fleet) Dial(run string) func(context.Context, inventory.Host) (rollout.Host, error) {
	return func(_ context.Context, h inventory.Host) (rollout.Host, error) {
		v := f.named[h.Name]
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.Fate == Away || v.Fate == Silent || v.gone {
			return nil, problem.New(problem.Unreachable, "", "no route to %s", h.Name)
		}
		return &connection{VM: v, run: run}, nil
	}
}

func (c *connection) did(what string) (unlock func()) {
	c.mu.Lock()
	c.calls = append(c.calls, what)
	return c.mu.Unlock
}

func (c *connection) Close() error { return nil }

func (c *connection) Observe(ctx context.Context, _ host.ObserveOptions) (*host.Observation, error) {
	defer c.did("observe")()
	if c.gone {
		return nil, problem.New(problem.Unreachable, "", "gone")
	}
	seen := *c.seen
	seen.Receipts, seen.Backups = slices.Clone(seen.Receipts), slices.Clone(seen.Backups)
	return &seen, ctx.Err()
}

func (c *connection) Stage(_ context.Context, _ []byte, digest string) error {
	defer c.did("stage")()
	if digest != "new" {
		panic(digest)
	}
	if c.Fate == Full {
		return problem.New(problem.Disk, "", "the disk is full")
	}
	c.Staged = true
	return nil
}

func (c *connection) Discard(context.Context) error {
	defer c.did("discard")()
	c.Staged = false
	return nil
}

func (c *connection) Recover(context.Context, func(string)) *host.Report {
	defer c.did("recover")()
	if c.gone {
		return &host.Report{Ending: host.Unsent, Problem: problem.New(problem.Unreachable, "", "gone")}
	}
	return &host.Report{Ending: host.Clean}
}

func (c *connection) Rotate(_ context.Context, change host.Change, _ func(string)) *host.Report {
	c.fleet.restart(c.host, +1)
	defer c.fleet.restart(c.host, -1)
	for range 200 { // so that others may run meanwhile
		runtime.Gosched()
	}
	defer c.did("rotate")()
	if change.Saved != "" {
		return c.undo()
	}
	if !c.Staged && change.Swap {
		panic("nothing is staged on " + c.host.Name)
	}
	c.Staged = false
	bad := &problem.Error{Class: problem.Unhealthy, Message: "as the test wants"}
	switch c.Fate {
	case Refuses:
		return &host.Report{Ending: host.Refused, Problem: bad}
	case Undoes:
		c.receipt("rolled-back")
		return &host.Report{Ending: host.RolledBack, Problem: bad}
	case Fails:
		c.receipt("failed")
		return &host.Report{Ending: host.Failed, Problem: bad}
	case LostForever:
		c.gone = true
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	case LostUndone:
		c.receipt("rolled-back")
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	}
	c.receipt("confirmed")
	c.seen.Backups = []host.Backup{{Run: c.run, Old: c.seen.File.Digest, New: change.Digest}}
	c.seen.File.Digest = change.Digest
	if c.Fate == Sick || c.Fate == Incurable {
		c.seen.Unit.Active, c.seen.Unit.Sub = "failed", "failed"
	}
	if c.Fate == LostThen {
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	}
	return &host.Report{Ending: host.Rotated, Proof: "log_clean"}
}

func (c *connection) undo() *host.Report {
	if c.Fate == Incurable {
		c.receipt("failed")
		return &host.Report{Ending: host.Failed, Problem: &problem.Error{Class: problem.Unhealthy, Message: "it stays ill"}}
	}
	c.receipt("confirmed")
	c.seen.File.Digest = "old"
	c.seen.Unit.Active, c.seen.Unit.Sub = "active", "running"
	return &host.Report{Ending: host.Rotated, Proof: "log_clean"}
}

func (c *connection) receipt(state string) {
	c.seen.Receipts = append([]host.Receipt{{State: state, Run: c.run, Owner: "o"}}, c.seen.Receipts...)
}

// restart counts the transactions that run at once.
func (f *Fleet) restart(h *inventory.Host, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if by > 0 {
		f.started = append(f.started, h.Name)
	}
	for _, domain := range []string{"", "row " + h.Labels["row"]} {
		f.restarting[domain] += by
		f.Most[domain] = max(f.Most[domain], f.restarting[domain])
	}
}

// Rotated returns the hosts with a transaction, without those that undid one.
func (f *Fleet) Rotated() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.started)
	slices.Sort(list)
	return slices.Compact(list)
}

// Name returns the name of the host.
func (v *VM) Name() string { return v.host.Name }

// State is what must be the same of a host whoever has rotated it.
func (v *VM) State() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var receipts []string
	for _, r := range v.seen.Receipts {
		receipts = append(receipts, r.Run+"="+r.State)
	}
	return fmt.Sprint(v.seen.File.Digest, " ", v.seen.Unit.Active, " staged=", v.Staged, " ", strings.Join(receipts, ","))
}

// instant is a rollout.Scheduler in which time passes at once.
type instant struct {
	rollout.Scheduler
	passed time.Duration
}

func (i *instant) Go(ctx context.Context, task func(context.Context), done func()) { task(ctx); done() }

func (i *instant) Await(_ context.Context, reached func() bool) {
	if !reached() {
		panic("nothing runs any more")
	}
}

func (i *instant) Now(context.Context) time.Time { return Clock.Add(i.passed) }

func (i *instant) Sleep(ctx, stopping context.Context, d time.Duration) bool {
	i.passed += d
	return ctx.Err() == nil && stopping.Err() == nil
}

func (i *instant) WithTimeout(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
