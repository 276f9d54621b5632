package fleet

import (
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Options say how hosts are changed; the zero value has every safeguard.
type Options struct {
	DryRun     bool          // make the plan and change nothing
	Force      bool          // also where the certificate looks like the wrong one
	NoDeadman  bool          // do not arm the hosts' dead-man switch
	SkipVerify bool          // do not ask Azure about the certificate
	VerifyWait time.Duration // how long Entra may take to know the certificate; 0: ask once

	UndoAll    bool          // undo what the run has rotated when the failure budget stops it
	PauseAfter rollout.Pause // after which waves Steps.Continue is called
	Until      int           // end after this wave, counted from 1; 0: after the last
}

// policy returns how the inventory and the options want a plan carried out.
func (f *Fleet) policy(o Options) rollout.Policy {
	return rollout.Policy{Rollout: f.Inventory.Rollout, Force: o.Force, NoDeadman: o.NoDeadman,
		UndoAll: o.UndoAll, PauseAfter: o.PauseAfter, Until: o.Until}
}

// Plan surveys the hosts and returns what Rotate would do. It changes nothing.
func (f *Fleet) Plan(ctx context.Context, o Options) *rollout.Plan {
	plan := rollout.Make(f.Targets, f.Survey(ctx), f.policy(o))
	f.verify(ctx, plan, o)
	return plan
}

// PlanOffline returns what the inventory and the certificates alone say; no host is
// contacted.
func (f *Fleet) PlanOffline(o Options) *rollout.Plan { return rollout.Offline(f.Targets, f.policy(o)) }

// Verifier returns what asks Azure about the fleet's certificates. wait is how long
// they may take to become known to Entra; 0: each is asked about once.
func (f *Fleet) Verifier(wait time.Duration) *verify.Verifier {
	return &verify.Verifier{Cloud: f.Inventory.Azure, Transport: f.caller.Azure, Through: f.runner.Through, Wait: wait, Say: f.caller.Say}
}

// verify asks Azure about the certificates of the hosts to change, where their
// inventory wants that, before any host is touched.
func (f *Fleet) verify(ctx context.Context, plan *rollout.Plan, o Options) {
	if o.SkipVerify {
		plan.SkipVerify()
		return
	}
	f.Verifier(o.VerifyWait).Plan(ctx, plan)
}
