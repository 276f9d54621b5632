package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// changeFlags are the flags of commands that change hosts.
type changeFlags struct {
	fleet.Options
	yes, verbose bool
}

func (flags *changeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.DryRun, "dry-run", false, "show the plan and change nothing (also --check)")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask for confirmation")
	verboseFlag(cmd, &flags.verbose)
}

func verboseFlag(cmd *cobra.Command, verbose *bool) {
	cmd.Flags().BoolVar(verbose, "verbose", false, "name every host and every cause in the text")
}

// view returns how texts about a fleet are laid out.
func (call *invocation) view(f *fleet.Fleet, verbose bool) report.View {
	v := report.NewView(f.Targets, f.Groups)
	v.Width, v.Verbose, v.Cost = call.outWidth, verbose, f.Cost()
	return v
}

func (flags *changeFlags) addDeadman(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&flags.NoDeadman, "no-deadman", false, "do not arm the dead-man switch: a host whose run is interrupted, or that reboots, does not undo by itself")
}

// addIgnoreWindow adds --ignore-window.
func (flags *changeFlags) addIgnoreWindow(cmd *cobra.Command) {
	cmd.Flags().Var((*reasonValue)(&flags.IgnoreWindow), "ignore-window", "change hosts also outside rollout.windows and in rollout.freezes, because of `REASON`, which the journal and the report keep")
}

// addProof adds --require-proof.
func (flags *changeFlags) addProof(cmd *cobra.Command) {
	cmd.Flags().Var((*proofValue)(&flags.RequireProof), "require-proof", "undo a host whose agent does not give this `PROOF` in time (health.proof_timeout): uploaded, or log_clean")
}

// addVerify adds the flags for the question to Azure (verify: entra in the inventory).
func (flags *changeFlags) addVerify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.SkipVerify, "skip-verify", false, "do not ask Azure about the certificate, even where the inventory says verify: entra")
	durationVar(cmd, &flags.VerifyWait, "verify-wait", verify.DefaultWait, "wait at most `DURATION` until Entra knows the certificate; 0: ask once")
}

// asksNothing reports whether the command needs no confirmation.
func (flags changeFlags) asksNothing() bool { return flags.yes || flags.DryRun }

// args returns the safeguard flags and --yes as they were given.
func (flags changeFlags) args() []string {
	var args []string
	for _, flag := range []struct {
		given bool
		name  string
	}{{flags.Force, "--force"}, {flags.NoDeadman, "--no-deadman"}, {flags.SkipVerify, "--skip-verify"}, {flags.yes, "--yes"}} {
		if flag.given {
			args = append(args, flag.name)
		}
	}
	if flags.IgnoreWindow != "" {
		args = append(args, "--ignore-window", flags.IgnoreWindow)
	}
	if flags.RequireProof != "" {
		args = append(args, "--require-proof", flags.RequireProof)
	}
	return args
}

// change is a command that changes hosts: it shows the plan, asks and prints the result.
type change struct {
	*invocation
	fleet    *fleet.Fleet
	flags    changeFlags
	question string // the verb in it: "rotate"
	// before is the exit code of what has happened before, and more adds to the document;
	// nil: nothing.
	before int
	more   func(*report.Document)
	view   report.View
}

// carryOut carries the change out with do and prints its result. again returns the command
// lines that continue. The second signal ends cut.
func (c *change) carryOut(do func(cut context.Context, s fleet.Steps) (*fleet.Change, error), again func(*fleet.Change) report.Commands) error {
	cut, end := context.WithCancel(context.Background())
	defer end()
	result, err := do(cut, fleet.Steps{
		Agree: func(plan *rollout.Plan) bool {
			defer c.signals.onSecond(end)
			if plan == nil { // another process of the operators' has asked
				c.view = c.invocation.view(c.fleet, c.flags.verbose)
				return true
			}
			return c.agreeTo(plan)
		},
		Continue: c.agreeToContinue,
		ExitCode: func(run *rollout.Run, agreed bool) int {
			return problem.Worst(changeCode(run, agreed, c.interrupted()), c.before)
		},
	})
	if err != nil {
		return err
	}
	if result.Elsewhere {
		c.goesOn(result)
		return nil
	}
	if result.Run == nil {
		c.code = planCode(result.Plan, false)
		showPlan(c.invocation, c.fleet, result.Plan, c.flags.Options, c.flags.verbose)
		return nil
	}
	c.code = result.ExitCode
	file := c.fleet.Inventory.Path
	commands := again(result)
	commands.Engine = c.fleet.EngineURL() != ""
	commands.Status = []string{"aoifleet", "status", "-i", file}
	commands.Rollback = []string{"aoifleet", "rollback", c.fleet.RunID(), "-i", file}
	document := sync.OnceValue(func() *report.Document {
		d := c.document(c.fleet, report.RunHosts(result.Run, c.fleet.Started))
		d.Warnings = append(report.PlanWarnings(result.Plan), report.RunWarnings(result.Run, commands)...)
		d.Next, d.Undo = report.NextCommands(result.Run, commands), report.Undo(result.Run, commands)
		if c.more != nil {
			c.more(d)
		}
		return d
	})
	c.report(document)
	if c.json() {
		c.printDocument(document())
	} else {
		c.view.Summary(c.stdout, result.Run, commands, time.Since(c.fleet.Started))
	}
	c.fleet.Notify(cut, func(w io.Writer) error { return document().Write(w) })
	return nil
}

// agreeTo shows a plan and asks for confirmation if it changes a host.
func (c *change) agreeTo(plan *rollout.Plan) bool {
	c.view = c.invocation.view(c.fleet, c.flags.verbose)
	asks := plan.Changes() > 0 && c.interrupted() == nil && !c.flags.yes
	if !c.json() {
		c.view.Plan(c.stdout, plan, c.fleet.Started, !asks)
	} else if asks {
		c.view.Plan(c.stderr, plan, c.fleet.Started, false) // stdout is for the document alone
	} else {
		report.Warnings(c.stderr, plan.Warnings())
	}
	return !asks || c.agree(fmt.Sprintf("%s %s?", c.question, inventory.HostCount(plan.Changes())))
}

// agreeToContinue shows the results so far and asks whether to continue after a wave.
func (c *change) agreeToContinue(plan *rollout.Plan, wave int, soFar *rollout.Run, approved <-chan struct{}) bool {
	c.view.SoFar(c.stderr, soFar, plan, wave)
	left, next := 0, plan.From(wave+1)
	for _, w := range next {
		left += due(soFar, w)
	}
	if !c.asks {
		fmt.Fprintf(c.stderr, "waiting for: %s (or stop)\n", display.Command(c.runCommand("approve")))
	}
	return c.agreeOr(fmt.Sprintf("continue with wave %d (%s; %s left)?", next[0].Number, inventory.HostCount(due(soFar, next[0])), inventory.HostCount(left)), approved)
}

// due counts the hosts of a wave without an outcome: one may be refused while the
// certificate is staged.
func due(soFar *rollout.Run, w rollout.Wave) int {
	n := 0
	for _, i := range w.Hosts {
		if soFar.Results[i].Outcome == "" {
			n++
		}
	}
	return n
}
