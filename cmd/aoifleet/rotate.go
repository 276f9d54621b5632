package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/planfile"
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
	forceFlag(cmd, &flags.Force)
	flags.addDeadman(cmd)
	flags.addVerify(cmd)
	steering.add(cmd)
	cmd.Flags().StringVar(&flags.saved, "plan", "", "carry out the saved plan in `FILE` and nothing else (see: aoifleet plan --out)")
	cmd.Flags().StringVar(&flags.planID, "plan-id", "", "carry out the saved plan only if it is the one with this `ID`, as the plan that was approved has shown it")
	return cmd
}

func (a *app) rotate(flags changeFlags, steering steerFlags) error {
	if err := cmp.Or(a.mayAsk(flags), steering.check(a, flags.DryRun)); err != nil {
		return err
	}
	if flags.saved != "" {
		return a.rotateSaved(flags, steering)
	}
	if flags.planID != "" {
		return usage("--plan-id goes with --plan", "name the file of the saved plan: --plan FILE")
	}
	f, err := a.open(fleet.Install, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.rotateOn(f, flags, steering, func(*fleet.Change) []string {
		again := append([]string{"aoifleet", "rotate", "-i", a.inventoryFile}, a.certificateArgs()...)
		return append(again, steering.given()...)
	})
}

// rotateSaved carries out a saved plan and nothing else.
func (a *app) rotateSaved(flags changeFlags, steering steerFlags) error {
	if a.limit != "" || flags.Force || flags.NoDeadman || flags.SkipVerify {
		return usage("--plan is carried out as it is: without --limit, --force, --no-deadman and --skip-verify", "give them to: aoifleet plan --out FILE")
	}
	saved, err := planfile.Read(flags.saved)
	if err != nil {
		return err
	}
	if id := saved.ID(); flags.planID != "" && flags.planID != id {
		return usage("the plan in "+flags.saved+" is "+id+", not "+flags.planID, "carry out the file that was approved, or have this plan approved")
	}
	if _, err := a.json(); err != nil {
		return err
	}
	f, err := fleet.OpenSaved(a.ctx, a.caller(a.checking), a.request(fleet.Install), saved)
	if err != nil {
		return err
	}
	defer f.Close()
	flags.Options = fleet.SavedOptions(saved, flags.Options)
	return a.rotateOn(f, flags, steering, func(*fleet.Change) []string {
		// What is left needs a plan of its own, and its approval.
		return slices.Concat([]string{"aoifleet", "plan", "-i", a.inventoryFile}, a.certificateArgs(), []string{"--out", flags.saved})
	})
}

func (a *app) rotateOn(f *fleet.Fleet, flags changeFlags, steering steerFlags, again func(*fleet.Change) []string) error {
	if err := steering.steer(f.Inventory.Rollout.Canary, &flags.Options); err != nil {
		return err
	}
	return a.carryOut(f, flags, "rotate on", func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rotate(a.ctx, cut, s, flags.Options)
	}, again)
}

// certificateArgs returns --certificate as it was given.
func (a *app) certificateArgs() []string {
	if a.certificateFile == "" {
		return nil
	}
	return []string{"--certificate", a.certificateFile}
}
