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
through the same transaction as a rotation. RUN is a run's id, its beginning or
end if that is unique, or last for the newest rotation (see: aoifleet runs list).`,
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
	past, err := f.app.pastRun(run)
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
	if past.Unfinished() || past.Damaged > 0 {
		fmt.Fprintf(f.app.stderr, "note: the journal of run %s is not whole; all selected hosts are asked for its backups\n", past.Run)
		return past.Run, nil
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

// pastRun finds the run to go back from. "last" is the newest rotation that
// changed something: to repeat a rollback must not undo the rollback.
func (a *app) pastRun(run string) (*journal.Run, error) {
	if run != "last" {
		return a.findRun(run)
	}
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	runs, err := journal.List(dir, 0)
	for _, r := range runs {
		ends := r.Outcomes()
		if r.Command == "rotate" && (r.Unfinished() || ends[string(rollout.Rotated)]+ends[string(rollout.Unknown)]+ends[string(rollout.Failed)] > 0) {
			return journal.Read(dir, r.Run)
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, &journal.NoRunError{ID: run}
}

// mayHaveChanged: a host without an end was in flight when its run died.
func mayHaveChanged(end journal.Entry) bool {
	switch rollout.Outcome(end.Outcome) {
	case rollout.Rotated, rollout.Restored, rollout.Unknown, rollout.Failed, "":
		return true
	}
	return false
}
