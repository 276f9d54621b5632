package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func engineFlag(cmd *cobra.Command, url *string) {
	cmd.Flags().StringVar(url, "engine", "", "the workflow engine at this `URL`, temporal://HOST[:7233]/NAMESPACE, reaches the hosts (also AOIFLEET_ENGINE; none: this program does)")
}

// engine returns the engine of a flag, or of the variable; nil: none.
func (call *invocation) engine(flag string) (*engine.Client, error) {
	text := cmp.Or(flag, call.getenv("AOIFLEET_ENGINE"))
	if text == "" || text == "none" {
		return nil, nil
	}
	url, err := engine.Parse(text)
	if err != nil {
		return nil, err
	}
	return &engine.Client{URL: url, Program: call.talker, Say: call.say}, nil
}

// engineArgs returns --engine as it was given.
func engineArgs(url string) []string {
	if url == "" {
		return nil
	}
	return []string{"--engine", url}
}

// checkEngine returns an error if the flags have an engine do what it can't.
func (flags rotateFlags) checkEngine(call *invocation) error {
	e, err := call.engine(flags.engine)
	switch {
	case err != nil:
		return err
	case e == nil && flags.Detach:
		return usage("--detach needs --engine: without one this program carries the run out", "name it: --engine URL")
	case e != nil && flags.command == "rotate" && (flags.plan == "" || flags.rehearse):
		return usage("an engine carries out saved plans only", "make one: aoifleet plan --engine URL --out plan.json; then: aoifleet rotate --plan plan.json; without the engine: --engine none")
	case flags.Detach && flags.DryRun:
		return usage("--detach and --dry-run exclude each other", "leave one of them out")
	}
	return nil
}

// runCommand returns a command on the run of a change.
func (c *change) runCommand(verb string) []string {
	command := []string{"aoifleet", "runs", verb, c.fleet.RunID()}
	if url := c.fleet.EngineURL(); url != "" {
		command = append(command, "--engine", url)
	}
	return command
}

// goesOn prints what is known of a run that goes on without this process.
func (c *change) goesOn(result *fleet.Change) {
	c.code = result.ExitCode
	follow := display.Command(c.runCommand("watch"))
	hosts := report.PlanHosts(result.Plan)
	if result.Run != nil {
		hosts = report.RunHosts(result.Run, c.fleet.Started)
	}
	document := c.document(c.fleet, hosts)
	document.Next = []string{follow}
	c.report(func() *report.Document { return document })
	switch {
	case c.json():
		c.printDocument(document)
	case result.Run == nil:
		fmt.Fprintf(c.stdout, "run %s has begun\n", c.fleet.RunID())
	default:
		fmt.Fprintf(c.stdout, "run %s goes on without this program\n", c.fleet.RunID())
	}
	fmt.Fprintf(c.stderr, "to follow it: %s\n", follow)
}

// mostRuns is among how many runs of an engine one is searched.
const mostRuns = 100

// at is where a run is: on this workstation, with its journal in dir, or at an engine.
type at struct {
	dir    string
	run    *journal.Run
	engine *engine.Client
	id     string
}

// findRun finds a run: at the engine of the flag, or of the journal if it has no end there.
func findRun(call *invocation, flag, id string) (a at, err error) {
	if a.engine, err = call.engine(flag); err != nil {
		return a, err
	}
	if a.engine != nil {
		a.id, err = engineRunID(call, a.engine, id)
		return a, err
	}
	if a.dir, err = fleet.StateDir(call.getenv, call.home); err == nil {
		a.run, err = fleet.FindRun(a.dir, id)
	}
	if err != nil {
		return a, err
	}
	if a.id = a.run.Run; a.run.Engine != "" && a.run.Unfinished() && flag != "none" {
		a.engine, err = call.engine(a.run.Engine)
	}
	return a, err
}

func (a at) close() {
	if a.engine != nil {
		a.engine.Close()
	}
}

// engineRunID returns the whole ID of a run of an engine.
func engineRunID(call *invocation, e *engine.Client, id string) (string, error) {
	if journal.IsID(id) {
		return id, nil
	}
	list, err := e.List(call.ctx, mostRuns)
	if err != nil {
		return "", err
	}
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.Run.ID
	}
	id, err = journal.Match(ids, id)
	if err != nil {
		return "", usage(err.Error(), "see: aoifleet runs list --engine "+e.URL.String())
	}
	return id, nil
}

// runsOfEngine prints the runs of an engine.
func runsOfEngine(call *invocation, e *engine.Client, number int) error {
	list, err := e.List(call.ctx, number)
	switch {
	case err != nil:
		return err
	case call.json():
		return report.EngineRunsJSON(call.stdout, list)
	case len(list) == 0:
		fmt.Fprintln(call.stderr, "no runs at "+e.URL.String())
		return nil
	}
	return report.View{Width: call.outWidth}.EngineRuns(call.stdout, list)
}

// loadRun reads a run from its journal or its engine.
func loadRun(call *invocation, flag, id string) (*journal.Run, error) {
	a, err := findRun(call, flag, id)
	defer a.close()
	if err != nil || a.engine == nil {
		return a.run, err
	}
	var run *journal.Run
	state, err := a.engine.State(call.ctx, a.id)
	if err == nil {
		run, err = fleet.EngineRun(call.ctx, a.engine, state)
	}
	switch {
	case err == nil:
		settle(call, run)
	case a.run != nil: // the journal names the engine
		const only = "warning: only what this workstation knows, because %s has not said more: %s\n"
		fmt.Fprintf(call.stderr, only, a.engine.URL, err)
		return a.run, nil
	}
	return run, err
}

// settle records the end of a run of an engine on the workstation that began it.
func settle(call *invocation, run *journal.Run) {
	dir, err := fleet.StateDir(call.getenv, call.home)
	if err == nil {
		err = fleet.Settle(dir, run)
	}
	if err != nil {
		fmt.Fprintf(call.stderr, "warning: the end of the run is not recorded here: %s\n", err)
	}
}

// watchEngine follows a run of an engine.
func watchEngine(call *invocation, a at) error {
	c := call.caller(quiet)
	c.Event = func(e rollout.Event) { showEntries(call, fleet.EntryOf(e)) }
	run, err := fleet.WatchEngine(call.ctx, c, a.engine, a.id)
	switch {
	case call.ctx.Err() != nil: // a signal has ended the watch
		call.exit(0)
		return nil
	case err != nil:
		return err
	case run == nil:
		return nil
	}
	settle(call, run)
	call.code = *run.Exit
	end := run.Entries[len(run.Entries)-1:]
	end[0].At = time.Now().UTC() // when it is seen here, as the lines before it
	showEntries(call, end)
	return nil
}
