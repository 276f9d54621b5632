package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) rotateCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the certificate on every host that needs it, restart its agent, check it, undo where it fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.rotate(flags) },
	}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	flags.add(cmd)
	forceFlag(cmd, &flags.force)
	flags.addDeadman(cmd)
	return cmd
}

func (a *app) rotate(flags changeFlags) error {
	if err := a.mayAsk(flags); err != nil {
		return err
	}
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.begin(flags, "rotate on"); err != nil {
		return err
	}
	plan := rollout.Make(f.targets, f.survey(), f.policy(flags))
	again := []string{"aoifleet", "rotate", "-i", a.inventoryFile}
	if a.certificateFile != "" {
		again = append(again, "--certificate", a.certificateFile)
	}
	return f.carryOut(plan, flags, again)
}
