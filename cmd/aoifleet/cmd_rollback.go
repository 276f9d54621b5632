package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
)

type rollbackFlags struct {
	selection
	changeFlags
}

func rollbackCommand(call *invocation) *cobra.Command {
	var flags rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Put back the certificates that a run has replaced, also days later",
		Long: `Put back the certificates that a run has replaced, from the backups on the hosts,
through the same transaction as a rotation. RUN is a run's id, its beginning or
end if that is unique, or last for the newest rotation (see: aoifleet runs list).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runRollback(call, args[0], flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	flags.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&flags.Force, "force", false, "also where the certificate was replaced again since, where the backup's has expired, or where there was none")
	flags.addDeadman(cmd)
	return cmd
}

func runRollback(call *invocation, run string, flags rollbackFlags) error {
	if err := call.mayAsk(flags.needNotAsk()); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.None), call.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &change{call, f, flags.changeFlags, "restore on"}
	return c.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rollback(call.ctx, cut, run, s, flags.Options)
	}, func(c *fleet.Change) []string {
		return append([]string{"aoifleet", "rollback", c.Past, "-i", f.Inventory.Path}, flags.args()...)
	})
}
