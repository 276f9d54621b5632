// Package site has the activities of the workers of a site. A worker trusts nothing in a request
// but the names of a host and of a run: how the host is reached, what is run there and which
// certificate it gets is in the worker's own inventory, and what is on the host it sees for itself.
// Whoever can send requests can have a host rotated to the worker's certificate, its agent
// restarted, and such a change undone; nothing else.
package site

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Hosts are the hosts of the site as one run uses them; see fleet.SiteRun.
type Hosts interface {
	Host(d rollout.HostData, whole bool) (*inventory.Host, error)
	Dial(ctx context.Context, h inventory.Host, run host.Run) (rollout.Host, error)
	Certificate(ctx context.Context, h *inventory.Host) (*certificate.Certificate, error)
}

// Activities are those of protocol. Their names are those of the methods. A failure is a value in
// the result; an error means that the activity may be tried again.
type Activities struct {
	Site string
	// Open returns the hosts for a run. The caller calls done after use.
	Open func(run string) (hosts Hosts, done func(), err error)
	Log  *slog.Logger

	units sync.Map // host, address and unit of the inventory → the unit's own name, as the host has said
}

// Options returns those of a site's worker. What bounds its work is the rollout's parallel, as in a run
// of one process: a request that waited here for another one to end, or to be fetched over a slow line,
// would count as one that no worker takes, see protocol.Start.
func Options() worker.Options {
	return worker.Options{MaxConcurrentActivityExecutionSize: mostAtOnce, MaxConcurrentActivityTaskPollers: pollers,
		DisableWorkflowWorker: true, MaxHeartbeatThrottleInterval: protocol.Beat}
}

const (
	// mostAtOnce is more than a rollout asks of a site at the same time: changes of as many hosts as its
	// parallel, staging on 64 hosts of each part, a soak for 100 hosts.
	mostAtOnce = 10_000
	// pollers fetch one request each in the time of a round trip to the server: at 200 ms some thousand
	// within protocol.Start.
	pollers = 16
)

// Register registers the activities with a worker.
func (a *Activities) Register(on interface {
	RegisterActivityWithOptions(do any, options activity.RegisterOptions)
}) {
	for name, do := range map[string]any{protocol.ObserveMany: a.ObserveMany, protocol.Observe: a.Observe, protocol.Stage: a.Stage,
		protocol.Rotate: a.Rotate, protocol.Recover: a.Recover, protocol.Discard: a.Discard, protocol.SoakMany: a.SoakMany} {
		on.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: name})
	}
}

// request is a request that was admitted: a host as this worker knows it.
type request struct {
	*Activities
	hosts Hosts
	done  func()
	own   *inventory.Host
	unit  string
	run   host.Run
	host  rollout.Host // once dialled
}

// begin returns the hosts for a run, if the request is one that this worker understands.
func (a *Activities) begin(version int, run protocol.Run) (hosts Hosts, as host.Run, done func(), err error) {
	if version != protocol.Version {
		return nil, as, nil, problem.New(problem.Configuration, "use the same version of aoifleet-engine everywhere",
			"the worker at %s speaks version %d of the protocol, the run version %d", a.Site, protocol.Version, version)
	}
	if !journal.IsID(run.ID) {
		return nil, as, nil, problem.New(problem.Configuration, "", "the run has no valid id")
	}
	hosts, done, err = a.Open(undone(run.ID))
	// The owner is only shown, but a host keeps it in a file of lines.
	return hosts, host.Run{ID: run.ID, Owner: display.Sanitise(run.Owner, 200)}, done, err
}

// undone returns the run that an undo belongs to, or the run itself.
func undone(id string) string {
	if base := strings.TrimSuffix(id, rollout.UndoID("")); journal.IsID(base) {
		return base
	}
	return id
}

// admit checks a request for one host. With whole, all settings of the host must be as in the run.
func (a *Activities) admit(q protocol.OneHost, whole bool) (*request, error) {
	hosts, run, done, err := a.begin(q.Version, q.Run)
	if err != nil {
		return nil, err
	}
	own, err := hosts.Host(q.Host, whole)
	if err != nil {
		done()
		return nil, err
	}
	return &request{Activities: a, hosts: hosts, done: done, own: own, unit: cmp.Or(q.Unit, own.Agent.Unit), run: run}, nil
}

// dial connects to the host, and verifies that the unit is that of the inventory, perhaps by
// another name.
func (r *request) dial(ctx context.Context) (err error) {
	named := *r.own
	key := strings.Join([]string{named.Name, named.Address, named.Agent.Unit}, " ")
	if known, _ := r.units.Load(key); known == r.unit {
		named.Agent.Unit = r.unit
	}
	if r.host, err = r.hosts.Dial(ctx, named, r.run); err != nil || named.Agent.Unit == r.unit {
		return err
	}
	seen, err := r.host.Observe(ctx, host.ObserveOptions{})
	_ = r.host.Close() // it is called by the inventory's name there
	switch {
	case seen == nil:
		return err
	case seen.Unit.ID != r.unit:
		return problem.New(problem.Drift, "make a new plan", "%s is not the unit %s on the host", named.Agent.Unit, display.Sanitise(r.unit, 100))
	}
	r.units.Store(key, r.unit)
	named.Agent.Unit = r.unit
	r.host, err = r.hosts.Dial(ctx, named, r.run)
	return err
}

// on does something on the host that a request names, unless no refuses it: that and other refusals
// are before anything is contacted. The second problem is of the connection, or of do.
func (a *Activities) on(ctx context.Context, q protocol.OneHost, whole bool, no *problem.Error, do func(*request) error) (refused, failed *problem.Error) {
	r, err := a.admit(q, whole)
	if err != nil {
		return host.AsProblem(err), nil
	}
	defer r.done()
	if no != nil {
		return no, nil
	}
	err = r.dial(ctx)
	if err == nil {
		err = do(r)
		_ = r.host.Close()
	}
	return nil, a.problem(ctx, err)
}

// problem returns an error as a value.
func (a *Activities) problem(ctx context.Context, err error) *problem.Error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return problem.New(problem.Unreachable, "", "the worker at %s was stopped, or its run was", a.Site)
	}
	return host.AsProblem(err)
}

// Observe observes a host.
func (a *Activities) Observe(ctx context.Context, q protocol.OneHost) (look protocol.LookData, err error) {
	defer beat(ctx)()
	defer a.log(protocol.Observe, q.Run, q.Host.Name, func() string { return ended(look.Problem, "seen") })()
	refused, failed := a.on(ctx, q, false, allowed(q.Options, q.Run.ID), func(r *request) (err error) {
		look.Seen, err = r.host.Observe(ctx, q.Options)
		return err
	})
	look.Problem = cmp.Or(refused, failed)
	return bounded(look, q.Run.ID), ctx.Err()
}

// Stage copies the worker's own certificate to a host, after what an attempt before has left.
func (a *Activities) Stage(ctx context.Context, q protocol.OneHost) (answer protocol.Answer, err error) {
	defer beat(ctx)()
	defer a.log(protocol.Stage, q.Run, q.Host.Name, func() string { return ended(answer.Problem, "staged") })()
	answer.Unsent = true
	refused, failed := a.on(ctx, q, true, nil, func(r *request) error {
		cert, err := r.certificate(ctx, q.Digest)
		if err == nil {
			err = r.host.Discard(ctx)
		}
		if err == nil {
			answer.Unsent = false
			err = r.host.Stage(ctx, cert.Canonical(), cert.Digest())
		}
		return err
	})
	answer.Problem = cmp.Or(refused, failed)
	return answer, ctx.Err()
}

// certificate returns the worker's own certificate of the host, which must be the one of the plan.
func (r *request) certificate(ctx context.Context, digest string) (*certificate.Certificate, error) {
	cert, err := r.hosts.Certificate(ctx, r.own)
	if err != nil {
		return nil, err
	}
	if cert.Digest() != digest {
		return nil, problem.New(problem.Certificate, "give the worker the certificate of the plan, or make a new plan", "the certificate on the worker at %s is another one: %s, until %s",
			r.Site, cert.Leaf.Thumbprint, cert.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return cert, nil
}

// Rotate changes a host, or restores what a run has replaced there. If ctx ends the host undoes.
func (a *Activities) Rotate(ctx context.Context, q protocol.OneHost) (report *host.Report, err error) {
	defer beat(ctx)()
	defer a.log(protocol.Rotate, q.Run, q.Host.Name, func() string { return ended(report.Problem, string(report.Ending)) })()
	if activity.GetInfo(ctx).Attempt > 1 {
		return &host.Report{Ending: host.Lost, Problem: problem.New(problem.Internal, "", "a change is never repeated")}, nil
	}
	refused, failed := a.on(ctx, q, true, a.possible(q.Run.ID, q.Change), func(r *request) error {
		change, err := r.change(ctx, q.Change)
		if err == nil {
			report = r.host.Rotate(ctx, change, func(string) {})
		}
		return err
	})
	return settled(report, refused, failed), nil
}

// Recover undoes an interrupted transaction of a host.
func (a *Activities) Recover(ctx context.Context, q protocol.OneHost) (report *host.Report, err error) {
	defer beat(ctx)()
	defer a.log(protocol.Recover, q.Run, q.Host.Name, func() string { return ended(report.Problem, string(report.Ending)) })()
	refused, failed := a.on(ctx, q, false, nil, func(r *request) error {
		report = r.host.Recover(ctx, func(string) {})
		return nil
	})
	return settled(report, refused, failed), nil
}

// settled returns the report of a conversation, or that there was none: nothing was begun then.
func settled(report *host.Report, refused, failed *problem.Error) *host.Report {
	switch {
	case report != nil:
		return protocol.ShortReport(report)
	case refused != nil:
		return &host.Report{Ending: host.Refused, Problem: refused}
	}
	switch failed.Class {
	case problem.Unreachable, problem.Authentication, problem.HostKeyUnknown, problem.HostKeyChanged, problem.Timeout:
		return &host.Report{Ending: host.Unsent, Problem: failed}
	}
	return &host.Report{Ending: host.Refused, Problem: failed}
}

// Discard removes what a run has staged on a host.
func (a *Activities) Discard(ctx context.Context, q protocol.OneHost) (answer protocol.Answer, err error) {
	defer beat(ctx)()
	defer a.log(protocol.Discard, q.Run, q.Host.Name, func() string { return ended(answer.Problem, "discarded") })()
	refused, failed := a.on(ctx, q, false, nil, func(r *request) error { return r.host.Discard(ctx) })
	answer.Problem = cmp.Or(refused, failed)
	return answer, ctx.Err()
}

// beat gives signs of life, which say nothing else, until stop is called.
func beat(ctx context.Context) (stop func()) {
	tick := time.NewTicker(protocol.Beat)
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			activity.RecordHeartbeat(ctx)
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(over)
		<-gone
	}
}

// log returns a function that writes one line about an activity that has ended.
func (a *Activities) log(verb string, run protocol.Run, name string, outcome func() string) func() {
	begun := time.Now()
	return func() {
		a.Log.Info(verb, "run", display.Sanitise(run.ID, 40), "host", display.Sanitise(name, 100), "outcome", display.Sanitise(outcome(), 300),
			"took", time.Since(begun).Round(time.Millisecond))
	}
}

func ended(p *problem.Error, well string) string {
	if p == nil {
		return well
	}
	return string(p.Class) + ": " + p.Message
}
