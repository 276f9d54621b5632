package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// steerFlags say where a run over several waves pauses or ends, and what
// becomes of it when it is stopped.
type steerFlags struct{ onFailure, pauseAfter, until string }

const (
	stop        = "stop"
	rollbackAll = "rollback-all"
)

func (flags *steerFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.onFailure, "on-failure", stop, "when the failure budget is spent: `stop`, or rollback-all: undo what this run has rotated, newest first")
	f.StringVar(&flags.pauseAfter, "pause-after", "", "ask on the terminal whether to go on: after the `canary`, or after each wave")
	f.StringVar(&flags.until, "until", "", "end the run after the `canary`, or after wave N (a number); exit code 9, and rotate again carries on")
}

// given are the flags that a next command keeps: it is to get to the end.
func (flags steerFlags) given() []string {
	var args []string
	if flags.onFailure != stop {
		args = append(args, "--on-failure", flags.onFailure)
	}
	if flags.pauseAfter != "" {
		args = append(args, "--pause-after", flags.pauseAfter)
	}
	return args
}

// check finds what is wrong with the flags before anything is read.
func (flags steerFlags) check(asks, dryRun bool) error {
	switch flags.onFailure {
	case stop, rollbackAll:
	default:
		return usage(fmt.Sprintf("--on-failure can't be %q", flags.onFailure), "use --on-failure stop or --on-failure rollback-all")
	}
	switch rollout.Pause(flags.pauseAfter) {
	case rollout.NoPause:
	case rollout.AfterCanary, rollout.AfterWave:
		if !asks && !dryRun {
			return usage("nobody can be asked: --pause-after needs a terminal", "use --until canary, and rotate again to carry on")
		}
	default:
		return usage(fmt.Sprintf("--pause-after can't be %q", flags.pauseAfter), "use --pause-after canary or --pause-after wave")
	}
	_, err := flags.wave()
	return err
}

// wave is the last wave to be done, counted from 1; 0: all.
func (flags steerFlags) wave() (int, error) {
	switch flags.until {
	case "":
		return 0, nil
	case "canary":
		return 1, nil
	}
	n, err := strconv.Atoi(flags.until)
	if err != nil || n < 1 {
		return 0, usage(fmt.Sprintf("--until can't be %q", flags.until), "use --until canary, or the number of a wave: --until 2")
	}
	return n, nil
}

// steer puts the flags into the options; canary is the inventory's number of
// canary hosts.
func (flags steerFlags) steer(canary int, o *fleet.Options) error {
	if canary == 0 && (flags.until == "canary" || rollout.Pause(flags.pauseAfter) == rollout.AfterCanary) {
		return usage("there is no canary: rollout.canary in the inventory is 0", "set rollout: {canary: 1}, or name a wave")
	}
	var err error
	o.Until, err = flags.wave()
	o.PauseAfter, o.UndoAll = rollout.Pause(flags.pauseAfter), flags.onFailure == rollbackAll
	return err
}
