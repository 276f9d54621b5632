package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
)

type recoverFlags struct {
	selection
	changeFlags
}

func recoverCommand(call *invocation) *cobra.Command {
	var flags recoverFlags
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "End interrupted runs on the hosts: restore the old certificate and check the agent",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runRecover(call, flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.changeFlags.add(cmd)
	flags.addParallel(cmd)
	return cmd
}

func runRecover(call *invocation, flags recoverFlags) error {
	if err := call.mayAsk(flags.asksNothing()); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: "recover"}
	return c.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Recover(call.ctx, cut, s, flags.Options)
	}, func(*fleet.Change) report.Commands {
		return report.Commands{Again: append([]string{"aoifleet", "recover", "-i", f.Inventory.Path}, append(flags.parallelArgs(), flags.args()...)...), Limit: flags.limit}
	})
}
