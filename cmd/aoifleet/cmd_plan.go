package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type planFlags struct {
	selection
	changeFlags
	configureFlags
	offline, detailed, verbose bool
	out, engine                string
}

func planCommand(call *invocation) *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Check every host and show what rotate would do (read-only)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runPlan(call, flags) },
	}
	flags.selection.add(cmd)
	flags.addCertificate(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	cmd.Flags().BoolVar(&flags.offline, "offline", false, "contact no host and start no program: show only what the inventory and the certificates say")
	flags.addSave(cmd)
	flags.configureFlags.addTo(cmd)
	forceFlag(cmd, &flags.Force)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addVerify(cmd)
	flags.addIgnoreWindow(cmd)
	flags.addProof(cmd)
	engineFlag(cmd, &flags.engine)
	cmd.AddCommand(planConfigureCommand(call), planUpgradeCommand(call), planShowCommand(call))
	return cmd
}

// addSave adds the flags of a plan that may be saved.
func (flags *planFlags) addSave(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&flags.detailed, "detailed-exitcode", false, "exit with 3 if there is something to change")
	cmd.Flags().StringVar(&flags.out, "out", "", "save the plan in `FILE` for --plan; replaces an older saved plan")
	durationVar(cmd, &flags.Expires, "expires", 0, "with --out: --plan refuses the plan after `DURATION`, such as 24h; 0: never")
	verboseFlag(cmd, &flags.verbose)
	cmd.Flags().Bool("dry-run", true, "a plan changes nothing")
	_ = cmd.Flags().MarkHidden("dry-run") // plan --check is what it says
}

// planShowCommand prints a saved plan, for whoever approves it.
func planShowCommand(call *invocation) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{Use: "show FILE", Short: "Show a saved plan, without contacting anything", Args: cobra.ExactArgs(1),
		Long: "Show a saved plan: who made it and when, and what plan showed then. Nothing is contacted or read but the FILE, which must match its digest.",
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := planfile.Read(args[0])
			if err != nil {
				return err
			}
			plan, err := rollout.FromFile(saved)
			if err != nil {
				return usage(args[0]+" is damaged: "+err.Error(), "make a new plan: aoifleet plan --out FILE")
			}
			document := func() *report.Document { return report.SavedDocument(call.head(), saved, plan, time.Now()) }
			call.report(document)
			if call.json() {
				call.printDocument(document())
				return nil
			}
			report.View{Width: call.outWidth, Verbose: verbose}.Saved(call.stdout, saved, plan, time.Now())
			return nil
		}}
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	verboseFlag(cmd, &verbose)
	return cmd
}

func forceFlag(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "also with a certificate that is probably wrong (it expires no later than the live one, or several service principals would use it), or with an error or a danger in a new configuration")
}

func runPlan(call *invocation, flags planFlags) error {
	if err := cmp.Or(flags.missing(), flags.check()); err != nil {
		return err
	}
	request, err := flags.complete(flags.request(call, fleet.Install))
	if err != nil {
		return err
	}
	if flags.offline && flags.engine != "" && flags.engine != "none" {
		return usage("--offline and --engine exclude each other: offline no host is checked", "leave one of them out")
	}
	if request.Offline = flags.offline; !flags.offline && flags.command == "rotate" {
		if request.Engine, err = call.engine(flags.engine); err != nil {
			return err
		}
	}
	if request.Engine != nil && flags.configureFlags.wanted() {
		return usage("an engine rotates certificates only: it excludes --edit and --configuration", "plan with --engine none")
	}
	f, err := call.open(request, checking)
	if err != nil {
		return err
	}
	defer f.Close()
	if flags.offline {
		showPlan(call, f, f.PlanOffline(flags.Options), flags.Options, flags.verbose)
		return nil
	}
	plan := f.Plan(call.ctx, flags.Options)
	call.exit(planCode(plan, flags.detailed))
	saved := false
	if flags.out != "" {
		if saved, err = f.SavePlan(call.ctx, flags.out, plan, flags.Options); err != nil {
			return err
		}
	}
	showPlan(call, f, plan, flags.Options, flags.verbose)
	if saved {
		showSaved(call, f, flags)
	}
	return nil
}

// showSaved prints the ID of the saved plan, for a reviewer, and the command that carries it
// out.
func showSaved(call *invocation, f *fleet.Fleet, flags planFlags) {
	command := slices.Concat([]string{"aoifleet", flags.command, "-i", f.Inventory.Path}, flags.certificateArgs(), flags.parallelArgs(), []string{"--plan", flags.out, "--plan-id", f.PlanID}, engineArgs(flags.engine))
	fmt.Fprintf(call.stderr, "the plan is saved: %s\nto carry it out: %s\n", f.PlanID, display.MaskLines(display.Command(command)))
}

// check returns an error if the plan cannot be saved, before a host is contacted.
func (flags planFlags) check() error {
	switch {
	case flags.offline && flags.wanted():
		return usage("--offline excludes --edit and --configuration: what changes depends on each agent's own file", "leave one of them out")
	case flags.out == "" && flags.Expires > 0:
		return usage("--expires needs --out: only a saved plan expires", "name the file of the plan: --out plan.json")
	case flags.out == "":
		return nil
	case flags.out == "-":
		return usage("a plan is not saved to standard output", "name a file: --out plan.json; for a plan as JSON on standard output: -o json")
	case flags.offline:
		return usage("--out and --offline exclude each other: a saved plan needs a check of the hosts", "leave one of them out")
	}
	return planfile.MayWrite(flags.out)
}

func planCode(plan *rollout.Plan, detailed bool) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range plan.Entries {
		totals[e.Outcome]++
	}
	code := rollout.ReadOnlyCode(totals)
	if code == problem.ExitOK && detailed && plan.Changes() > 0 {
		return problem.ExitChanges
	}
	return code
}

func showPlan(call *invocation, f *fleet.Fleet, plan *rollout.Plan, o fleet.Options, verbose bool) {
	document := func() *report.Document {
		d := call.document(f, report.PlanHosts(plan))
		d.Warnings, d.PlanDigest, d.Totals["to_change"] = report.PlanWarnings(plan), f.PlanDigest, plan.Changes()
		policy := f.Policy(o)
		d.Policy = &policy
		if plan.Changes() > 0 {
			d.EstimatedMS = plan.Estimate(f.Cost()).Milliseconds()
		}
		return d
	}
	call.report(document)
	if call.json() {
		report.Warnings(call.stderr, plan.Warnings())
		call.printDocument(document())
		return
	}
	call.view(f, verbose).Plan(call.stdout, plan, f.Started, false)
}
