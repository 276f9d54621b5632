package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func configurationCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "configuration", Short: "Check the agents' configurations, download them, compare them with the inventory's", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	lint := &cobra.Command{Use: "lint FILE...", Short: "Check configurations of agents, and one against the other; contacts no host", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runLint(call, args) }}
	call.outputFlag(lint)
	var getting configurationFlags
	get := &cobra.Command{Use: "get", Short: "Download every host's configuration into a folder, one file each", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runGetConfigurations(call, getting) }}
	getting.add(get)
	call.outputFlag(get)
	get.Flags().StringVar(&getting.dir, "dir", "", "`DIR` for the files, HOST.yaml each (default: configurations-RUN)")
	cmd.AddCommand(lint, get)
	return cmd
}

type configurationFlags struct {
	selection
	dir string
}

func runGetConfigurations(call *invocation, flags configurationFlags) error {
	f, err := call.open(flags.request(call, fleet.None), func(hosts int) string {
		return "reading the configuration of " + inventory.HostCount(hosts) + " (read-only)"
	})
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := f.GetConfigurations(call.ctx, flags.dir)
	if err != nil {
		return err
	}
	return call.showConfigurations(got)
}

func (call *invocation) showConfigurations(got []fleet.AgentConfiguration) error {
	entries := make([]rollout.Entry, len(got))
	for i, c := range got {
		entries[i] = c.Entry
	}
	call.exit(checkCode(entries))
	if call.json() {
		call.print(report.NewConfigurations(call.head(), got))
		return nil
	}
	report.ConfigurationsText(call.stdout, got)
	return nil
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
