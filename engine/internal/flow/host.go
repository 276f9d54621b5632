package flow

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// brief is how long what changes nothing for long may take: the worker connects, perhaps through
// jump hosts, and runs one script.
const brief = 10 * time.Minute

// far is a host behind the activities of its site. Nothing is contacted before the first of them.
type far struct {
	*sites
	run    protocol.Run
	host   *inventory.Host // as the plan has it
	unit   string          // its own name, if the inventory has an alias
	staged *bool           // something may have been staged there
}

// dial returns a function that dials the hosts of plan for a run.
func (s *sites) dial(run protocol.Run, plan *rollout.Plan) func(ctx context.Context, h inventory.Host) (rollout.Host, error) {
	places := map[string]int{}
	staged := make([]bool, len(plan.Entries))
	for i, e := range plan.Entries {
		places[e.Host.Name] = i
	}
	return func(_ context.Context, h inventory.Host) (rollout.Host, error) {
		i, known := places[h.Name]
		if !known {
			return nil, fmt.Errorf("%s is not in the plan", h.Name)
		}
		f := &far{sites: s, run: run, host: plan.Entries[i].Host, staged: &staged[i]}
		if h.Agent.Unit != f.host.Agent.Unit {
			f.unit = h.Agent.Unit
		}
		return f, nil
	}
}

// ask has an activity done on the host, within limit.
func (f *far) ask(ctx context.Context, activity string, try tries, limit time.Duration, in protocol.OneHost, out any) error {
	in.Version, in.Run, in.Host, in.Unit = protocol.Version, f.run, rollout.DataOf(f.host), f.unit
	if err := ctx.Err(); err != nil {
		return err
	}
	var total time.Duration
	if at, has := ctx.Deadline(); has {
		total = at.Sub(workflow.Now(of(ctx)))
		limit = min(limit, total)
	}
	return f.call(of(ctx), f.host.Site(), activity, try, limit, total, in, out)
}

func (f *far) Observe(ctx context.Context, options host.ObserveOptions) (*host.Observation, error) {
	var look protocol.LookData
	if err := f.ask(ctx, protocol.Observe, thrice, brief+f.host.Health.Timeout, protocol.OneHost{Options: options}, &look); err != nil {
		return nil, err
	}
	look = look.Bounded()
	if look.Problem == nil && look.Seen == nil {
		return nil, problem.New(problem.Unexpected, "", "the worker at site %s has not said what it has seen", f.host.Site())
	}
	return look.Seen, asError(look.Problem)
}

// Stage is tried once here: rollout discards before it tries again.
func (f *far) Stage(ctx context.Context, _ []byte, digest string) error {
	var answer protocol.Answer
	err := f.ask(ctx, protocol.Stage, onceSoon, brief, protocol.OneHost{Digest: digest}, &answer)
	if !notBegun(err) && !answer.Unsent {
		*f.staged = true
	}
	if err != nil {
		return err
	}
	return asError(answer.Problem)
}

// Discard does nothing on a host on which nothing can have been staged.
func (f *far) Discard(ctx context.Context) error {
	if !*f.staged {
		return nil
	}
	var answer protocol.Answer
	if err := f.ask(ctx, protocol.Discard, thrice, brief, protocol.OneHost{}, &answer); err != nil {
		return err
	}
	return asError(answer.Problem)
}

// Rotate is never repeated, and a worker that is lost meanwhile proves nothing: the receipts of the
// host say how it ended.
func (f *far) Rotate(ctx context.Context, change host.Change, _ func(step string)) *host.Report {
	h := f.host.Health
	limit := change.Seen.Unit.EndTime(h) + h.Timeout + brief
	seen := change.Seen // the worker looks for itself, and compares only this
	change.Seen = &host.Observation{Unit: host.Unit{ID: seen.Unit.ID}, Configured: seen.Configured,
		File: host.File{Path: seen.File.Path, Real: seen.File.Real, Folder: seen.File.Folder, Digest: seen.File.Digest}}
	return f.report(ctx, protocol.Rotate, limit, protocol.OneHost{Change: &change})
}

// Recover is tried once here: rollout tries again.
func (f *far) Recover(ctx context.Context, _ func(step string)) *host.Report {
	limit := (host.Unit{}).EndTime(f.host.Health) + 2*host.InstallTime + brief
	return f.report(ctx, protocol.Recover, limit, protocol.OneHost{})
}

func (f *far) report(ctx context.Context, activity string, limit time.Duration, in protocol.OneHost) *host.Report {
	report := &host.Report{}
	err := f.ask(ctx, activity, once, limit, in, report)
	switch {
	case err == nil && report.Ending != "":
		return protocol.ShortReport(report)
	case err == nil:
		err = problem.New(problem.Unexpected, "", "the worker at site %s has not said how it ended", f.host.Site())
	case notBegun(err):
		return &host.Report{Ending: host.Unsent, Problem: host.AsProblem(err)}
	}
	return &host.Report{Ending: host.Lost, Problem: host.AsProblem(err)}
}

// asError returns nil, and not an error that holds nil, if there is no problem.
func asError(p *problem.Error) error {
	if p == nil {
		return nil
	}
	return p
}

// A plan that needs these does not come here, see rollout.Plan.Movable.
func notOffered(what string) error {
	return problem.New(problem.Usage, "carry this out with --engine none", "an engine does not offer %s", what)
}

func (f *far) Prune(context.Context) (int, error) { return 0, notOffered("prune") }

func (f *far) InstallHelper(context.Context) (host.Installed, error) {
	return host.Installed{}, notOffered("install-helper")
}

func (f *far) Diagnose(context.Context, host.Diagnosis) (*host.Diagnostics, error) {
	return nil, notOffered("diagnostics")
}

func (f *far) MakeFolder(context.Context, string) (host.File, error) {
	return host.File{}, notOffered("other files than certificates")
}

func (f *far) Package(context.Context, bool) (*host.Package, error) {
	return nil, notOffered("packages")
}

func (f *far) Fetch(_ context.Context, c host.PackageChange) (host.PackageChange, error) {
	return c, notOffered("packages")
}

func (f *far) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, notOffered("connections from hosts")
}

func (f *far) Close() error { return nil }
