package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// steerFlags set where a run of several waves pauses or ends, and what it does when the
// failure budget stops it.
type steerFlags struct{ onFailure, pauseAfter, until string }

const (
	stop        = "stop"
	rollbackAll = "rollback-all"
)

func (flags *steerFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.onFailure, "on-failure", stop, "`ACTION` when the failure budget is spent: stop, or rollback-all (undo this run's hosts, newest first)")
	f.StringVar(&flags.pauseAfter, "pause-after", "", "ask whether to continue after the `WAVE`: canary, or wave (each one); without a terminal, wait for: aoifleet runs approve")
	f.StringVar(&flags.until, "until", "", "end the run after the `WAVE`: canary, or a number (exit code 9); the next run continues")
}

// given returns the flags for the command that continues; it has no --until.
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

// check returns an error for wrong flags, before anything is read.
func (flags steerFlags) check() error {
	switch flags.onFailure {
	case stop, rollbackAll:
	default:
		return usage(fmt.Sprintf("unknown --on-failure %q", flags.onFailure), "use --on-failure stop or --on-failure rollback-all")
	}
	switch rollout.Pause(flags.pauseAfter) {
	case rollout.NoPause, rollout.AfterCanary, rollout.AfterWave:
	default:
		return usage(fmt.Sprintf("unknown --pause-after %q", flags.pauseAfter), "use --pause-after canary or --pause-after wave")
	}
	_, err := flags.wave()
	return err
}

// wave returns the last wave to carry out, counted from 1; 0: all.
func (flags steerFlags) wave() (int, error) {
	switch flags.until {
	case "":
		return 0, nil
	case "canary":
		return 1, nil
	}
	n, err := strconv.Atoi(flags.until)
	if err != nil || n < 1 {
		return 0, usage(fmt.Sprintf("unknown --until %q", flags.until), "use --until canary, or the number of a wave: --until 2")
	}
	return n, nil
}

// steer sets the options of the flags for a run on hosts with a policy.
func (flags steerFlags) steer(policy inventory.Rollout, hosts int, o *fleet.Options) error {
	if policy.Canary == 0 && (flags.until == "canary" || rollout.Pause(flags.pauseAfter) == rollout.AfterCanary) {
		return usage("there is no canary: rollout.canary in the inventory is 0", "set rollout: {canary: 1} in the inventory, or name a wave")
	}
	var err error
	o.Until, err = flags.wave()
	if most := rollout.MostWaves(policy, hosts); o.Until > most {
		return usage(fmt.Sprintf("--until %d, but %s of the inventory can have at most %s (rollout: canary, batch)", o.Until, inventory.HostCount(hosts), waveCount(most)), "name one of these, or leave --until out")
	}
	o.PauseAfter, o.UndoAll = rollout.Pause(flags.pauseAfter), flags.onFailure == rollbackAll
	return err
}

func waveCount(n int) string {
	if n == 1 {
		return "1 wave"
	}
	return fmt.Sprintf("%d waves", n)
}
