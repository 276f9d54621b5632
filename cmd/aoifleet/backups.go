package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	entries := rollout.Status(f.targets, f.survey())
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.BackupsHosts(entries), a.code).Write(a.stdout) // which remembers
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
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	for i := range f.targets {
		if flags.keep >= 0 {
			f.targets[i].Host.Backups.Keep = flags.keep
		}
		if flags.maxAge >= 0 {
			f.targets[i].Host.Backups.MaxAge = time.Duration(flags.maxAge) * 24 * time.Hour
		}
	}
	if !flags.yes && !a.agree(fmt.Sprintf("remove backups on %s? They can't be restored then", inventory.HostCount(len(f.targets)))) {
		a.code = exitEnded
		return nil
	}
	a.signals.heed()
	entries, removed := f.runner.Prune(context.WithoutCancel(a.ctx), a.ctx, f.targets)
	f.progress.Done()
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.PrunedHosts(entries, removed), a.code).Write(a.stdout) // which remembers
		return nil
	}
	report.Pruned(a.stdout, entries, removed)
	return nil
}
