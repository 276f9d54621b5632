package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// changeFlags are the flags of commands that change hosts.
type changeFlags struct {
	dryRun, yes, force, noDeadman bool
	saved                         string // the file of a saved plan; "": none
	planID                        string // of the saved plan that was approved; "": not compared
	skipVerify                    bool
	verifyWait                    time.Duration
}

func (flags *changeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "show the plan and change nothing")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
}

func (flags *changeFlags) addDeadman(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&flags.noDeadman, "no-deadman", false, "go on where a host can't put the old certificate back by itself when contact is lost")
}

// args are the flags as they were given. What is left of a saved plan is
// planned anew, and to plan nobody need say yes.
func (flags changeFlags) args() []string {
	var args []string
	for _, flag := range []struct {
		given bool
		name  string
	}{{flags.force, "--force"}, {flags.noDeadman, "--no-deadman"}, {flags.skipVerify, "--skip-verify"}, {flags.yes && flags.saved == "", "--yes"}} {
		if flag.given {
			args = append(args, flag.name)
		}
	}
	return args
}

// mayAsk is the usage error of a run that would ask where nobody is.
func (a *app) mayAsk(flags changeFlags) error {
	if flags.yes || flags.dryRun || a.asks {
		return nil
	}
	return usage("nobody can be asked: standard input is not a terminal", "look at the plan first, then use --yes")
}

// carryOut shows a plan, asks, and carries it out. again is this command line
// without --limit.
func (f *fleet) carryOut(plan *rollout.Plan, flags changeFlags, again []string) error {
	a := f.app
	if flags.dryRun {
		f.showPlan(plan, planCode(plan, false))
		return nil
	}
	f.record.plan(plan)
	asks := plan.Changes() > 0 && a.signals.got() == nil && !flags.yes
	if asJSON, _ := a.json(); !asJSON {
		report.Plan(a.stdout, plan, f.started)
	} else if asks {
		report.Plan(a.stderr, plan, f.started) // stdout is for the document alone
	} else {
		report.Warnings(a.stderr, plan.Warnings())
	}
	f.warnings = report.PlanWarnings(plan)
	agreed := true
	if asks {
		agreed = a.agree(fmt.Sprintf("%s %s?", f.question, inventory.HostCount(plan.Changes())))
	}
	f.runner.Ask = f.askAfter(plan)
	result := f.apply(plan, agreed)
	f.showRun(result, agreed, report.Commands{
		Again:    append(again, flags.args()...),
		Status:   []string{"aoifleet", "status", "-i", a.inventoryFile},
		Rollback: []string{"aoifleet", "rollback", f.run.ID, "-i", a.inventoryFile},
	})
	return nil
}

// apply carries the plan out, until the first signal; the second cuts the
// connections, and the hosts undo what they have begun.
func (f *fleet) apply(plan *rollout.Plan, agreed bool) *rollout.Run {
	hard, cut := context.WithCancel(context.Background())
	defer cut()
	f.app.signals.onSecond(cut)
	soft := f.app.ctx
	if !agreed {
		ended, end := context.WithCancel(soft)
		end()
		soft = ended
	}
	if f.app.signals.got() == nil { // else nothing is begun
		defer context.AfterFunc(f.app.ctx, func() {
			f.progress.Say("interrupted: hosts in flight are finished or undone; interrupt again to leave at once")
		})()
	}
	result := f.runner.Apply(hard, soft, plan)
	f.progress.Done()
	return result
}

func (f *fleet) showRun(result *rollout.Run, agreed bool, again report.Commands) {
	a := f.app
	a.code = runCode(result, a.signals.got())
	if !agreed {
		result.Interrupted = a.signals.got() != nil
		if a.code == exitOK || a.code == exitUnreachable || a.code == exitRefused {
			a.code = exitEnded
		}
	}
	f.record.finish(result, a.code)
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.RunHosts(result), a.code).Write(a.stdout) // which remembers
		return
	}
	report.Summary(a.stdout, result, again)
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
