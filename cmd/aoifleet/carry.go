package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// changeFlags are the flags of commands that change hosts.
type changeFlags struct {
	fleet.Options
	yes    bool
	saved  string // the file of a saved plan; "": none
	planID string // of the saved plan that was approved; "": not compared
}

func (flags *changeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.DryRun, "dry-run", false, "show the plan and change nothing")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
}

func (flags *changeFlags) addDeadman(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&flags.NoDeadman, "no-deadman", false, "go on where a host can't put the old certificate back by itself when contact is lost")
}

// addVerify says how plan and rotate ask Azure where the inventory wants it.
func (flags *changeFlags) addVerify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.SkipVerify, "skip-verify", false, "do not ask Azure about the certificate, whatever the inventory says (verify: entra)")
	f.DurationVar(&flags.VerifyWait, "verify-wait", verify.DefaultWait, "how long to wait for Entra to know the certificate; 0: ask once")
}

// args returns the flags as they were given. What is left of a saved plan is
// planned anew, and to plan needs no --yes.
func (flags changeFlags) args() []string {
	var args []string
	for _, flag := range []struct {
		given bool
		name  string
	}{{flags.Force, "--force"}, {flags.NoDeadman, "--no-deadman"}, {flags.SkipVerify, "--skip-verify"}, {flags.yes && flags.saved == "", "--yes"}} {
		if flag.given {
			args = append(args, flag.name)
		}
	}
	return args
}

// mayAsk returns the usage error of a run that would ask without a terminal.
func (a *app) mayAsk(flags changeFlags) error {
	if flags.yes || flags.DryRun || a.asks {
		return nil
	}
	return usage("nobody can be asked: standard input is not a terminal", "look at the plan first, then use --yes")
}

// steps returns how a change is shown and agreed to; question is such as "rotate
// on". arm is called once it is agreed.
func (a *app) steps(f *fleet.Fleet, flags changeFlags, question string, arm func()) fleet.Steps {
	return fleet.Steps{
		Agree: func(plan *rollout.Plan) bool {
			defer arm()
			a.progress.Done()
			asks := plan.Changes() > 0 && a.signals.got() == nil && !flags.yes
			if asJSON, _ := a.json(); !asJSON {
				report.Plan(a.stdout, plan, f.Started)
			} else if asks {
				report.Plan(a.stderr, plan, f.Started) // stdout is for the document alone
			} else {
				report.Warnings(a.stderr, plan.Warnings())
			}
			return !asks || a.agree(fmt.Sprintf("%s %s?", question, inventory.HostCount(plan.Changes())))
		},
		Continue: a.askAfter,
		ExitCode: func(run *rollout.Run, agreed bool) int { return changeCode(run, agreed, a.signals.got()) },
	}
}

// carryOut carries a change out and prints what came of it. again returns this command
// line without --limit.
func (a *app) carryOut(f *fleet.Fleet, flags changeFlags, question string, do func(cut context.Context, s fleet.Steps) (*fleet.Change, error), again func(*fleet.Change) []string) error {
	cut, arm, end := a.cutAtSecond()
	defer end()
	c, err := do(cut, a.steps(f, flags, question, arm))
	if err != nil {
		return err
	}
	a.progress.Done()
	if c.Run == nil {
		a.showPlan(f, c.Plan, planCode(c.Plan, false))
		return nil
	}
	a.code = c.ExitCode
	if asJSON, _ := a.json(); asJSON {
		d := a.document(f, report.RunHosts(c.Run), a.code)
		d.Warnings = report.PlanWarnings(c.Plan)
		a.printDocument(d)
		return nil
	}
	report.Summary(a.stdout, c.Run, report.Commands{
		Again:    append(again(c), flags.args()...),
		Status:   []string{"aoifleet", "status", "-i", a.inventoryFile},
		Rollback: []string{"aoifleet", "rollback", f.RunID(), "-i", a.inventoryFile},
	})
	return nil
}

// agree asks on the terminal; anything but y or yes is a no, and so is a signal.
func (a *app) agree(question string) bool {
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err == io.EOF {
			fmt.Fprintln(a.stderr)
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-a.ctx.Done():
		fmt.Fprintln(a.stderr)
		return false
	case text := <-answer:
		return text == "y" || text == "yes"
	}
}
