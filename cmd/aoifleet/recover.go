package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) recoverCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Settle the hosts on which a run was interrupted: put the old certificate back and watch the agent",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.recover(flags) },
	}
	a.fleetFlags(cmd)
	flags.add(cmd)
	return cmd
}

func (a *app) recover(flags changeFlags) error {
	if err := a.mayAsk(flags); err != nil {
		return err
	}
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.begin(flags, "settle"); err != nil {
		return err
	}
	plan := rollout.MakeRecovery(f.targets, f.survey(), f.policy(flags))
	return f.carryOut(plan, flags, []string{"aoifleet", "recover", "-i", a.inventoryFile})
}
