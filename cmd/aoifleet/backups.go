package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type pruneFlags struct {
	keep   int
	maxAge int
	yes    bool
}

func (a *app) backupsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "backups", Short: "List or prune the replaced certificates that the hosts keep", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	list := &cobra.Command{Use: "list", Short: "List the backups on every host", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.backupsList() }}
	a.fleetFlags(list)
	var flags pruneFlags
	prune := &cobra.Command{Use: "prune", Short: "Remove backups beyond what the inventory keeps", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.backupsPrune(flags) }}
	a.fleetFlags(prune)
	prune.Flags().IntVar(&flags.keep, "keep", -1, "keep the newest `N` of a host instead of what the inventory says")
	prune.Flags().IntVar(&flags.maxAge, "max-age", -1, "keep none that is older than `DAYS`, instead of what the inventory says")
	prune.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	cmd.AddCommand(list, prune)
	return cmd
}

func (a *app) backupsList() error {
	f, err := a.open(fleet.None, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	entries := f.Status(a.ctx)
	a.progress.Done()
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		a.printDocument(a.document(f, report.BackupsHosts(entries), a.code))
		return nil
	}
	report.Backups(a.stdout, entries)
	return nil
}

// seenCode is the exit code of a command that only looks.
func seenCode(a *app, entries []rollout.Entry) int {
	if sig := a.signals.got(); sig != nil {
		return signalCode(sig)
	}
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		totals[e.Outcome]++
	}
	return lookCode(totals)
}

func (a *app) backupsPrune(flags pruneFlags) error {
	if flags.keep < -1 || flags.keep > 1000 || flags.maxAge < -1 || flags.maxAge > 36500 {
		return usage("--keep is 0 to 1000, --max-age 0 to 36500 days", "leave them out for what the inventory says")
	}
	if err := a.mayAsk(changeFlags{yes: flags.yes}); err != nil {
		return err
	}
	f, err := a.open(fleet.None, quiet)
	if err != nil {
		return err
	}
	defer f.Close()
	if !flags.yes && !a.agree(fmt.Sprintf("remove backups on %s? They can't be restored then", inventory.HostCount(len(f.Targets)))) {
		a.code = exitEnded
		return nil
	}
	entries, removed := f.Prune(a.ctx, fleet.Retention{Keep: flags.keep, MaxAge: time.Duration(flags.maxAge) * 24 * time.Hour})
	a.progress.Done()
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		a.printDocument(a.document(f, report.PrunedHosts(entries, removed), a.code))
		return nil
	}
	report.Pruned(a.stdout, entries, removed)
	return nil
}
