package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type pruneFlags struct {
	selection
	keep   int           // -1: the inventory's
	maxAge time.Duration // -1: the inventory's
	yes    bool
	dryRun bool
}

func backupsCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "backups", Short: "List or prune the backups of replaced certificates on the hosts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var listed selection
	list := &cobra.Command{Use: "list", Short: "List the backups on every host", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runBackupsList(call, listed) }}
	listed.add(list)
	call.outputFlag(list)
	var flags pruneFlags
	prune := &cobra.Command{Use: "prune", Short: "Remove backups beyond what the inventory keeps", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runBackupsPrune(call, flags) }}
	flags.add(prune)
	call.outputFlag(prune)
	countVar(prune, &flags.keep, "keep", -1, count{0, 1000}, "keep the newest `N` on each host, instead of the inventory's backups.keep")
	durationVar(prune, &flags.maxAge, "max-age", -1, "remove backups older than `DURATION`, such as 90d, instead of the inventory's backups.max_age")
	prune.Flags().BoolVar(&flags.dryRun, "dry-run", false, "show what would be removed and remove nothing (also --check)")
	prune.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask for confirmation")
	for _, name := range []string{"keep", "max-age"} {
		prune.Flags().Lookup(name).DefValue = "" // the help shows no default: it is the inventory's
	}
	cmd.AddCommand(list, prune)
	return cmd
}

func runBackupsList(call *invocation, hosts selection) error {
	f, err := call.open(hosts.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	entries := f.Status(call.ctx)
	call.exit(checkCode(entries))
	if call.json() {
		call.printDocument(call.document(f, report.BackupsHosts(entries)))
		return nil
	}
	report.View{Width: call.outWidth}.Backups(call.stdout, entries)
	return nil
}

func (flags pruneFlags) check() error {
	const day = 24 * time.Hour
	if flags.maxAge > 36500*day || flags.maxAge > 0 && flags.maxAge%day != 0 {
		return usage("--max-age must be whole days, from 0d to 36500d", "leave it out to use backups: of the inventory")
	}
	return nil
}

func runBackupsPrune(call *invocation, flags pruneFlags) error {
	if err := cmp.Or(flags.check(), call.mayAsk(flags.yes || flags.dryRun)); err != nil {
		return err
	}
	announce := quiet
	if !flags.yes || flags.dryRun {
		announce = checking
	}
	f, err := call.open(flags.request(call, fleet.None), func(hosts int) string {
		defer func() { announce = quiet }() // once
		return announce(hosts)
	})
	if err != nil {
		return err
	}
	defer f.Close()
	keep := fleet.Retention{Keep: flags.keep, MaxAge: flags.maxAge}
	if flags.dryRun || !flags.yes {
		if prune := showPrunable(call, f, f.Prunable(call.ctx, keep), flags.dryRun); !prune {
			return nil
		}
	}
	entries, removed := f.Prune(call.ctx, keep)
	call.exit(checkCode(entries))
	if call.json() {
		call.printDocument(call.document(f, report.PrunedHosts(entries, removed)))
		return nil
	}
	report.Pruned(call.stdout, entries, removed)
	return nil
}

// showPrunable shows what would be removed and, unless that is all, asks. It reports whether
// to remove it.
func showPrunable(call *invocation, f *fleet.Fleet, entries []rollout.Entry, dryRun bool) bool {
	call.exit(checkCode(entries))
	if dryRun && call.json() {
		call.printDocument(call.document(f, report.BackupsHosts(entries)))
		return false
	}
	out := call.stdout
	if call.json() {
		out = call.stderr // stdout is for the document alone
	}
	total := report.Prunable(out, entries)
	if dryRun || call.interrupted() != nil {
		return false
	}
	if total > 0 && !call.agree(fmt.Sprintf("remove %d backups? Rollback cannot restore them afterwards", total)) {
		call.exit(problem.ExitEnded)
		return false
	}
	return true
}
