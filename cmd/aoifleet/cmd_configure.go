package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
)

// configureFlags say how the agents' configurations change.
type configureFlags struct {
	fleet.Configuration
	command string // that carries the change out: rotate, configure, upgrade
}

// addTo adds the flags to rotate and its plan, which leave the configurations as they are otherwise.
func (flags *configureFlags) addTo(cmd *cobra.Command) {
	flags.addEdit(cmd)
	flags.command = "rotate"
	cmd.Flags().BoolVar(&flags.Files, "configuration", false, "also install the configurations that the inventory names (agent.configuration), with the same restart")
}

func (flags *configureFlags) addEdit(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&flags.Edits, "edit", nil, "change each agent's own configuration by `EXPRESSION` of yq, such as '.pipelines[0].sink.block_size = \"64MiB\"'; may be repeated")
}

// alone makes the flags those of configure, which changes no certificate.
func (flags *configureFlags) alone(cmd *cobra.Command, force *bool) {
	flags.addEdit(cmd)
	flags.command, flags.Alone = "configure", true
	cmd.Flags().BoolVar(force, "force", false, "also with an error or a danger in a new configuration")
}

// wanted reports whether a configuration is to change.
func (flags configureFlags) wanted() bool { return flags.Files || len(flags.Edits) > 0 }

// planCommand returns the command that plans the change.
func (flags configureFlags) planCommand() []string {
	if flags.command == "rotate" {
		return []string{"aoifleet", "plan"}
	}
	return []string{"aoifleet", "plan", flags.command}
}

// args returns the flags as they were given.
func (flags configureFlags) args() (args []string) {
	if flags.Version != "" {
		args = append(args, "--to", flags.Version)
	}
	for _, edit := range flags.Edits {
		args = append(args, "--edit", edit)
	}
	if flags.Files && flags.command != "configure" {
		args = append(args, "--configuration")
	}
	return args
}

// complete adds to a request how the configurations change.
func (flags configureFlags) complete(r fleet.Request) (fleet.Request, error) {
	if flags.Files && len(flags.Edits) > 0 {
		return r, usage("--edit and --configuration exclude each other: one changes the agents' own files, the other replaces them", "leave one of them out")
	}
	r.Configuration = flags.Configuration
	if flags.Alone {
		r.Certificates = fleet.None
	}
	if flags.command == "configure" {
		r.Configuration.Files = len(flags.Edits) == 0
	}
	return r, nil
}

func configureCommand(call *invocation) *cobra.Command {
	var flags rotateFlags
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Change the agents' configuration, restart and check each agent, undo if it fails",
		Long: `Change the configuration of each agent: by an expression of yq's language, which is applied to each
agent's own file (--edit), or to the file or template that the inventory names (agent.configuration).
The agent is restarted and checked as in a rotation, and the old file restored if it is not healthy.
No certificate changes. docs/configuration.md has the whole procedure.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runRotate(call, flags) },
	}
	flags.addShared(cmd, call)
	flags.alone(cmd, &flags.Force)
	flags.addPlan(cmd)
	return cmd
}

func planConfigureCommand(call *invocation) *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Check every host and show what configure would do, with the differences (read-only)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runPlan(call, flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.addSave(cmd)
	flags.alone(cmd, &flags.Force)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addIgnoreWindow(cmd)
	return cmd
}
