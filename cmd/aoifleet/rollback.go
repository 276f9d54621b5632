package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) rollbackCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Put back the certificates that a run has replaced, also days later",
		Long: `Put back the certificates that a run has replaced, from the backups on the hosts,
through the same transaction as a rotation. RUN is a run's id, the end of one,
or "last" (see: aoifleet runs list).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.rollback(args[0], flags) },
	}
	a.fleetFlags(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.force, "force", false, "also where the certificate was replaced again since, where the backup's has expired, or where there was none")
	flags.addDeadman(cmd)
	return cmd
}

func (a *app) rollback(run string, flags changeFlags) error {
	if err := a.mayAsk(flags); err != nil {
		return err
	}
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	if run, err = f.onlyHostsOf(run); err != nil {
		return err
	}
	f.runner.Saved = run
	if err := f.begin(flags, "restore on"); err != nil {
		return err
	}
	plan := rollout.MakeRollback(run, f.targets, f.survey(), f.policy(flags))
	return f.carryOut(plan, flags, []string{"aoifleet", "rollback", run, "-i", a.inventoryFile})
}

// onlyHostsOf narrows the targets to those on which run changed something, as
// far as its journal is here, and returns the run's whole id. The truth is on
// the hosts; without a journal all selected hosts are asked.
func (f *fleet) onlyHostsOf(run string) (string, error) {
	past, err := f.app.findRun(run)
	var none *journal.NoRunError
	switch {
	case errors.As(err, &none) && journal.IsID(run):
		fmt.Fprintf(f.app.stderr, "note: there is no journal of run %s here; all selected hosts are asked for its backups\n", run)
		return run, nil
	case errors.As(err, &none):
		return "", usage(none.Error(), "see: aoifleet runs list")
	case err != nil:
		return "", err
	}
	began := map[string]bool{}
	for _, e := range past.Entries {
		began[e.Host] = began[e.Host] || e.Event == journal.Step && e.Step == "rotate"
	}
	f.targets = slices.DeleteFunc(f.targets, func(t rollout.Target) bool {
		return !began[t.Host.Name] || !mayHaveChanged(past.Ends[t.Host.Name])
	})
	if len(f.targets) == 0 {
		return "", usage("run "+past.Run+" changed none of the selected hosts", "see: aoifleet runs show "+past.Run)
	}
	return past.Run, nil
}

// mayHaveChanged: a host without an end was in flight when its run died.
func mayHaveChanged(end journal.Entry) bool {
	switch rollout.Outcome(end.Outcome) {
	case rollout.Rotated, rollout.Restored, rollout.Unknown, "":
		return true
	}
	return false
}
