package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
)

// upgrade makes the flags those of upgrade, which changes no certificate.
func (flags *configureFlags) upgrade(cmd *cobra.Command, force *bool) {
	flags.addTo(cmd)
	flags.command, flags.Alone = "upgrade", true
	cmd.Flags().Var((*versionValue)(&flags.Version), "to", "install this `VERSION` of the agent's package, with or without its epoch and release")
	cmd.Flags().BoolVar(force, "force", false, "also a version that is lower than the installed one, or with an error or a danger in a new configuration")
}

// missing returns an error if an upgrade has no version.
func (flags configureFlags) missing() error {
	if flags.command != "upgrade" || flags.Version != "" {
		return nil
	}
	return usage("--to is missing: the version to install", "see which versions there are: aoifleet upgrade --check")
}

func upgradeCommand(call *invocation) *cobra.Command {
	var flags rotateFlags
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Install another version of the agent, restart and check each agent, go back if it fails",
		Long: `Install another version of the agent's package, as the host's package manager has it (apt, dnf or
yum). The old and the new file are downloaded and checked on each VM before the first agent restarts, so that an
undo needs no network. --edit or --configuration changes the agents' configuration in the same step. The agent is
restarted and checked as in a rotation; the old version and the old configuration come back if it is not
healthy. With --check and without --to it shows the versions that the hosts have and can get.
docs/upgrade.md has the whole procedure.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runUpgrade(call, flags) },
	}
	flags.addShared(cmd, call)
	cmd.Flags().Lookup("dry-run").Usage = "show the plan, or without --to the versions, and change nothing (also --check)"
	flags.upgrade(cmd, &flags.Force)
	flags.addPlan(cmd)
	return cmd
}

func planUpgradeCommand(call *invocation) *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Check every host and show what upgrade would do (changes only the lists of the package manager)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runPlan(call, flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.addSave(cmd)
	flags.upgrade(cmd, &flags.Force)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addIgnoreWindow(cmd)
	return cmd
}

func runUpgrade(call *invocation, flags rotateFlags) error {
	switch {
	case flags.Version != "" || flags.plan != "":
		return runRotate(call, flags)
	case !flags.DryRun:
		return flags.missing()
	case flags.wanted() || len(call.reports) > 0 || flags.Force || flags.NoDeadman || flags.IgnoreWindow != "" || flags.planID != "" || len(flags.parallelArgs()) > 0 || flags.steerFlags != (steerFlags{onFailure: stop}):
		return usage("without --to, --check shows only the versions, as text or JSON", "name the version to see the plan: --to VERSION")
	}
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, found := f.Versions(call.ctx)
	call.exit(checkCode(entries))
	if call.json() {
		call.print(report.NewVersions(call.head(), entries, found))
		return nil
	}
	call.view(f, flags.verbose).Versions(call.stdout, entries, found)
	return nil
}
