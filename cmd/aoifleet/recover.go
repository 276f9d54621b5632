package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
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
	f, err := a.open(fleet.None, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.carryOut(f, flags, "settle", func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Recover(a.ctx, cut, s, flags.Options)
	}, func(*fleet.Change) []string { return []string{"aoifleet", "recover", "-i", a.inventoryFile} })
}
