package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/report"
)

type rotateFlags struct {
	selection
	changeFlags
	steerFlags
	configureFlags
	rehearse bool
	plan     string // the file of a saved plan; "": none
	retry    string // a run whose hosts are taken up that are not well; "": none
	planID   string // of the saved plan that was approved; "": not compared
	engine   string // URL of the engine that carries the plan out; "": that of AOIFLEET_ENGINE
}

func rotateCommand(call *invocation) *cobra.Command {
	var flags rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the certificate on every host that needs it, restart and check the agent, undo if it fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runRotate(call, flags) },
	}
	flags.addShared(cmd, call)
	flags.addCertificate(cmd)
	forceFlag(cmd, &flags.Force)
	flags.addVerify(cmd)
	flags.addProof(cmd)
	flags.configureFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.rehearse, "rehearse", false, "try every step but the restart on a copy of each host's certificate, and leave nothing behind; needs no new certificate")
	cmd.Flags().StringVar(&flags.retry, "retry", "", "only the hosts that the rotation `RUN` did not leave well, by its journal: an ID, or last (see: aoifleet runs list)")
	flags.addPlan(cmd)
	engineFlag(cmd, &flags.engine)
	cmd.Flags().BoolVar(&flags.Detach, "detach", false, "with --engine: end when the run has begun, and print how to follow it")
	return cmd
}

// addShared adds the flags that rotate, configure and upgrade have in common.
func (flags *rotateFlags) addShared(cmd *cobra.Command, call *invocation) {
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.changeFlags.add(cmd)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addIgnoreWindow(cmd)
	flags.steerFlags.add(cmd)
}

// addPlan adds the flags of a saved plan.
func (flags *rotateFlags) addPlan(cmd *cobra.Command) {
	cmd.Flags().StringVar(&flags.plan, "plan", "", "carry out the saved plan in `FILE` and nothing else (see: aoifleet plan --out)")
	cmd.Flags().StringVar(&flags.planID, "plan-id", "", "with --plan: carry it out only if this is its `ID` (aoifleet plan --out prints it)")
}

func runRotate(call *invocation, flags rotateFlags) error {
	if err := cmp.Or(call.mayAsk(flags.asksNothing()), flags.steerFlags.check()); err != nil {
		return err
	}
	if err := flags.checkEngine(call); err != nil {
		return err
	}
	if flags.rehearse {
		return rehearse(call, flags)
	}
	if flags.plan != "" {
		return rotateSaved(call, flags)
	}
	if flags.planID != "" {
		return usage("--plan-id needs --plan", "name the file of the saved plan: --plan FILE")
	}
	request, err := flags.complete(flags.request(call, fleet.Install))
	if err != nil {
		return err
	}
	f, err := call.open(request, checking)
	if err != nil {
		return err
	}
	defer f.Close()
	command := []string{"aoifleet", flags.command, "-i", f.Inventory.Path}
	options := slices.Concat(flags.certificateArgs(), flags.configureFlags.args(), flags.parallelArgs(), flags.given(), flags.changeFlags.args())
	again := report.Commands{Again: slices.Concat(command, options), Limit: flags.limit}
	if !flags.Alone {
		again.Retry = slices.Concat(command, []string{"--retry", f.RunID()}, options)
	}
	if flags.retry != "" {
		if err := f.SelectUnwell(flags.retry); err != nil {
			return err
		}
		again.Again = slices.Concat(command, []string{"--retry", flags.retry}, options)
	}
	return rotate(call, f, flags, again)
}

// rehearse tries a rotation without a new certificate and without a restart.
func rehearse(call *invocation, flags rotateFlags) error {
	if flags.plan != "" || flags.planID != "" || flags.retry != "" || flags.wanted() || flags.NoDeadman || flags.Force || flags.IgnoreWindow != "" || flags.RequireProof != "" || flags.steerFlags != (steerFlags{onFailure: stop}) {
		return usage("--rehearse excludes --plan, --plan-id, --retry, --edit, --configuration, --no-deadman, --force, --ignore-window, --require-proof, --until, --pause-after and --on-failure: it tries every safeguard, without waves and at any time", "leave them out")
	}
	call.verb = "rotate --rehearse"
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: "rehearse on"}
	return c.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rehearse(call.ctx, cut, s, flags.Options)
	}, func(*fleet.Change) report.Commands {
		return report.Commands{Again: append([]string{"aoifleet", "rotate", "--rehearse", "-i", f.Inventory.Path}, flags.changeFlags.args()...), Limit: flags.limit}
	})
}

// rotateSaved carries out a saved plan and nothing else.
func rotateSaved(call *invocation, flags rotateFlags) error {
	if flags.limit != "" || flags.retry != "" || flags.wanted() || flags.Version != "" || flags.Force || flags.NoDeadman || flags.SkipVerify || flags.IgnoreWindow != "" || flags.RequireProof != "" {
		own := "--retry"
		if flags.command == "upgrade" {
			own = "--to"
		}
		return usage("--plan excludes --limit, "+own+", --edit, --configuration, --force, --no-deadman, --skip-verify, --ignore-window and --require-proof: the plan has its own", "give them to: "+strings.Join(flags.planCommand(), " ")+" --out FILE")
	}
	saved, err := planfile.Read(flags.plan)
	if err != nil {
		return err
	}
	if of := cmp.Or(saved.Command, "rotate"); of != flags.command {
		return usage("the plan in "+flags.plan+" is one of "+of, "carry it out with: aoifleet "+of+" --plan FILE")
	}
	if id := saved.ID(); flags.planID != "" && flags.planID != id {
		return usage("the plan in "+flags.plan+" is "+id+", not "+flags.planID, "carry out the file that was approved, or have this plan approved")
	}
	request := flags.request(call, fleet.Install)
	if flags.Alone {
		request.Certificates = fleet.None
	}
	if flags.planID != "" {
		request = fleet.SavedRequest(saved, request)
		flags.certificate = request.Certificate
	}
	if flags.command == "rotate" {
		if request.Engine, err = call.engine(flags.engine); err != nil {
			return err
		}
	}
	f, err := fleet.OpenSaved(call.ctx, call.caller(checking), request, saved)
	if err != nil {
		return err
	}
	defer f.Close()
	flags.Options, flags.Configuration = fleet.SavedOptions(saved, flags.Options), fleet.SavedConfiguration(saved)
	return rotate(call, f, flags, againSaved(f, flags))
}

// againSaved returns the commands after a saved plan. What the plan excludes needs a new
// plan, in another file, and its approval.
func againSaved(f *fleet.Fleet, flags rotateFlags) report.Commands {
	carryOn := changeFlags{yes: flags.yes} // the plan has the other options
	remaining := changeFlags{Options: flags.Options}
	other := strings.TrimSuffix(flags.plan, ".json") + "-" + f.RunID() + ".json"
	return report.Commands{
		Again: slices.Concat([]string{"aoifleet", flags.command, "-i", f.Inventory.Path}, flags.certificateArgs(), flags.parallelArgs(), []string{"--plan", flags.plan, "--plan-id", f.PlanID}, engineArgs(flags.engine), flags.given(), carryOn.args()),
		Plan: slices.Concat(flags.planCommand(), []string{"-i", f.Inventory.Path}, flags.certificateArgs(),
			flags.configureFlags.args(), flags.parallelArgs(), []string{"--out", other}, engineArgs(flags.engine),
			remaining.args()),
	}
}

func rotate(call *invocation, f *fleet.Fleet, flags rotateFlags, again report.Commands) error {
	if err := flags.steer(f.Inventory.Rollout, len(f.Targets), &flags.Options); err != nil {
		return err
	}
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: flags.command}
	return c.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return f.Rotate(call.ctx, cut, s, flags.Options)
	}, func(*fleet.Change) report.Commands { return again })
}
