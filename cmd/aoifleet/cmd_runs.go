package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/report"
)

func runsCommand(call *invocation) *cobra.Command {
	var engine string
	const short = "List, show and steer the runs of this workstation or of an engine"
	cmd := &cobra.Command{Use: "runs", Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	number := 20
	list := &cobra.Command{Use: "list", Short: "List the newest runs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runRunsList(call, engine, number) }}
	list.Flags().VarP(&countValue{&number, count{1, 1_000_000}}, "number", "n", "show at most `N` runs")
	call.outputFlag(list)
	var steps bool
	show := &cobra.Command{Use: "show ID", Short: "Show what a run did on each host", Args: cobra.ExactArgs(1),
		Long: join("Show what a run did on each host.", idArgument),
		RunE: func(_ *cobra.Command, args []string) error { return runRunsShow(call, engine, args[0], steps) }}
	show.Flags().BoolVar(&steps, "steps", false, "also show every step with its time")
	call.outputFlag(show)
	reports := &cobra.Command{Use: "report ID", Short: "Write the reports of a run", Args: cobra.ExactArgs(1),
		Long: join("Write the reports of a run, from its journal or its engine, into the files of --report.", idArgument),
		RunE: func(_ *cobra.Command, args []string) error { return runRunsReport(call, engine, args[0]) }}
	call.reportFlag(reports)
	steer := steerCommands(call, &engine)
	for _, sub := range append([]*cobra.Command{list, show, reports}, steer...) {
		runsEngineFlag(sub, &engine)
	}
	cmd.AddCommand(list, show, reports)
	cmd.AddCommand(steer...)
	return cmd
}

func runRunsList(call *invocation, flag string, number int) error {
	if e, err := call.engine(flag); err != nil {
		return err
	} else if e != nil {
		defer e.Close()
		return runsOfEngine(call, e, number)
	}
	dir, err := fleet.StateDir(call.getenv, call.home)
	if err != nil {
		return err
	}
	runs, err := journal.List(dir, number)
	if err != nil && len(runs) == 0 {
		return err
	}
	if err != nil { // the others are worth showing
		fmt.Fprintf(call.stderr, "warning: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nwarning: "))
	}
	switch {
	case call.json():
		return report.RunsJSON(call.stdout, runs)
	case len(runs) == 0:
		fmt.Fprintln(call.stderr, "no runs in "+dir)
		return nil
	}
	return report.View{Width: call.outWidth}.Runs(call.stdout, runs)
}

func runRunsReport(call *invocation, flag, id string) error {
	if len(call.reports) == 0 {
		return usage("no file is named for the report", reportHint)
	}
	run, err := loadRun(call, flag, id)
	if err != nil {
		return err
	}
	call.writeReports(func() *report.Report { return report.OfRun(run) })
	return nil
}

func runRunsShow(call *invocation, flag, id string, steps bool) error {
	run, err := loadRun(call, flag, id)
	if err != nil {
		return err
	}
	if call.json() {
		return report.RunJSON(call.stdout, run)
	}
	return report.View{Width: call.outWidth}.Run(call.stdout, run, steps)
}
