package fleet

import (
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Options is how hosts are changed; the zero value has every safeguard.
type Options struct {
	DryRun     bool          // make the plan and change nothing
	Force      bool          // also with a certificate that is probably the wrong one
	NoDeadman  bool          // do not arm the hosts' dead-man switch
	SkipVerify bool          // do not ask Azure about the certificate
	VerifyWait time.Duration // how long Entra may take to know the certificate; 0: ask once

	UndoAll    bool          // undo what the run has rotated when the failure budget stops it
	PauseAfter rollout.Pause // after which waves Steps.Continue is called
	Until      int           // end after this wave, counted from 1; 0: after the last
	Detach     bool          // only begin the run, which an engine carries out

	Expires      time.Duration // after which a saved plan is refused; 0: never
	IgnoreWindow string        // why hosts are changed outside their windows and in freezes; "": they are not
	RequireProof string        // the proof without which an agent is unhealthy: "uploaded", "log_clean"; "": none
}

// policy returns the inventory's rollout and the options as a policy.
func (f *Fleet) policy(o Options) rollout.Policy {
	return rollout.Policy{Rollout: f.Inventory.Rollout, Force: o.Force, NoDeadman: o.NoDeadman,
		UndoAll: o.UndoAll, PauseAfter: o.PauseAfter, Until: o.Until, Now: time.Now(), IgnoreWindow: o.IgnoreWindow, RequireProof: o.RequireProof}
}

// Plan surveys the hosts and returns what Rotate would do. It changes nothing.
func (f *Fleet) Plan(ctx context.Context, o Options) *rollout.Plan {
	looks := f.surveyFor(ctx, o)
	plan := rollout.Make(f.Targets, looks, f.policy(o))
	f.verify(ctx, plan, o)
	plan.Local = f.warnings()
	return plan
}

// PlanOffline returns a plan from the inventory and the certificates alone. It contacts no
// host.
func (f *Fleet) PlanOffline(o Options) *rollout.Plan {
	plan := rollout.Offline(f.Targets, f.policy(o))
	plan.Local = f.warnings()
	return plan
}

// Verifier returns a verifier of the fleet's certificates. wait is how long Entra may take
// to know them; 0: each is asked about once.
func (f *Fleet) Verifier(wait time.Duration) *verify.Verifier {
	return &verify.Verifier{Cloud: f.Inventory.Azure, Transport: f.caller.Azure, Through: f.runner.Through, Wait: wait, Say: f.caller.Say, Event: f.event}
}

// verify asks Azure about the certificates of the hosts to change, if the inventory wants
// that, before any host is changed.
func (f *Fleet) verify(ctx context.Context, plan *rollout.Plan, o Options) {
	if o.SkipVerify {
		plan.SkipVerify()
		return
	}
	f.Verifier(o.VerifyWait).Plan(ctx, plan)
}
