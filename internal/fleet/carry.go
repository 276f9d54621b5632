package fleet

import (
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Steps are the points of a change at which its caller decides.
type Steps struct {
	// Agree is called with the plan before anything is changed; false: nothing is changed. The plan
	// is nil if an engine is carrying it out already.
	Agree func(plan *rollout.Plan) bool
	// Continue returns whether to continue after a wave, counted from 1. It is called
	// after the waves of Options.PauseAfter; nothing happens on the hosts meanwhile. An answer
	// from another process closes approved; nil: there can be none.
	Continue func(plan *rollout.Plan, wave int, soFar *rollout.Run, approved <-chan struct{}) bool
	// ExitCode returns the exit code of a run, which the journal records.
	ExitCode func(run *rollout.Run, agreed bool) int
}

// Change is the result of a change.
type Change struct {
	Plan     *rollout.Plan
	Run      *rollout.Run // nil: a dry run
	ExitCode int          // of the run
	Past     string       // ID of the run that a rollback undoes
	// Elsewhere is whether the run goes on without this process. Then Run is what was known last;
	// nil: it was not followed.
	Elsewhere bool
}

// Rotate replaces the certificate on every host that needs it, or carries out the
// saved plan that the fleet was opened for. When ctx ends no further host starts; when cut
// ends the connections are closed, and the hosts undo unfinished changes.
func (f *Fleet) Rotate(ctx, cut context.Context, s Steps, o Options) (*Change, error) {
	f.run.Stages = true
	if f.request.Engine != nil && !o.DryRun {
		if err := f.goesElsewhere(); err != nil {
			return nil, err
		}
		if c, attached, err := f.attach(ctx, cut, s, o); attached || err != nil {
			return c, err
		}
	}
	if f.request.Engine != nil && f.saved != nil {
		if err := f.expired(); err != nil {
			return nil, err
		}
	}
	if err := f.begin(ctx, o); err != nil {
		return nil, err
	}
	var plan *rollout.Plan
	if f.saved != nil {
		plan = f.makeSaved(ctx, o)
	} else {
		looks := f.surveyFor(ctx, o)
		plan = rollout.Make(f.Targets, looks, f.holding(o))
	}
	f.verify(ctx, plan, o)
	return f.carryOut(ctx, cut, plan, s, o)
}

// makeSaved surveys the hosts of the saved plan, and returns what of it is to be done now.
func (f *Fleet) makeSaved(ctx context.Context, o Options) *rollout.Plan {
	if f.next != nil {
		f.next.force = o.Force
	}
	looks := f.surveySome(ctx, rollout.ToObserve(f.saved.Hosts))
	return rollout.MakeSaved(f.saved.Hosts, f.Targets, looks, f.holding(o))
}

// holding returns the policy of a rotation that begins now.
func (f *Fleet) holding(o Options) rollout.Policy {
	p := f.policy(o)
	p.Hold = true
	return p
}

// Rehearse tries every part of a rotation but the restart on every host, with a copy of its
// certificate, and leaves nothing behind. For ctx and cut see Rotate.
func (f *Fleet) Rehearse(ctx, cut context.Context, s Steps, o Options) (*Change, error) {
	f.run.Stages = true
	if err := f.begin(ctx, o); err != nil {
		return nil, err
	}
	plan := rollout.MakeRehearsal(f.Targets, f.Survey(ctx), f.policy(o))
	return f.carryOut(ctx, cut, plan, s, o)
}

// Recover ends the runs that were interrupted on hosts: it restores the old certificate and
// watches the agent. For ctx and cut see Rotate.
func (f *Fleet) Recover(ctx, cut context.Context, s Steps, o Options) (*Change, error) {
	if err := f.begin(ctx, o); err != nil {
		return nil, err
	}
	plan := rollout.MakeRecovery(f.Targets, f.Survey(ctx), f.policy(o))
	return f.carryOut(ctx, cut, plan, s, o)
}

// Rollback restores the certificates that a run replaced. past is the ID of the run, the
// beginning or end of it if that is unique, or "last". For ctx and cut see Rotate.
func (f *Fleet) Rollback(ctx, cut context.Context, past string, s Steps, o Options) (*Change, error) {
	past, err := f.selectHostsOf(past)
	if err != nil {
		return nil, err
	}
	f.runner.Saved = past
	if err := f.begin(ctx, o); err != nil {
		return nil, err
	}
	plan := rollout.MakeRollback(past, f.Targets, f.Survey(ctx), f.policy(o))
	c, err := f.carryOut(ctx, cut, plan, s, o)
	if err == nil {
		c.Past = past
	}
	return c, err
}

// begin starts the journal of a run that changes hosts.
func (f *Fleet) begin(ctx context.Context, o Options) error {
	if o.DryRun {
		return nil
	}
	if err := f.startJournal(o); err != nil {
		return err
	}
	f.readHook(ctx)
	return nil
}

func (f *Fleet) carryOut(ctx, cut context.Context, plan *rollout.Plan, s Steps, o Options) (*Change, error) {
	if o.DryRun {
		return &Change{Plan: plan}, nil
	}
	f.record.plan(plan)
	agreed := s.Agree(plan) && f.inTime()
	if f.request.Engine != nil && agreed && plan.Changes() > 0 && ctx.Err() == nil {
		return f.carryOutElsewhere(ctx, cut, plan, s, o)
	}
	f.runner.Ask = func(wave int, soFar *rollout.Run) bool {
		approved, end := f.asking()
		defer end()
		return s.Continue(plan, wave, soFar, approved)
	}
	f.runner.Gate = func(cut context.Context, verb rollout.Verb) {
		if verb != rollout.SoakVerb {
			f.gate(cut, ctx)
		}
	}
	run := f.apply(ctx, cut, plan, agreed)
	if !agreed {
		run.Interrupted = ctx.Err() != nil
	}
	code := s.ExitCode(run, agreed)
	f.record.finish(run, code)
	return &Change{Plan: plan, Run: run, ExitCode: code}, nil
}

// inTime reports whether a saved plan may still be carried out: the question may have waited for long.
func (f *Fleet) inTime() bool {
	expired := f.saved != nil && f.saved.Expired(time.Now())
	if expired {
		f.caller.Say("warning: the plan has expired: no host is changed")
	}
	return !expired
}

// apply carries the plan out if the caller agreed to it; otherwise every host that would be
// changed is skipped.
func (f *Fleet) apply(ctx, cut context.Context, plan *rollout.Plan, agreed bool) *rollout.Run {
	stopping := ctx
	if !agreed {
		ended, end := context.WithCancel(ctx)
		end()
		stopping = ended
	}
	if ctx.Err() == nil { // otherwise no host starts
		defer context.AfterFunc(ctx, func() {
			f.caller.Say("interrupted: finishing or undoing the hosts in progress; interrupt again to stop at once")
		})()
	}
	return f.runner.Apply(cut, stopping, plan)
}
