package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type rotateFlags struct{ dryRun, yes, force bool }

func (a *app) rotateCommand() *cobra.Command {
	var flags rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the certificate on every host that needs it, restart its agent, check it, undo where it fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.rotate(flags) },
	}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "the same as plan")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	forceFlag(cmd, &flags.force)
	return cmd
}

func (a *app) rotate(flags rotateFlags) error {
	if flags.dryRun {
		return a.plan(planFlags{force: flags.force})
	}
	if !flags.yes && !a.asks {
		return usage("nobody can be asked: standard input is not a terminal", "look at the plan first, then use --yes")
	}
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	plan := rollout.Make(f.targets, f.survey(), f.policy(flags.force))
	asks := plan.Changes() > 0 && a.signals.got() == nil && !flags.yes
	if asJSON, _ := a.json(); !asJSON {
		report.Plan(a.stdout, plan, f.started)
	} else if asks {
		report.Plan(a.stderr, plan, f.started) // stdout is for the document alone
	}
	agreed := true
	if asks {
		agreed = a.agree(fmt.Sprintf("rotate on %s?", hostCount(plan.Changes())))
	}
	result := f.apply(plan, agreed)
	f.showRun(result, flags, agreed)
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

func (f *fleet) showRun(result *rollout.Run, flags rotateFlags, agreed bool) {
	a := f.app
	a.code = runCode(result, a.signals.got())
	if !agreed {
		result.Interrupted = a.signals.got() != nil
		if a.code == exitOK || a.code == exitUnreachable || a.code == exitRefused {
			a.code = exitEnded
		}
	}
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.RunHosts(result), a.code).Write(a.stdout) // which remembers
		return
	}
	report.Summary(a.stdout, result, a.commands(flags))
}

// commands are the command lines to go on with, as this one was given.
func (a *app) commands(flags rotateFlags) report.Commands {
	rotate := []string{"aoifleet", "rotate", "-i", a.inventoryFile}
	if a.certificateFile != "" {
		rotate = append(rotate, "--certificate", a.certificateFile)
	}
	if flags.force {
		rotate = append(rotate, "--force")
	}
	if flags.yes {
		rotate = append(rotate, "--yes")
	}
	return report.Commands{Rotate: rotate, Status: []string{"aoifleet", "status", "-i", a.inventoryFile}}
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
