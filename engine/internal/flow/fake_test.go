package flow

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

const runID = "20261123-084512-K3F9"

// clock is the time of the hosts, of testing/synctest at its start, and of workflows in the tests.
var clock = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// fate is what a pretend host does.
type fate string

const (
	well        fate = ""
	refuses     fate = "refuses"     // its transaction, before any change
	undoes      fate = "undoes"      // its transaction
	fails       fate = "fails"       // and needs the operator
	lostThen    fate = "lostThen"    // the result of its transaction is lost, and it was confirmed
	lostUndone  fate = "lostUndone"  // the result is lost, and it was undone
	lostForever fate = "lostForever" // the result is lost, and nothing is ever heard again
	away        fate = "away"        // it can't be reached
	full        fate = "full"        // nothing can be staged
	sick        fate = "sick"        // it turns unhealthy in the first soak, and is undone
	incurable   fate = "incurable"   // it turns unhealthy in the first soak, and the undo fails
	silent      fate = "silent"      // no worker takes any work for its site
)

// fates are those of which the outcome does not depend on when something happens.
var fates = []fate{refuses, undoes, fails, lostThen, lostUndone, lostForever, away, full, sick, incurable, silent}

// vm is a pretend host, behind any number of connections to it.
type vm struct {
	fleet *fleet
	fate  fate
	host  *inventory.Host

	mu     sync.Mutex
	seen   *host.Observation
	staged bool
	gone   bool
	calls  []string
}

// fleet is pretend hosts, and what they have done at the same time.
type fleet struct {
	vms   []*vm
	named map[string]*vm

	mu         sync.Mutex
	restarting map[string]int // by failure domain; "": all
	most       map[string]int
	started    []string                           // transactions, in their order
	during     func(activity string, name string) // runs in an activity, before its effect
	soakedFor  time.Duration                      // by SoakMany
	activities map[string]int                     // how often each was called
}

// newFleet returns hosts, each in the group of a site and in a failure domain of the label row.
func newFleet(fates ...fate) *fleet {
	f := &fleet{named: map[string]*vm{}, restarting: map[string]int{}, most: map[string]int{}, activities: map[string]int{}}
	for i, fate := range fates {
		h := &inventory.Host{Name: fmt.Sprintf("vm-%03d", i), Address: fmt.Sprintf("192.0.2.%d:22", i%250), Group: fmt.Sprintf("site%d", i%3),
			Labels: map[string]string{"row": fmt.Sprint(i / 4)},
			Agent:  inventory.Agent{Unit: "a.service"}, Health: inventory.Health{Timeout: time.Second, Window: time.Second}}
		if fate == silent {
			h.Group = "nowhere"
		}
		v := &vm{fleet: f, fate: fate, host: h, seen: &host.Observation{
			Clock: clock,
			Unit: host.Unit{ID: "a.service", Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled", Started: clock.Add(-time.Hour),
				StopTime: time.Second, StartTime: time.Second},
			Provider: &host.Provider{Name: "p", ClientID: "client-1", Path: "/c.p12"},
			File:     host.File{Path: "/c.p12", Real: "/c.p12", Kind: "file", Digest: "old", Changed: clock.Add(-48 * time.Hour)},
			Live:     &certificate.Info{Thumbprint: "OLD", NotAfter: clock.AddDate(0, 0, 20)},
			Space:    1 << 30,
		}}
		f.vms, f.named[h.Name] = append(f.vms, v), v
	}
	return f
}

// plan returns the plan for the hosts as a saved one.
func (f *fleet) plan(policy rollout.Policy) *rollout.Plan {
	leaf := certificate.Info{Thumbprint: "NEW", NotBefore: clock.Add(-time.Hour), NotAfter: clock.AddDate(1, 0, 0)}
	var targets []rollout.Target
	var looks []rollout.Look
	for _, v := range f.vms {
		targets = append(targets, rollout.Target{Host: v.host, Certificate: certificate.Known(leaf, "new")})
		seen := *v.seen
		looks = append(looks, rollout.Look{Seen: &seen})
	}
	return rollout.PlanOf(rollout.Make(targets, looks, policy).Entries, policy, false)
}

// connection is a connection to a host as a run. What no test needs is not there.
type connection struct {
	rollout.Host
	*vm
	run string
}

func (f *fleet) dial(run string) func(context.Context, inventory.Host) (rollout.Host, error) {
	return func(_ context.Context, h inventory.Host) (rollout.Host, error) {
		v := f.named[h.Name]
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.fate == away || v.fate == silent || v.gone {
			return nil, problem.New(problem.Unreachable, "", "no route to %s", h.Name)
		}
		return &connection{vm: v, run: run}, nil
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
	if c.fate == full {
		return problem.New(problem.Disk, "", "the disk is full")
	}
	c.staged = true
	return nil
}

func (c *connection) Discard(context.Context) error {
	defer c.did("discard")()
	c.staged = false
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
	if !c.staged && change.Swap {
		panic("nothing is staged on " + c.host.Name)
	}
	c.staged = false
	bad := &problem.Error{Class: problem.Unhealthy, Message: "as the test wants"}
	switch c.fate {
	case refuses:
		return &host.Report{Ending: host.Refused, Problem: bad}
	case undoes:
		c.receipt("rolled-back")
		return &host.Report{Ending: host.RolledBack, Problem: bad}
	case fails:
		c.receipt("failed")
		return &host.Report{Ending: host.Failed, Problem: bad}
	case lostForever:
		c.gone = true
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	case lostUndone:
		c.receipt("rolled-back")
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	}
	c.receipt("confirmed")
	c.seen.Backups = []host.Backup{{Run: c.run, Old: c.seen.File.Digest, New: change.Digest}}
	c.seen.File.Digest = change.Digest
	if c.fate == sick || c.fate == incurable {
		c.seen.Unit.Active, c.seen.Unit.Sub = "failed", "failed"
	}
	if c.fate == lostThen {
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Unreachable, "", "lost")}
	}
	return &host.Report{Ending: host.Rotated, Proof: "log_clean"}
}

func (c *connection) undo() *host.Report {
	if c.fate == incurable {
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
func (f *fleet) restart(h *inventory.Host, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if by > 0 {
		f.started = append(f.started, h.Name)
	}
	for _, domain := range []string{"", "row " + h.Labels["row"]} {
		f.restarting[domain] += by
		f.most[domain] = max(f.most[domain], f.restarting[domain])
	}
}

// rotated returns the hosts with a transaction, without those that undid one.
func (f *fleet) rotated() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.started)
	slices.Sort(list)
	return slices.Compact(list)
}

// state is what must be the same of a host whoever has rotated it.
func (v *vm) state() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var receipts []string
	for _, r := range v.seen.Receipts {
		receipts = append(receipts, r.Run+"="+r.State)
	}
	return fmt.Sprint(v.seen.File.Digest, " ", v.seen.Unit.Active, " staged=", v.staged, " ", strings.Join(receipts, ","))
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

func (i *instant) Now(context.Context) time.Time { return clock.Add(i.passed) }

func (i *instant) Sleep(ctx, stopping context.Context, d time.Duration) bool {
	i.passed += d
	return ctx.Err() == nil && stopping.Err() == nil
}

func (i *instant) WithTimeout(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
