package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// addVerify says how plan and rotate ask Azure where the inventory wants it.
func (flags *changeFlags) addVerify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.skipVerify, "skip-verify", false, "do not ask Azure about the certificate, whatever the inventory says (verify: entra)")
	f.DurationVar(&flags.verifyWait, "verify-wait", verify.DefaultWait, "how long to wait for Entra to know the certificate; 0: ask once")
}

func (f *fleet) verifier(wait time.Duration) *verify.Verifier {
	return &verify.Verifier{Cloud: f.inv.Azure, Transport: f.app.azure, Through: f.runner.Through, Wait: wait, Say: f.progress.Say}
}

// verify asks Azure about the certificates of the hosts to change, where their
// inventory wants that, before any host is touched.
func (f *fleet) verify(plan *rollout.Plan, flags changeFlags) {
	if flags.skipVerify {
		plan.SkipVerify()
		return
	}
	f.verifier(flags.verifyWait).Plan(f.app.ctx, plan)
}
