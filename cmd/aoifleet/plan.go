package main

import (
	"slices"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
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
	forceFlag(cmd, &flags.Force)
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
	f, err := a.open(fleet.Install, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	if flags.offline {
		a.showPlan(f, f.PlanOffline(flags.Options), exitOK)
		return nil
	}
	plan := f.Plan(a.ctx, flags.Options)
	code := planCode(plan, flags.detailed)
	if sig := a.signals.got(); sig != nil {
		code = signalCode(sig)
	}
	saved := false
	if flags.out != "" {
		if saved, err = f.SavePlan(a.ctx, flags.out, plan, flags.Options); err != nil {
			return err
		}
	}
	a.progress.Done()
	a.showPlan(f, plan, code)
	if saved {
		a.showSaved(f, flags.out)
	}
	return nil
}

// showSaved says which plan is in path, for a reviewer, and how it is carried out.
func (a *app) showSaved(f *fleet.Fleet, path string) {
	command := slices.Concat([]string{"aoifleet", "rotate", "-i", a.inventoryFile}, a.certificateArgs(), []string{"--plan", path, "--plan-id", f.PlanID})
	a.progress.Say("the plan is saved: " + f.PlanID)
	a.progress.Say("to carry it out: " + display.MaskLines(shellescape.QuoteCommand(command)))
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

func (a *app) showPlan(f *fleet.Fleet, plan *rollout.Plan, code int) {
	a.code = code
	if asJSON, _ := a.json(); asJSON {
		report.Warnings(a.stderr, plan.Warnings())
		d := a.document(f, report.PlanHosts(plan), code)
		d.Warnings = report.PlanWarnings(plan)
		a.printDocument(d)
		return
	}
	report.Plan(a.stdout, plan, f.Started)
}
