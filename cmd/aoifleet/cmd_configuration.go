package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

func configurationCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "configuration", Short: "Check the agents' configurations, download them, compare them with the inventory's", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	lint := &cobra.Command{Use: "lint FILE...", Short: "Check configurations of agents, and one against the other; contacts no host", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runLint(call, args) }}
	call.outputFlag(lint)
	cmd.AddCommand(lint)
	return cmd
}

func runLint(call *invocation, paths []string) error {
	files := make([]configuration.Named, len(paths))
	for i, path := range paths {
		data, err := localfile.Read(path, configuration.MaxSize+1)
		if err != nil {
			return usage("cannot read "+display.Mask(path)+": "+localfile.Reason(err), "name the files of the agents' configurations")
		}
		files[i] = configuration.Named{Name: path, Data: data}
	}
	result := report.NewLint(files)
	if result.Failed() {
		call.exit(problem.ExitRefused)
	}
	if call.json() {
		result.Head = call.head()
		call.print(result)
		return nil
	}
	result.Text(call.stdout)
	return nil
}
