package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) rotateCommand() *cobra.Command {
	var flags changeFlags
	var steering steerFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the certificate on every host that needs it, restart its agent, check it, undo where it fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.rotate(flags, steering) },
	}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	flags.add(cmd)
	forceFlag(cmd, &flags.force)
	flags.addDeadman(cmd)
	flags.addVerify(cmd)
	steering.add(cmd)
	cmd.Flags().StringVar(&flags.saved, "plan", "", "carry out the saved plan in `FILE` and nothing else (see: aoifleet plan --out)")
	cmd.Flags().StringVar(&flags.planID, "plan-id", "", "carry out the saved plan only if it is the one with this `ID`, as the plan that was approved has shown it")
	return cmd
}

func (a *app) rotate(flags changeFlags, steering steerFlags) error {
	if err := cmp.Or(a.mayAsk(flags), steering.check(a, flags.dryRun)); err != nil {
		return err
	}
	if flags.saved != "" {
		return a.rotateSaved(flags, steering)
	}
	if flags.planID != "" {
		return usage("--plan-id goes with --plan", "name the file of the saved plan: --plan FILE")
	}
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	policy := f.policy(flags)
	if err := steering.steer(&policy); err != nil {
		return err
	}
	if err := f.begin(flags, "rotate on"); err != nil {
		return err
	}
	plan := rollout.Make(f.targets, f.survey(), policy)
	f.verify(plan, flags)
	again := append([]string{"aoifleet", "rotate", "-i", a.inventoryFile}, a.certificateArgs()...)
	return f.carryOut(plan, flags, append(again, steering.given()...))
}
