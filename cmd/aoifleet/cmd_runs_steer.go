package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/report"
)

// What the arguments ID and RUN are.
const (
	idArgument  = "ID is" + aRun
	runArgument = "RUN is" + aRun
	aRun        = " the ID of a run, the beginning or end of one if that is unique, or last for the newest run."
)

// steerCommands returns the commands that steer a run from another process.
func steerCommands(call *invocation, engine *string) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range []struct{ verb, short, long, done string }{
		{control.Pause, "Start no further host of a run",
			"Hosts in progress are finished, and no other starts until it is resumed. A soak goes on.",
			"is paused: hosts in progress are finished, and no other starts"},
		{control.Resume, "Continue a paused run", "", "continues"},
		{control.Stop, "End a run after its hosts in progress", "It does what one Ctrl-C there does: hosts in progress are finished or undone, and no other starts.", "stops: hosts in progress are finished or undone"},
		{control.Approve, "Answer yes where a run waits after a wave", "The run was begun with --pause-after.", "goes on with the next wave"},
	} {
		cmd := &cobra.Command{Use: c.verb + " RUN", Short: c.short, Args: cobra.ExactArgs(1), Long: join(c.short+".", c.long, runArgument),
			RunE: func(_ *cobra.Command, args []string) error { return steerRun(call, *engine, args[0], c.verb, c.done) }}
		list = append(list, cmd)
	}
	return append(list, watchCommand(call, engine))
}

// join joins sentences.
func join(sentences ...string) (text string) {
	for _, s := range sentences {
		if s != "" {
			text += s + " "
		}
	}
	return text[:len(text)-1]
}

func runsEngineFlag(cmd *cobra.Command, url *string) {
	cmd.Flags().StringVar(url, "engine", "", "runs of the workflow engine at this `URL`, temporal://HOST[:7233]/NAMESPACE (also AOIFLEET_ENGINE; none: of this workstation)")
}

func steerRun(call *invocation, flag, id, verb, done string) error {
	a, err := findRun(call, flag, id)
	defer a.close()
	switch {
	case err != nil:
	case a.engine != nil:
		err = fleet.SteerEngine(call.ctx, a.engine, a.id, verb)
	default:
		err = fleet.SteerRun(a.dir, a.run, verb)
	}
	if err == nil {
		fmt.Fprintf(call.stdout, "run %s %s\n", a.id, done)
	}
	return err
}

func watchCommand(call *invocation, engine *string) *cobra.Command {
	const short = "Follow a run to its end, and exit with its exit code"
	cmd := &cobra.Command{Use: "watch RUN", Short: short, Args: cobra.ExactArgs(1),
		Long: join(short+".", "Each step is printed as it is recorded: a line, or with -o json an object.",
			"Ctrl-C ends the watch, not the run.", runArgument),
		RunE: func(_ *cobra.Command, args []string) error { return watchRun(call, *engine, args[0]) }}
	call.outputFlag(cmd)
	return cmd
}

func watchRun(call *invocation, flag, id string) error {
	a, err := findRun(call, flag, id)
	defer a.close()
	if err != nil {
		return err
	}
	call.signals.heed()
	if a.engine != nil {
		return watchEngine(call, a)
	}
	run, err := fleet.WatchRun(call.ctx, a.dir, a.id, func(entries []journal.Entry) { showEntries(call, entries) })
	if err != nil {
		return err
	}
	if run.Exit != nil {
		call.code = *run.Exit
	} else {
		call.exit(0) // a signal has ended the watch
	}
	return nil
}

// showEntries prints entries of a journal.
func showEntries(call *invocation, entries []journal.Entry) {
	for _, e := range entries {
		if !call.json() {
			report.Entry(call.stdout, e)
			continue
		}
		_ = json.NewEncoder(call.stdout).Encode(report.ShownEntry(e)) // stdout keeps the error
	}
}
