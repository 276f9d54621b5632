package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type planFlags struct {
	changeFlags
	offline, detailed bool
	out               string
}

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
	cmd.Flags().StringVar(&flags.out, "out", "", "save the plan in `FILE`, for rotate --plan; an older saved plan is replaced")
	forceFlag(cmd, &flags.force)
	flags.addDeadman(cmd)
	flags.addVerify(cmd)
	return cmd
}

func forceFlag(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "also with a certificate that looks like the wrong one: expires no later than the live one, or is used for several service principals")
}

func (a *app) plan(flags planFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	a.offline = flags.offline
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	if flags.offline {
		f.showPlan(rollout.Offline(f.targets, f.policy(flags.changeFlags)), exitOK)
		return nil
	}
	plan := rollout.Make(f.targets, f.survey(), f.policy(flags.changeFlags))
	f.verify(plan, flags.changeFlags)
	code := planCode(plan, flags.detailed)
	if sig := a.signals.got(); sig != nil {
		code = signalCode(sig)
	}
	// What was not looked at can't be approved, nor what Azure does not accept.
	saves := flags.out != "" && a.signals.got() == nil && !plan.Unaccepted
	switch {
	case flags.out == "" || saves:
	case plan.Unaccepted:
		f.progress.Say("nothing can be done: the plan is not saved")
	default:
		f.progress.Say("interrupted: the plan is not saved")
	}
	if saves {
		if err := f.save(flags.out, plan, flags.changeFlags); err != nil {
			return err
		}
	}
	f.showPlan(plan, code)
	if saves {
		f.tellSaved(flags.out)
	}
	return nil
}

// check finds what would be in the way of saving the plan before hosts are
// looked at.
func (flags planFlags) check() error {
	switch {
	case flags.out == "":
		return nil
	case flags.offline:
		return usage("--out saves what was seen, --offline looks at nothing", "leave one of them out")
	}
	return planfile.MayWrite(flags.out)
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
	f.warnings = report.PlanWarnings(plan)
	if asJSON, _ := f.app.json(); asJSON {
		report.Warnings(f.app.stderr, plan.Warnings())
		_ = f.document(report.PlanHosts(plan), code).Write(f.app.stdout) // which remembers
		return
	}
	report.Plan(f.app.stdout, plan, f.started)
}
