package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
)

func (a *app) rollbackCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Put back the certificates that a run has replaced, also days later",
		Long: `Put back the certificates that a run has replaced, from the backups on the hosts,
through the same transaction as a rotation. RUN is a run's id, its beginning or
end if that is unique, or last for the newest rotation (see: aoifleet runs list).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.rollback(args[0], flags) },
	}
	a.fleetFlags(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.Force, "force", false, "also where the certificate was replaced again since, where the backup's has expired, or where there was none")
	flags.addDeadman(cmd)
	return cmd
}

func (a *app) rollback(run string, flags changeFlags) error {
	if err := a.mayAsk(flags); err != nil {
		return err
	}
	f, err := a.open(fleet.None, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.carryOut(f, flags, "restore on", func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rollback(a.ctx, cut, run, s, flags.Options)
	}, func(c *fleet.Change) []string {
		return []string{"aoifleet", "rollback", c.Past, "-i", a.inventoryFile}
	})
}
