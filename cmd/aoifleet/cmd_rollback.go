package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
)

type rollbackFlags struct {
	selection
	changeFlags
}

func rollbackCommand(call *invocation) *cobra.Command {
	var flags rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Restore what a run replaced: certificates, other files, the agent's version; also days later",
		Long: `Restore the certificates, configurations, secrets, host keys and versions of the agent that a run
replaced, from the backups on the hosts. Each agent is restarted and checked, as in a rotation.

RUN is the ID of a run, the beginning or end of one if that is unique, or last for
the newest run that changed a host (see: aoifleet runs list).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runRollback(call, args[0], flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&flags.Force, "force", false, "also if a file was replaced again since, the backup's has expired, or there was none before")
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	return cmd
}

func runRollback(call *invocation, run string, flags rollbackFlags) error {
	if err := call.mayAsk(flags.asksNothing()); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: "roll back"}
	return c.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rollback(call.ctx, cut, run, s, flags.Options)
	}, func(c *fleet.Change) report.Commands {
		return report.Commands{Again: append([]string{"aoifleet", "rollback", c.Past, "-i", f.Inventory.Path}, append(flags.parallelArgs(), flags.args()...)...), Limit: flags.limit}
	})
}
