package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type planFlags struct{ offline, detailed, force bool }

func (a *app) planCommand() *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Look at every host and show what rotate would do; changes nothing",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.plan(flags) },
	}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	cmd.Flags().BoolVar(&flags.offline, "offline", false, "open no connection: show only what the inventory and the certificates say")
	cmd.Flags().BoolVar(&flags.detailed, "detailed-exitcode", false, "exit 3 when there is something to do")
	forceFlag(cmd, &flags.force)
	return cmd
}

func forceFlag(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "also with a certificate that looks like the wrong one: expires no later than the live one, or is used for several service principals")
}

func (a *app) plan(flags planFlags) error {
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	if flags.offline {
		f.showPlan(rollout.Offline(f.targets, f.policy(changeFlags{force: flags.force})), exitOK)
		return nil
	}
	plan := rollout.Make(f.targets, f.survey(), f.policy(changeFlags{force: flags.force}))
	code := planCode(plan, flags.detailed)
	if sig := a.signals.got(); sig != nil {
		code = signalCode(sig)
	}
	f.showPlan(plan, code)
	return nil
}

func planCode(plan *rollout.Plan, detailed bool) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range plan.Entries {
		totals[e.Outcome]++
	}
	code := lookCode(totals)
	if code == exitOK && detailed && plan.Changes() > 0 {
		return exitChanges
	}
	return code
}

func (f *fleet) showPlan(plan *rollout.Plan, code int) {
	f.app.code = code
	if asJSON, _ := f.app.json(); asJSON {
		_ = f.document(report.PlanHosts(plan), code).Write(f.app.stdout) // which remembers
		return
	}
	report.Plan(f.app.stdout, plan, f.started)
}
