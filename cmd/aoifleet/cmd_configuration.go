package main

import (
	"slices"

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
	var comparing configurationFlags
	diff := &cobra.Command{Use: "diff", Short: "Compare every host's configuration with the one that the inventory names (read-only)", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runCompareConfigurations(call, comparing) }}
	comparing.add(diff)
	call.outputFlag(diff)
	diff.Flags().BoolVar(&comparing.detailed, "detailed-exitcode", false, "exit with 3 if a configuration differs")
	cmd.AddCommand(lint, get, diff)
	return cmd
}

type configurationFlags struct {
	selection
	dir      string
	detailed bool // exit code
}

func runGetConfigurations(call *invocation, flags configurationFlags) error {
	f, err := call.open(flags.request(call, fleet.None), readingConfigurations)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := f.GetConfigurations(call.ctx, flags.dir)
	if err != nil {
		return err
	}
	call.showConfigurations(got, false, false)
	return nil
}

func readingConfigurations(hosts int) string {
	return "reading the configuration of " + inventory.HostCount(hosts) + " (read-only)"
}

func runCompareConfigurations(call *invocation, flags configurationFlags) error {
	request := flags.request(call, fleet.None)
	request.Configuration = fleet.Configuration{Files: true, Alone: true}
	f, err := call.open(request, readingConfigurations)
	if err != nil {
		return err
	}
	defer f.Close()
	call.showConfigurations(f.CompareConfigurations(call.ctx), true, flags.detailed)
	return nil
}

// showConfigurations prints configurations that were saved or compared. detailed: a difference
// has its own exit code.
func (call *invocation) showConfigurations(got []fleet.AgentConfiguration, compared, detailed bool) {
	entries := make([]rollout.Entry, len(got))
	for i, c := range got {
		entries[i] = c.Entry
	}
	code := checkCode(entries)
	if code == problem.ExitOK && detailed && slices.ContainsFunc(got, func(c fleet.AgentConfiguration) bool { return c.Differs }) {
		code = problem.ExitChanges
	}
	call.exit(code)
	if call.json() {
		call.print(report.NewConfigurations(call.head(), got, compared))
		return
	}
	report.ConfigurationsText(call.stdout, got, compared)
}

func runLint(call *invocation, paths []string) error {
	files := make([]configuration.Named, len(paths))
	for i, path := range paths {
		if fleet.IsTemplate(path) {
			return usage(display.Mask(path)+" is a template: its result depends on the host", "its results are checked by: aoifleet plan configure -i FILE")
		}
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
