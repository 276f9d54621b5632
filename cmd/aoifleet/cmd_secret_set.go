package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

type secretSetFlags struct {
	selection
	changeFlags
	steerFlags
	file, command, passphraseFile, passphraseCommand string
}

func secretSetCommand(call *invocation) *cobra.Command {
	var flags secretSetFlags
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Set a secret that the agents read from a file, restart and check each agent, undo if it fails",
		Long: `Set a secret of the agents' SFTP sources: a password, a private key or its passphrase. NAME is its name in
the agent's configuration, which says in which folder the file is. The value is never an argument: without
--from-file and --from-command it is typed on the terminal, twice. One newline at its end does not belong to
it; other whitespace around it is an error. A private key keeps its last newline. The file gets the agent's
user and mode 0600. The agent is restarted and checked as in a rotation, and the old file restored if it is
not healthy.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runSecretSet(call, args[0], flags) },
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.changeFlags.add(cmd)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addIgnoreWindow(cmd)
	flags.steerFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.file, "from-file", "", "read the value from `FILE`, {name} in it is the host's name; -: from standard input")
	f.StringVar(&flags.command, "from-command", "", "the value is the output of `COMMAND`, a line of sh; {name} in it is the host's name")
	f.StringVar(&flags.passphraseFile, "passphrase-from-file", "", "of a private key: check and set its passphrase too, from `FILE`; {name} as above")
	f.StringVar(&flags.passphraseCommand, "passphrase-from-command", "", "of a private key: check and set its passphrase too, from the output of `COMMAND`")
	return cmd
}

// secret returns what the flags say about the new value.
func (flags secretSetFlags) secret(call *invocation, name string) (*fleet.NewSecret, error) {
	s := &fleet.NewSecret{Name: name, From: secretsource.Source{File: flags.file, Command: flags.command},
		Passphrase: secretsource.Source{File: flags.passphraseFile, Command: flags.passphraseCommand}}
	switch {
	case flags.file != "" && flags.command != "":
		return nil, usage("--from-file and --from-command exclude each other", "leave one of them out")
	case flags.passphraseFile != "" && flags.passphraseCommand != "":
		return nil, usage("--passphrase-from-file and --passphrase-from-command exclude each other", "leave one of them out")
	case flags.file == "-":
		s.From, s.Stdin = secretsource.Source{}, call.stdin
	case flags.file == "" && flags.command == "":
		s.From.Ask = true
	}
	return s, s.Check()
}

// sources returns the sources of the value as they were given.
func (flags secretSetFlags) sources() (args []string) {
	for _, flag := range []struct{ name, value string }{{"--from-file", flags.file}, {"--from-command", flags.command},
		{"--passphrase-from-file", flags.passphraseFile}, {"--passphrase-from-command", flags.passphraseCommand}} {
		if flag.value != "" {
			args = append(args, flag.name, flag.value)
		}
	}
	return args
}

func runSecretSet(call *invocation, name string, flags secretSetFlags) error {
	s, err := flags.secret(call, name)
	if err := cmp.Or(err, call.mayAsk(flags.asksNothing()), flags.steerFlags.check()); err != nil {
		return err
	}
	request := flags.request(call, fleet.None)
	request.Secret = s
	f, err := call.open(request, checking)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flags.steer(f.Inventory.Rollout, len(f.Targets), &flags.Options); err != nil {
		return err
	}
	again := slices.Concat([]string{"aoifleet", "secret", "set", name, "-i", f.Inventory.Path}, flags.sources(), flags.parallelArgs(), flags.given(), flags.changeFlags.args())
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: "set " + rollout.SecretFile + " " + name + " on"}
	return c.carryOut(func(cut context.Context, steps fleet.Steps) (*fleet.Change, error) {
		return f.Rotate(call.ctx, cut, steps, flags.Options)
	}, func(*fleet.Change) report.Commands { return report.Commands{Again: again, Limit: flags.limit} })
}
